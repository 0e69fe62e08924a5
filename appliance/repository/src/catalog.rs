//! The replay of the ledger: points, their locks, known segments, the clock.

use crate::StoreError;
use crate::ledger_file::LedgerFile;
use format::Place;
use format::manifest::RecordRef;
use format::segment::Class;
use ledger::event::Commit;
use ledger::{Event, Leaf, LedgerError};
use model::{
    Consistency, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity, WallTime,
};
use retention::{Now, Retention, RetentionClock, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The clock is put on record at least this often, in seconds: what a crash can cost it.
const CLOCK_LEAF_EVERY: i64 = 3600;

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

/// The outcome of a verification, as it is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When, by the wall clock.
    pub at: WallTime,
    /// Damaged places found; 0: the point was whole.
    pub damage: u64,
}

/// What is known of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) class: Class,
    pub(crate) bytes: u64,
    pub(crate) seal: [u8; 32],
    /// A leaf names it.
    pub(crate) recorded: bool,
}

/// A point and where its manifest is.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) commit: Commit,
    pub(crate) manifest: RecordRef,
    pub(crate) verified: Option<Verified>,
}

pub(crate) struct Catalog {
    pub(crate) points: BTreeMap<RecoveryPointId, Point>,
    /// In the order of their commits.
    pub(crate) order: Vec<RecoveryPointId>,
    pub(crate) retention: Retention,
    pub(crate) segments: BTreeMap<u32, Segment>,
    pub(crate) clock: RetentionClock,
    pub(crate) ledger: LedgerFile,
    /// Points that are being read or built upon.
    pub(crate) pins: HashMap<RecoveryPointId, usize>,
    recorded_clock: RetentionTime,
}

/// What the leaves say, before anything is compared with files.
pub(crate) struct Replayed {
    points: BTreeMap<RecoveryPointId, Point>,
    order: Vec<RecoveryPointId>,
    retention: Retention,
    pub(crate) segments: BTreeMap<u32, Segment>,
    /// Segments that a `delete` leaf named.
    pub(crate) deleted: BTreeSet<u32>,
    /// The last `delete` leaves have no `deleted` leaf.
    pub(crate) unfinished_deletion: bool,
    pub(crate) high_water: RetentionTime,
    /// Segments in which a verification found damage.
    pub(crate) distrusted: BTreeSet<u32>,
}

impl Replayed {
    pub(crate) fn new(leaves: Vec<Leaf>) -> Result<Self, StoreError> {
        let mut replayed = Self {
            points: BTreeMap::new(),
            order: Vec::new(),
            retention: Retention::default(),
            segments: BTreeMap::new(),
            deleted: BTreeSet::new(),
            unfinished_deletion: false,
            high_water: RetentionTime(i64::MIN),
            distrusted: BTreeSet::new(),
        };
        for (number, leaf) in (0..).zip(leaves) {
            replayed.take(leaf).map_err(|problem| LedgerError::Damaged { number, problem })?;
        }
        Ok(replayed)
    }

    fn take(&mut self, leaf: Leaf) -> Result<(), String> {
        self.high_water = self.high_water.max(leaf.clock);
        match leaf.event {
            Event::Segment(ledger::event::Segment { serial, class, bytes, seal, .. }) => {
                let class = match class.as_str() {
                    "data" => Class::Data,
                    "metadata" => Class::Metadata,
                    other => return Err(format!("a segment of class '{other}'")),
                };
                let mut hash = [0; 32];
                hex::decode_to_slice(&seal, &mut hash).map_err(|error| error.to_string())?;
                let segment = Segment { class, bytes, seal: hash, recorded: true };
                self.segments.insert(serial, segment);
            }
            Event::Commit(commit) => self.commit(*commit)?,
            Event::Delete { points, segments, .. } => {
                self.delete(&points, segments.as_slice(), leaf.clock)?;
            }
            Event::Deleted { .. } => self.unfinished_deletion = false,
            Event::Verified { point, damage, segments, .. } => {
                self.distrusted.extend(segments);
                if let Some(point) = self.points.get_mut(&point) {
                    point.verified = Some(Verified { at: leaf.wall, damage });
                }
            }
            Event::Created { .. } | Event::Clock { .. } | Event::Refused { .. } => {}
            other => return Err(format!("a leaf that is not written here: {other:?}")),
        }
        Ok(())
    }

