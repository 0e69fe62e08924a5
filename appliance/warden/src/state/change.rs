//! The effect of each kind of leaf (the table of FORMAT.md 8).

use super::parts::{ALARMS, EXPORTS};
use super::{
    Alarm, Created, Export, Key, Officer, Point, Reach, Removal, Segment, State, Verified,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format::Place;
use format::segment::Class;
use ledger::event::{Commit, LockBounds, PointText, ReachChange};
use ledger::{Event, Leaf, Runs, Vkey};
use model::{ChunkId, RecoveryPointId, RetentionTime};
use retention::{Bounds, ClockEvent, ClockState, Verdict};
use std::collections::BTreeSet;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("'{text}': {error}"))?;
    Ok(hash)
}

pub(crate) fn bounds(bounds: LockBounds) -> Bounds {
    Bounds { min_seconds: bounds.min_seconds, max_seconds: bounds.max_seconds }
}

pub(crate) fn class_of(name: &str) -> Result<Class, String> {
    match name {
        "data" => Ok(Class::Data),
        "metadata" => Ok(Class::Metadata),
        other => Err(format!("a segment of class '{other}'")),
    }
}

pub(crate) fn right(right: ledger::event::Right) -> retention::Right {
    match right {
        ledger::event::Right::ReleaseHold => retention::Right::ReleaseHold,
        ledger::event::Right::Override => retention::Right::Override,
    }
}

pub(crate) fn officer_key(text: &str) -> Result<[u8; 32], String> {
    let key = STANDARD.decode(text).map_err(|error| format!("an officer's key: {error}"))?;
    let key: [u8; 32] = key.try_into().map_err(|_| "an officer's key has no 32 bytes")?;
    Vkey::new("officer", &key).map_err(text_of_key)?;
    Ok(key)
}

fn text_of_key(error: ledger::LedgerError) -> String {
    format!("an officer's key: {error}")
}

fn names(by: &[String]) -> BTreeSet<String> {
    by.iter().cloned().collect()
}

impl State {
    pub(super) fn take(&mut self, leaf: &Leaf) -> Result<(), String> {
        let first = matches!(leaf.event, Event::Created { .. });
        if first != (self.size == 0) {
            return Err("the first leaf, and only that, creates the repository".into());
        }
        if !matches!(leaf.event, Event::Reach { .. } | Event::Commit(_)) {
            self.pending = None;
        }
        match &leaf.event {
            Event::Created { .. } => self.create(leaf),
            Event::Clock { .. } | Event::ClockEvent { .. } => self.tell_clock(leaf),
            Event::Signer { .. } | Event::Officer { .. } | Event::Dismiss { .. } => {
                self.take_person(&leaf.event)
            }
            Event::Extend { .. }
            | Event::Tighten { .. }
            | Event::Hold { .. }
            | Event::Unhold { .. }
            | Event::Override { .. }
            | Event::OverridesOff {}
            | Event::Bounds { .. } => self.take_lock(leaf),
            Event::Key { epoch, hash } => self.key(*epoch, hash),
            Event::Volume { number } => {
                let new = *number > 0 && self.volumes.insert(*number);
                if new { Ok(()) } else { Err(format!("volume {number} again")) }
            }
            Event::Segment(segment) => self.segment_leaf(segment, leaf.clock),
            Event::Reach { point, add, drop } => {
                self.part_of_reach(*point, add, drop);
                Ok(())
            }
            Event::Commit(commit) => self.commit(commit, leaf.clock),
            Event::Compact { from, to } => self.compact(from, to, leaf.clock),
            Event::Delete { points, segments, keys } => {
                self.delete(points, segments, keys, leaf.clock)
            }
            Event::Deleted { .. } => {
                self.removal = None;
                Ok(())
            }
            Event::Verified { .. }
            | Event::Scrubbed { .. }
            | Event::Quarantined { .. }
            | Event::Repaired { .. }
            | Event::Exported { .. }
            | Event::Alarm { .. }
            | Event::Refused { .. } => {
                self.take_evidence(leaf);
                Ok(())
            }
        }
    }

