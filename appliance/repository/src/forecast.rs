//! When the box is full: from what came in lately and when its locks end. Pure.
//!
//! Two answers, because space comes back only where somebody deletes and no lock forbids it:
//! [`Forecast::full`] if nothing is deleted at all, [`Forecast::locked_full`] if everything is
//! deleted in the second in which its lock ends. Between the two lies what will happen; after the
//! second one nothing that is allowed makes room.
//!
//! What comes in is taken to go on as in the window: the same bytes a day with the same locks.

use model::RetentionTime;
use std::fmt;

const DAY: i64 = 24 * 3600;

/// A segment that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When it came, by the retention clock.
    pub at: RetentionTime,
    /// Its bytes.
    pub bytes: u64,
    /// When the last lock on it ends; `RetentionTime(i64::MAX)`: never, it is held.
    pub until: RetentionTime,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The retention clock.
    pub now: RetentionTime,
    /// Bytes that may be used: those in use and those free, without the reserve.
    pub usable: u64,
    /// Days that count for what comes in; at least 1.
    pub window_days: u32,
    /// What would be if everything that comes in were locked for so many seconds; `None`: as it
    /// was in the window.
    pub lock_seconds: Option<u64>,
}

/// What is to be expected. Times are of the retention clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes in use.
    pub used: u64,
    /// Of these: locked or held.
    pub locked: u64,
    /// Bytes that may be used.
    pub usable: u64,
    /// What came in on an average day of the window, in bytes.
    pub bytes_per_day: u64,
    /// When it is full if nothing is deleted; `None`: never, nothing comes in.
    pub full: Option<RetentionTime>,
    /// When locked data alone fills it; `None`: never.
    pub locked_full: Option<RetentionTime>,
    /// Bytes that are locked at any time once the oldest locks of today's intake end. When this is
    /// more than [`Self::usable`] the locks make it certain that the box runs full.
    pub steady: u64,
    /// The moment it was asked for.
    pub now: RetentionTime,
    /// Seconds that what came in was looked at: the window, or the age of a younger repository,
    /// but a day at least.
    pub seen_seconds: u64,
}

impl Forecast {
    /// The locks that new data gets make it certain that the box runs full: more space, less data
    /// or shorter locks are needed.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.bytes_per_day > 0 && self.steady >= self.usable
    }
}

/// Answers a question from everything that is stored.
#[must_use]
pub fn forecast(stored: &[Stored], question: &Question) -> Forecast {
    let now = question.now;
    let intake = Intake::new(stored, question);
    let used: u64 = sum(stored.iter().map(|stored| stored.bytes));
    let locked = stored.iter().filter(|stored| stored.until > now);
    Forecast {
        used,
        locked: sum(locked.clone().map(|stored| stored.bytes)),
        usable: question.usable,
        bytes_per_day: intake.per_day(),
        full: intake.after(question.usable.saturating_sub(used)),
        locked_full: intake.locked_full(locked.copied().collect(), question.usable),
        steady: intake.steady(),
        now,
        seen_seconds: intake.span.unsigned_abs(),
    }
}

/// What comes in, as bytes in `span` seconds, by how long it stays locked.
struct Intake {
    now: RetentionTime,
    span: i64,
    /// Seconds of lock, bytes in `span`.
    parts: Vec<(i64, u64)>,
}

impl Intake {
    fn new(stored: &[Stored], question: &Question) -> Self {
        let window = i64::from(question.window_days.max(1)) * DAY;
        let since = question.now.0.saturating_sub(window);
        // A box that is younger than the window has a shorter one.
        let oldest = stored.iter().map(|stored| stored.at.0).min().unwrap_or(since);
        let span = question.now.0.saturating_sub(oldest.max(since)).clamp(DAY, window.max(DAY));
        let lock = question.lock_seconds.map(|s| i64::try_from(s).unwrap_or(i64::MAX));
        let part = |stored: &Stored| {
            let own = match stored.until.0 {
                i64::MAX => 0, // a hold is nothing that the next ones will have too
                until => until.saturating_sub(stored.at.0).max(0),
            };
            (lock.unwrap_or(own), stored.bytes)
        };
        let came = stored.iter().filter(|stored| stored.at.0 >= since && stored.bytes > 0);
        let mut parts: Vec<(i64, u64)> = came.map(part).collect();
        parts.sort_unstable();
        Self { now: question.now, span, parts }
    }

