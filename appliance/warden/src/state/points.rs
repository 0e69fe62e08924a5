//! Points and segments come and go: commit, compaction, deletion.

use super::change::text;
use super::{Point, Reach, Removal, State};
use format::Place;
use ledger::Runs;
use ledger::event::{Commit, PointText, ReachChange};
use model::{ChunkId, RecoveryPointId, RetentionTime};
use std::collections::BTreeSet;

impl State {
    pub(super) fn part_of_reach(&mut self, point: RecoveryPointId, add: &Runs, drop: &Runs) {
        let (of, added, dropped) =
            self.pending.get_or_insert_with(|| (point, Runs::new(), Runs::new()));
        if *of != point {
            (*of, *added, *dropped) = (point, Runs::new(), Runs::new());
        }
        *added = added.union(add);
        *dropped = dropped.union(drop);
    }

    /// The reach of a point that is `change` away from its base.
    pub(crate) fn reach_of(&self, change: &ReachChange) -> Result<Reach, String> {
        let base = match change.base {
            None => Reach::default(),
            Some(base) => {
                let point = self.points.get(&base);
                point.ok_or_else(|| format!("its base {base} does not exist"))?.reach.clone()
            }
        };
        Ok(base.edit(&change.drop, &change.add))
    }

    pub(super) fn commit(&mut self, commit: &Commit, clock: RetentionTime) -> Result<(), String> {
        let id = commit.point;
        let mut change = commit.reach.clone();
        if let Some((_, add, drop)) = self.pending.take().filter(|pending| pending.0 == id) {
            change.add = change.add.union(&add);
            change.drop = change.drop.union(&drop);
        }
        if self.gone.contains(&id) {
            return Err(format!("recovery point {id} was deleted before"));
        }
        commit.manifest.id.parse::<ChunkId>().map_err(text)?;
        Place::from_bits(commit.manifest.place).map_err(text)?;
        let reach = self.reach_of(&change)?;
        // What the base reaches is recorded: a segment that is reached is not deleted.
        if !self.records(&change.add, &BTreeSet::new()) {
            return Err("it reaches a segment that is not recorded".into());
        }
        let event = retention::Event::Commit { point: id, lock: commit.lock };
        self.retention.apply(event).map_err(text)?;
        reach.runs().for_each(|run| self.counts.add(run));
        let commit = Commit { reach: ReachChange::default(), ..commit.clone() };
        let leaf = self.size;
        let (verified, unmended, exports) = (None, BTreeSet::new(), Vec::new());
        let point = Point { commit, leaf, committed: clock, reach, verified, unmended, exports };
        self.points.insert(id, point);
        self.order.insert(leaf, id);
        Ok(())
    }

    pub(super) fn compact(
        &mut self,
        from: &Runs,
        to: &Runs,
        clock: RetentionTime,
    ) -> Result<(), String> {
        self.may_compact(from, to, clock, &BTreeSet::new())?;
        for point in self.points.values_mut() {
            if point.reach.intersects(from.as_slice()) {
                let moved = point.reach.edit(from, to);
                point.reach.runs().for_each(|run| self.counts.take(run));
                moved.runs().for_each(|run| self.counts.add(run));
                point.reach = moved;
            }
        }
        self.compactions.push((from.clone(), to.clone()));
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        points: &[PointText],
        segments: &Runs,
        keys: &[u32],
        at: RetentionTime,
    ) -> Result<(), String> {
        for &PointText(point) in points {
            self.retention.apply(retention::Event::Deleted { point, at }).map_err(text)?;
            let known = self.points.remove(&point).ok_or("a point that does not exist")?;
            known.reach.runs().for_each(|run| self.counts.take(run));
            self.order.remove(&known.leaf);
            self.gone.insert(point);
        }
        let mut bytes = 0;
        for &(first, last) in segments.as_slice() {
            bytes += self.forget(first, last)?;
            self.deleted.insert((first, last));
        }
        for epoch in keys {
            if self.keys.last_key_value().is_some_and(|(newest, _)| newest == epoch) {
                return Err(format!("key epoch {epoch} is the newest one"));
            }
            match self.keys.remove(epoch) {
                Some(key) if key.segments == 0 => self.destroyed.insert(*epoch),
                Some(_) => return Err(format!("key epoch {epoch} is needed by a segment")),
                None => return Err(format!("there is no key of epoch {epoch}")),
            };
        }
        let removal = self.removal.get_or_insert_with(Removal::default);
        removal.segments = removal.segments.union(segments);
        removal.bytes += bytes;
        removal.keys.extend(keys);
        Ok(())
    }

    fn forget(&mut self, first: u32, last: u32) -> Result<u64, String> {
        let serials: Vec<u32> = self.segments.range(first..=last).map(|(s, _)| *s).collect();
        let mut bytes = 0;
        for serial in serials {
            if self.counts.get(serial) != 0 {
                return Err(format!("segment {serial} is needed by a recovery point"));
            }
            let Some(segment) = self.segments.remove(&serial) else { continue };
            bytes += segment.bytes;
            if let Some(key) = self.keys.get_mut(&segment.epoch) {
                key.segments = key.segments.saturating_sub(1);
            }
        }
        Ok(bytes)
    }
}
