//! Where chunks went that compactions moved. Places in maps are hints that no hash covers, so they
//! stay as they are, and a chunk whose segment was emptied is looked up by its id (FORMAT.md 4.3
//! and 5).

use crate::StoreError;
use crate::core::{Core, locked};
use crate::scan::read_footer;
use format::footer::Footer;
use format::{FormatError, Place};
use ledger::Runs;
use model::ChunkId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use warden::layout;

/// Records in the footers that are kept for lookups that the index does not answer: 32 MiB.
const KEPT_ENTRIES: usize = 1 << 19;

/// The compactions so far.
#[derive(Default)]
pub(crate) struct Moves {
    list: Vec<(Runs, Runs)>,
    /// Emptied serials: first of a run -> its last, number of the compaction.
    emptied: BTreeMap<u32, (u32, usize)>,
}

impl Moves {
    /// Takes those over that are new in `all`.
    pub(crate) fn update(&mut self, all: &[(Runs, Runs)]) {
        for (from, to) in all.get(self.list.len()..).unwrap_or_default() {
            for &(first, last) in from.as_slice() {
                self.emptied.insert(first, (last, self.list.len()));
            }
            self.list.push((from.clone(), to.clone()));
        }
    }

    /// How many compactions.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The segments that all but the first `known` compactions have emptied.
    pub(crate) fn emptied_since(&self, known: usize) -> BTreeSet<u32> {
        let new = self.list.get(known..).unwrap_or_default();
        new.iter().flat_map(|(from, _)| from.serials()).collect()
    }

    /// Whether the chunks of a segment were moved elsewhere.
    pub(crate) fn has(&self, serial: u32) -> bool {
        self.touching(serial, serial).next().is_some()
    }

    /// `serials` with the segments that compactions have emptied replaced by those they filled.
    pub(crate) fn current(&self, serials: Runs) -> Runs {
        let touching = |runs: &Runs| -> BTreeSet<usize> {
            let runs = runs.as_slice().iter();
            runs.flat_map(|&(first, last)| self.touching(first, last)).collect()
        };
        let mut pending = touching(&serials);
        let mut serials = serials;
        // In the order of the ledger: what one has filled only a later one can have emptied.
        while let Some(number) = pending.pop_first() {
            let (from, to) = &self.list[number];
            serials = serials.without(from).union(to);
            pending.extend(touching(to).into_iter().filter(|later| *later > number));
        }
        serials
    }

    fn touching(&self, first: u32, last: u32) -> impl Iterator<Item = usize> + '_ {
        let before = self.emptied.range(..=last).rev();
        before.take_while(move |(_, (end, _))| *end >= first).map(|(_, (_, number))| *number)
    }
}

/// Footers that were read for lookups.
///
/// Invariant: `entries` is the number of theirs.
#[derive(Default)]
pub(crate) struct Footers {
    kept: BTreeMap<u32, Arc<Footer>>,
    entries: usize,
    /// Where the next one is dropped: going round drops none that is read all the time for long.
    dropped: u32,
}

impl Footers {
    fn keep(&mut self, serial: u32, footer: &Arc<Footer>) {
        while self.entries + footer.entries.len() > KEPT_ENTRIES && !self.kept.is_empty() {
            let next = self.kept.range(self.dropped..).next().or(self.kept.first_key_value());
            let Some((&victim, _)) = next else { break };
            self.dropped = victim.saturating_add(1);
            self.drop(victim);
        }
        self.drop(serial);
        self.entries += footer.entries.len();
        self.kept.insert(serial, Arc::clone(footer));
    }

    fn drop(&mut self, serial: u32) {
        self.entries -= self.kept.remove(&serial).map_or(0, |footer| footer.entries.len());
    }
}

impl Core {
    /// Where a chunk is read: where it lies now. One that cannot be found is looked for where it
    /// was, and reading it there tells what is wrong.
    pub(crate) fn resolve(&self, id: &ChunkId, place: Place) -> Place {
        self.locate(id, place).unwrap_or_else(|error| {
            tracing::warn!(error = model::chain(&error), "no lookup");
            place
        })
    }