    fn bytes(&self) -> u64 {
        sum(self.parts.iter().map(|part| part.1))
    }

    fn per_day(&self) -> u64 {
        clamp(i128::from(self.bytes()) * i128::from(DAY) / i128::from(self.span))
    }

    /// When so many bytes more have come in.
    fn after(&self, bytes: u64) -> Option<RetentionTime> {
        let rate = i128::from(self.bytes());
        let seconds = (i128::from(bytes) * i128::from(self.span) + rate - 1).checked_div(rate)?;
        Some(later(self.now, seconds))
    }

    fn steady(&self) -> u64 {
        let part = |&(lock, bytes): &(i64, u64)| i128::from(lock) * i128::from(bytes);
        clamp(self.parts.iter().map(part).fold(0, i128::saturating_add) / i128::from(self.span))
    }

    /// The first moment at which what is locked reaches `usable` bytes. Between the ends of locks
    /// it grows in a straight line; bytes are counted in `span`ths, so that nothing is rounded.
    fn locked_full(&self, mut locked: Vec<Stored>, usable: u64) -> Option<RetentionTime> {
        locked.sort_unstable_by_key(|stored| stored.until);
        let span = i128::from(self.span);
        let mut level = locked.iter().map(|stored| i128::from(stored.bytes) * span).sum::<i128>();
        let (limit, mut at) = (i128::from(usable) * span, 0i128);
        // Not the sum that stops at the largest number: what is taken away must have been added.
        let mut rate: i128 = self.parts.iter().map(|part| i128::from(part.1)).sum();
        let (mut ends, mut parts) = (locked.iter().peekable(), self.parts.iter().peekable());
        loop {
            if level >= limit {
                return Some(later(self.now, at));
            }
            let end = ends.peek().map(|stored| i128::from(stored.until.0) - i128::from(self.now.0));
            let next = parts.peek().map(|part| i128::from(part.0));
            let until = end.into_iter().chain(next).min();
            if rate > 0 {
                let reached = at + (limit - level + rate - 1) / rate;
                if until.is_none_or(|until| reached < until) {
                    return Some(later(self.now, reached));
                }
            }
            let until = until?;
            level += rate * (until - at);
            at = until;
            // A part whose lock is over loses as much as it gains from now on.
            while let Some(part) = parts.next_if(|part| i128::from(part.0) <= at) {
                rate -= i128::from(part.1);
            }
            let over = |stored: &&Stored| i128::from(stored.until.0) - i128::from(self.now.0) <= at;
            while let Some(stored) = ends.next_if(over) {
                level -= i128::from(stored.bytes) * span;
            }
        }
    }
}

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

fn clamp(value: i128) -> u64 {
    u64::try_from(value.max(0)).unwrap_or(u64::MAX)
}

fn later(now: RetentionTime, seconds: i128) -> RetentionTime {
    RetentionTime(i64::try_from(i128::from(now.0) + seconds).unwrap_or(i64::MAX))
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |at: RetentionTime| at.0.saturating_sub(self.now.0) / DAY;
        let (used, usable, locked) = (Size(self.used), Size(self.usable), Size(self.locked));
        write!(f, "{used} of {usable} are used, {locked} are locked; ")?;
        write!(f, "{} come in a day", Size(self.bytes_per_day))?;
        match self.full {
            Some(at) => write!(f, "; full in {} days if nothing is deleted", days(at))?,
            None => write!(f, "; it does not run full")?,
        }
        if let Some(at) = self.locked_full {
            write!(f, "; in {} days locked data alone fills it", days(at))?;
        }
        if self.is_certain() {
            let steady = Size(self.steady);
            write!(f, "; the locks make that certain: they keep {steady} at any time")?;
        }
        Ok(())
    }
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.0 >> (10 * (unit + 1)) > 0 {
            unit += 1;
        }
        let tenths = (u128::from(self.0) * 10) >> (10 * unit);
        match unit {
            0 => write!(f, "{} bytes", self.0),
            _ => write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        }
    }
}

#[cfg(test)]
#[path = "tests/forecast.rs"]
mod tests;
