//! Reading everything a point reaches, from the medium, and checking it.
//!
//! Cells are taken in batches, sorted by place and read by several threads in ascending order, so
//! that a disk reads forwards; memory is bounded by the batch and one chunk per thread.
//!
//! Damage is what the bytes are. A volume that is gone, a key that is missing or a system without
//! handles says nothing about them: then there is no report.

use crate::batch::{self, Read, is_emptied};
use crate::core::{Core, Files, Scratch, locked, wanted};
use crate::frame::check_frame;
use crate::map::MapReader;
use crate::repo::{self, Inner, PinnedPoint};
use crate::report::{Damage, Progress, VerifyReport};
use crate::whole::tells_damage;
use crate::{StoreError, reach};
use format::manifest::{DiskEntry, Manifest, RecordRef};
use format::map::{Below, FAN_OUT, Shape};
use format::reach::Reach;
use format::record::Kind;
use model::RecoveryPointId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Leaves of a map per batch: 16,384 cells, 1 MiB of memory.
const LEAVES_PER_BATCH: u64 = 64;

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
        files: Arc::default(),
        done: 0,
        total: 0,
        progress,
    };
    match repo::manifest(&inner.core, id, &mut run.scratch()?) {
        Ok(manifest) => run.manifest(&manifest)?,
        Err(error) => run.damaged(None, None, place.segment(), &error)?,
    }
    run.segment_frames()?;
    drop(pin);
    Ok(run.report)
}

struct Run<'a> {
    core: &'a Arc<Core>,
    report: VerifyReport,
    /// What the point reaches; those that were emptied meanwhile too.
    segments: BTreeSet<u32>,
    /// Handles past the page cache.
    files: Arc<Files>,
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

impl Run<'_> {
    fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::from_medium(self.core, Arc::clone(&self.files))
    }

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
        let mut scratch = self.scratch()?;
        let wanted = wanted(Kind::File, content.id, content.place);
        if let Err(error) = self.core.read_record(&wanted, &mut scratch) {
            self.damaged(None, None, content.place.segment(), &error)?;
            tracing::warn!(file = name, "damaged");
        }
        Ok(())
    }

    fn disk(&mut self, number: usize, disk: &DiskEntry, chunk_size: u64) -> Result<(), StoreError> {
        let shape = Shape::new(disk.identity.capacity.div_ceil(chunk_size));
        let map = MapReader::with(Arc::clone(self.core), shape, disk.map, self.scratch()?);
        let leaves = shape.cells().div_ceil(FAN_OUT);
        let mut counted = Counted::default();
        let outcome = reach::count_upper(&mut counted.reach, &map);
        counted.keep(outcome);
        let mut first = 0;
        while first < leaves {
            let end = (first + LEAVES_PER_BATCH).min(leaves);
            let mut batch = Vec::new();
            for leaf in first..end {
                self.leaf(number, &map, leaf, (&mut batch, &mut counted))?;
            }
            batch.sort_unstable_by_key(|read: &Read| read.place);
            self.batch(number, &batch)?;
            let cells = (end * FAN_OUT).min(shape.cells()) - first * FAN_OUT;
            self.done = (self.done + cells * chunk_size).min(self.total);
            (self.progress)(Progress { done: self.done, total: self.total });
            first = end;
        }
        // Nodes too, and what compactions have emptied since.
        self.segments.extend(counted.reach.iter().map(|(serial, _)| serial));
        self.reach(number, disk.reach, &counted)
    }

    fn leaf(
        &mut self,
        disk: usize,
        map: &MapReader,
        leaf: u64,
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
                // The second look may find it whole: then the first one was no damage.
                let place = map.first_unreadable(leaf).ok_or_else(|| failed(&error))?;
                self.segments.insert(place.segment());
                let cells = Some((first, first + cells));
                return self.damaged(Some(disk), cells, place.segment(), &error);
            }
        };
        let outcome = reach::count_node(&mut counted.reach, &node);
        counted.keep(outcome);
        for (cell, below) in (first..).zip(&node.entries) {
            let Below::Chunk { length, id, place } = *below else {
                self.report.zero_cells += 1;
                continue;
            };
            match self.core.locate(&id, place) {
                Ok(place) => {
                    self.segments.insert(place.segment());
                    batch.push(Read { place, cell, length, id });
                }
                Err(error) => {
                    self.damaged(Some(disk), Some((cell, cell + 1)), place.segment(), &error)?;
                }
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
                reach::read_with(self.core, record, &mut self.scratch()?)
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
        // New handles: what was repaired meanwhile is another file.
        self.files = Arc::default();
        let failures = batch::read(self.core, &self.files, batch)?;
        self.report.chunks += batch.len() as u64;
        self.report.bytes += batch.iter().map(|read| u64::from(read.length)).sum::<u64>();
        for (index, error) in failures {
            let Read { cell, place, id, .. } = batch[index];
            let segment = self.core.resolve(&id, place).segment(); // moved meanwhile, maybe
            self.damaged(Some(disk), Some((cell, cell + 1)), segment, &error)?;
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
        if !tells_damage(self.core, segment, error)? {
            return Err(failed(error));
        }
        let what = model::chain(error);
        self.report.add(Damage { disk, cells, segment, what });
        Ok(())
    }

    /// The first block and the tail of every segment that the point reaches: no cell needs them,
    /// but a bit there has changed all the same.
    fn segment_frames(&mut self) -> Result<(), StoreError> {
        for serial in std::mem::take(&mut self.segments) {
            if is_emptied(self.core, serial) {
                continue;
            }
            match check_frame(self.core, serial) {
                // Moved and removed while it was read.
                Err(_) if is_emptied(self.core, serial) => {}
                Err(error) => self.damaged(None, None, serial, &error)?,
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

fn failed(error: &StoreError) -> StoreError {
    StoreError::Failed { reason: model::chain(error), kind: error.kind() }
}
