//! Writing one disk: cells in any order, from several threads.

use crate::StoreError;
use crate::core::locked;
use crate::map::{Build, MapReader, Written};
use crate::point::PointState;
use crate::reach;
use crate::repo::Inner;
use block::Grid;
use format::codec::Sealer;
use format::manifest::DiskEntry;
use format::map::{Below, FAN_OUT, Shape};
use format::reach::Reach;
use format::record::{Kind, RECORD_HEADER};
use model::{DiskIdentity, Exclusion, ReadMode, RecoveryPointId, Transport};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Which disk of an earlier point a disk builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentDisk {
    /// The point.
    pub point: RecoveryPointId,
    /// Number of the disk in it.
    pub disk: usize,
}

/// What is known of a disk before its first byte.
#[derive(Clone, Debug)]
pub struct DiskDraft {
    /// Which disk, with the change id that belongs to this data.
    pub identity: DiskIdentity,
    /// How much of it is read, and why.
    pub mode: ReadMode,
    /// The way the bytes come.
    pub transport: Transport,
    /// What it builds on.
    pub parent: Option<ParentDisk>,
    /// What is zeros in it whatever the guest has there; only written down.
    pub excluded: Vec<Exclusion>,
}

/// What became of the cells that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Cells given, by `put` or `zero`.
    pub cells: u64,
    /// Of these: zeros.
    pub zero: u64,
    /// As in the parent.
    pub same_as_parent: u64,
    /// Found elsewhere in the repository.
    pub deduplicated: u64,
    /// Stored.
    pub new_chunks: u64,
    /// Plain bytes of the chunks stored.
    pub new_bytes: u64,
    /// Bytes given by `put`.
    pub bytes_in: u64,
    /// Bytes stored for new chunks, headers included.
    pub bytes_stored: u64,
}

