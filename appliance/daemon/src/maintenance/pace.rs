//! How much is read when, so that a scrub is spread over the day. Pure: time is an argument.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A purse of bytes: it fills at the rate of what is due within a day, and a scrub takes out what
/// it has read. A scrub reads whole segments, so the purse may be overdrawn; nothing is read then
/// until it has been filled again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In bytes times the milliseconds of a day, so that no slice rounds anything away.
    credit: i128,
    last: Option<Duration>,
}

impl Pace {
    /// Bytes that may be read now, 0: none. `due` within a day, of which `overdue` at once; `now`
    /// by a clock that only runs forwards; `first` counts as passed at the first call.
    pub(crate) fn budget(&mut self, due: u64, overdue: u64, now: Duration, first: Duration) -> u64 {
        let passed = self.last.map_or(first, |last| now.saturating_sub(last)).min(DAY);
        self.last = Some(now);
        let whole = |bytes: u64| i128::from(bytes) * millis(DAY);
        // What could not be read for days, because backups ran, is not made up for in one go.
        self.credit = (self.credit + i128::from(due) * millis(passed)).min(whole(due));
        if overdue > 0 {
            self.credit = self.credit.max(whole(overdue));
        }
        u64::try_from(self.credit.max(0) / millis(DAY)).unwrap_or(u64::MAX)
    }

    /// So much was read.
    pub(crate) fn spent(&mut self, bytes: u64) {
        self.credit -= i128::from(bytes) * millis(DAY);
    }
}

/// What is done once a day, and again soon when it failed.
#[derive(Debug, Default)]
pub(crate) struct Daily {
    done: Option<Duration>,
}

impl Daily {
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.done.is_none_or(|done| now.saturating_sub(done) >= DAY)
    }

    pub(crate) fn done(&mut self, now: Duration) {
        self.done = Some(now);
    }
}

fn millis(duration: Duration) -> i128 {
    i128::from(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_secs(15 * 60);
    const SEGMENT: u64 = 512 << 20;

    /// Reads whole segments as a scrub does: up to the budget, but one at least. Bytes and slices
    /// in which something was read, in `slices` of them.
    fn read(pace: &mut Pace, due: u64, slices: u32, start: Duration) -> (u64, u32) {
        let (mut bytes, mut busy) = (0, 0);
        for slice in 1..=slices {
            let budget = pace.budget(due, 0, start + SLICE * slice, SLICE);
            if budget > 0 {
                let read = (budget / SEGMENT).max(1) * SEGMENT;
                pace.spent(read);
                bytes += read;
                busy += 1;
            }
        }
        (bytes, busy)
    }

    #[test]
    fn a_day_of_slices_reads_what_is_due_and_no_more_than_a_segment_beyond() {
        for due in [1, SEGMENT / 3, SEGMENT, 10 * SEGMENT, 1000 * SEGMENT, 1 << 50] {
            let (bytes, _) = read(&mut Pace::default(), due, 96, Duration::ZERO);
            assert!(bytes + SEGMENT >= due && bytes <= due + SEGMENT, "{due}: {bytes}");
        }
        let (bytes, busy) = read(&mut Pace::default(), 10 * SEGMENT, 96, Duration::ZERO);
        assert!((9..=11).contains(&busy), "{bytes} bytes in {busy} slices: not in one go");
        let (bytes, _) = read(&mut Pace::default(), SEGMENT / 30, 96 * 30, Duration::ZERO);
        assert!(bytes <= 2 * SEGMENT, "one small segment is not read again and again: {bytes}");
    }

    #[test]
    fn what_is_overdue_is_read_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.budget(SEGMENT, 7 * SEGMENT, SLICE, SLICE), 7 * SEGMENT);
        pace.spent(7 * SEGMENT);
        assert_eq!(pace.budget(SEGMENT, 0, SLICE * 2, SLICE), SEGMENT / 96);
    }

    #[test]
    fn a_long_pause_earns_a_day_at_most() {
        let mut pace = Pace::default();
        let due = 96 * SEGMENT;
        assert_eq!(pace.budget(due, 0, SLICE, SLICE), SEGMENT);
        assert_eq!(pace.budget(due, 0, DAY * 9, SLICE), due);
        let mut idle = Pace::default();
        assert_eq!((0..9).map(|day| idle.budget(due, 0, DAY * day, DAY)).max(), Some(due));
    }

    #[test]
    fn a_clock_that_stands_still_earns_nothing() {
        let mut pace = Pace::default();
        pace.budget(SEGMENT, 0, DAY, SLICE);
        pace.spent(SEGMENT);
        assert_eq!(pace.budget(SEGMENT, 0, DAY, SLICE), 0);
        assert_eq!(pace.budget(u64::MAX, u64::MAX, Duration::MAX, Duration::MAX), u64::MAX);
    }

    #[test]
    fn what_is_done_daily_is_due_at_first_and_a_day_later() {
        let mut daily = Daily::default();
        assert!(daily.is_due(Duration::ZERO));
        daily.done(SLICE);
        assert!(!daily.is_due(DAY) && daily.is_due(DAY + SLICE));
    }
}
