//! Runs of serials: how leaves name many segments in few bytes (FORMAT.md 8).

use serde::{Deserialize, Serialize};

/// A set of serials as ascending runs `(first, last)`, both ends included.
///
/// Invariant: in each run `first <= last`; between two runs at least one serial is missing, so a
/// set has exactly one form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct Runs(Vec<(u32, u32)>);

/// The runs are not ascending, or one ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("runs of serials must ascend and not overlap")]
pub struct RunsError;

impl Runs {
    /// No serial.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The runs, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// True when there is no serial.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many serials.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether `serial` is one of them.
    #[must_use]
    pub fn contains(&self, serial: u32) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < serial);
        self.0.get(at).is_some_and(|&(first, _)| first <= serial)
    }

    /// Every serial, ascending. Runs can be long: bound what comes from outside by [`Self::count`].
    pub fn serials(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Adds the run `first..=last` behind everything that is there (or touching the last run).
    ///
    /// # Panics
    /// When it does not come behind.
    pub fn push(&mut self, first: u32, last: u32) {
        let behind = self.0.last().is_none_or(|&(_, end)| end < first);
        assert!(behind && first <= last, "runs are pushed in ascending order");
        match self.0.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => self.0.push((first, last)),
        }
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<(u32, u32)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match runs.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => runs.push((first, last)),
            }
        }
        Self(runs)
    }

    /// Those of this one that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        let mut at = 0;
        for &(mut first, last) in &self.0 {
            while at < other.0.len() && other.0[at].1 < first {
                at += 1;
            }
            let (mut next, mut gone) = (at, false);
            while let Some(&(start, end)) = other.0.get(next).filter(|run| run.0 <= last) {
                if first < start {
                    left.push((first, start - 1));
                }
                if end >= last {
                    gone = true;
                    break;
                }
                first = end + 1;
                next += 1;
            }
            if !gone {
                left.push((first, last));
            }
        }
        Self(left)
    }

    /// Pieces of at most `runs` runs, so that each fits one leaf; none when empty.
    pub fn pieces(&self, runs: usize) -> impl Iterator<Item = Self> + '_ {
        self.0.chunks(runs.max(1)).map(|piece| Self(piece.to_vec()))
    }
}

impl TryFrom<Vec<(u32, u32)>> for Runs {
    type Error = RunsError;

    fn try_from(runs: Vec<(u32, u32)>) -> Result<Self, RunsError> {
        let mut checked = Self(Vec::with_capacity(runs.len()));
        for (first, last) in runs {
            if first > last || checked.0.last().is_some_and(|&(_, end)| end >= first) {
                return Err(RunsError);
            }
            checked.push(first, last);
        }
        Ok(checked)
    }
}

impl From<Runs> for Vec<(u32, u32)> {
    fn from(runs: Runs) -> Self {
        runs.0
    }
}

impl FromIterator<u32> for Runs {
    /// From serials in any order, each any number of times.
    fn from_iter<I: IntoIterator<Item = u32>>(serials: I) -> Self {
        let mut serials: Vec<u32> = serials.into_iter().collect();
        serials.sort_unstable();
        serials.dedup();
        let mut runs = Self::new();
        for serial in serials {
            runs.push(serial, serial);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_are_joined_at_the_corners_too() {
        let runs: Runs = [8, 1, 2, 3, 5, 7, 7].into_iter().collect();
        assert_eq!(runs.as_slice(), [(1, 3), (5, 5), (7, 8)]);
        let end: Runs = [u32::MAX, u32::MAX - 1, 0].into_iter().collect();
        assert_eq!(end.as_slice(), [(0, 0), (u32::MAX - 1, u32::MAX)]);
        assert_eq!(end.without(&end), Runs::new());
        assert_eq!(end.union(&end), end);
    }

    #[test]
    fn runs_that_overlap_or_fall_are_refused() {
        for wrong in ["[[3,2]]", "[[1,2],[2,3]]", "[[5,6],[1,2]]", "[[1]]", "[[-1,2]]"] {
            assert!(serde_json::from_str::<Runs>(wrong).is_err(), "{wrong}");
        }
        let touching: Runs = serde_json::from_str("[[1,2],[3,4]]").unwrap();
        assert_eq!(touching.as_slice(), [(1, 4)]);
    }

    proptest! {
        #[test]
        fn they_are_sets(
            a in prop::collection::btree_set(0u32..60, 0..40),
            b in prop::collection::btree_set(0u32..60, 0..40),
        ) {
            let runs = |set: &BTreeSet<u32>| set.iter().copied().collect::<Runs>();
            let (one, two) = (runs(&a), runs(&b));
            let set = |runs: &Runs| runs.serials().collect::<BTreeSet<u32>>();
            prop_assert_eq!(set(&one.union(&two)), &a | &b);
            prop_assert_eq!(set(&one.without(&two)), &a - &b);
            prop_assert_eq!(one.count(), a.len() as u64);
            prop_assert_eq!(one.union(&two), (&a | &b).into_iter().collect::<Runs>());
            prop_assert_eq!(one.without(&two), (&a - &b).into_iter().collect::<Runs>());
            for serial in 0..60 {
                prop_assert_eq!(one.contains(serial), a.contains(&serial));
            }
            let text = serde_json::to_string(&one).unwrap();
            prop_assert_eq!(serde_json::from_str::<Runs>(&text).unwrap(), one);
        }
    }
}
