//! Reading everything a point reaches and checking it.
//!
//! Cells are taken in batches, sorted by place and read by several threads in ascending order, so
//! that a disk reads forwards; memory is bounded by the batch and one chunk per thread.

use crate::core::{Core, Scratch, locked, wanted};
use crate::map::MapReader;
use crate::repo::{Inner, PinnedPoint};
use crate::scan::{Tail, read_footer};
use crate::{StoreError, reach};
use format::manifest::{DiskEntry, Manifest, RecordRef};
use format::map::{Below, FAN_OUT, Shape};
use format::reach::Reach;
use format::record::Kind;
use format::segment::SegmentHeader;
use format::{BLOCK, FormatError, Place, parity};
use model::{ChunkId, RecoveryPointId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Leaves of a map per batch: 16,384 cells, 1 MiB of memory.
const LEAVES_PER_BATCH: u64 = 64;
/// Cells that a thread takes at once: neighbours on the disk.
const CELLS_AT_ONCE: usize = 8;
/// Damages listed; more are counted.
const LISTED: usize = 1000;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of disks looked at, zeros included.
    pub done: u64,
    /// Bytes of all disks.
    pub total: u64,
}

/// A part of a point that cannot be restored, or a stored byte that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the disk; `None`: a file, the manifest or a whole segment.
    pub disk: Option<usize>,
    /// The cells concerned, `[first, end)`.
    pub cells: Option<(u64, u64)>,
    /// The segment that holds it.
    pub segment: u32,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Chunks read and found right or wrong.
    pub chunks: u64,
    /// Bytes of these chunks, before compression.
    pub bytes: u64,
    /// Cells that are zeros.
    pub zero_cells: u64,
    /// What is wrong; at most 1000 entries.
    pub damage: Vec<Damage>,
    /// Further damages that are not listed.
    pub more_damage: u64,
}

impl VerifyReport {
    /// True when every byte of the point is right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    fn add(&mut self, damage: Damage) {
        if self.damage.len() < LISTED {
            self.damage.push(damage);
        } else {
            self.more_damage += 1;
        }
    }
}

pub(crate) fn verify(
    inner: &Arc<Inner>,
    id: RecoveryPointId,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, StoreError> {
    let pin = PinnedPoint::new(inner, id)?;
    let place = { locked(&inner.core.catalog).manifest(id)?.place };
    let mut run = Run {
        core: &inner.core,
        report: VerifyReport::default(),
        segments: BTreeSet::from([place.segment()]),
        done: 0,
        total: 0,
        progress,
    };
    match inner.manifest(id) {
        Ok(manifest) => run.manifest(&manifest)?,
        Err(error) => run.damaged(None, None, place.segment(), &error)?,
    }
    run.segment_frames();
    drop(pin);
    Ok(run.report)
}

struct Run<'a> {
    core: &'a Arc<Core>,
    report: VerifyReport,
    segments: BTreeSet<u32>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
}

/// The reach of a disk, counted on the way.
struct Counted {
    reach: Reach,
    /// Every node could be read.
    whole: bool,
}

impl Default for Counted {
    fn default() -> Self {
        Self { reach: Reach::default(), whole: true }
    }
}

impl Counted {
    /// A count that failed is not compared; why is told where the map is read.
    fn keep(&mut self, outcome: Result<(), StoreError>) {
        self.whole &= outcome.is_ok();
    }
}

/// A cell that is to be read.
struct Read {
    place: Place,
    cell: u64,
    length: u32,
    id: ChunkId,
}

