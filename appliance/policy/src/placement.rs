//! Where chunks should lie so that space comes back although segments are locked as a whole.
//!
//! The problem: a segment can be deleted only when the lock of the last point that reaches it has
//! ended, and until then nothing in it can be moved. A monthly point that still needs a tenth of a
//! segment of last week keeps the other nine tenths for a year. Doing nothing costs three times
//! the space of the same points without locks.
//!
//! The answer: a new point need not refer to the old place. Its run may store the chunk again
//! (*copy forward*), which is new data and therefore always allowed, and let the old segment end
//! with the points that reach it already. [`should_copy_forward`] weighs the two:
//!
//! ```text
//! share the segment:  its dead bytes stay from `until` to `lock`, and likely longer
//! copy forward:       the reached bytes lie there twice from now to `until`
//! ```
//!
//! Both sides are bytes times seconds. *Likely longer*: the next point will most likely need the
//! segment, too. What a segment has lasted it is expected to last again, up to [`HORIZON_SECONDS`].
//! Without that, a schedule of equal locks (thirty daily points) would add one day to every
//! segment every day, never find a day worth a copy, and pay for it for ever.
//!
//! It is asked at every commit. Between two daily points little is copied; at the first point of a
//! week, month or year most of what is thinly used.
//!
//! On top of it, a run keeps two open segments ([`Cohort`]): cells that were written within the
//! last week will most likely be written again soon, and do not lie among those that stay.
//! Alone this gains next to nothing (it does not help the nine tenths above); with copying forward
//! it saves a fifth of the copies and two hundredths of the space, for a fifth more segments.
//!
//! Measured with the simulator in this crate's tests, which calls these very functions; the
//! figures, and those of other rules, are what `cargo test -p policy --test simulator` prints.
//! A caller may decline to copy at any time, when a run has taken long enough for example: that
//! costs space, never safety.

use model::RetentionTime;

/// What a byte written twice costs, against one kept for nothing, in halves: it has to be read
/// and written as well. Between 2 and 4 the footprint hardly changes; copying falls as it grows.
const COPY_COST_HALVES: u128 = 3;

/// Copying counts for at least this long. Otherwise the first run after a long pause, when no lock
/// holds the old segments any more, would copy every segment that has a single dead byte.
const LEAST_SECONDS: u64 = 7 * 24 * 3600;

/// How long a segment is expected to be needed further, at most.
const HORIZON_SECONDS: u64 = 60 * 24 * 3600;

/// A cell that was written this recently counts as hot.
const HOT_SECONDS: u64 = 7 * 24 * 3600;

/// With which others a chunk is stored: one open segment of a run for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cohort {
    /// New cells, cells that had rested, and everything that is copied forward.
    Cold,
    /// Cells that change often.
    Hot,
}

/// The cohort of a changed chunk of a run at `now`. `replaced` is when the segment was made in
/// which the parent's map has this cell; `None` if the parent has nothing there.
#[must_use]
pub fn cohort(replaced: Option<RetentionTime>, now: RetentionTime) -> Cohort {
    match replaced {
        Some(made) if seconds(made, now) <= HOT_SECONDS => Cohort::Hot,
        _ => Cohort::Cold,
    }
}

/// A segment from the point of view of a recovery point that is about to be committed. Bytes are
/// those of chunks as stored; any other unit will do if it is the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// All chunks of the segment.
    pub size: u64,
    /// Those that the new point's map reaches; at most `size`.
    pub reached: u64,
    /// When it was made.
    pub made: RetentionTime,
    /// When the segment could be deleted without the new point: the latest end of a lock over the
    /// points that reach it already.
    pub until: RetentionTime,
}

/// Whether the new point, committed `now` and locked until `lock`, should store what it reaches of
/// this segment again instead of referring to it. Never true when sharing costs nothing: no dead
/// byte, or a segment that is locked as long already.
#[must_use]
pub fn should_copy_forward(sharing: Sharing, now: RetentionTime, lock: RetentionTime) -> bool {
    let Sharing { size, reached, made, until } = sharing;
    let longer = seconds(until.max(now), lock);
    if reached == 0 || longer == 0 {
        return false;
    }
    let likely = seconds(made, now).min(HORIZON_SECONDS);
    let twice = seconds(now, until).max(LEAST_SECONDS);
    let dead = size.saturating_sub(reached);
    let kept_for_nothing = product(dead, longer.saturating_add(likely));
    let stored_twice = product(reached, twice);
    kept_for_nothing.saturating_mul(2) > stored_twice.saturating_mul(COPY_COST_HALVES)
}

/// Byte-seconds.
fn product(bytes: u64, seconds: u64) -> u128 {
    u128::from(bytes) * u128::from(seconds)
}

/// Seconds from `from` to `to`; 0 when `to` is earlier.
fn seconds(from: RetentionTime, to: RetentionTime) -> u64 {
    if to > from { to.0.abs_diff(from.0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 24 * 3600;

    fn days(days: i64) -> RetentionTime {
        RetentionTime(days * DAY)
    }

    fn asked(reached: u64, made: i64, until: i64, lock: i64) -> bool {
        let sharing = Sharing { size: 100, reached, made: days(made), until: days(until) };
        should_copy_forward(sharing, days(1000), days(lock))
    }

    #[test]
    fn the_first_of_a_month_does_not_lock_last_weeks_remains_for_a_year() {
        assert!(asked(10, 993, 1007, 1365));
        assert!(asked(90, 993, 1007, 1365));
        assert!(!asked(100, 993, 1007, 1365), "all of it is needed");
        assert!(!asked(50, 700, 1334, 1365), "it is locked nearly as long already");
    }

    #[test]
    fn one_more_day_is_not_worth_a_copy_but_many_are() {
        assert!(!asked(50, 999, 1029, 1030));
        assert!(asked(50, 900, 1029, 1030));
        assert!(!asked(70, 900, 1029, 1030));
    }

    #[test]
    fn after_a_long_pause_not_everything_is_copied() {
        assert!(!asked(95, 900, 950, 1014));
        assert!(asked(50, 900, 950, 1014));
    }

    #[test]
    fn hot_is_what_changed_within_a_week() {
        let replaced = |made: i64| cohort(Some(days(made)), days(1000));
        assert_eq!([replaced(992), replaced(993)], [Cohort::Cold, Cohort::Hot]);
        assert_eq!(cohort(None, days(1000)), Cohort::Cold);
    }

    fn time() -> impl Strategy<Value = RetentionTime> {
        any::<i64>().prop_map(RetentionTime)
    }

    proptest! {
        #[test]
        fn any_numbers_give_an_answer_and_sharing_for_nothing_is_never_refused(
            size: u64, reached: u64, made in time(), until in time(), now in time(), lock in time(),
        ) {
            let sharing = Sharing { size, reached, made, until };
            let copy = should_copy_forward(sharing, now, lock);
            let free = reached >= size || reached == 0 || lock <= until || lock <= now;
            prop_assert!(!(copy && free));
        }

        #[test]
        fn the_less_is_reached_the_sooner_it_is_copied(
            reached in 2u64..=100, made in 0i64..1000, until in 900i64..2000, lock in 900i64..2500,
        ) {
            let copied = asked(reached, made, until, lock);
            prop_assert!(!copied || asked(reached - 1, made, until, lock));
        }

        #[test]
        fn a_longer_lock_never_speaks_against_a_copy(
            reached in 1u64..=100, made in 0i64..1000, until in 900i64..2000, lock in 900i64..2500,
        ) {
            let copied = asked(reached, made, until, lock);
            prop_assert!(!copied || asked(reached, made, until, lock + 1));
        }
    }
}