    fn commit(&mut self, commit: Commit) -> Result<(), String> {
        let point = commit.point;
        let event = retention::Event::Commit { point, lock: commit.lock };
        self.retention.apply(event).map_err(|refusal| refusal.to_string())?;
        let id = commit.manifest.id.parse().map_err(|error| format!("manifest: {error}"))?;
        let place = Place::from_bits(commit.manifest.place).map_err(|error| error.to_string())?;
        let manifest = RecordRef { id, place };
        self.points.insert(point, Point { commit, manifest, verified: None });
        self.order.push(point);
        Ok(())
    }

    fn delete(
        &mut self,
        points: &[ledger::event::PointText],
        segments: &[(u32, u32)],
        at: RetentionTime,
    ) -> Result<(), String> {
        for ledger::event::PointText(point) in points {
            let event = retention::Event::Deleted { point: *point, at };
            self.retention.apply(event).map_err(|refusal| refusal.to_string())?;
            self.points.remove(point);
            self.order.retain(|id| id != point);
        }
        for &(first, last) in segments {
            let known: Vec<u32> =
                self.segments.range(first..=last.max(first)).map(|s| *s.0).collect();
            for serial in known {
                self.segments.remove(&serial);
            }
            if last.saturating_sub(first) > 1 << 24 {
                return Err(format!("a run of segments from {first} to {last}"));
            }
            self.deleted.extend(first..=last);
        }
        self.unfinished_deletion = true;
        Ok(())
    }
}

impl Catalog {
    pub(crate) fn new(
        replayed: Replayed,
        segments: BTreeMap<u32, Segment>,
        ledger: LedgerFile,
        now: Now,
    ) -> Self {
        Self {
            points: replayed.points,
            order: replayed.order,
            retention: replayed.retention,
            segments,
            clock: RetentionClock::resume(replayed.high_water, now),
            ledger,
            pins: HashMap::new(),
            recorded_clock: replayed.high_water,
        }
    }

    /// Puts events on record, with the clock.
    pub(crate) fn record(&mut self, events: Vec<Event>, now: Now) -> Result<(), StoreError> {
        let clock = self.clock.advance(now);
        let leaves: Vec<Leaf> =
            events.into_iter().map(|event| Leaf::new(clock, now.wall, event)).collect();
        self.ledger.append(&leaves)?;
        self.recorded_clock = clock;
        Ok(())
    }

    /// Advances the clock and puts it on record when that has become due.
    pub(crate) fn tick(&mut self, now: Now) -> Result<RetentionTime, StoreError> {
        self.ledger.catch_up()?;
        let clock = self.clock.advance(now);
        if clock.0.saturating_sub(self.recorded_clock.0) >= CLOCK_LEAF_EVERY {
            self.record(vec![Event::Clock { state: serde_json::Value::Null }], now)?;
        }
        Ok(clock)
    }

    /// The summary of a point.
    pub(crate) fn summary(&self, id: RecoveryPointId) -> Option<RecoveryPoint> {
        let Point { commit, verified, .. } = self.points.get(&id)?;
        Some(RecoveryPoint {
            id,
            vm: commit.vm.clone(),
            run: commit.run,
            consistency: commit.consistency,
            started: commit.started,
            finished: commit.finished,
            disks: usize::try_from(commit.disks).unwrap_or(usize::MAX),
            capacity: commit.capacity,
            data_bytes: commit.data_bytes,
            new_bytes: commit.new_bytes,
            lock: self.retention.lock(id)?,
            state: self.retention.may_delete(id, self.clock.value())?,
            verified: *verified,
        })
    }

    pub(crate) fn pin(&mut self, point: RecoveryPointId) {
        *self.pins.entry(point).or_default() += 1;
    }

    pub(crate) fn unpin(&mut self, point: RecoveryPointId) {
        if let Some(count) = self.pins.get_mut(&point) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&point);
            }
        }
    }
}
