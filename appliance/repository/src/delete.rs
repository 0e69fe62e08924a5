//! Deleting points and the segments that nothing reaches any more (FORMAT.md 7, 9).
//!
//! The order: verdict, mark what remains, condemn (no new references come up), `delete` leaves
//! synced, files removed, `deleted` leaf. A crash after the leaves is completed at the next start.

use crate::core::{Core, Scratch, locked};
use crate::map::load;
use crate::repo::read_manifest;
use crate::storage::Storage;
use crate::{DeleteError, StoreError, layout};
use format::manifest::RecordRef;
use format::map::{Below, FAN_OUT, Shape};
use ledger::Event;
use ledger::event::PointText;
use ledger::event::RUNS_PER_LEAF;
use model::RecoveryPointId;
use retention::{Now, Refusal, Release, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

/// What a deletion gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Segments removed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

pub(crate) fn delete(core: &Core, id: RecoveryPointId, now: Now) -> Result<Deleted, DeleteError> {
    let _alone = locked(&core.maintenance);
    let release = permission(core, id, now)?;
    let store = |source| DeleteError::Store { point: id, source };
    if locked(&core.catalog).pins.contains_key(&id) {
        return Err(DeleteError::InUse { point: id });
    }
    let condemned = condemn(core, Some(&release), now).map_err(|error| match error {
        CondemnError::InUse => DeleteError::InUse { point: id },
        CondemnError::Store(source) => store(source),
    })?;
    remove_files(core, &condemned, now).map_err(store)
}

/// Removes what no point reaches, without deleting a point.
pub(crate) fn reclaim(core: &Core, now: Now) -> Result<Deleted, StoreError> {
    let _alone = locked(&core.maintenance);
    match condemn(core, None, now) {
        Ok(condemned) => remove_files(core, &condemned, now),
        Err(CondemnError::Store(error)) => Err(error),
        Err(CondemnError::InUse) => Ok(Deleted::default()),
    }
}

/// The engine's permission; a refusal is put on record first.
fn permission(core: &Core, id: RecoveryPointId, now: Now) -> Result<Release, DeleteError> {
    let mut catalog = locked(&core.catalog);
    let clock = catalog.clock.advance(now);
    let store = |source| DeleteError::Store { point: id, source };
    let verdict = match catalog.retention.release(id, clock) {
        Ok(release) => return Ok(release),
        Err(Refusal::Kept { verdict, .. }) => verdict,
        Err(_) => return Err(store(StoreError::no_point(id))),
    };
    let (error, until) = match verdict.clone() {
        Verdict::Locked { mode, until } => {
            (DeleteError::Locked { point: id, mode, until, now: clock }, Some(until))
        }
        Verdict::Held { matters } => (DeleteError::Held { point: id, matters }, None),
        Verdict::Expire => return Err(store(StoreError::no_point(id))),
    };
    let reason = verdict.to_string();
    let event = Event::Refused { point: Some(id), action: "delete".into(), reason, until };
    if let Err(unrecorded) = catalog.record(vec![event], now) {
        // The refusal stands; that it could not be recorded must not turn it into another error.
        tracing::error!(point = %id, error = model::chain(&unrecorded), "refusal not on record");
    }
    Err(error)
}

enum CondemnError {
    InUse,
    Store(StoreError),
}

impl From<StoreError> for CondemnError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Segments that are going to be removed, with their lengths; on record when this returns.
fn condemn(
    core: &Core,
    release: Option<&Release>,
    now: Now,
) -> Result<BTreeMap<u32, u64>, CondemnError> {
    let gone = release.map(Release::point);
    let mut mark = Mark::new(core)?;
    loop {
        // Marking reads maps, so it is done without the lock, until no commit came in between.
        let fresh: Vec<(RecoveryPointId, RecordRef)> = {
            let mut catalog = locked(&core.catalog);
            let remaining = catalog.points.iter().filter(|(id, _)| Some(**id) != gone);
            let fresh: Vec<_> = remaining
                .filter(|(id, _)| !mark.points.contains(id))
                .map(|(id, point)| (*id, point.manifest))
                .collect();
            if fresh.is_empty() {
                if gone.is_some_and(|id| catalog.pins.contains_key(&id)) {
                    return Err(CondemnError::InUse);
                }
                return record(core, &mut catalog, &mark, gone, now);
            }
            fresh
        };
        for (id, manifest) in fresh {
            mark.point(id, manifest)?;
        }
    }
}

fn record(
    core: &Core,
    catalog: &mut crate::catalog::Catalog,
    mark: &Mark<'_>,
    gone: Option<RecoveryPointId>,
    now: Now,
) -> Result<BTreeMap<u32, u64>, CondemnError> {
    let unreached: BTreeSet<u32> =
        catalog.segments.keys().copied().filter(|serial| !mark.reached.contains(serial)).collect();
    let condemned = locked(&core.index).condemn(&unreached);
    if condemned.is_empty() && gone.is_none() {
        return Ok(BTreeMap::new());
    }
    let points: Vec<PointText> = gone.map(PointText).into_iter().collect();
    let runs: ledger::Runs = condemned.iter().copied().collect();
    let mut pieces = runs.pieces(RUNS_PER_LEAF);
    let segments = pieces.next().unwrap_or_default();
    let mut events = vec![Event::Delete { points, segments, keys: Vec::new() }];
    events.extend(pieces.map(|segments| Event::Delete {
        points: Vec::new(),
        segments,
        keys: Vec::new(),
    }));
    catalog.record(events, now)?;
    if let Some(point) = gone {
        let event = retention::Event::Deleted { point, at: catalog.clock.value() };
        catalog.retention.apply(event).map_err(|e| StoreError::misuse(e.to_string()))?;
        catalog.points.remove(&point);
        catalog.order.retain(|id| *id != point);
    }
    let with_length = |serial: &u32| Some((*serial, catalog.segments.remove(serial)?.bytes));
    Ok(condemned.iter().filter_map(with_length).collect())
}

fn remove_files(
    core: &Core,
    condemned: &BTreeMap<u32, u64>,
    now: Now,
) -> Result<Deleted, StoreError> {
    if condemned.is_empty() {
        return Ok(Deleted::default());
    }
    core.forget_files(|serial| condemned.contains_key(&serial));
    for &serial in condemned.keys() {
        remove_segment(&*core.storage, serial)?;
    }
    let synced = core.storage.sync_dir(layout::SEGMENTS);
    synced.map_err(StoreError::io("syncing", layout::SEGMENTS))?;
    let deleted =
        Deleted { segments: condemned.len() as u64, bytes: condemned.values().sum::<u64>() };
    let event = Event::Deleted { segments: deleted.segments, bytes: deleted.bytes };
    locked(&core.catalog).record(vec![event], now)?;
    Ok(deleted)
}

/// Removes the file of a segment that a durable `delete` leaf names. One that is gone is fine.
pub(crate) fn remove_segment(storage: &dyn Storage, serial: u32) -> Result<(), StoreError> {
    let name = layout::sealed(serial);
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match storage.set_immutable(&name, false) {
        Err(error) if !gone(&error) => return Err(StoreError::io("unprotecting", name)(error)),
        _ => {}
    }
    match storage.remove(&name) {
        Err(error) if !gone(&error) => Err(StoreError::io("removing", name)(error)),
        _ => Ok(()),
    }
}

/// Which segments the points reach. Nodes that several maps share are visited once.
struct Mark<'a> {
    core: &'a Core,
    scratch: Scratch,
    points: BTreeSet<RecoveryPointId>,
    reached: BTreeSet<u32>,
    visited: HashSet<u64>,
}

