//! The leaves replayed: what exists, what is locked, which points reach what.
//!
//! This is the verifier's own replay and deliberately not the warden's: one mistake must not
//! judge itself. It decides nothing; what the rules forbid becomes a finding.

use crate::VerifyError;
use crate::report::Damage;
use ::ledger::event::{Commit, Right, Segment};
use ::ledger::{Event, Leaf, Runs, Vkey};
use format::manifest::RecordRef;
use format::{Place, SEGMENT_MAX};
use model::{ChunkId, LockMode, RecoveryPointId, RetentionTime, RunId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Runs of serials in the reaches of all points; more do not fit in memory.
const RUNS_KEPT: usize = 20_000_000;

/// What the ledger says of a recovery point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) id: RecoveryPointId,
    pub(crate) run: RunId,
    pub(crate) vm: String,
    pub(crate) chunk_size: u32,
    pub(crate) manifest: RecordRef,
    /// Segments it needs.
    pub(crate) reach: Runs,
    pub(crate) mode: LockMode,
    pub(crate) until: RetentionTime,
    pub(crate) holds: BTreeSet<String>,
}

/// Everything that the leaves so far amount to.
#[derive(Default)]
pub(crate) struct State {
    clock: Option<RetentionTime>,
    pub(crate) signer: Option<Vkey>,
    /// By the numbers of their commit leaves, so in the order of their commits.
    points: BTreeMap<u64, Point>,
    /// The commit leaf of each point.
    committed: HashMap<RecoveryPointId, u64>,
    /// Runs in the reaches of all points.
    kept: usize,
    pub(crate) segments: BTreeMap<u32, Segment>,
    /// Epochs of keys, with the BLAKE3 of each file.
    pub(crate) keys: BTreeMap<u32, [u8; 32]>,
    pub(crate) volumes: BTreeSet<u8>,
    officers: BTreeMap<String, BTreeSet<Right>>,
    overrides_off: bool,
    compacted: Vec<(Runs, Runs)>,
    /// Serials that were deleted: the first of each run, and its last.
    removed: BTreeMap<u32, u32>,
    pending: BTreeMap<RecoveryPointId, (Runs, Runs)>,
    odd: Vec<String>,
}

/// A leaf that stops the replay, or one that is only wrong.
pub(crate) enum Wrong {
    /// It might be a lock: nothing is guessed.
    Unknown(String),
    /// It says what no leaf may say.
    Damage(Damage),
}

impl From<Damage> for Wrong {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

const KINDS: &[&str] = &[
    "created",
    "signer",
    "officer",
    "dismiss",
    "bounds",
    "key",
    "volume",
    "segment",
    "reach",
    "commit",
    "extend",
    "tighten",
    "hold",
    "unhold",
    "override",
    "overrides-off",
    "clock",
    "clock-event",
    "refused",
    "verified",
    "scrubbed",
    "quarantined",
    "repaired",
    "compact",
    "exported",
    "alarm",
    "delete",
    "deleted",
];

/// Leaf `number` from its data.
fn decode(number: u64, data: &[u8]) -> Result<Leaf, Wrong> {
    crate::json::strict(data)?;
    let value: serde_json::Value =
        serde_json::from_slice(data).map_err(|error| Damage(error.to_string()))?;
    if value["v"] != 2 {
        return Err(Wrong::Unknown(format!("version {}", value["v"])));
    }
    match &value["event"]["type"] {
        serde_json::Value::String(kind) if KINDS.contains(&&**kind) => {}
        serde_json::Value::String(kind) => {
            return Err(Wrong::Unknown(format!("the event '{}'", kind.escape_debug())));
        }
        _ => return Err(Damage::new("an event without a type").into()),
    }
    Leaf::decode(number, data).map_err(|error| Wrong::Damage(error.into()))
}

/// There is no segment 0.
fn names_serial_zero(event: &Event) -> bool {
    let zero = |runs: &Runs| runs.contains(0);
    match event {
        Event::Reach { add, drop, .. } => zero(add) || zero(drop),
        Event::Commit(commit) => zero(&commit.reach.add) || zero(&commit.reach.drop),
        Event::Compact { from, to } => zero(from) || zero(to),
        Event::Delete { segments, .. } => zero(segments),
        _ => false,
    }
}

impl State {
    pub(crate) fn new() -> Self {
        Self { volumes: BTreeSet::from([0]), ..Self::default() }
    }

