//! The clock that locks end by: it can be late, never early.

use model::{RetentionTime, WallTime};
use std::time::Duration;

/// What the machine's two clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment of this process; cannot be set by anybody.
    pub monotonic: Duration,
    /// The wall clock; may be wrong or set.
    pub wall: WallTime,
}

/// Advances by the smaller of elapsed monotonic and elapsed wall time.
///
/// Both are counted from an anchor, so that rounding does not add up. When the wall clock is set
/// back, the time since the last reading is not counted and a new anchor is taken: the clock goes
/// on instead of standing still until the wall clock has caught up.
///
/// Invariant: `value - (value at the anchor) <= monotonic - anchor.monotonic`, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionClock {
    value: RetentionTime,
    anchor: (RetentionTime, Now),
    last: Now,
}

impl RetentionClock {
    /// Goes on from `high_water`, the largest value on record. No credit for the time before `now`.
    #[must_use]
    pub fn resume(high_water: RetentionTime, now: Now) -> Self {
        Self { value: high_water, anchor: (high_water, now), last: now }
    }

    /// The time by which locks end.
    #[must_use]
    pub fn value(&self) -> RetentionTime {
        self.value
    }

    /// Takes a reading of both clocks and advances.
    pub fn advance(&mut self, now: Now) -> RetentionTime {
        if now.monotonic < self.last.monotonic {
            // A reading that was taken before the last one and arrives after it says nothing new.
            // To anchor there would count the time between the two again.
            return self.value;
        }
        if now.wall < self.last.wall {
            self.anchor = (self.value, now);
        }
        self.last = now;
        let (base, since) = self.anchor;
        let monotonic = now.monotonic.saturating_sub(since.monotonic).as_secs();
        let wall = now.wall.0.saturating_sub(since.wall.0).max(0);
        let elapsed = i64::try_from(monotonic).unwrap_or(i64::MAX).min(wall);
        self.value = self.value.max(RetentionTime(base.0.saturating_add(elapsed)));
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64, wall: i64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), wall: WallTime(wall) }
    }

    fn clock() -> RetentionClock {
        RetentionClock::resume(RetentionTime(1000), at(50, 7000))
    }

    #[test]
    fn it_follows_two_clocks_that_agree() {
        let mut clock = clock();
        assert_eq!(clock.advance(at(60, 7010)), RetentionTime(1010));
        let half = Now { monotonic: Duration::from_millis(60_500), wall: WallTime(7010) };
        assert_eq!(clock.advance(half), RetentionTime(1010));
        assert_eq!(clock.advance(at(61, 7011)), RetentionTime(1011));
    }

    #[test]
    fn a_wall_clock_set_forward_moves_nothing() {
        let mut clock = clock();
        assert_eq!(clock.advance(at(51, 7000 + 10 * 365 * 86_400)), RetentionTime(1001));
    }

    #[test]
    fn a_wall_clock_set_back_costs_only_the_time_since_the_last_reading() {
        let mut clock = clock();
        clock.advance(at(60, 7010));
        assert_eq!(clock.advance(at(70, 100)), RetentionTime(1010));
        assert_eq!(clock.advance(at(75, 105)), RetentionTime(1015));
    }

    #[test]
    fn a_suspended_machine_gains_nothing() {
        let mut clock = clock();
        assert_eq!(clock.advance(at(50, 7000 + 86_400)), RetentionTime(1000));
    }

    #[test]
    fn the_far_ends_of_time_do_not_wrap() {
        let mut clock = RetentionClock::resume(RetentionTime(i64::MAX - 1), at(0, i64::MIN));
        let end = Now { monotonic: Duration::MAX, wall: WallTime(i64::MAX) };
        assert_eq!(clock.advance(end), RetentionTime(i64::MAX));
    }

    proptest! {
        #[test]
        fn no_sequence_of_readings_is_faster_than_monotonic_time_or_runs_back(
            readings in prop::collection::vec((0u64..5_000, -100_000i64..100_000), 1..60),
        ) {
            let (mut clock, mut monotonic, mut wall) = (clock(), Duration::from_secs(50), 7000);
            let mut before = clock.value();
            for (milliseconds, jump) in readings {
                monotonic += Duration::from_millis(milliseconds);
                wall += jump;
                let value = clock.advance(Now { monotonic, wall: WallTime(wall) });
                let ran = i64::try_from(monotonic.as_secs()).unwrap() - 50;
                prop_assert!(value.0 - 1000 <= ran, "{} seconds in {ran}", value.0 - 1000);
                prop_assert!(value >= before);
                before = value;
            }
        }

        #[test]
        fn restarts_give_no_credit(runs in prop::collection::vec((0u64..100, 0i64..1000), 1..20)) {
            let (mut value, mut wall, mut ran) = (RetentionTime(0), 0, 0);
            for (seconds, off) in runs {
                let mut clock = RetentionClock::resume(value, at(0, wall));
                wall += i64::try_from(seconds).unwrap();
                ran += i64::try_from(seconds).unwrap();
                value = clock.advance(at(seconds, wall));
                wall += off;
                prop_assert_eq!(value, RetentionTime(ran));
            }
        }
    }

    proptest! {
        #[test]
        fn readings_in_any_order_never_run_ahead(
            readings in prop::collection::vec((0u64..10_000, 0i64..10_000), 1..40),
        ) {
            let mut clock = RetentionClock::resume(RetentionTime(0), at(0, 0));
            let mut latest = 0;
            for (monotonic, wall) in readings {
                latest = latest.max(monotonic);
                let value = clock.advance(at(monotonic, wall)).0;
                prop_assert!(value <= i64::try_from(latest).unwrap(), "{} > {}", value, latest);
            }
        }
    }
}
