//! Deletion (FORMAT.md 7): verdict, `delete` leaves synced, files removed, `deleted` leaf. A crash
//! after the leaves is completed at the next start.

use super::Keeper;
use crate::WardenError;
use crate::layout;
use crate::state::{Freed, Removal};
use crate::storage;
use crate::wire::{Outcome, Removed};
use ledger::event::{POINTS_PER_LEAF, PointText, RUNS_PER_LEAF};
use ledger::{Event, Runs};
use model::RecoveryPointId;
use retention::Reading;
use std::collections::BTreeSet;
use std::io;

/// Most points in one request.
const POINTS: usize = 100_000;

impl Keeper {
    pub(super) fn delete(
        &mut self,
        points: &[RecoveryPointId],
        keep: &Runs,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let points: BTreeSet<RecoveryPointId> = points.iter().copied().collect();
        if points.is_empty() || points.len() > POINTS {
            return Err(WardenError::denied(format!("a deletion names 1 to {POINTS} points")));
        }
        let view = self.clock.view();
        for &point in &points {
            if let Err(refusal) = self.state.retention().release(point, view.clone()) {
                return Err(self.refuse(Some(point), "delete", refusal, reading));
            }
        }
        let points: Vec<RecoveryPointId> = points.into_iter().collect();
        let freed = self.state.unreached_after(&points, keep);
        self.remove(&points, freed, reading)
    }

    pub(super) fn reclaim(
        &mut self,
        keep: &Runs,
        named: &Runs,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let mut freed = self.state.unreached_after(&[], keep);
        let goes = |serial: &u32| named.contains(*serial) && !keep.contains(*serial);
        let orphans: Runs = self.orphans.keys().copied().filter(goes).collect();
        freed.bytes += orphans.serials().map(|serial| self.orphans[&serial].bytes).sum::<u64>();
        freed.segments = freed.segments.union(&orphans);
        if freed.segments.is_empty() {
            return Ok(Outcome::Removed(Removed { complete: true, ..Removed::default() }));
        }
        self.remove(&[], freed, reading)
    }

    fn remove(
        &mut self,
        points: &[RecoveryPointId],
        mut freed: Freed,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        // A segment that was sealed and not committed needs its key as much.
        freed.keys.retain(|epoch| {
            !self
                .orphans
                .iter()
                .any(|(serial, sealed)| sealed.epoch == *epoch && !freed.segments.contains(*serial))
        });
        self.record(leaves(points, &freed), reading)?;
        let Freed { segments, bytes, keys } = freed;
        let complete = match self.finish_removal(reading) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = model::chain(&error), "a deletion is not complete yet");
                false
            }
        };
        Ok(Outcome::Removed(Removed { segments, bytes, keys, complete }))
    }

    /// Removes what durable `delete` leaves name, and says so in a leaf.
    pub(super) fn finish_removal(&mut self, reading: Reading) -> Result<(), WardenError> {
        let Some(removal) = self.state.removal().cloned() else { return Ok(()) };
        let count = removal.segments.count();
        // Each on its own: a file that cannot be removed holds up no other, and no key.
        let (segments, keys) = (self.remove_segments(&removal), self.remove_keys(&removal.keys));
        segments.and(keys)?;
        self.record(vec![Event::Deleted { segments: count, bytes: removal.bytes }], reading)
    }

    fn remove_segments(&mut self, removal: &Removal) -> Result<(), WardenError> {
        let (mut changed, mut failed) = (BTreeSet::new(), Ok(()));
        for &(first, last) in removal.segments.as_slice() {
            let serials: Vec<u32> = self.files.range(first..=last).map(|(s, _)| *s).collect();
            for serial in serials {
                let Some(path) = self.path_of(serial) else { continue };
                if let Err(error) = self.remove_file(&path) {
                    tracing::warn!(error = model::chain(&error), "a file stays for now");
                    failed = failed.and(Err(error));
                    continue;
                }
                if let Some(file) = self.files.remove(&serial) {
                    changed.insert(file.volume);
                }
                self.orphans.remove(&serial);
            }
        }
        let mut synced = changed.into_iter();
        failed.and(synced.try_for_each(|volume| self.sync_dir(&layout::segments_dir(volume))))
    }

    fn remove_keys(&self, epochs: &[u32]) -> Result<(), WardenError> {
        if epochs.is_empty() {
            return Ok(());
        }
        for volume in self.volumes() {
            for epoch in epochs {
                self.remove_file(&layout::on(volume, &layout::key(*epoch)))?;
            }
            self.sync_dir(&layout::on(volume, layout::KEYS))?;
        }
        Ok(())
    }

    /// Removes a file that a durable `delete` leaf names. One that is gone is fine.
    pub(super) fn remove_file(&self, path: &str) -> Result<(), WardenError> {
        match self.storage.set_immutable(path, false) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WardenError::io("unprotecting", path)(error));
            }
            _ => {}
        }
        storage::remove_if_there(&*self.storage, path).map_err(WardenError::io("removing", path))
    }
}

/// Points first, then segments; keys with the last segments.
fn leaves(points: &[RecoveryPointId], freed: &Freed) -> Vec<Event> {
    let mut events: Vec<Event> = points
        .chunks(POINTS_PER_LEAF)
        .map(|points| Event::Delete {
            points: points.iter().copied().map(PointText).collect(),
            segments: Runs::new(),
            keys: Vec::new(),
        })
        .collect();
    let small = points.len() <= POINTS_PER_LEAF / 4 && freed.segments.as_slice().len() <= 500;
    if let (true, Some(Event::Delete { segments, keys, .. })) = (small, events.last_mut()) {
        (*segments, *keys) = (freed.segments.clone(), freed.keys.clone());
        return events;
    }
    events.extend(freed.segments.pieces(RUNS_PER_LEAF).map(|segments| Event::Delete {
        points: Vec::new(),
        segments,
        keys: Vec::new(),
    }));
    if let Some(Event::Delete { keys, .. }) = events.last_mut() {
        keys.clone_from(&freed.keys);
    }
    events
}