    /// Applies leaf `number`; deeds against the rules are to be taken with [`Self::take_odd`].
    pub(crate) fn apply(
        &mut self,
        number: u64,
        data: &[u8],
        repository: &[u8; 16],
    ) -> Result<(), Wrong> {
        let leaf = decode(number, data)?;
        let created = matches!(leaf.event, Event::Created { .. });
        Damage::unless(created == (number == 0), "`created` must be leaf 0, and only that")?;
        Damage::unless(leaf.clock.0 >= 0, "a retention clock before its beginning")?;
        let backwards = self.clock.is_some_and(|clock| leaf.clock < clock);
        self.clock = self.clock.max(Some(leaf.clock));
        self.effect(number, leaf.event, repository)?;
        if backwards {
            let clock = leaf.clock.0;
            return Err(Damage(format!("the retention clock goes back to {clock}")).into());
        }
        if self.kept > RUNS_KEPT {
            let problem = "the points reach more runs of segments than fit in memory";
            return Err(Wrong::Unknown(problem.into()));
        }
        Ok(())
    }

    /// Deeds that the rules forbid since this was called last. The ledger that tells them is
    /// sound; what it tells is not.
    pub(crate) fn take_odd(&mut self) -> Vec<String> {
        std::mem::take(&mut self.odd)
    }

    fn odd_unless(&mut self, lawful: bool, deed: impl FnOnce() -> String) {
        if !lawful {
            self.odd.push(deed());
        }
    }

    fn now(&self) -> RetentionTime {
        self.clock.unwrap_or_default()
    }

    /// The points that exist, in the order of their commits.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.values()
    }

    fn point(&mut self, id: RecoveryPointId) -> Result<&mut Point, Damage> {
        let point = self.committed.get(&id).and_then(|leaf| self.points.get_mut(leaf));
        point.ok_or_else(|| Damage(format!("there is no point {id}")))
    }

    fn effect(&mut self, number: u64, event: Event, own: &[u8; 16]) -> Result<(), Damage> {
        Damage::unless(!names_serial_zero(&event), "runs of serials that begin with 0")?;
        match event {
            Event::Created { repository, signer, .. } => {
                self.signer = Some(signer.parse()?);
                Damage::unless(repository == hex::encode(own), "the ledger of another repository")?;
            }
            Event::Signer { key } => self.signer = Some(key.parse()?),
            Event::Officer { name, rights, .. } => {
                self.officers.insert(name, rights.into_iter().collect());
            }
            Event::Dismiss { name, .. } => {
                let known = self.officers.remove(&name).is_some();
                self.odd_unless(known, || format!("there is no officer {name:?}"));
            }
            Event::Key { epoch, hash } => self.key(epoch, &hash)?,
            Event::Volume { number } => {
                Damage::unless(number != 0, "volume 0 is no further volume")?;
                self.volumes.insert(number);
            }
            Event::Segment(segment) => self.segment(segment)?,
            Event::Reach { point, add, drop } => {
                let waiting = self.pending.entry(point).or_default();
                *waiting = (waiting.0.union(&add), waiting.1.union(&drop));
            }
            Event::Commit(commit) => self.commit(number, *commit)?,
            Event::Compact { from, to } => self.compact(from, &to),
            Event::Delete { points, segments, keys } => {
                for id in points {
                    self.delete(id.0)?;
                }
                for epoch in keys {
                    self.keys.remove(&epoch);
                }
                self.remove(&segments);
            }
            lock => self.lock(lock)?,
        }
        Ok(())
    }

    /// Events that change the lock or the holds of one point, and those without effect here.
    fn lock(&mut self, event: Event) -> Result<(), Damage> {
        match event {
            Event::Extend { point, until } => {
                let point = self.point(point)?;
                let longer = until >= point.until;
                point.until = point.until.max(until);
                self.odd_unless(longer, || "a lock that is made shorter".into());
            }
            Event::Tighten { point } => self.point(point)?.mode = LockMode::Compliance,
            Event::Hold { point, matter } => {
                self.point(point)?.holds.insert(matter);
            }
            Event::Unhold { point, matter, by } => {
                let held = self.point(point)?.holds.remove(&matter);
                self.odd_unless(held, || "ends a hold that is not there".into());
                let signed = self.officers_with(&by, Right::ReleaseHold) > 0;
                self.odd_unless(signed, || "no officer signed the end of the hold".into());
            }
            Event::Override { point, by, .. } => {
                let (now, off) = (self.now(), self.overrides_off);
                let point = self.point(point)?;
                let lawful = !off && point.mode == LockMode::Governance;
                point.until = point.until.min(now);
                self.odd_unless(lawful, || "a lock that nobody may override ends".into());
                let signed = self.officers_with(&by, Right::Override) >= 2;
                self.odd_unless(signed, || "a lock is overridden without two officers".into());
            }
            Event::OverridesOff {} => self.overrides_off = true,
            _ => {}
        }
        Ok(())
    }

    fn officers_with(&self, names: &[String], right: Right) -> usize {
        let names: BTreeSet<&String> = names.iter().collect();
        let has = |name: &&&String| self.officers.get(**name).is_some_and(|r| r.contains(&right));
        names.iter().filter(has).count()
    }

