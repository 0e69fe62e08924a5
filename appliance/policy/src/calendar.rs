//! Calendar periods at a fixed distance from UTC.
//!
//! What this is: the numbering of hours, days, ISO weeks, months and years, and their addition.
//! What it is not: a time zone. Daylight saving would make an hour appear twice and move points
//! from one day to another when the rules of a country change; keep rules must not depend on that.
//! So a site states one offset, its standard time, and keeps it the whole year.

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
use model::RetentionTime;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A span of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// ISO 8601: Monday to Sunday. Weeks are counted through, so week 53 and the days around New
    /// Year need no special case.
    Week,
    /// Calendar month.
    Month,
    /// Calendar year.
    Year,
}

/// The calendar of a site: UTC and a fixed offset. The default is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    offset: Offset,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { offset: Offset::UTC }
    }
}

impl Calendar {
    /// Times before and after these are counted as these: jiff knows the years -9999 to 9999, and
    /// a day is left at both ends for the offset.
    const FIRST: i64 = -377_705_116_800 + 2 * DAY;
    const LAST: i64 = 253_402_207_200 - 2 * DAY;

    /// The calendar `seconds` east of UTC; `None` beyond 24 hours either way.
    #[must_use]
    pub fn east_of_utc(seconds: i32) -> Option<Self> {
        let within = i64::from(seconds).abs() <= DAY;
        let offset = Offset::from_seconds(seconds).ok().filter(|_| within)?;
        Some(Self { offset })
    }

    /// The number of the period that contains `at`: consecutive, growing with time.
    #[must_use]
    pub fn number(self, period: Period, at: RetentionTime) -> i64 {
        let local = at.0.saturating_add(i64::from(self.offset.seconds()));
        match period {
            Period::Hour => local.div_euclid(HOUR),
            Period::Day => local.div_euclid(DAY),
            // Day 0 was a Thursday: the Monday of its week is day -3.
            Period::Week => (local.div_euclid(DAY) + 3).div_euclid(7),
            Period::Month => {
                let date = self.civil(at).date();
                i64::from(date.year()) * 12 + i64::from(date.month()) - 1
            }
            Period::Year => i64::from(self.civil(at).date().year()),
        }
    }

    /// The same time of day `count` periods later; in a shorter month its last day. Saturates at
    /// the end of the calendar (year 9999), never returns less than `at`.
    #[must_use]
    pub fn later(self, at: RetentionTime, period: Period, count: u32) -> RetentionTime {
        let count = i64::from(count);
        let fixed = |unit: i64| at.0.saturating_add(count * unit);
        let end = match period {
            Period::Hour => fixed(HOUR),
            Period::Day => fixed(DAY),
            Period::Week => fixed(7 * DAY),
            Period::Month => self.later_months(at, count),
            Period::Year => self.later_months(at, count * 12),
        };
        RetentionTime(end.clamp(at.0, Self::LAST.max(at.0)))
    }

    fn later_months(self, at: RetentionTime, months: i64) -> i64 {
        let from = self.civil(at);
        // The calendar is shorter than this many months, so a Span of them never overflows.
        let span = Span::new().months(months.min(i64::from(Date::MAX.year()) * 12));
        let seconds = |civil: DateTime| self.offset.to_timestamp(civil).map(Timestamp::as_second);
        from.checked_add(span).and_then(seconds).unwrap_or(Self::LAST)
    }

    fn civil(self, at: RetentionTime) -> DateTime {
        let second = at.0.clamp(Self::FIRST, Self::LAST);
        let timestamp = Timestamp::from_second(second).expect("FIRST and LAST are within jiff's");
        self.offset.to_datetime(timestamp)
    }
}
