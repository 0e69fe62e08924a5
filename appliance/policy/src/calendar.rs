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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jiff::ToSpan;
    use proptest::prelude::*;

    pub(crate) fn at(text: &str) -> RetentionTime {
        RetentionTime(text.parse::<Timestamp>().unwrap().as_second())
    }

    fn number(period: Period, text: &str) -> i64 {
        Calendar::default().number(period, at(text))
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        // 2020 and 2026 have a week 53; 29 December 2025 is in week 1 of 2026.
        let same = [
            ("2020-12-28T00:00Z", "2021-01-03T23:59:59Z"),
            ("2026-12-28T00:00Z", "2027-01-03T23:59:59Z"),
            ("2025-12-29T00:00Z", "2026-01-04T23:59:59Z"),
            ("1969-12-29T00:00Z", "1970-01-04T23:59:59Z"),
        ];
        for (monday, sunday) in same {
            assert_eq!(number(Period::Week, monday), number(Period::Week, sunday));
            let before = RetentionTime(at(monday).0 - 1);
            let week = Calendar::default().number(Period::Week, before);
            assert_eq!(week + 1, number(Period::Week, monday));
        }
    }

    #[test]
    fn months_and_years_end_where_they_end() {
        let pairs = [
            ("2024-02-29T23:59:59Z", "2024-03-01T00:00Z"),
            ("2023-12-31T23:59:59Z", "2024-01-01T00:00Z"),
        ];
        for (last, first) in pairs {
            assert_eq!(number(Period::Month, last) + 1, number(Period::Month, first));
        }
        assert_eq!(number(Period::Year, "2038-01-19T03:14:08Z"), 2038);
        assert_eq!(number(Period::Year, "2106-02-07T06:28:16Z"), 2106);
        let east = Calendar::east_of_utc(3600).unwrap();
        assert_eq!(east.number(Period::Year, at("2024-12-31T23:00Z")), 2025);
    }

    #[test]
    fn later_is_by_the_calendar() {
        let later = |text, period, count| Calendar::default().later(at(text), period, count);
        assert_eq!(later("2024-01-31T22:00Z", Period::Month, 1), at("2024-02-29T22:00Z"));
        assert_eq!(later("2024-02-29T22:00Z", Period::Year, 1), at("2025-02-28T22:00Z"));
        assert_eq!(later("2025-12-29T22:00Z", Period::Week, 53), at("2027-01-04T22:00Z"));
        let far = later("2025-01-01T00:00Z", Period::Year, u32::MAX);
        assert_eq!(far, RetentionTime(Calendar::LAST));
        let max = RetentionTime(i64::MAX);
        assert_eq!(Calendar::default().later(max, Period::Year, 3), max);
        assert!(Calendar::east_of_utc(25 * 3600).is_none());
    }

    const PERIODS: [Period; 5] =
        [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

    proptest! {
        /// Against jiff's own calendar: equal numbers exactly when equal civil periods.
        #[test]
        fn numbers_agree_with_civil_dates(
            a in -8_000_000_000i64..20_000_000_000, days in -400i64..400, hours in -30i64..30,
            east in -86_400i32..=86_400,
        ) {
            let calendar = Calendar::east_of_utc(east).unwrap();
            let civil = |second| Offset::from_seconds(east).unwrap()
                .to_datetime(Timestamp::from_second(second).unwrap());
            let b = a + days * DAY + hours * HOUR;
            let (x, y) = (civil(a), civil(b));
            let week = |c: DateTime| (c.iso_week_date().year(), c.iso_week_date().week());
            let month = |c: DateTime| (c.year(), c.month());
            let same = [
                x.date() == y.date() && x.hour() == y.hour(),
                x.date() == y.date(),
                week(x) == week(y),
                month(x) == month(y),
                x.year() == y.year(),
            ];
            for (period, same) in PERIODS.into_iter().zip(same) {
                let number = |second| calendar.number(period, RetentionTime(second));
                prop_assert_eq!(number(a) == number(b), same, "{:?}", period);
                prop_assert!((a <= b) == (number(a) <= number(b)) || same);
            }
        }

        #[test]
        fn later_is_that_many_periods_later(
            a in -8_000_000_000i64..20_000_000_000, count in 0u32..500,
        ) {
            let (calendar, at) = (Calendar::default(), RetentionTime(a));
            for period in PERIODS {
                let later = calendar.later(at, period, count);
                let passed = calendar.number(period, later) - calendar.number(period, at);
                prop_assert_eq!(passed, i64::from(count), "{:?}", period);
            }
            let civil = Offset::UTC.to_datetime(Timestamp::from_second(a).unwrap());
            let month = civil.checked_add(i64::from(count).months()).unwrap();
            let expected = Offset::UTC.to_timestamp(month).unwrap().as_second();
            prop_assert_eq!(calendar.later(at, Period::Month, count).0, expected);
        }
    }
}