impl Run<'_> {
    fn manifest(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        self.total = manifest.disks.iter().map(|disk| disk.identity.capacity).sum();
        for file in &manifest.files {
            if let Some(content) = file.content {
                self.file(&file.name, content)?;
            }
        }
        for (number, disk) in manifest.disks.iter().enumerate() {
            self.disk(number, disk, u64::from(manifest.chunk_size))?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, content: RecordRef) -> Result<(), StoreError> {
        self.segments.insert(content.place.segment());
        let mut scratch = Scratch::new(self.core)?;
        let wanted = wanted(Kind::File, content.id, content.place);
        if let Err(error) = self.core.read_record(&wanted, &mut scratch) {
            self.damaged(None, None, content.place.segment(), &error)?;
            tracing::warn!(file = name, "damaged");
        }
        Ok(())
    }

    fn disk(&mut self, number: usize, disk: &DiskEntry, chunk_size: u64) -> Result<(), StoreError> {
        let shape = Shape::new(disk.identity.capacity.div_ceil(chunk_size));
        let map = MapReader::new(Arc::clone(self.core), shape, disk.map)?;
        let leaves = shape.cells().div_ceil(FAN_OUT);
        let mut counted = Counted::default();
        let outcome = reach::count_upper(&mut counted.reach, &map);
        counted.keep(outcome);
        let mut first = 0;
        while first < leaves {
            let end = (first + LEAVES_PER_BATCH).min(leaves);
            let mut batch = Vec::new();
            for leaf in first..end {
                self.leaf(number, &map, leaf, disk.map, (&mut batch, &mut counted))?;
            }
            batch.sort_unstable_by_key(|read: &Read| read.place);
            self.batch(number, &batch)?;
            let cells = (end * FAN_OUT).min(shape.cells()) - first * FAN_OUT;
            self.done = (self.done + cells * chunk_size).min(self.total);
            (self.progress)(Progress { done: self.done, total: self.total });
            first = end;
        }
        self.reach(number, disk.reach, &counted)
    }

    fn leaf(
        &mut self,
        disk: usize,
        map: &MapReader,
        leaf: u64,
        root: Option<RecordRef>,
        (batch, counted): (&mut Vec<Read>, &mut Counted),
    ) -> Result<(), StoreError> {
        let cells = map.shape().entries(0, leaf);
        let first = leaf * FAN_OUT;
        let node = match map.node(0, leaf) {
            Ok(Some(node)) => node,
            Ok(None) => {
                self.report.zero_cells += cells;
                return Ok(());
            }
            Err(error) => {
                counted.whole = false;
                let segment = root.map_or(0, |root| root.place.segment());
                return self.damaged(Some(disk), Some((first, first + cells)), segment, &error);
            }
        };
        let outcome = reach::count_node(&mut counted.reach, &node);
        counted.keep(outcome);
        for (cell, below) in (first..).zip(&node.entries) {
            match *below {
                Below::Chunk { length, id, place } => {
                    let place = self.core.resolve(&id, place);
                    self.segments.insert(place.segment());
                    batch.push(Read { place, cell, length, id });
                }
                Below::Zero | Below::Node { .. } => self.report.zero_cells += 1,
            }
        }
        Ok(())
    }

    /// Compares what the disk says it reaches with what was counted.
    fn reach(
        &mut self,
        disk: usize,
        record: Option<RecordRef>,
        counted: &Counted,
    ) -> Result<(), StoreError> {
        let stored = match record {
            None => Ok(Reach::default()),
            Some(record) => {
                self.segments.insert(record.place.segment());
                reach::read(self.core, record)
            }
        };
        let segment = record.map_or(0, |record| record.place.segment());
        match stored {
            Err(error) => self.damaged(Some(disk), None, segment, &error),
            Ok(stored) if counted.whole && stored != counted.reach => {
                let what = "the map points into other segments than the disk's reach says".into();
                self.report.add(Damage { disk: Some(disk), cells: None, segment, what });
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn batch(&mut self, disk: usize, batch: &[Read]) -> Result<(), StoreError> {
        let threads = self.core.options.workers.clamp(1, 16);
        let next = AtomicUsize::new(0);
        let core = &**self.core;
        let failures = std::thread::scope(|scope| {
            let readers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| read_some(core, batch, &next))).collect();
            let mut failures = Vec::new();
            for reader in readers {
                match reader.join() {
                    Ok(result) => failures.extend(result?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok::<_, StoreError>(failures)
        })?;
        self.report.chunks += batch.len() as u64;
        self.report.bytes += batch.iter().map(|read| u64::from(read.length)).sum::<u64>();
        for (index, error) in failures {
            let Read { cell, place, .. } = batch[index];
            self.damaged(Some(disk), Some((cell, cell + 1)), place.segment(), &error)?;
        }
        Ok(())
    }

    /// Adds damage to the report. An error that is none of the data's comes back as it is: a
    /// verification that could not read says nothing about the bytes.
    fn damaged(
        &mut self,
        disk: Option<usize>,
        cells: Option<(u64, u64)>,
        segment: u32,
        error: &StoreError,
    ) -> Result<(), StoreError> {
        let what = model::chain(error);
        match error {
            StoreError::Damaged { .. } => {}
            StoreError::Io { source, .. }
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof
                ) => {}
            StoreError::Io { .. } => {} // an unreadable sector is damage too; it is named as such
            _ => return Err(StoreError::Failed { reason: what, kind: error.kind() }),
        }
        self.report.add(Damage { disk, cells, segment, what });
        Ok(())
    }

    /// The first block and the tail of every segment that the point reaches: no cell needs them,
    /// but a bit there has changed all the same.
    fn segment_frames(&mut self) {
        for serial in std::mem::take(&mut self.segments) {
            let damage = check_frame(self.core, serial).err().map(|error| model::chain(&error));
            if let Some(what) = damage {
                self.report.add(Damage { disk: None, cells: None, segment: serial, what });
            }
        }
    }
}

/// Reads slices of the batch until none is left; what went wrong, by index.
fn read_some(
    core: &Core,
    batch: &[Read],
    next: &AtomicUsize,
) -> Result<Vec<(usize, StoreError)>, StoreError> {
    let mut scratch = Scratch::new(core)?;
    let mut failures = Vec::new();
    loop {
        let first = next.fetch_add(CELLS_AT_ONCE, Ordering::Relaxed);
        if first >= batch.len() {
            return Ok(failures);
        }
        let end = (first + CELLS_AT_ONCE).min(batch.len());
        for (index, read) in (first..).zip(&batch[first..end]) {
            if let Err(error) = check_cell(core, read, &mut scratch) {
                failures.push((index, error));
            }
        }
    }
}

fn check_cell(core: &Core, read: &Read, scratch: &mut Scratch) -> Result<(), StoreError> {
    core.read_record(&wanted(Kind::Chunk, read.id, read.place), scratch)?;
    if scratch.plain.len() as u64 == u64::from(read.length) {
        return Ok(());
    }
    let problem = format!("{} bytes instead of {}", scratch.plain.len(), read.length);
    let source = format::FormatError::Corrupt { what: "chunk", problem };
    Err(StoreError::Damaged { what: format!("cell {}", read.cell), source })
}

fn check_frame(core: &Core, serial: u32) -> Result<(), StoreError> {
    let name = core.name_of(serial);
    let damaged = |source| StoreError::Damaged { what: name.clone(), source };
    let corrupt = |problem| damaged(FormatError::Corrupt { what: "segment", problem });
    let recorded = {
        let catalog = locked(&core.catalog);
        catalog.state.segment(serial).map(|segment| (segment.seal, segment.bytes))
    };
    let file = core.storage.open(&name).map_err(StoreError::io("opening", &*name))?;
    let length = file.length().map_err(StoreError::io("reading", &*name))?;
    let Tail { footer, trailer, .. } = read_footer(&*file, &name, serial, length, recorded)?;
    let mut block = vec![0; BLOCK];
    file.read(0, &mut block).map_err(StoreError::io("reading", &*name))?;
    let header = SegmentHeader::decode(&block).map_err(damaged)?;
    let SegmentHeader { class, cohort, epoch, .. } = header;
    if (header.repository, header.serial) != (core.id, serial)
        || (class, cohort, epoch) != (footer.class, footer.cohort, footer.epoch)
    {
        return Err(corrupt("header and footer differ".to_owned()));
    }
    let found = parity::check_frame(&trailer, |offset, bytes| file.read(offset, bytes))
        .map_err(StoreError::io("reading", &*name))?;
    if found.is_whole() {
        return Ok(());
    }
    let first = found.wrong.first().map_or_else(String::new, |block| {
        format!(", the first one at byte {}", u64::from(*block) * BLOCK as u64)
    });
    Err(corrupt(format!("{} blocks behind the data are wrong{first}", found.wrong.len())))
}
