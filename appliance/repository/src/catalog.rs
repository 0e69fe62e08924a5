//! What is known of points and segments: the replay of the ledger, and what the files say besides.
//!
//! Nothing here is decided and nothing written: leaves are the warden's. After every call to it
//! the replay is brought up to date from the ledger itself, never from an answer.

use crate::StoreError;
use crate::moves::Moves;
use crate::placement::Known;
use crate::scan::Held;
use format::Place;
use format::manifest::RecordRef;
use ledger::event::Commit;
use ledger::{Frames, Runs};
use model::{
    Consistency, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity, WallTime,
};
use retention::Verdict;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use warden::LedgerReader;
use warden::state::{Point, State, Verified};
use warden::wire::ClockView;

/// A recovery point, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// Its id.
    pub id: RecoveryPointId,
    /// Of which VM.
    pub vm: VmIdentity,
    /// The run that made it.
    pub run: RunId,
    /// State of the guest.
    pub consistency: Consistency,
    /// When the run began.
    pub started: WallTime,
    /// When the last byte had been written.
    pub finished: WallTime,
    /// Number of disks.
    pub disks: usize,
    /// Sum of their capacities in bytes.
    pub capacity: u64,
    /// Bytes of their cells that are not zero.
    pub data_bytes: u64,
    /// Stored bytes that it added to the repository.
    pub new_bytes: u64,
    /// Its lock; the end is by the retention clock.
    pub lock: RetentionLock,
    /// What may happen to it at the moment of the question.
    pub state: Verdict,
    /// When it was last read back as a whole, and what was found.
    pub verified: Option<Verified>,
}

pub(crate) struct Catalog {
    pub(crate) state: State,
    pub(crate) moves: Moves,
    reader: LedgerReader,
    /// Sealed segments that are there, recorded or not.
    pub(crate) files: BTreeMap<u32, Held>,
    clock: ClockView,
    /// Points that are being read or built upon.
    pins: HashMap<RecoveryPointId, usize>,
    /// Points that are being deleted: nobody begins to read them.
    going: BTreeSet<RecoveryPointId>,
}

impl Catalog {
    pub(crate) fn new(
        state: State,
        reader: LedgerReader,
        files: BTreeMap<u32, Held>,
        clock: ClockView,
    ) -> Self {
        let mut moves = Moves::default();
        moves.update(state.compactions());
        Self { state, moves, reader, files, clock, pins: HashMap::new(), going: BTreeSet::new() }
    }

    /// Takes the leaves up to `size`, and the clock if it was told.
    pub(crate) fn advance(
        &mut self,
        size: u64,
        clock: Option<ClockView>,
    ) -> Result<(), StoreError> {
        if let Some(clock) = clock {
            self.clock = clock;
        }
        if size > self.state.size() {
            let outcome = self.reader.advance_to(size, &mut self.state);
            self.moves.update(self.state.compactions());
            outcome?;
        }
        Ok(())
    }

    /// Number of leaves read and the root over them.
    pub(crate) fn head(&self) -> (u64, [u8; 32]) {
        (self.reader.tree().size(), self.reader.tree().root())
    }

    /// A reader of the ledger's file that stands a little before leaf `number`.
    pub(crate) fn before(&self, number: u64) -> Frames {
        self.reader.before(number)
    }

    /// The retention clock as of the last answer of the warden.
    pub(crate) fn clock(&self) -> &ClockView {
        &self.clock
    }

    pub(crate) fn point(&self, id: RecoveryPointId) -> Result<&Point, StoreError> {
        self.state.point(id).ok_or_else(|| StoreError::no_point(id))
    }

    /// Where the manifest of a point is.
    pub(crate) fn manifest(&self, id: RecoveryPointId) -> Result<RecordRef, StoreError> {
        let manifest = &self.point(id)?.commit.manifest;
        let (id, place) = (manifest.id.parse(), Place::from_bits(manifest.place));
        let right = "the replay checks both";
        Ok(RecordRef { id: id.expect(right), place: place.expect(right) })
    }