    /// Where a chunk lies now: its place, or, when a compaction moved it, what its id says. An
    /// error says that it is in none of the segments that it was moved to, or that one of these
    /// cannot be asked.
    pub(crate) fn locate(&self, id: &ChunkId, place: Place) -> Result<Place, StoreError> {
        let (volume, candidates) = {
            let catalog = locked(&self.catalog);
            let serial = place.segment();
            if !catalog.moves.has(serial) {
                return Ok(place);
            }
            let now = catalog.moves.current([serial].into_iter().collect());
            let volume = now.serials().next().map_or(0, |serial| catalog.volume_of_segment(serial));
            (volume, now)
        };
        let known = locked(&self.index).find(volume, id);
        if let Some(place) = known.filter(|place| candidates.contains(place.segment())) {
            return Ok(place);
        }
        let mut failed = None;
        for serial in candidates.serials() {
            match self.search(serial, id) {
                Ok(Some(place)) => return Ok(place),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| lost(place)))
    }

    /// Looks for a chunk in the footer of a segment.
    fn search(&self, serial: u32, id: &ChunkId) -> Result<Option<Place>, StoreError> {
        let footer = self.footer(serial)?;
        let at = footer.entries.partition_point(|entry| entry.id < *id);
        let entry = footer.entries.get(at).filter(|entry| entry.id == *id);
        Ok(entry.and_then(|entry| entry.place(serial)))
    }

    /// The footer of a sealed segment.
    pub(crate) fn footer(&self, serial: u32) -> Result<Arc<Footer>, StoreError> {
        if let Some(footer) = locked(&self.footers).kept.get(&serial) {
            return Ok(Arc::clone(footer));
        }
        let (volume, recorded) = {
            let catalog = locked(&self.catalog);
            let recorded = catalog.state.segment(serial).map(|known| (known.seal, known.bytes));
            (catalog.volume_of_segment(serial), recorded)
        };
        let name = layout::sealed(volume, serial);
        let file = self.storage.open(&name).map_err(StoreError::io("opening", &*name))?;
        let length = file.length().map_err(StoreError::io("reading", &*name))?;
        let tail = read_footer(&*file, &name, serial, length, recorded)?;
        let footer = Arc::new(tail.footer);
        locked(&self.footers).keep(serial, &footer);
        Ok(footer)
    }
}

fn lost(place: Place) -> StoreError {
    let what = format!("the chunk at byte {} of segment {:08x}", place.offset(), place.segment());
    let problem = "it was moved, and is in no segment that it was moved to".to_owned();
    StoreError::Damaged { what, source: FormatError::Corrupt { what: "chunk", problem } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each compaction in turn, applied to all that was reached by then: what a replay does.
        #[test]
        fn it_is_what_the_replay_makes_of_reaches(
            steps in prop::collection::vec(
                (prop::collection::btree_set(0usize..30, 1..6), 1u32..4), 0..12,
            ),
            start in prop::collection::btree_set(1u32..31, 1..10),
        ) {
            let (mut alive, mut next) = ((1..31).collect::<Vec<u32>>(), 31);
            let (mut all, mut moves) = (Vec::new(), Moves::default());
            let mut reach: BTreeSet<u32> = start.clone();
            for (picks, count) in steps {
                let chosen = picks.iter().map(|pick| alive[pick % alive.len()]);
                let from: BTreeSet<u32> = chosen.collect();
                let to: BTreeSet<u32> = (next..next + count).collect();
                next += count;
                alive.retain(|serial| !from.contains(serial));
                alive.extend(&to);
                if !reach.is_disjoint(&from) {
                    reach = &(&reach - &from) | &to;
                }
                all.push((from.into_iter().collect::<Runs>(), to.into_iter().collect::<Runs>()));
                moves.update(&all);
            }
            let found = moves.current(start.into_iter().collect());
            prop_assert_eq!(found.serials().collect::<BTreeSet<_>>(), reach.clone());
            prop_assert!(reach.iter().all(|serial| !moves.has(*serial)));
        }
    }
}
