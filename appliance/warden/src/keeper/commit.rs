//! The commit of a recovery point, and of a compaction: both change what segments are reached.

use super::Keeper;
use crate::WardenError;
use crate::wire::{CommitRequest, Outcome};
use format::Place;
use ledger::event::{Commit, RUNS_PER_LEAF, ReachChange};
use ledger::{Event, Runs};
use model::{ChunkId, RetentionLock};
use retention::{Authority, Reading, Refusal};

/// Bytes of what a commit says of its VM. Commits are not counted, so each must be small.
const VM_BYTES: usize = 4096;
/// Runs of reach that stand in the commit leaf itself.
const RUNS_IN_COMMIT: usize = 500;

impl Keeper {
    pub(super) fn commit(
        &mut self,
        request: CommitRequest,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let point = request.point;
        let lock = match self.may_commit(&request) {
            Ok(lock) => lock,
            Err(refusal) => return Err(self.refuse(Some(point), "commit", refusal, reading)),
        };
        let mut events = match self.segments_of(&request) {
            Ok(events) => events,
            Err(problem) => {
                let problem = format!("recovery point {point} cannot be committed: {problem}");
                return Err(self.deny(Some(point), "commit", problem, reading));
            }
        };
        let (parts, reach) = split(&request);
        events.extend(parts);
        events.push(Event::Commit(Box::new(leaf(request, reach, lock))));
        self.record(events, reading)?;
        self.adopt();
        Ok(Outcome::Committed { lock })
    }

    fn may_commit(&self, request: &CommitRequest) -> Result<RetentionLock, Refusal> {
        let (point, view, retention) = (request.point, self.clock.view(), self.state.retention());
        if self.state.was_deleted(point) {
            return Err(Refusal::Exists { point });
        }
        let lock = retention.new_lock(request.lock.mode, request.lock.seconds, &view)?;
        let event = retention::Event::Commit { point, lock };
        retention.check(&event, &Authority::nobody(), &view)?;
        Ok(lock)
    }

    /// Leaves for the segments that it reaches and that have none; everything it says about
    /// segments is checked.
    fn segments_of(&self, request: &CommitRequest) -> Result<Vec<Event>, String> {
        let vm = &request.vm;
        if vm.uuid.0.len() + vm.name.len() + vm.server_uuid.len() > VM_BYTES {
            return Err(format!("the names of its VM are longer than {VM_BYTES} bytes"));
        }
        let place = Place::from_bits(request.manifest.place).map_err(|error| error.to_string())?;
        request.manifest.id.parse::<ChunkId>().map_err(|error| error.to_string())?;
        let reach = self.state.reach_of(&request.reach)?;
        if reach.count() > self.known_segments() {
            return Err("it reaches segments that do not exist".into());
        }
        if !reach.contains(place.segment()) {
            return Err("it does not reach the segment of its own manifest".into());
        }
        self.leaves_for(reach.serials())
    }

    pub(super) fn compact(
        &mut self,
        from: Runs,
        to: Runs,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        self.few(&from)?;
        self.few(&to)?;
        if from.as_slice().len() + to.as_slice().len() > RUNS_PER_LEAF {
            return Err(WardenError::denied("a compaction names at most 2000 runs of segments"));
        }
        let view = self.clock.view();
        let points: Vec<_> = self.state.reaching(&from).map(|(id, _)| id).collect();
        for &point in &points {
            if let Err(refusal) = self.state.retention().release(point, view.clone()) {
                return Err(self.refuse(Some(point), "compact", refusal, reading));
            }
        }
        let recorded = from.serials().all(|serial| self.state.segment(serial).is_some());
        let disjoint = from.without(&to) == from;
        let mut events = match self.leaves_for(to.serials()) {
            Ok(events) if recorded && disjoint && !to.is_empty() => events,
            Ok(_) => {
                let problem = "a compaction moves from recorded segments into other ones";
                return Err(self.deny(None, "compact", problem, reading));
            }
            Err(problem) => return Err(self.deny(None, "compact", problem, reading)),
        };
        if points.is_empty() {
            return Ok(Outcome::Done); // nothing reaches them: done before, or nothing to do
        }
        events.push(Event::Compact { from, to });
        self.record(events, reading)?;
        self.adopt();
        Ok(Outcome::Done)
    }
}

/// A long reach goes into leaves of its own.
fn split(request: &CommitRequest) -> (Vec<Event>, ReachChange) {
    let ReachChange { base, add, drop } = &request.reach;
    if add.as_slice().len() + drop.as_slice().len() <= RUNS_IN_COMMIT {
        return (Vec::new(), request.reach.clone());
    }
    let point = request.point;
    let added = add.pieces(RUNS_PER_LEAF).map(|add| (add, Runs::new()));
    let dropped = drop.pieces(RUNS_PER_LEAF).map(|drop| (Runs::new(), drop));
    let parts = added.chain(dropped).map(|(add, drop)| Event::Reach { point, add, drop });
    (parts.collect(), ReachChange { base: *base, ..ReachChange::default() })
}

fn leaf(request: CommitRequest, reach: ReachChange, lock: RetentionLock) -> Commit {
    Commit {
        point: request.point,
        run: request.run,
        vm: request.vm,
        started: request.started,
        finished: request.finished,
        consistency: request.consistency,
        disks: request.disks,
        capacity: request.capacity,
        data_bytes: request.data_bytes,
        new_bytes: request.new_bytes,
        chunk_size: request.chunk_size,
        manifest: request.manifest,
        reach,
        lock,
    }
}
