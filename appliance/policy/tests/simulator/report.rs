//! Figures of one variant against the first.

use crate::replay::Usage;
use crate::site::ByProfile;
use std::fmt;

pub(crate) struct Report {
    pub(crate) name: &'static str,
    /// Average of the last year, by profile, against the same data without locks.
    pub(crate) by_profile: Vec<f64>,
    /// The same over all.
    pub(crate) all: f64,
    /// On the last day.
    pub(crate) end: f64,
    /// Peak against peak.
    pub(crate) peak: f64,
    /// Average of the last year against the live chunks of the variant without locks.
    ideal: f64,
    /// Copied chunks against new ones.
    copied: f64,
    worst_run: f64,
    segments: u64,
    tib: f64,
}

impl Report {
    pub(crate) const HEAD: &'static str = "variant                             \
        | database file idle dev | all   \
        end   peak  | ideal | TiB  | copied worst run | segments";

    pub(crate) fn new(name: &'static str, usage: &ByProfile, free: &ByProfile) -> Self {
        let pairs = usage.iter().zip(free);
        let by_profile = pairs.map(|(u, f)| average(&u.stored) / average(&f.stored)).collect();
        let (usage, free) = (sum(usage), sum(free));
        let [last, last_free] = [&usage, &free].map(|u| as_f64(*u.stored.last().unwrap()));
        let [peak, peak_free] = [&usage, &free].map(|u| as_f64(*u.stored.iter().max().unwrap()));
        Self {
            name,
            by_profile,
            all: average(&usage.stored) / average(&free.stored),
            end: last / last_free,
            peak: peak / peak_free,
            ideal: average(&usage.stored) / average(&free.live),
            copied: as_f64(usage.copied) / as_f64(usage.new),
            worst_run: usage.worst_run,
            segments: usage.segments,
            tib: average(&usage.stored) / f64::from(1 << 20),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:35} |", self.name)?;
        for ratio in &self.by_profile {
            write!(f, " {ratio:.3}")?;
        }
        write!(f, " | {:.3} {:.3} {:.3} | {:.3}", self.all, self.end, self.peak, self.ideal)?;
        write!(f, " | {:.2} | {:.2}   {:.2}", self.tib, self.copied, self.worst_run)?;
        write!(f, " | {}", self.segments)
    }
}

fn sum(usage: &ByProfile) -> Usage {
    let mut sum = usage[0].clone();
    usage[1..].iter().for_each(|other| sum.add(other));
    sum
}

/// Over the last year.
fn average(days: &[u64]) -> f64 {
    let year = &days[days.len() - usize::from(crate::YEAR)..];
    as_f64(year.iter().sum::<u64>()) / f64::from(crate::YEAR)
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(number: u64) -> f64 {
    number as f64
}
