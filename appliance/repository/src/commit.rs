//! The commit of a recovery point: what must be sealed is sealed, the warden puts it on record.

use crate::core::locked;
use crate::disk::Finished;
use crate::{Lock, PointWriter, RecoveryPoint, StoreError, placement};
use format::manifest::{Manifest, RecordRef};
use format::record::Kind;
use ledger::Runs;
use ledger::event::{ManifestRef, ReachChange};
use model::{ErrorKind, RetentionTime, WallTime};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use warden::wire::{CommitRequest, LockRequest, Request};

impl PointWriter {
    /// Seals everything, puts the point on record and gives it its lock, which the warden counts
    /// from now. `finished` is the wall clock, for people. After an error the point does not
    /// exist, unless the error came from the ledger's own sync: then the next start knows.
    pub fn commit(mut self, lock: Lock, finished: WallTime) -> Result<RecoveryPoint, StoreError> {
        self.state.drain()?;
        let mut disks = std::mem::take(&mut *locked(&self.disks));
        if disks.len() != self.disks_begun {
            return Err(StoreError::misuse("a disk of this recovery point was not finished"));
        }
        self.copy_forward(&mut disks, lock)?;
        locked(&self.state.data).finish(&self.state)?;
        self.state.wait_for_seals()?;
        let mut reached = self.store_reaches(&mut disks)?;
        let manifest = self.manifest(disks, finished);
        let bytes = manifest.encode();
        let id = self.inner.core.keys.content_id(&bytes);
        let reference = self.state.store(Kind::Manifest, id, &bytes)?;
        self.seal_metadata()?;
        let files = manifest.files.iter().filter_map(|file| file.content);
        reached.extend(files.chain([reference]).map(|record| record.place.segment()));
        let _still = self.inner.core.moving.read().unwrap_or_else(PoisonError::into_inner);
        self.inner.core.settle()?;
        let request = self.request(&manifest, reference, reached, lock)?;
        self.inner.core.ask(Request::Commit(Box::new(request)))?;
        let catalog = locked(&self.inner.core.catalog);
        catalog.summary(self.id).ok_or_else(|| StoreError::no_point(self.id))
    }

    fn seal_metadata(&self) -> Result<(), StoreError> {
        locked(&self.state.metadata).finish(&self.state)?;
        self.state.wait_for_seals()
    }

    /// Stores chunks again that the point's lock would keep much dead space alive for.
    fn copy_forward(&self, disks: &mut [Finished], lock: Lock) -> Result<(), StoreError> {
        let reached = disks.iter().flat_map(|disk| disk.reach.iter().map(|(serial, _)| serial));
        let (known, now) = {
            let catalog = locked(&self.inner.core.catalog);
            (catalog.known(&reached.collect()), catalog.clock().value)
        };
        let duration = i64::try_from(lock.duration_seconds).unwrap_or(i64::MAX);
        let until = RetentionTime(now.0.saturating_add(duration));
        let chosen = placement::choose(disks, &known, now, until);
        if chosen.is_empty() {
            return Ok(());
        }
        tracing::info!(point = %self.id, segments = chosen.len(), "copying chunks forward");
        self.seal_metadata()?; // the maps are read
        placement::copy_forward(&self.state, disks, &chosen)
    }

    /// Stores what each disk reaches; gives back all segments that the disks need.
    fn store_reaches(&self, disks: &mut [Finished]) -> Result<BTreeSet<u32>, StoreError> {
        let mut reached = BTreeSet::new();
        for disk in disks.iter_mut().filter(|disk| !disk.reach.is_empty()) {
            let bytes = disk.reach.encode().ok_or_else(|| {
                StoreError::misuse("a disk needs more segments than a recovery point can name")
            })?;
            let id = self.inner.core.keys.content_id(&bytes);
            let record = self.state.store(Kind::Reach, id, &bytes)?;
            reached.extend(disk.reach.iter().map(|(serial, _)| serial));
            reached.insert(record.place.segment());
            disk.entry.reach = Some(record);
        }
        Ok(reached)
    }

    fn manifest(&mut self, disks: Vec<Finished>, finished: WallTime) -> Manifest {
        Manifest {
            point: self.id,
            run: self.draft.run,
            vm: self.draft.vm.clone(),
            consistency: self.draft.consistency,
            started: self.draft.started,
            finished,
            chunk_size: self.state.chunk_size,
            disks: disks.into_iter().map(|disk| disk.entry).collect(),
            files: std::mem::take(&mut self.files),
        }
    }

    fn request(
        &self,
        manifest: &Manifest,
        reference: RecordRef,
        reached: BTreeSet<u32>,
        lock: Lock,
    ) -> Result<CommitRequest, StoreError> {
        Ok(CommitRequest {
            point: self.id,
            run: manifest.run,
            vm: manifest.vm.clone(),
            started: manifest.started,
            finished: manifest.finished,
            consistency: manifest.consistency,
            disks: u32::try_from(manifest.disks.len()).unwrap_or(u32::MAX),
            capacity: manifest.disks.iter().map(|disk| disk.identity.capacity).sum(),
            data_bytes: manifest.disks.iter().map(|disk| disk.data_bytes).sum(),
            new_bytes: self.state.new_bytes.load(Ordering::Relaxed),
            chunk_size: manifest.chunk_size,
            manifest: ManifestRef {
                id: reference.id.to_string(),
                place: reference.place.to_bits(),
            },
            reach: self.reach(reached.into_iter().collect())?,
            lock: LockRequest { mode: lock.mode, seconds: lock.duration_seconds },
        })
    }

    /// What the point needs, as the difference to its first parent.
    fn reach(&self, needed: Runs) -> Result<ReachChange, StoreError> {
        let catalog = locked(&self.inner.core.catalog);
        // Only what was needed when a segment was emptied is where it was moved to. What a parent
        // needs was; what the run found in the index need not have been.
        if let Some(serial) = self.state.pinned().find(|serial| catalog.moves.has(*serial)) {
            let reason = format!("segment {serial:08x} was compacted while it was referred to");
            return Err(StoreError::Failed { reason, kind: ErrorKind::Retryable });
        }
        let needed = catalog.moves.current(needed);
        let Some(&base) = self.parents.first() else {
            return Ok(ReachChange { base: None, add: needed, drop: Runs::new() });
        };
        let has = catalog.point(base)?.reach.to_runs();
        let (add, drop) = (needed.without(&has), has.without(&needed));
        Ok(ReachChange { base: Some(base), add, drop })
    }
}
