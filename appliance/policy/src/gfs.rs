//! Keep rules: grandfather, father, son.
//!
//! What this is: which recovery points of **one** VM the rules want, and how long a new one has to
//! be locked for the rules to be a promise. What it is not: permission to delete (`retention`).
//!
//! The decision
//! - A period (hour, day, week, month, year) is represented by its **first** sound point; the
//!   newest `n` periods that have one are kept. `last` keeps the newest points as such.
//! - Only sound points count. A damaged one stays until a newer sound one exists.
//! - The newest sound point never expires, a point dated in the future neither expires nor evicts,
//!   and without any rule nothing expires.
//!
//! Why the first of a period and not, as backup programs without locks do, the last
//! - Its tier is known when it is committed, so its lock can be set then, once and for all. The
//!   last one of a month is known only when the month is over: by then it would have to be found,
//!   alive, by a box that is still itself.
//! - It cannot be displaced. Where the last one counts, whoever makes one more point (encrypted by
//!   an intruder, say) replaces the good one of that day, week, month and year in one go.
//!
//! What a flood of points can do: nothing to a point that represents one of the newest `n`
//! *calendar* periods, whatever times the flood's points have. `last` counts at most
//! [`BURST`] points of one day; [`burst`] tells when there were more, and its caller stops
//! expiring and raises an alarm.

use crate::calendar::{Calendar, Period};
use model::{RecoveryPointId, RetentionTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// More sound points than this of one VM on one day are a burst: one every half hour.
pub const BURST: usize = 48;

/// How many points of each tier to keep; 0: the tier is not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepRules {
    /// The newest points, whenever they were made.
    pub last: u32,
    /// Hours with points.
    pub hourly: u32,
    /// Days with points.
    pub daily: u32,
    /// ISO weeks with points.
    pub weekly: u32,
    /// Calendar months with points.
    pub monthly: u32,
    /// Calendar years with points.
    pub yearly: u32,
}

/// A reason of the rules to keep a point; ascending by how long they keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// One of the newest.
    Last,
    /// First of an hour.
    Hourly,
    /// First of a day.
    Daily,
    /// First of an ISO week.
    Weekly,
    /// First of a month.
    Monthly,
    /// First of a year.
    Yearly,
}

/// A recovery point as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub id: RecoveryPointId,
    /// When it was committed, by the retention clock: no one can choose it.
    pub at: RetentionTime,
    /// Whole as far as is known: not found damaged, nothing missing.
    pub sound: bool,
}

/// Why a point stays although no tier wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// It is the newest sound one.
    Newest,
    /// It is dated later than now.
    Future,
    /// It is damaged, and there is no newer sound one yet.
    NoSuccessor,
    /// There are no rules.
    NoRules,
}

/// What the rules want for a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It should stay.
    Keep {
        /// The tiers that it fills, ascending.
        tiers: Vec<Tier>,
        /// What protects it besides; `Some` whenever `tiers` is empty.
        guard: Option<Guard>,
    },
    /// It may go, as far as the rules are concerned.
    Expire,
}

/// The verdict on one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which point.
    pub id: RecoveryPointId,
    /// What the rules want.
    pub verdict: Verdict,
}

/// More than [`BURST`] sound points on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The first point of that day.
    pub from: RetentionTime,
    /// Sound points of that day.
    pub points: usize,
}

impl Tier {
    const PERIODS: [(Self, Period); 5] = [
        (Self::Hourly, Period::Hour),
        (Self::Daily, Period::Day),
        (Self::Weekly, Period::Week),
        (Self::Monthly, Period::Month),
        (Self::Yearly, Period::Year),
    ];
}

impl KeepRules {
    /// How many points of `tier` are to be kept.
    #[must_use]
    pub fn count(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Last => self.last,
            Tier::Hourly => self.hourly,
            Tier::Daily => self.daily,
            Tier::Weekly => self.weekly,
            Tier::Monthly => self.monthly,
            Tier::Yearly => self.yearly,
        }
    }

    fn periods(&self) -> impl Iterator<Item = (Tier, Period, u32)> {
        let counted = Tier::PERIODS.map(|(tier, period)| (tier, period, self.count(tier)));
        counted.into_iter().filter(|&(_, _, count)| count > 0)
    }
}

/// What `rules` want for each of one VM's points, oldest first. The order of `points` does not
/// matter; of two with the same time the smaller id is the earlier.
#[must_use]
pub fn wishes(
    rules: &KeepRules,
    points: &[Candidate],
    now: RetentionTime,
    calendar: Calendar,
) -> Vec<Wish> {
    let mut points = points.to_vec();
    // Stable: points of one second stay in the order of the record, which the caller gives.
    points.sort_by_key(|point| point.at);
    let sound: Vec<Candidate> = past(&points, now).collect();
    let tiers = tiers(rules, &sound, calendar);
    let newest = points.iter().rposition(|point| point.sound && point.at <= now);
    let wish = |(place, point): (usize, &Candidate)| {
        let tiers = tiers.get(&point.id).cloned().unwrap_or_default();
        let succeeded = newest.is_some_and(|newest| place < newest);
        let guard = guard(rules, point, now, succeeded);
        let verdict = match (tiers.is_empty(), guard) {
            (true, None) => Verdict::Expire,
            _ => Verdict::Keep { tiers, guard },
        };
        Wish { id: point.id, verdict }
    };
    points.iter().enumerate().map(wish).collect()
}

