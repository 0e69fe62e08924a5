//! The segments that a point needs, as runs in pieces that points share: an incremental changes few
//! of them, so a hundred thousand points of long reach cost little more than their differences.

use ledger::Runs;
use std::sync::Arc;

type Run = (u32, u32);

/// Runs in one piece at most.
const PIECE: usize = 32;

/// A set of serials.
///
/// Invariants: pieces are not empty; runs ascend over all pieces without overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pieces: Vec<Arc<[Run]>>,
}

impl Reach {
    /// Runs, ascending; two that touch may follow one another.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.pieces.iter().flat_map(|piece| piece.iter().copied())
    }

    /// All serials, ascending.
    pub fn serials(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs().flat_map(|(first, last)| first..=last)
    }

    /// How many serials.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.runs().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// As runs of their own.
    #[must_use]
    pub fn to_runs(&self) -> Runs {
        let mut runs = Runs::new();
        self.runs().for_each(|(first, last)| runs.push(first, last));
        runs
    }

    /// Whether `serial` is in it.
    #[must_use]
    pub fn contains(&self, serial: u32) -> bool {
        self.intersects(&[(serial, serial)])
    }

    /// Whether any serial of `runs` (ascending) is in it.
    #[must_use]
    pub fn intersects(&self, runs: &[Run]) -> bool {
        runs.iter().any(|&(first, last)| {
            let at = self.pieces.partition_point(|piece| end(piece) < first);
            self.pieces.get(at).is_some_and(|piece| {
                let at = piece.partition_point(|run| run.1 < first);
                piece.get(at).is_some_and(|run| run.0 <= last)
            })
        })
    }

    /// Without `drop`, then with `add`. Pieces that neither touches are shared with this one.
    #[must_use]
    pub fn edit(&self, drop: &Runs, add: &Runs) -> Self {
        let mut pieces = Vec::with_capacity(self.pieces.len() + 1);
        let mut low = 0;
        let empty: Arc<[Run]> = Arc::from([]);
        let all = if self.pieces.is_empty() { std::slice::from_ref(&empty) } else { &self.pieces };
        for (number, piece) in all.iter().enumerate() {
            // A piece is responsible for all serials up to the first one of the next piece.
            let high = all.get(number + 1).map_or(u32::MAX, |next| next[0].0 - 1);
            let (gone, new) = (clip(drop, low, high), clip(add, low, high));
            if gone.is_empty() && new.is_empty() {
                if !piece.is_empty() {
                    pieces.push(Arc::clone(piece));
                }
            } else {
                let mut runs = Runs::new();
                piece.iter().for_each(|&(first, last)| runs.push(first, last));
                let runs = runs.without(&gone).union(&new);
                pieces.extend(runs.as_slice().chunks(PIECE).map(Arc::from));
            }
            low = high.saturating_add(1);
        }
        Self { pieces }.tidied()
    }

    /// Put together again when dropping has left many small pieces.
    fn tidied(self) -> Self {
        let runs: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        if self.pieces.len() <= 4 + runs / (PIECE / 4) {
            return self;
        }
        let runs = self.to_runs();
        Self { pieces: runs.as_slice().chunks(PIECE).map(Arc::from).collect() }
    }
}

fn end(piece: &[Run]) -> u32 {
    piece.last().map_or(0, |run| run.1)
}

/// The part of `runs` in `low..=high`.
fn clip(runs: &Runs, low: u32, high: u32) -> Runs {
    let runs = runs.as_slice();
    let from = runs.partition_point(|run| run.1 < low);
    let mut clipped = Runs::new();
    for &(first, last) in runs[from..].iter().take_while(|run| run.0 <= high) {
        clipped.push(first.max(low), last.min(high));
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(prop_oneof![0u32..2000, Just(u32::MAX), Just(0)], 0..300)
    }

    fn runs(set: &BTreeSet<u32>) -> Runs {
        set.iter().copied().collect()
    }

    proptest! {
        #[test]
        fn edits_are_those_of_sets(
            start in set(), edits in prop::collection::vec((set(), set()), 0..12), probe in set(),
        ) {
            let mut model = start.clone();
            let mut reach = Reach::default().edit(&Runs::new(), &runs(&start));
            for (drop, add) in edits {
                reach = reach.edit(&runs(&drop), &runs(&add));
                model = &(&model - &drop) | &add;
                prop_assert_eq!(reach.serials().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(reach.to_runs(), runs(&model));
                prop_assert_eq!(reach.count(), model.len() as u64);
                prop_assert!(reach.pieces.iter().all(|piece| !piece.is_empty()));
                prop_assert_eq!(
                    reach.intersects(runs(&probe).as_slice()), !model.is_disjoint(&probe)
                );
            }
        }
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let all: Runs = (0..4000).map(|n| n * 2).collect();
        let base = Reach::default().edit(&Runs::new(), &all);
        let next = base.edit(&Runs::new(), &[8001].into_iter().collect());
        let shared = base
            .pieces
            .iter()
            .filter(|one| next.pieces.iter().any(|other| Arc::ptr_eq(one, other)));
        assert_eq!(shared.count(), base.pieces.len() - 1);
    }
}