    fn create(&mut self, leaf: &Leaf) -> Result<(), String> {
        let Event::Created { repository, chunk_size, bounds: limits, signer } = &leaf.event else {
            return Err("it is not the first leaf".into());
        };
        let mut id = [0; 16];
        hex::decode_to_slice(repository, &mut id).map_err(text)?;
        self.created = Some(Created { repository: id, chunk_size: *chunk_size });
        self.clock = Some(ClockState::begin(leaf.clock));
        self.signer = Some(signer.parse().map_err(text)?);
        self.retention.apply(retention::Event::SetBounds(bounds(*limits))).map_err(text)
    }

    fn tell_clock(&mut self, leaf: &Leaf) -> Result<(), String> {
        let clock = self.clock.as_mut().ok_or("there is no clock")?;
        match &leaf.event {
            Event::Clock { state } => {
                let state = serde_json::from_value(state.clone()).map_err(text)?;
                *clock = state;
                clock.reach(leaf.clock);
            }
            Event::ClockEvent { what } => {
                let event: ClockEvent = serde_json::from_value(what.clone()).map_err(text)?;
                clock.apply(&event, leaf.clock);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_person(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Signer { key } => self.signer = Some(key.parse().map_err(text)?),
            Event::Officer { name, key, rights, by } => {
                let key = officer_key(key)?;
                let officer = name.clone();
                let engine = rights.iter().copied().map(right).collect();
                let event = retention::Event::Enrol { officer, rights: engine, by: names(by) };
                self.retention.apply(event).map_err(text)?;
                let rights = rights.iter().copied().collect();
                self.officers.insert(name.clone(), Officer { key, rights });
            }
            Event::Dismiss { name, .. } => {
                let event = retention::Event::Dismiss { officer: name.clone() };
                self.retention.apply(event).map_err(text)?;
                self.officers.remove(name);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_lock(&mut self, leaf: &Leaf) -> Result<(), String> {
        match lock_event(&leaf.event, leaf.clock) {
            Some(event) => self.retention.apply(event).map_err(text),
            None => Ok(()),
        }
    }

    fn key(&mut self, epoch: u32, file: &str) -> Result<(), String> {
        if epoch == 0 || self.keys.contains_key(&epoch) || self.destroyed.contains(&epoch) {
            return Err(format!("key epoch {epoch} again"));
        }
        self.keys.insert(epoch, Key { hash: hash(file)?, segments: 0 });
        Ok(())
    }

    fn segment_leaf(
        &mut self,
        segment: &ledger::event::Segment,
        clock: RetentionTime,
    ) -> Result<(), String> {
        let serial = segment.serial;
        if serial == 0 || self.segments.contains_key(&serial) || self.deleted.contains(serial) {
            return Err(format!("segment {serial} again"));
        }
        if segment.epoch != 0 {
            let key = self.keys.get_mut(&segment.epoch);
            key.ok_or_else(|| format!("there is no key of epoch {}", segment.epoch))?.segments += 1;
        }
        let known = Segment {
            volume: segment.volume,
            class: class_of(&segment.class)?,
            cohort: segment.cohort,
            bytes: segment.bytes,
            seal: hash(&segment.seal)?,
            epoch: segment.epoch,
            recorded: clock,
            scrubbed: None,
            distrusted: false,
            quarantined: false,
        };
        self.segments.insert(serial, known);
        Ok(())
    }

    fn part_of_reach(&mut self, point: RecoveryPointId, add: &Runs, drop: &Runs) {
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

    fn commit(&mut self, commit: &Commit, clock: RetentionTime) -> Result<(), String> {
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
        let unknown = |run: &(u32, u32)| {
            let wanted = u64::from(run.1 - run.0) + 1;
            self.segments.range(run.0..=run.1).count() as u64 != wanted
        };
        // What the base reaches is recorded: a segment that is reached is not deleted.
        if change.add.as_slice().iter().any(unknown) {
            return Err("it reaches a segment that is not recorded".into());
        }
        let event = retention::Event::Commit { point: id, lock: commit.lock };
        self.retention.apply(event).map_err(text)?;
        reach.runs().for_each(|run| self.counts.add(run));
        let commit = Commit { reach: ReachChange::default(), ..commit.clone() };
        let leaf = self.size;
        let (verified, exports) = (None, Vec::new());
        let point = Point { commit, leaf, committed: clock, reach, verified, exports };
        self.points.insert(id, point);
        self.order.insert(leaf, id);
        Ok(())
    }

    fn compact(&mut self, from: &Runs, to: &Runs, clock: RetentionTime) -> Result<(), String> {
        self.may_compact(from, to, clock)?;
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

    /// Whether chunks may be moved: all segments recorded, and no point that reaches the old ones
    /// locked or held.
    pub(crate) fn may_compact(
        &self,
        from: &Runs,
        to: &Runs,
        clock: RetentionTime,
    ) -> Result<(), String> {
        let all = |runs: &Runs| {
            let known = |&(a, b): &(u32, u32)| self.segments.range(a..=b).count() as u64;
            runs.as_slice().iter().map(known).sum::<u64>() == runs.count()
        };
        if !all(from) || !all(to) || from.without(to) != *from {
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

    fn delete(
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

    fn take_evidence(&mut self, leaf: &Leaf) {
        match &leaf.event {
            Event::Verified { point, damage, segments, .. } => {
                segments.iter().for_each(|serial| self.mark(*serial, |s| s.distrusted = true));
                if let Some(point) = self.points.get_mut(point) {
                    let (at, clock) = (leaf.wall, leaf.clock);
                    point.verified = Some(Verified { at, clock, damage: *damage });
                }
            }
            Event::Scrubbed { segments, damaged, .. } => {
                for &(first, last) in segments.as_slice() {
                    for segment in self.segments.range_mut(first..=last) {
                        segment.1.scrubbed = Some(leaf.clock);
                    }
                }
                damaged.iter().for_each(|serial| self.mark(*serial, |s| s.distrusted = true));
            }
            Event::Quarantined { serial, .. } => self.mark(*serial, |segment| {
                (segment.distrusted, segment.quarantined) = (true, true);
            }),
            Event::Repaired { serial, .. } => self.mark(*serial, |segment| {
                (segment.distrusted, segment.quarantined) = (false, false);
            }),
            Event::Exported { point, medium, detail } => {
                if let Some(point) = self.points.get_mut(point) {
                    let (medium, detail) = (medium.clone(), detail.clone());
                    if point.exports.len() == EXPORTS {
                        point.exports.remove(0);
                    }
                    point.exports.push(Export { at: leaf.wall, medium, detail });
                }
            }
            Event::Alarm { what, detail } => {
                let (what, detail) = (what.clone(), detail.clone());
                if self.alarms.len() == ALARMS {
                    self.alarms.pop_front();
                }
                self.alarms.push_back(Alarm { leaf: self.size, at: leaf.wall, what, detail });
            }
            _ => {}
        }
    }

    fn mark(&mut self, serial: u32, change: impl FnOnce(&mut Segment)) {
        if let Some(segment) = self.segments.get_mut(&serial) {
            change(segment);
        }
    }
}

/// What a leaf that concerns locks is to the retention engine.
pub(crate) fn lock_event(event: &Event, clock: RetentionTime) -> Option<retention::Event> {
    use retention::Event as Engine;
    Some(match event {
        Event::Extend { point, until } => Engine::Extend { point: *point, until: *until },
        Event::Tighten { point } => Engine::Tighten { point: *point },
        Event::Hold { point, matter } => Engine::Hold { point: *point, matter: matter.clone() },
        Event::Unhold { point, matter, .. } => {
            Engine::Unhold { point: *point, matter: matter.clone() }
        }
        Event::Override { point, by, .. } => {
            Engine::Override { point: *point, at: clock, by: names(by) }
        }
        Event::OverridesOff {} => Engine::ForbidOverrides,
        Event::Bounds { bounds: limits, .. } => Engine::SetBounds(bounds(*limits)),
        Event::Officer { name, rights, by, .. } => Engine::Enrol {
            officer: name.clone(),
            rights: rights.iter().copied().map(right).collect(),
            by: names(by),
        },
        Event::Dismiss { name, .. } => Engine::Dismiss { officer: name.clone() },
        _ => return None,
    })
}
