//! The replay of the ledger: leaves in, what the repository is out. Pure.
//!
//! The warden and the daemon each keep one, from the same leaves. What a request may do is decided
//! elsewhere (`retention`, the keeper); what is refused here breaks an invariant of the ledger, so
//! such a leaf was not written by a warden.

mod change;
mod check;
mod counts;
mod evidence;
mod parts;
mod points;
mod reach;
mod serials;

pub(crate) use change::{lock_event, officer_key};
pub use counts::Counts;
pub use parts::{Alarm, Export, Freed, Key, Officer, Point, Removal, Segment, Verified};
pub use reach::Reach;
pub use serials::Serials;

use ledger::{Leaf, Runs};
use model::{RecoveryPointId, RetentionTime};
use retention::{ClockState, Retention};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

/// What the leaves say, taken one after another.
///
/// Invariant: `counts` of a serial is the number of points whose reach has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    size: u64,
    created: Option<Created>,
    clock: Option<ClockState>,
    signer: Option<ledger::Vkey>,
    retention: Retention,
    points: BTreeMap<RecoveryPointId, Point>,
    order: BTreeMap<u64, RecoveryPointId>,
    gone: HashSet<RecoveryPointId>,
    segments: BTreeMap<u32, Segment>,
    counts: Counts,
    deleted: Serials,
    removal: Option<Removal>,
    keys: BTreeMap<u32, Key>,
    destroyed: BTreeSet<u32>,
    volumes: BTreeSet<u8>,
    officers: BTreeMap<String, Officer>,
    compactions: Vec<(Runs, Runs)>,
    alarms: VecDeque<Alarm>,
    /// Parts of the reach of a point whose commit has not come yet.
    pending: Option<(RecoveryPointId, Runs, Runs)>,
}

/// What is fixed by the first leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Id of the repository.
    pub repository: [u8; 16],
    /// Bytes of a cell, unless a job says otherwise.
    pub chunk_size: u32,
}

impl State {
    /// Before any leaf.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes leaf `number`. After an error the state is of no use any more.
    pub fn apply(&mut self, number: u64, leaf: &Leaf) -> Result<(), String> {
        if number != self.size {
            return Err(format!("leaf {} was expected", self.size));
        }
        if leaf.clock < self.high_water() {
            return Err("the retention clock runs back".into());
        }
        if let Some(clock) = &mut self.clock {
            clock.reach(leaf.clock);
        }
        self.take(leaf)?;
        self.size += 1;
        Ok(())
    }

    /// Number of leaves taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the first leaf says.
    #[must_use]
    pub fn created(&self) -> Option<&Created> {
        self.created.as_ref()
    }

    /// The clock as it is on record; `None` before the first leaf.
    #[must_use]
    pub fn clock(&self) -> Option<&ClockState> {
        self.clock.as_ref()
    }

    /// The largest value of the retention clock on record.
    #[must_use]
    pub fn high_water(&self) -> RetentionTime {
        self.clock.as_ref().map_or(RetentionTime(i64::MIN), ClockState::value)
    }

    /// Whose signature heads must carry.
    #[must_use]
    pub fn signer(&self) -> Option<&ledger::Vkey> {
        self.signer.as_ref()
    }

    /// Locks, holds, bounds.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// A point.
    #[must_use]
    pub fn point(&self, id: RecoveryPointId) -> Option<&Point> {
        self.points.get(&id)
    }

    /// All points in the order of their commits.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = (RecoveryPointId, &Point)> {
        self.order.values().filter_map(|id| Some((*id, self.points.get(id)?)))
    }

    /// How many points.
    #[must_use]
    pub fn point_count(&self) -> usize {
        self.points.len()
    }

    /// Whether a point of this id existed and was deleted.
    #[must_use]
    pub fn was_deleted(&self, id: RecoveryPointId) -> bool {
        self.gone.contains(&id)
    }

    /// A recorded segment.
    #[must_use]
    pub fn segment(&self, serial: u32) -> Option<&Segment> {
        self.segments.get(&serial)
    }

    /// All recorded segments, ascending.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = (u32, &Segment)> + ExactSizeIterator {
        self.segments.iter().map(|(serial, segment)| (*serial, segment))
    }

    /// Recorded segments from `serial` on.
    pub fn segments_from(&self, serial: u32) -> impl Iterator<Item = (u32, &Segment)> {
        self.segments.range(serial..).map(|(serial, segment)| (*serial, segment))
    }

    /// How many points reach a segment.
    #[must_use]
    pub fn references(&self, serial: u32) -> u32 {
        self.counts.get(serial)
    }

    /// Points that reach any of `segments`, in the order of their commits.
    pub fn reaching<'a>(
        &'a self,
        segments: &'a Runs,
    ) -> impl Iterator<Item = (RecoveryPointId, &'a Point)> {
        self.points().filter(|(_, point)| point.reach.intersects(segments.as_slice()))
    }

    /// Serials of segments that were deleted; they are never used again.
    #[must_use]
    pub fn deleted(&self) -> &Serials {
        &self.deleted
    }

    /// The largest serial that a leaf names, alive or deleted.
    #[must_use]
    pub fn last_serial(&self) -> u32 {
        let alive = self.segments.last_key_value().map(|(serial, _)| *serial);
        alive.max(self.deleted.last()).unwrap_or(0)
    }

    /// A removal that has been announced and not been completed.
    #[must_use]
    pub fn removal(&self) -> Option<&Removal> {
        self.removal.as_ref()
    }

    /// Key files that must exist, by epoch.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<u32, Key> {
        &self.keys
    }

    /// Epochs whose keys were destroyed.
    #[must_use]
    pub fn destroyed_keys(&self) -> &BTreeSet<u32> {
        &self.destroyed
    }

    /// Volumes besides volume 0.
    #[must_use]
    pub fn volumes(&self) -> &BTreeSet<u8> {
        &self.volumes
    }

    /// Officers in office, by name.
    #[must_use]
    pub fn officers(&self) -> &BTreeMap<String, Officer> {
        &self.officers
    }

    /// Compactions in their order: chunks of the first segments are in the second ones.
    #[must_use]
    pub fn compactions(&self) -> &[(Runs, Runs)] {
        &self.compactions
    }

    /// The last 100 alarms, oldest first.
    pub fn alarms(&self) -> impl DoubleEndedIterator<Item = &Alarm> {
        self.alarms.iter()
    }

    /// Exactly what a deletion of `points` would free: recorded segments that no other point
    /// reaches, without those in `keep`. The newest key is never freed: something may be written
    /// under it just now.
    #[must_use]
    pub fn unreached_after(&self, points: &[RecoveryPointId], keep: &Runs) -> Freed {
        let mut going = Counts::default();
        for point in points.iter().collect::<BTreeSet<_>>() {
            if let Some(point) = self.points.get(point) {
                point.reach.runs().for_each(|run| going.add(run));
            }
        }
        let (mut freed, mut per_key) = (Freed::default(), BTreeMap::<u32, u32>::new());
        for (&serial, segment) in &self.segments {
            if self.counts.get(serial) == going.get(serial) && !keep.contains(serial) {
                freed.segments.push(serial, serial);
                freed.bytes += segment.bytes;
                *per_key.entry(segment.epoch).or_default() += 1;
            }
        }
        let newest = self.keys.last_key_value().map(|(epoch, _)| *epoch);
        let last = |(epoch, gone): &(u32, u32)| {
            Some(*epoch) != newest && self.keys.get(epoch).is_some_and(|key| key.segments == *gone)
        };
        freed.keys = per_key.into_iter().filter(last).map(|(epoch, _)| epoch).collect();
        freed
    }
}