#[derive(Default)]
struct Counters {
    zero: AtomicU64,
    same_as_parent: AtomicU64,
    deduplicated: AtomicU64,
    new_chunks: AtomicU64,
    new_bytes: AtomicU64,
    bytes_in: AtomicU64,
    bytes_stored: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A disk whose map is stored.
pub(crate) struct Finished {
    pub(crate) entry: DiskEntry,
    pub(crate) shape: Shape,
    pub(crate) reach: Reach,
}

/// What the workers need to know of a disk.
pub(crate) struct DiskState {
    parent: Option<MapReader>,
    /// Chunks in these segments count as unknown: they are to be stored again.
    avoid: BTreeSet<u32>,
    /// What became of each cell that was given; claimed first, so that none is given twice.
    written: Mutex<Written>,
    claimed: Mutex<Claims>,
    counters: Counters,
}

/// One bit per cell that was given, by leaf.
type Claims = std::collections::BTreeMap<u64, [u64; 4]>;

/// A chunk on its way.
pub(crate) struct Task {
    pub(crate) disk: Arc<DiskState>,
    pub(crate) cell: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Task {
    /// Zeros? As in the parent? Known? Otherwise compressed and appended.
    pub(crate) fn run(
        &self,
        point: &Arc<PointState>,
        sealer: &mut Sealer,
    ) -> Result<(), StoreError> {
        let counters = &self.disk.counters;
        count(&counters.bytes_in, self.bytes.len() as u64);
        if is_zero(&self.bytes) {
            count(&counters.zero, 1);
            self.disk.write(self.cell, Below::Zero);
            return Ok(());
        }
        let length = u32::try_from(self.bytes.len()).map_err(|_| too_long())?;
        let id = point.core.keys.chunk_id(&self.bytes);
        if let Some(parent) = &self.disk.parent {
            let old = parent.cell(self.cell)?;
            if matches!(old, Below::Chunk { id: old, .. } if old == id) {
                count(&counters.same_as_parent, 1);
                self.disk.write(self.cell, old);
                return Ok(());
            }
        }
        let known = locked(&point.unsealed).get(&id).copied();
        let known = match known {
            None => point.find_sealed(&id, &self.disk.avoid)?,
            known => known,
        };
        let place = match known {
            Some(place) => {
                count(&counters.deduplicated, 1);
                place
            }
            None => self.store(point, sealer, id)?,
        };
        self.disk.write(self.cell, Below::Chunk { length, id, place });
        Ok(())
    }

    fn store(
        &self,
        point: &Arc<PointState>,
        sealer: &mut Sealer,
        id: model::ChunkId,
    ) -> Result<format::Place, StoreError> {
        let sealed = sealer
            .set_level(point.zstd_level)
            .and_then(|()| sealer.seal(Kind::Chunk, id, &self.bytes))
            .map_err(StoreError::io("compressing for", ""))?;
        let stored = (sealed.stored.len() + RECORD_HEADER) as u64;
        let mut data = locked(&point.data);
        if let Some(&place) = locked(&point.unsealed).get(&id) {
            count(&self.disk.counters.deduplicated, 1); // another worker was faster
            return Ok(place);
        }
        let place = data.append(point, &sealed)?;
        locked(&point.unsealed).insert(id, place);
        count(&self.disk.counters.new_chunks, 1);
        count(&self.disk.counters.new_bytes, self.bytes.len() as u64);
        count(&self.disk.counters.bytes_stored, stored);
        Ok(place)
    }
}

fn too_long() -> StoreError {
    StoreError::misuse("a cell is longer than the format allows")
}

fn is_zero(bytes: &[u8]) -> bool {
    let pieces = bytes.chunks_exact(64);
    pieces.remainder().iter().all(|&byte| byte == 0)
        && pieces.into_iter().all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

impl DiskState {
    pub(crate) fn new(parent: Option<MapReader>, avoid: BTreeSet<u32>) -> Self {
        Self {
            parent,
            avoid,
            written: Mutex::default(),
            claimed: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// What became of the cells so far, which are forgotten here.
    pub(crate) fn take_written(&self) -> Written {
        std::mem::take(&mut *locked(&self.written))
    }

    fn write(&self, cell: u64, below: Below) {
        let mut written = locked(&self.written);
        let leaf = written.entry(cell / FAN_OUT).or_insert_with(|| vec![None; 256]);
        leaf[slot(cell)] = Some(below);
    }

    /// `false` when the cell was given before.
    fn claim(&self, cell: u64) -> bool {
        let mut claims = locked(&self.claimed);
        let leaf = claims.entry(cell / FAN_OUT).or_default();
        let (word, bit) = (slot(cell) / 64, 1 << (slot(cell) % 64));
        let fresh = leaf[word] & bit == 0;
        leaf[word] |= bit;
        fresh
    }

    fn stats(&self) -> DiskStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let claims = locked(&self.claimed);
        let cells = claims.values().flatten().map(|word| u64::from(word.count_ones())).sum();
        DiskStats {
            cells,
            zero: get(&self.counters.zero),
            same_as_parent: get(&self.counters.same_as_parent),
            deduplicated: get(&self.counters.deduplicated),
            new_chunks: get(&self.counters.new_chunks),
            new_bytes: get(&self.counters.new_bytes),
            bytes_in: get(&self.counters.bytes_in),
            bytes_stored: get(&self.counters.bytes_stored),
        }
    }
}

/// Position of a cell in its leaf.
fn slot(cell: u64) -> usize {
    usize::try_from(cell % FAN_OUT).expect("less than 256")
}

/// A disk that is being written. `put` and `zero` may be called from several threads.
pub struct DiskWriter {
    inner: Arc<Inner>,
    point: Arc<PointState>,
    state: Arc<DiskState>,
    grid: Grid,
    draft: DiskDraft,
    finished: Arc<Mutex<Vec<Finished>>>,
}

impl DiskWriter {
    pub(crate) fn new(
        inner: Arc<Inner>,
        point: Arc<PointState>,
        draft: DiskDraft,
        finished: Arc<Mutex<Vec<Finished>>>,
    ) -> Result<Self, StoreError> {
        let chunk_size = u64::from(point.chunk_size);
        let grid = Grid::new(draft.identity.capacity, chunk_size)
            .filter(|grid| grid.cells() > 0)
            .ok_or_else(|| StoreError::misuse("a disk without any bytes"))?;
        let parent = draft
            .parent
            .map(|parent| open_parent(&inner, &draft, parent, point.chunk_size))
            .transpose()?;
        let state = DiskState::new(parent, BTreeSet::new());
        Ok(Self { inner, point, state: Arc::new(state), grid, draft, finished })
    }

    /// Gives the content of a cell: exactly its bytes, once. Waits while the pipeline is full.
    /// An error of an earlier cell may come out here.
    pub fn put(&self, cell: u64, bytes: Vec<u8>) -> Result<(), StoreError> {
        let range = self.claim(cell)?;
        if bytes.len() as u64 != range {
            let given = bytes.len();
            let problem = format!("cell {cell} has {range} bytes, but {given} were given");
            return Err(StoreError::misuse(problem));
        }
        self.point.departure();
        let task = Task { disk: Arc::clone(&self.state), cell, bytes };
        self.inner.core.carrier.task(&self.point, task)
    }

    /// Says that a cell is zeros, without bytes.
    pub fn zero(&self, cell: u64) -> Result<(), StoreError> {
        self.claim(cell)?;
        count(&self.state.counters.zero, 1);
        self.state.write(cell, Below::Zero);
        Ok(())
    }

    /// Whether the parent has the cell with these bytes; `None`: zeros. Nothing is stored, and the
    /// cell does not count as given. Without a parent all cells are zeros.
    pub fn is_as_parent(&self, cell: u64, bytes: Option<&[u8]>) -> Result<bool, StoreError> {
        self.point.check()?;
        let parent = self.state.parent.as_ref();
        let old = parent.map_or(Ok(Below::Zero), |parent| parent.cell(cell))?;
        let bytes = bytes.filter(|bytes| !is_zero(bytes));
        Ok(match (old, bytes) {
            (Below::Chunk { id, .. }, Some(bytes)) => id == self.point.core.keys.chunk_id(bytes),
            (Below::Zero, None) => true,
            _ => false,
        })
    }

    /// The length of the cell, which must exist and not have been given.
    fn claim(&self, cell: u64) -> Result<u64, StoreError> {
        self.point.check()?;
        let range = self.grid.range(cell).ok_or_else(|| {
            StoreError::misuse(format!(
                "cell {cell} lies beyond the {} of the disk",
                self.grid.cells()
            ))
        })?;
        if self.state.claim(cell) {
            Ok(range.length)
        } else {
            Err(StoreError::misuse(format!("cell {cell} was given twice")))
        }
    }

    /// Waits for all cells and stores the map.
    pub fn finish(self) -> Result<DiskStats, StoreError> {
        self.point.drain()?;
        let shape = Shape::new(self.grid.cells());
        let written = self.state.take_written();
        let mut sink = Arc::clone(&self.point);
        let parent = self.state.parent.as_ref();
        let reach = self.parent_reach()?;
        let build = Build { shape, parent, written: &written, sink: &mut sink, reach };
        let (map, reach) = build.run()?;
        let old = self.old_data_bytes()?;
        let entry = DiskEntry {
            identity: self.draft.identity.clone(),
            read: self.draft.mode.clone(),
            transport: self.draft.transport,
            map,
            reach: None,
            data_bytes: self.data_bytes(old, &written)?,
            excluded: self.draft.excluded.clone(),
        };
        locked(&self.finished).push(Finished { entry, shape, reach });
        Ok(self.state.stats())
    }

    /// What the parent reaches: its record, or counted anew where that cannot be read.
    fn parent_reach(&self) -> Result<Reach, StoreError> {
        let Some((draft, map)) = self.draft.parent.zip(self.state.parent.as_ref()) else {
            return Ok(Reach::default());
        };
        let manifest = self.inner.manifest(draft.point)?;
        let record = manifest.disks.get(draft.disk).and_then(|disk| disk.reach);
        match record.map(|record| reach::read(&self.inner.core, record)) {
            Some(Err(error @ StoreError::Damaged { .. })) => {
                tracing::warn!(error = model::chain(&error), "counting the reach anew");
                reach::walk(map)
            }
            Some(outcome) => outcome,
            None => reach::walk(map),
        }
    }

    fn old_data_bytes(&self) -> Result<u64, StoreError> {
        let Some(parent) = self.draft.parent else { return Ok(0) };
        let manifest = self.inner.manifest(parent.point)?;
        Ok(manifest.disks.get(parent.disk).map_or(0, |disk| disk.data_bytes))
    }

    /// Bytes of all cells that are not zero: the parent's, without what was replaced, with what
    /// was written.
    fn data_bytes(&self, old: u64, written: &Written) -> Result<u64, StoreError> {
        let mut bytes = old;
        for (leaf, slots) in written {
            for (number, below) in (0..).zip(slots) {
                let Some(below) = below else { continue };
                if let Some(parent) = &self.state.parent {
                    bytes = bytes.saturating_sub(length_of(parent.cell(leaf * FAN_OUT + number)?));
                }
                bytes += length_of(*below);
            }
        }
        Ok(bytes)
    }
}

fn length_of(below: Below) -> u64 {
    match below {
        Below::Chunk { length, .. } => u64::from(length),
        Below::Zero | Below::Node { .. } => 0,
    }
}

fn open_parent(
    inner: &Arc<Inner>,
    draft: &DiskDraft,
    parent: ParentDisk,
    chunk_size: u32,
) -> Result<MapReader, StoreError> {
    let manifest = inner.manifest(parent.point)?;
    let disk = manifest.disks.get(parent.disk).ok_or_else(|| StoreError::NotFound {
        what: format!("disk {} of recovery point {}", parent.disk, parent.point),
    })?;
    let (old, new) = (disk.identity.capacity, draft.identity.capacity);
    if old != new {
        return Err(StoreError::misuse(format!(
            "the disk has {new} bytes and its parent {old}: make a full backup"
        )));
    }
    if manifest.chunk_size != chunk_size {
        return Err(StoreError::misuse(format!(
            "the recovery point has chunks of {chunk_size} bytes and its parent of {}: make a \
             full backup",
            manifest.chunk_size
        )));
    }
    let shape = Shape::new(new.div_ceil(u64::from(chunk_size)));
    MapReader::new(Arc::clone(&inner.core), shape, disk.map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_byte_anywhere_is_not_zero() {
        for length in [1, 63, 64, 65, 1000] {
            assert!(is_zero(&vec![0; length]));
            for at in 0..length {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {length}");
            }
        }
    }
}
