//! Whether leaves can be taken, found out without taking them: a leaf that the replay refuses must
//! never be written, or no later start would open the repository.
//!
//! Each check mirrors what taking the leaf would refuse; a test holds the two against each other.

use super::change::{class_of, hash, text};
use super::{Counts, State, lock_event, officer_key};
use format::Place;
use format::segment::Class;
use ledger::event::{Commit, PointText, Segment};
use ledger::{Event, Leaf, Runs, Vkey};
use model::{ChunkId, RecoveryPointId, RetentionTime};
use retention::{ClockEvent, ClockState, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What the leaves before this one in the same batch would have changed.
#[derive(Default)]
struct Batch {
    segments: BTreeSet<u32>,
    /// Parts of the reach of the commit to come.
    added: Runs,
    points: BTreeSet<RecoveryPointId>,
    /// References that go with these points.
    going: Counts,
    /// Segments that go, by epoch.
    freed: BTreeMap<u32, BTreeSet<u32>>,
}

impl State {
    /// Whether `leaves` can be taken as one batch as the warden writes them: segments with the
    /// commit or compaction that needs them, the leaves of one deletion, or any single leaf.
    /// Nothing is changed.
    pub fn check(&self, leaves: &[Leaf]) -> Result<(), String> {
        if self.size == 0 {
            let mut first = self.clone(); // nothing is in it
            return (0..).zip(leaves).try_for_each(|(number, leaf)| first.apply(number, leaf));
        }
        let (mut batch, mut clock) = (Batch::default(), self.high_water());
        for leaf in leaves {
            if leaf.clock < clock {
                return Err("the retention clock runs back".into());
            }
            clock = leaf.clock;
            self.may_take(leaf, &mut batch)?;
        }
        Ok(())
    }

    fn may_take(&self, leaf: &Leaf, batch: &mut Batch) -> Result<(), String> {
        no_serial_zero(&leaf.event)?;
        match &leaf.event {
            Event::Created { .. } => Err("there is a first leaf already".into()),
            Event::Clock { state } => {
                serde_json::from_value::<ClockState>(state.clone()).map(drop).map_err(text)
            }
            Event::ClockEvent { what } => {
                serde_json::from_value::<ClockEvent>(what.clone()).map(drop).map_err(text)
            }
            Event::Signer { key } => key.parse::<Vkey>().map(drop).map_err(text),
            Event::Key { epoch, hash } => self.may_add_key(*epoch, hash),
            Event::Volume { number } => self.may_add_volume(*number),
            Event::Segment(segment) => self.may_record(segment, batch),
            Event::Reach { add, .. } => {
                batch.added = batch.added.union(add);
                Ok(())
            }
            Event::Commit(commit) => self.may_commit(commit, batch),
            Event::Compact { from, to } => self.may_compact(from, to, leaf.clock, &batch.segments),
            Event::Delete { points, segments, keys } => {
                points.iter().try_for_each(|point| self.may_delete(*point, leaf.clock, batch))?;
                self.may_free(segments, batch)?;
                keys.iter().try_for_each(|epoch| self.may_destroy(*epoch, batch))
            }
            event => self.may_change(event, leaf.clock),
        }
    }

    /// Locks, holds, officers; evidence is always taken.
    fn may_change(&self, event: &Event, clock: RetentionTime) -> Result<(), String> {
        if let Event::Officer { key, .. } = event {
            officer_key(key)?;
        }
        match lock_event(event, clock) {
            Some(event) => self.retention.allows(&event).map_err(text),
            None => Ok(()),
        }
    }

    pub(super) fn may_add_key(&self, epoch: u32, file: &str) -> Result<(), String> {
        if epoch == 0 || self.keys.contains_key(&epoch) || self.destroyed.contains(&epoch) {
            return Err(format!("key epoch {epoch} again"));
        }
        hash(file).map(drop)
    }

    pub(super) fn may_add_volume(&self, number: u8) -> Result<(), String> {
        let new = number > 0 && !self.volumes.contains(&number);
        if new { Ok(()) } else { Err(format!("volume {number} again")) }
    }

    fn may_record(&self, segment: &Segment, batch: &mut Batch) -> Result<(), String> {
        self.is_new(segment)?;
        let new = batch.segments.insert(segment.serial);
        if new { Ok(()) } else { Err(format!("segment {} again", segment.serial)) }
    }

    /// What a `segment` leaf says can be recorded.
    pub(super) fn is_new(&self, segment: &Segment) -> Result<(Class, [u8; 32]), String> {
        let Segment { serial, epoch, .. } = *segment;
        if serial == 0 || self.segments.contains_key(&serial) || self.deleted.contains(serial) {
            return Err(format!("segment {serial} again"));
        }
        if epoch != 0 && !self.keys.contains_key(&epoch) {
            return Err(format!("there is no key of epoch {epoch}"));
        }
        Ok((class_of(&segment.class)?, hash(&segment.seal)?))
    }

    fn may_commit(&self, commit: &Commit, batch: &Batch) -> Result<(), String> {
        let id = commit.point;
        if self.gone.contains(&id) {
            return Err(format!("recovery point {id} was deleted before"));
        }
        commit.manifest.id.parse::<ChunkId>().map_err(text)?;
        Place::from_bits(commit.manifest.place).map_err(text)?;
        if commit.reach.base.is_some_and(|base| !self.points.contains_key(&base)) {
            return Err("its base does not exist".into());
        }
        if !self.records(&batch.added.union(&commit.reach.add), &batch.segments) {
            return Err("it reaches a segment that is not recorded".into());
        }
        let event = retention::Event::Commit { point: id, lock: commit.lock };
        self.retention.allows(&event).map_err(text)
    }

    /// Whether all of `runs` are recorded here or in `more`.
    pub(super) fn records(&self, runs: &Runs, more: &BTreeSet<u32>) -> bool {
        let known = |&(first, last): &(u32, u32)| {
            self.segments.range(first..=last).count() + more.range(first..=last).count()
        };
        runs.as_slice().iter().map(known).sum::<usize>() as u64 == runs.count()
    }

    /// Whether chunks may be moved: all segments recorded, and no point that reaches the old ones
    /// locked or held.
    pub(super) fn may_compact(
        &self,
        from: &Runs,
        to: &Runs,
        clock: RetentionTime,
        more: &BTreeSet<u32>,
    ) -> Result<(), String> {
        let recorded = self.records(from, &BTreeSet::new()) && self.records(to, more);
        if !recorded || from.without(to) != *from {
            return Err("the segments of a compaction are not all recorded".into());
        }
        for (id, _) in self.reaching(from) {
            match self.retention.may_delete(id, clock) {
                Some(Verdict::Expire) => {}
                _ => return Err(format!("recovery point {id} needs the old segments")),
            }
        }
        Ok(())
    }

    fn may_delete(
        &self,
        PointText(point): PointText,
        at: RetentionTime,
        batch: &mut Batch,
    ) -> Result<(), String> {
        self.retention.allows(&retention::Event::Deleted { point, at }).map_err(text)?;
        let known = self.points.get(&point).ok_or("a point that does not exist")?;
        if !batch.points.insert(point) {
            return Err(format!("recovery point {point} twice"));
        }
        known.reach.runs().for_each(|run| batch.going.add(run));
        Ok(())
    }

    fn may_free(&self, segments: &Runs, batch: &mut Batch) -> Result<(), String> {
        for &(first, last) in segments.as_slice() {
            for (&serial, segment) in self.segments.range(first..=last) {
                if self.counts.get(serial) != batch.going.get(serial) {
                    return Err(format!("segment {serial} is needed by a recovery point"));
                }
                batch.freed.entry(segment.epoch).or_default().insert(serial);
            }
        }
        Ok(())
    }

    fn may_destroy(&self, epoch: u32, batch: &Batch) -> Result<(), String> {
        if self.keys.last_key_value().is_some_and(|(newest, _)| *newest == epoch) {
            return Err(format!("key epoch {epoch} is the newest one"));
        }
        let gone = batch.freed.get(&epoch).map_or(0, BTreeSet::len);
        match self.keys.get(&epoch) {
            Some(key) if key.segments as usize == gone => Ok(()),
            Some(_) => Err(format!("key epoch {epoch} is needed by a segment")),
            None => Err(format!("there is no key of epoch {epoch}")),
        }
    }
}

/// Serials begin with 1 (FORMAT.md 8).
pub(super) fn no_serial_zero(event: &Event) -> Result<(), String> {
    let zero = |runs: &Runs| runs.contains(0);
    let names = match event {
        Event::Reach { add, drop, .. } => zero(add) || zero(drop),
        Event::Commit(commit) => zero(&commit.reach.add) || zero(&commit.reach.drop),
        Event::Compact { from, to } => zero(from) || zero(to),
        Event::Delete { segments, .. } => zero(segments),
        _ => false,
    };
    if names { Err("a run of serials begins with 0".into()) } else { Ok(()) }
}
