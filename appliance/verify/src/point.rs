//! One recovery point: all it needs is there, and its reach is what its maps say.

use crate::check::{Checked, show_runs};
use crate::keys::Unlocked;
use crate::map::{Grid, HoleFound, Visit, Walked, Walker};
use crate::report::{Damage, Findings};
use crate::state::Point;
use crate::store::{Known, Record, Store};
use ::ledger::Runs;
use format::manifest::{DiskEntry, FileEntry, Manifest, RecordRef};
use format::reach::Reach;
use format::record::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Segments that must exist, by what is known of them.
pub(crate) struct Groups {
    live: Runs,
    missing: Runs,
    /// Their key is lost.
    locked: Runs,
    /// Here, and with a damaged record.
    hurt: Runs,
}

impl Groups {
    pub(crate) fn new(
        store: &Store<'_>,
        checks: &BTreeMap<u32, Checked>,
        unlocked: &Unlocked,
    ) -> Self {
        let of =
            |wanted: &dyn Fn(u32) -> bool| checks.keys().copied().filter(|s| wanted(*s)).collect();
        let here = |serial: u32| store.repository.segments.contains_key(&serial);
        let epoch = |serial: u32| store.state.segments.get(&serial).map_or(0, |leaf| leaf.epoch);
        let bad = |serial: u32| checks.get(&serial).is_some_and(|check| !check.bad.is_empty());
        Self {
            live: of(&|_| true),
            missing: of(&|serial| !here(serial)),
            locked: of(&|serial| unlocked.lost.contains(&epoch(serial))),
            hurt: of(&|serial| here(serial) && bad(serial)),
        }
    }
}

/// The check of one point.
pub(crate) struct PointCheck<'a> {
    point: &'a Point,
    findings: &'a mut Findings,
    /// All it needs is there and right.
    pub(crate) complete: bool,
    used: BTreeSet<u32>,
}

/// Chunks by what is known of their segments.
struct ByKnown<'a>(&'a Known<'a>);

impl Visit for ByKnown<'_> {
    fn chunk(&mut self, store: &mut Store<'_>, _: u64, record: &Record) -> Result<(), Damage> {
        store.chunk(record, self.0)
    }

    fn hole(&mut self, _: &HoleFound) -> bool {
        true
    }
}

/// The manifest of a point, compared with its commit leaf.
pub(crate) fn manifest(store: &mut Store<'_>, point: &Point) -> Result<Manifest, Damage> {
    let RecordRef { id, place } = point.manifest;
    let bytes = store.read(&Record { kind: Kind::Manifest, id, place, length: None })?;
    crate::json::strict(&bytes)?;
    let manifest = Manifest::decode(&bytes)?;
    let own = manifest.point == point.id && manifest.run == point.run;
    Damage::unless(own, "the manifest of another point or run")?;
    let same = manifest.chunk_size == point.chunk_size;
    Damage::unless(same, "another chunk size than in the ledger")?;
    for disk in &manifest.disks {
        let both = disk.map.is_some() == disk.reach.is_some();
        Damage::unless(both, "a map without reach, or a reach without map")?;
        let some = disk.map.is_none() || disk.identity.capacity > 0;
        Damage::unless(some, "a map of an empty disk")?;
    }
    Ok(manifest)
}

impl<'a> PointCheck<'a> {
    pub(crate) fn new(point: &'a Point, findings: &'a mut Findings) -> Self {
        let used = BTreeSet::from([point.manifest.place.segment()]);
        Self { point, findings, complete: true, used }
    }

    fn tell(&mut self, place: &str, what: impl fmt::Display) {
        self.findings.add(format!("point {}{place}", self.point.id), what);
    }

    /// Something without which the point is not complete.
    fn lost(&mut self, place: &str, what: impl fmt::Display) {
        self.complete = false;
        self.tell(place, what);
    }

    /// By the segments that the ledger says it needs, which takes no key.
    pub(crate) fn by_segments(&mut self, groups: &Groups, keys: bool) {
        let reach = &self.point.reach;
        let both = |one: &Runs| reach.without(&reach.without(one));
        let (missing, hurt) = (both(&groups.missing), both(&groups.hurt));
        let told = [
            (reach.without(&groups.live), "which the ledger does not have"),
            (missing, "which are missing"),
            (both(&groups.locked), "whose keys are lost"),
        ];
        for (runs, why) in told {
            self.lost_unless_empty(&runs, why);
        }
        if !keys {
            self.lost_unless_empty(&hurt, "which are damaged");
        }
    }