impl<'a> Mark<'a> {
    fn new(core: &'a Core) -> Result<Self, StoreError> {
        Ok(Self {
            core,
            scratch: Scratch::new(core)?,
            points: BTreeSet::new(),
            reached: BTreeSet::new(),
            visited: HashSet::new(),
        })
    }

    fn point(&mut self, id: RecoveryPointId, manifest: RecordRef) -> Result<(), StoreError> {
        self.reached.insert(manifest.place.segment());
        let manifest = read_manifest(self.core, manifest)?;
        for content in manifest.files.iter().filter_map(|file| file.content) {
            self.reached.insert(content.place.segment());
        }
        for disk in &manifest.disks {
            let Some(root) = disk.map else { continue };
            let cells = disk.identity.capacity.div_ceil(u64::from(manifest.chunk_size));
            let shape = Shape::new(cells);
            self.node(root, shape, (shape.root_level(), 0))?;
        }
        self.points.insert(id);
        Ok(())
    }

    fn node(
        &mut self,
        node: RecordRef,
        shape: Shape,
        (level, index): (u8, u64),
    ) -> Result<(), StoreError> {
        if !self.visited.insert(node.place.to_bits()) {
            return Ok(());
        }
        self.reached.insert(node.place.segment());
        let node = load(self.core, &mut self.scratch, node, shape, (level, index))?;
        for (number, below) in (0..).zip(node.entries) {
            match below {
                Below::Zero => {}
                Below::Chunk { place, .. } => {
                    self.reached.insert(place.segment());
                }
                Below::Node { id, place } => {
                    let below = (level - 1, index * FAN_OUT + number);
                    self.node(RecordRef { id, place }, shape, below)?;
                }
            }
        }
        Ok(())
    }
}
