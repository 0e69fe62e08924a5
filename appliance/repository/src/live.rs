//! Which chunks of some segments are needed by any recovery point: the maps are walked, each node
//! once, however many points share it.

use crate::StoreError;
use crate::core::{Core, Scratch, locked};
use crate::map;
use crate::reach;
use crate::repo::manifest;
use format::Place;
use format::footer::Footer;
use format::manifest::{DiskEntry, RecordRef};
use format::map::{Below, FAN_OUT, Shape};
use format::record::Kind;
use ledger::Runs;
use model::{ChunkId, RecoveryPointId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Needed chunks by place.
///
/// Memory: about 60 bytes for each of them, and 16 for each map node.
pub(crate) struct Live {
    segments: BTreeSet<u32>,
    chunks: BTreeMap<Place, ChunkId>,
}

impl Live {
    /// False for a segment that a damaged map may need: nothing can be said of it.
    pub(crate) fn knows(&self, serial: u32) -> bool {
        self.segments.contains(&serial)
    }

    /// Needed chunks of a segment, ascending by place.
    pub(crate) fn of(&self, serial: u32) -> impl Iterator<Item = (Place, ChunkId)> + '_ {
        // The lowest and the highest place that a segment can have.
        let at = |block, blocks| Place::new(serial, block, blocks);
        let range = at(1, 1).zip(at((1 << 20) - 1, 1)).map(|(first, last)| {
            let last = Place::from_bits(last.to_bits() | 0xfff).unwrap_or(last);
            self.chunks.range(first..=last)
        });
        range.into_iter().flatten().map(|(place, id)| (*place, *id))
    }

    /// Bytes of the needed records of a segment.
    pub(crate) fn bytes(&self, serial: u32) -> u64 {
        self.of(serial).map(|(place, _)| place.length() as u64).sum()
    }
}

/// Walks the maps of all points that reach any of `segments`.
pub(crate) fn live(core: &Arc<Core>, segments: BTreeSet<u32>) -> Result<Live, StoreError> {
    let mut walk = Walk {
        core,
        scratch: Scratch::new(core)?,
        seen: HashSet::new(),
        moved: HashMap::new(),
        asked: BTreeSet::new(),
        by_id: BTreeMap::new(),
        live: Live { segments, chunks: BTreeMap::new() },
    };
    let wanted: Runs = walk.live.segments.iter().copied().collect();
    let points: Vec<RecoveryPointId> =
        locked(&core.catalog).state.reaching(&wanted).map(|(id, _)| id).collect();
    for point in points {
        match walk.point(point) {
            Ok(()) => {}
            Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
                tracing::warn!(%point, error = model::chain(&error), "its segments do not move");
                walk.spare(point);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(walk.live)
}

struct Walk<'a> {
    core: &'a Arc<Core>,
    scratch: Scratch,
    /// Nodes whose chunks are known already.
    seen: HashSet<Place>,
    /// For segments that places name: if emptied, those in question that its chunks may be in now.
    moved: HashMap<u32, Option<Runs>>,
    /// Segments whose footers were asked for that.
    asked: BTreeSet<u32>,
    /// What these footers say.
    by_id: BTreeMap<(ChunkId, u32), Place>,
    live: Live,
}

impl Walk<'_> {
    fn point(&mut self, id: RecoveryPointId) -> Result<(), StoreError> {
        let manifest = manifest(self.core, id, &mut self.scratch)?;
        for disk in &manifest.disks {
            if self.concerns(disk)? {
                let cells = disk.identity.capacity.div_ceil(u64::from(manifest.chunk_size));
                let shape = Shape::new(cells);
                if let Some(root) = disk.map {
                    self.node(root, shape, (shape.root_level(), 0))?;
                }
            }
        }
        Ok(())
    }

    /// Whether the disk's map may point into one of the segments, by what it says it reaches.
    fn concerns(&self, disk: &DiskEntry) -> Result<bool, StoreError> {
        let Some(record) = disk.reach else { return Ok(disk.map.is_some()) };
        let reach = reach::read(self.core, record)?;
        let reached: Runs = reach.iter().map(|(serial, _)| serial).collect();
        let reached = locked(&self.core.catalog).moves.current(reached);
        Ok(reached.serials().any(|serial| self.live.segments.contains(&serial)))
    }

    fn node(
        &mut self,
        node: RecordRef,
        shape: Shape,
        (level, index): (u8, u64),
    ) -> Result<(), StoreError> {
        if self.seen.contains(&node.place) {
            return Ok(());
        }
        let loaded = map::load(self.core, &mut self.scratch, node, shape, (level, index))?;
        for (number, entry) in (0..).zip(&loaded.entries) {
            match *entry {
                Below::Zero => {}
                Below::Chunk { id, place, .. } => self.chunk(id, place),
                Below::Node { id, place } => {
                    let below = (level - 1, index * FAN_OUT + number);
                    self.node(RecordRef { id, place }, shape, below)?;
                }
            }
        }
        self.seen.insert(node.place); // only when all below it is known
        Ok(())
    }

    /// A chunk is needed. If it was moved it is needed wherever it was moved to.
    fn chunk(&mut self, id: ChunkId, place: Place) {
        let serial = place.segment();
        if !self.moved.contains_key(&serial) {
            let now = self.moved_to(serial);
            self.moved.insert(serial, now);
        }
        let Some(now) = &self.moved[&serial] else {
            if self.live.segments.contains(&serial) {
                self.live.chunks.insert(place, id);
            }
            return;
        };
        for (&(_, serial), &place) in self.by_id.range((id, 0)..=(id, u32::MAX)) {
            if now.contains(serial) {
                self.live.chunks.insert(place, id);
            }
        }
    }

    /// The segments in question that the chunks of `serial` were moved to, whose footers are known
    /// then; `None`: it was not emptied.
    fn moved_to(&mut self, serial: u32) -> Option<Runs> {
        let now = {
            let catalog = locked(&self.core.catalog);
            let moved = catalog.moves.has(serial);
            moved.then(|| catalog.moves.current([serial].into_iter().collect()))?
        };
        let concerned = now.serials().filter(|serial| self.live.segments.contains(serial));
        let concerned: Runs = concerned.collect();
        for serial in concerned.serials() {
            if self.asked.insert(serial) {
                self.ask(serial);
            }
        }
        Some(concerned)
    }

    /// Reads a footer. A segment does not move if it cannot be told what of it is needed.
    fn ask(&mut self, serial: u32) {
        match self.core.footer(serial) {
            Ok(footer) => self.by_id.extend(chunks(serial, &footer)),
            Err(error) => {
                tracing::warn!(segment = serial, error = model::chain(&error), "does not move");
                self.live.segments.remove(&serial);
            }
        }
    }

    /// Nothing can be said of what a damaged map needs.
    fn spare(&mut self, point: RecoveryPointId) {
        let catalog = locked(&self.core.catalog);
        if let Some(point) = catalog.state.point(point) {
            self.live.segments.retain(|serial| !point.reach.contains(*serial));
        }
    }
}

fn chunks(serial: u32, footer: &Footer) -> impl Iterator<Item = ((ChunkId, u32), Place)> + '_ {
    let chunks = footer.entries.iter().filter(|entry| entry.kind == Kind::Chunk);
    chunks.filter_map(move |entry| Some(((entry.id, serial), entry.place(serial)?)))
}