    /// The volume that a point lies on: its manifest's.
    pub(crate) fn volume_of(&self, id: RecoveryPointId) -> Result<u8, StoreError> {
        Ok(self.volume_of_segment(self.manifest(id)?.place.segment()))
    }

    /// The volume that a segment was found on, or else where it was when it was recorded.
    pub(crate) fn volume_of_segment(&self, serial: u32) -> u8 {
        let held = self.files.get(&serial).map(|held| held.volume);
        held.or_else(|| self.state.segment(serial).map(|segment| segment.volume)).unwrap_or(0)
    }

    /// The point of this VM that was committed last. A VM is told by its uuid and its server's.
    pub(crate) fn latest_of(&self, vm: &VmIdentity) -> Option<RecoveryPointId> {
        let of_vm = |(_, point): &(RecoveryPointId, &Point)| {
            let own = &point.commit.vm;
            own.uuid == vm.uuid && own.server_uuid == vm.server_uuid
        };
        self.state.points().rev().find(of_vm).map(|(id, _)| id)
    }

    /// The summary of a point.
    pub(crate) fn summary(&self, id: RecoveryPointId) -> Option<RecoveryPoint> {
        let Point { commit, verified, .. } = self.state.point(id)?;
        let Commit { vm, run, consistency, started, finished, disks, .. } = commit.clone();
        Some(RecoveryPoint {
            id,
            vm,
            run,
            consistency,
            started,
            finished,
            disks: usize::try_from(disks).unwrap_or(usize::MAX),
            capacity: commit.capacity,
            data_bytes: commit.data_bytes,
            new_bytes: commit.new_bytes,
            lock: self.state.retention().lock(id)?,
            state: self.state.retention().may_delete(id, self.clock.value)?,
            verified: *verified,
        })
    }

    /// What placement wants to know of the data segments in `serials`: those of earlier points.
    pub(crate) fn known(&self, serials: &Runs) -> BTreeMap<u32, Known> {
        let mut known = BTreeMap::new();
        for serial in serials.serials().filter(|serial| self.state.references(*serial) > 0) {
            let (Some(held), Some(segment)) = (self.files.get(&serial), self.state.segment(serial))
            else {
                continue;
            };
            let (chunks, until) = (u64::from(held.chunks), RetentionTime(i64::MIN));
            if chunks > 0 {
                known.insert(serial, Known { chunks, made: segment.recorded, until });
            }
        }
        for (id, point) in self.state.reaching(serials) {
            let Some(lock) = self.state.retention().lock(id) else { continue };
            for (first, last) in point.reach.runs() {
                for known in known.range_mut(first..=last) {
                    known.1.until = known.1.until.max(lock.until);
                }
            }
        }
        known
    }

    /// Whether somebody reads a point or builds on it, or it is being deleted.
    pub(crate) fn is_in_use(&self, point: RecoveryPointId) -> bool {
        self.pins.contains_key(&point) || self.going.contains(&point)
    }

    /// Keeps a point from being deleted until it is unpinned.
    pub(crate) fn pin(&mut self, point: RecoveryPointId) -> Result<(), StoreError> {
        self.point(point)?;
        if self.going.contains(&point) {
            return Err(StoreError::no_point(point));
        }
        *self.pins.entry(point).or_default() += 1;
        Ok(())
    }

    pub(crate) fn unpin(&mut self, point: RecoveryPointId) {
        if let Some(count) = self.pins.get_mut(&point) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&point);
            }
        }
    }

    /// From now on nobody begins to read `points`; an error names one that somebody is reading.
    pub(crate) fn begin_removal(
        &mut self,
        points: &[RecoveryPointId],
    ) -> Result<(), RecoveryPointId> {
        if let Some(point) = points.iter().find(|point| self.pins.contains_key(point)) {
            return Err(*point);
        }
        self.going.extend(points);
        Ok(())
    }

    /// They are gone, or stay.
    pub(crate) fn end_removal(&mut self) {
        self.going.clear(); // one removal at a time
    }
}