/// Seconds for which a sound point that is committed at `at` has to be locked, so that it cannot
/// go before the tiers that it fills have let go of it: the longest of `n` periods for every tier
/// whose period has no sound point among `existing` yet. 0 when it fills none.
#[must_use]
pub fn lock_duration(
    rules: &KeepRules,
    at: RetentionTime,
    existing: &[Candidate],
    calendar: Calendar,
) -> u64 {
    let taken = |period| {
        let number = calendar.number(period, at);
        past(existing, at).any(|point| calendar.number(period, point.at) == number)
    };
    let filled = rules.periods().filter(|&(_, period, _)| !taken(period)).map(|(tier, _, _)| tier);
    promised_until(rules, at, filled, calendar).0.abs_diff(at.0)
}

/// When the last of `tiers` lets go of a point of `at`. For a point that has moved up, because
/// the one before it was found damaged: its lock should be extended to this.
#[must_use]
pub fn promised_until(
    rules: &KeepRules,
    at: RetentionTime,
    tiers: impl IntoIterator<Item = Tier>,
    calendar: Calendar,
) -> RetentionTime {
    let period = |tier| Tier::PERIODS.into_iter().find(|&(known, _)| known == tier);
    let ends = tiers.into_iter().filter_map(period);
    let ends = ends.map(|(tier, period)| calendar.later(at, period, rules.count(tier)));
    ends.max().unwrap_or(at)
}

/// The newest day with more sound points than [`BURST`]. As long as there is one among a VM's
/// points, nothing of that VM should be expired without a person's consent.
#[must_use]
pub fn burst(points: &[Candidate], now: RetentionTime, calendar: Calendar) -> Option<Burst> {
    let mut days: BTreeMap<i64, Burst> = BTreeMap::new();
    for point in past(points, now) {
        let day = calendar.number(Period::Day, point.at);
        let burst = days.entry(day).or_insert(Burst { from: point.at, points: 0 });
        burst.from = burst.from.min(point.at);
        burst.points += 1;
    }
    days.into_values().rev().find(|day| day.points > BURST)
}

fn past(points: &[Candidate], now: RetentionTime) -> impl Iterator<Item = Candidate> {
    points.iter().filter(move |point| point.sound && point.at <= now).copied()
}

/// `succeeded`: a sound point comes after it in the order of the record.
fn guard(
    rules: &KeepRules,
    point: &Candidate,
    now: RetentionTime,
    succeeded: bool,
) -> Option<Guard> {
    if point.at > now {
        Some(Guard::Future)
    } else if *rules == KeepRules::default() {
        Some(Guard::NoRules)
    } else if succeeded {
        None
    } else if point.sound {
        Some(Guard::Newest)
    } else {
        Some(Guard::NoSuccessor)
    }
}

/// Which tiers each of the `sound` points (ascending, none in the future) fills.
fn tiers(
    rules: &KeepRules,
    sound: &[Candidate],
    calendar: Calendar,
) -> BTreeMap<RecoveryPointId, Vec<Tier>> {
    let mut found: BTreeMap<RecoveryPointId, Vec<Tier>> = BTreeMap::new();
    for id in last(rules.last, sound, calendar) {
        found.entry(id).or_default().push(Tier::Last);
    }
    for (tier, period, count) in rules.periods() {
        let mut first: BTreeMap<i64, RecoveryPointId> = BTreeMap::new();
        for point in sound {
            first.entry(calendar.number(period, point.at)).or_insert(point.id);
        }
        for id in first.into_values().rev().take(count as usize) {
            found.entry(id).or_default().push(tier);
        }
    }
    found
}

/// The newest `count` points; of each day only the first [`BURST`] count and are counted.
fn last(count: u32, sound: &[Candidate], calendar: Calendar) -> Vec<RecoveryPointId> {
    let mut of_day: BTreeMap<i64, usize> = BTreeMap::new();
    let mut counted: Vec<RecoveryPointId> = Vec::new();
    for point in sound {
        let points = of_day.entry(calendar.number(Period::Day, point.at)).or_default();
        *points += 1;
        if *points <= BURST {
            counted.push(point.id);
        }
    }
    counted.into_iter().rev().take(count as usize).collect()
}

#[cfg(test)]
#[path = "gfs_tests.rs"]
mod tests;