    fn lost_unless_empty(&mut self, runs: &Runs, why: &str) {
        if !runs.is_empty() {
            self.lost("", format!("needs segments {}, {why}", show_runs(runs)));
        }
    }

    /// By its manifest, files, maps and chunks.
    pub(crate) fn by_content(
        &mut self,
        store: &mut Store<'_>,
        walker: &mut Walker,
        known: &Known<'_>,
    ) {
        let manifest = match manifest(store, self.point) {
            Ok(manifest) => manifest,
            Err(damage) => return self.lost(", manifest", damage),
        };
        for (number, file) in manifest.files.iter().enumerate() {
            if let Err(damage) = self.file(store, file) {
                self.lost(&format!(", file {number} ({:?})", file.name), damage);
            }
        }
        for (number, disk) in manifest.disks.iter().enumerate() {
            let capacity = disk.identity.capacity;
            let grid = Grid { capacity, chunk_size: manifest.chunk_size };
            let place = format!(", disk {number}");
            let Some(keys) = store.keys().cloned() else { return };
            let walked = walker.disk(store, &keys, grid, disk.map, &mut ByKnown(known));
            self.disk(store, disk, &walked, (&place, grid.cells()));
        }
        self.covered(store);
    }

    fn file(&mut self, store: &mut Store<'_>, file: &FileEntry) -> Result<(), Damage> {
        let both = file.content.is_none() == (file.length == 0);
        Damage::unless(both, "length and content disagree")?;
        if let Some(RecordRef { id, place }) = file.content {
            self.used.insert(place.segment());
            let length = u32::try_from(file.length).map_err(|_| Damage::new("too long"))?;
            store.read(&Record { kind: Kind::File, id, place, length: Some(length) })?;
        }
        Ok(())
    }

    fn disk(
        &mut self,
        store: &mut Store<'_>,
        disk: &DiskEntry,
        walked: &Walked,
        (place, cells): (&str, u64),
    ) {
        for HoleFound { first, count, why } in &walked.holes {
            let last = first + count.saturating_sub(1);
            self.lost(place, format!("cells {first}-{last}: {why}"));
        }
        if walked.lost > 0 {
            self.lost(place, format!("{} cells of {cells} cannot be read", walked.lost));
        } else if walked.bytes != disk.data_bytes {
            let (bytes, said) = (walked.bytes, disk.data_bytes);
            self.tell(place, format!("{bytes} bytes in chunks; the manifest says {said}"));
        }
        self.used.extend(walked.references.keys());
        if let Some(reach) = disk.reach {
            self.used.insert(reach.place.segment());
            if let Err(damage) = recount(store, reach, walked) {
                self.tell(&format!("{place}, reach"), damage);
            }
        }
    }

    /// The ledger's reach has all that is used, or where that was moved to.
    fn covered(&mut self, store: &Store<'_>) {
        let reach = &self.point.reach;
        let absent = |serial: &u32| {
            let moved = store.state.moved_to(*serial);
            !reach.contains(*serial) && (moved.is_empty() || !moved.without(reach).is_empty())
        };
        let absent: Runs = self.used.iter().copied().filter(absent).collect();
        if !absent.is_empty() {
            let shown = show_runs(&absent);
            self.tell("", format!("uses segments {shown}, which the ledger's reach does not have"));
        }
    }
}

/// Compares a reach record with what the walk counted.
fn recount(store: &mut Store<'_>, reach: RecordRef, walked: &Walked) -> Result<(), Damage> {
    let RecordRef { id, place } = reach;
    let bytes = store.read(&Record { kind: Kind::Reach, id, place, length: None })?;
    let reach = Reach::decode(&bytes)?;
    let counted = walked.references.iter().map(|(serial, count)| (*serial, *count));
    let same = reach.iter().map(|(serial, count)| (serial, u64::from(count))).eq(counted);
    Damage::unless(walked.lost > 0 || same, "the reach is not what the map says")
}