    fn key(&mut self, epoch: u32, hash: &str) -> Result<(), Damage> {
        Damage::unless(epoch != 0, "a key of epoch 0")?;
        let hash = hash.parse::<ChunkId>().map_err(|_| Damage::new("a hash that is none"))?;
        let twice = self.keys.insert(epoch, hash.0).is_some();
        self.odd_unless(!twice, || format!("the key of epoch {epoch} twice"));
        Ok(())
    }

    fn segment(&mut self, segment: Segment) -> Result<(), Damage> {
        let serial = segment.serial;
        let class = ["data", "metadata"].contains(&&*segment.class);
        let seal = segment.seal.parse::<ChunkId>().is_ok();
        let lawful = class && seal && serial != 0 && segment.bytes <= SEGMENT_MAX;
        Damage::unless(lawful, "a segment with a class, seal, serial or length that is none")?;
        let before = self.segments.contains_key(&serial) || self.was_removed(serial);
        self.odd_unless(!before, || format!("segment {serial} was there before"));
        self.segments.insert(serial, segment);
        Ok(())
    }

    fn commit(&mut self, number: u64, commit: Commit) -> Result<(), Damage> {
        let Commit { point, run, vm, chunk_size, manifest, reach, lock, .. } = commit;
        let (add, drop) = self.pending.remove(&point).unwrap_or_default();
        let base = match reach.base {
            Some(base) => self.point(base)?.reach.clone(),
            None => Runs::new(),
        };
        let reach = base.without(&drop.union(&reach.drop)).union(&add.union(&reach.add));
        Damage::unless(!self.committed.contains_key(&point), "a point that exists already")?;
        let id = manifest.id.parse::<ChunkId>().map_err(|_| Damage::new("an id that is none"))?;
        let manifest = RecordRef { id, place: Place::from_bits(manifest.place)? };
        let (mode, until) = (lock.mode, lock.until);
        let (vm, holds) = (vm.name, BTreeSet::new());
        self.kept += reach.as_slice().len();
        self.committed.insert(point, number);
        let point = Point { id: point, run, vm, chunk_size, manifest, reach, mode, until, holds };
        self.points.insert(number, point);
        Ok(())
    }

    /// Forgets segments. Costs as much as there are of them, however long the runs.
    fn remove(&mut self, segments: &Runs) {
        for &(first, last) in segments.as_slice() {
            let here: Vec<u32> = self.segments.range(first..=last).map(|(s, _)| *s).collect();
            for serial in here {
                self.segments.remove(&serial);
            }
            let (mut begin, mut end) = (first, last);
            while let Some((other, its)) = self.removed_near(begin, end) {
                (begin, end) = (begin.min(other), end.max(its));
                self.removed.remove(&other);
            }
            self.removed.insert(begin, end);
        }
    }

    /// A run of deleted serials that overlaps or touches this one.
    fn removed_near(&self, begin: u32, end: u32) -> Option<(u32, u32)> {
        let last = self.removed.range(..=end.saturating_add(1)).next_back();
        last.map(|(first, last)| (*first, *last))
            .filter(|(_, last)| last.saturating_add(1) >= begin)
    }

    fn was_removed(&self, serial: u32) -> bool {
        let run = self.removed.range(..=serial).next_back();
        run.is_some_and(|(_, last)| *last >= serial)
    }

    fn compact(&mut self, from: Runs, to: &Runs) {
        let now = self.now();
        for point in self.points.values_mut() {
            let rest = point.reach.without(&from);
            if rest == point.reach {
                continue;
            }
            if point.until > now || !point.holds.is_empty() {
                let id = point.id;
                self.odd.push(format!("compacts segments of point {id}, which is locked or held"));
            }
            self.kept -= point.reach.as_slice().len();
            point.reach = rest.union(to);
            self.kept += point.reach.as_slice().len();
        }
        self.compacted.push((from, to.clone()));
    }

    fn delete(&mut self, id: RecoveryPointId) -> Result<(), Damage> {
        let now = self.now();
        let point = self.committed.remove(&id).and_then(|leaf| self.points.remove(&leaf));
        let point = point.ok_or_else(|| Damage(format!("there is no point {id}")))?;
        self.kept -= point.reach.as_slice().len();
        let (until, held) = (point.until, !point.holds.is_empty());
        self.odd_unless(until <= now, || {
            format!("deletes point {id}, which is locked until {}", until.0)
        });
        self.odd_unless(!held, || format!("deletes point {id}, which is held"));
        Ok(())
    }

    /// The segments in which chunks of a compacted one may lie now.
    pub(crate) fn moved_to(&self, serial: u32) -> Runs {
        let own: Runs = [serial].into_iter().collect();
        let mut at = own.clone();
        for (from, to) in &self.compacted {
            let rest = at.without(from);
            if rest != at {
                at = rest.union(to);
            }
        }
        at.without(&own)
    }
}

impl From<Wrong> for VerifyError {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Unknown(problem) => Self::Refused(problem),
            Wrong::Damage(damage) => Self::Damaged(damage),
        }
    }
}
