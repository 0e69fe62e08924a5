//! The repository's face.

use crate::catalog::{RecoveryPoint, Verified};
use crate::core::{Core, Scratch, locked, wanted};
use crate::delete::Deleted;
use crate::open::{Created, Recovery};
use crate::pipeline::Threads;
use crate::point::{PointDraft, PointWriter};
use crate::reader::DiskReader;
use crate::storage::{Directory, Storage};
use crate::verify::{Progress, VerifyReport};
use crate::{DeleteError, Options, StoreError};
use format::manifest::Manifest;
use format::record::Kind;
use ledger::Event;
use model::{RecoveryPointId, RetentionTime, VmIdentity, WallTime};
use retention::Now;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// An open repository. Clones share it; it is closed when the last clone, writer and reader is
/// gone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Recovery points.
    pub points: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Bytes of sealed segments.
    pub bytes: u64,
    /// Chunks in the index.
    pub chunks: u64,
    /// Bytes of memory of the index.
    pub index_bytes: u64,
    /// Free bytes of the file system.
    pub free: u64,
    /// Bytes of a cell unless a point says otherwise.
    pub chunk_size: u32,
}

/// Core and threads. `threads` is dropped first and waits for them.
pub(crate) struct Inner {
    _threads: Threads,
    pub(crate) core: Arc<Core>,
}

impl Repository {
    /// Makes a new repository in `dir`, which must not hold one. `wall` is where the retention
    /// clock begins: check it, it cannot be changed afterwards. With `options.encryption` the
    /// repository is encrypted, and its recovery key is given back: now and never again.
    pub fn create(dir: &Path, options: &Options, wall: WallTime) -> Result<Created, StoreError> {
        let storage = Directory::new(dir.to_owned(), options.immutable);
        crate::open::create(&(Arc::new(storage) as Arc<dyn Storage>), options, wall)
    }

    /// Opens the repository in `dir`, after a crash too. `now` is the first reading of the clocks:
    /// the retention clock goes on from its last value on record.
    pub fn open(dir: &Path, options: &Options, now: Now) -> Result<(Self, Recovery), StoreError> {
        let storage = Directory::new(dir.to_owned(), options.immutable);
        Self::open_on(Arc::new(storage), options, now)
    }

    pub(crate) fn open_on(
        storage: Arc<dyn Storage>,
        options: &Options,
        now: Now,
    ) -> Result<(Self, Recovery), StoreError> {
        let (core, idle, recovery) = crate::open::open(storage, options, now)?;
        let core = Arc::new(core);
        let threads = Threads::start(&core, idle)?;
        Ok((Self { inner: Arc::new(Inner { _threads: threads, core }) }, recovery))
    }

    /// Begins a recovery point.
    pub fn begin(&self, draft: PointDraft) -> Result<PointWriter, StoreError> {
        PointWriter::new(Arc::clone(&self.inner), draft)
    }

    /// All points, oldest commit first.
    #[must_use]
    pub fn points(&self) -> Vec<RecoveryPoint> {
        let catalog = locked(&self.inner.core.catalog);
        catalog.order.iter().filter_map(|&id| catalog.summary(id)).collect()
    }

    /// The summary of one point.
    pub fn summary(&self, id: RecoveryPointId) -> Result<RecoveryPoint, StoreError> {
        locked(&self.inner.core.catalog).summary(id).ok_or_else(|| StoreError::no_point(id))
    }

    /// Everything a point says about itself.
    pub fn point(&self, id: RecoveryPointId) -> Result<Manifest, StoreError> {
        self.inner.manifest(id)
    }

    /// The point of this VM that was committed last. A VM is told by its uuid and its server's.
    #[must_use]
    pub fn latest_of(&self, vm: &VmIdentity) -> Option<RecoveryPoint> {
        let catalog = locked(&self.inner.core.catalog);
        let of_vm = |id: &&RecoveryPointId| {
            catalog.points.get(id).is_some_and(|point| {
                let own = &point.commit.vm;
                own.uuid == vm.uuid && own.server_uuid == vm.server_uuid
            })
        };
        catalog.order.iter().rev().find(of_vm).and_then(|&id| catalog.summary(id))
    }

    /// A file that was kept with a point.
    pub fn file(&self, id: RecoveryPointId, name: &str) -> Result<Vec<u8>, StoreError> {
        let _pin = PinnedPoint::new(&self.inner, id)?;
        let manifest = self.inner.manifest(id)?;
        let file = manifest.files.iter().find(|file| file.name == name);
        let what = || StoreError::NotFound { what: format!("file '{name}' in point {id}") };
        let Some(content) = file.ok_or_else(what)?.content else { return Ok(Vec::new()) };
        let mut scratch = Scratch::new(&self.inner.core)?;
        let wanted = wanted(Kind::File, content.id, content.place);
        self.inner.core.read_record(&wanted, &mut scratch)?;
        Ok(scratch.plain)
    }

    /// Opens a disk of a point for reading.
    pub fn open_disk(&self, id: RecoveryPointId, disk: usize) -> Result<DiskReader, StoreError> {
        DiskReader::open(&self.inner, id, disk)
    }

    /// Reads everything a point reaches from the disks and checks it.
    pub fn verify(
        &self,
        id: RecoveryPointId,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VerifyReport, StoreError> {
        crate::verify::verify(&self.inner, id, progress)
    }

    /// Puts the outcome of [`Self::verify`] on record. Chunks of segments with damage are stored
    /// anew when they come again, so that the next full backup heals.
    pub fn record_verification(
        &self,
        id: RecoveryPointId,
        report: &VerifyReport,
        now: Now,
    ) -> Result<(), StoreError> {
        let damaged: BTreeSet<u32> = report.damage.iter().map(|damage| damage.segment).collect();
        let damage = report.damage.len() as u64 + report.more_damage;
        let event = Event::Verified {
            point: id,
            chunks: report.chunks,
            bytes: report.bytes,
            damage,
            segments: damaged.iter().copied().collect(),
        };
        let mut catalog = locked(&self.inner.core.catalog);
        catalog.record(vec![event], now)?;
        locked(&self.inner.core.index).forget(&damaged);
        let point = catalog.points.get_mut(&id).ok_or_else(|| StoreError::no_point(id))?;
        point.verified = Some(Verified { at: now.wall, damage });
        Ok(())
    }

    /// Deletes a point whose lock has ended, and the segments that nothing reaches any more.
    pub fn delete(&self, id: RecoveryPointId, now: Now) -> Result<Deleted, DeleteError> {
        crate::delete::delete(&self.inner.core, id, now)
    }

    /// Removes segments that no point reaches: what abandoned and interrupted runs left.
    pub fn reclaim(&self, now: Now) -> Result<Deleted, StoreError> {
        crate::delete::reclaim(&self.inner.core, now)
    }

    /// The retention clock as of the last reading.
    #[must_use]
    pub fn retention_now(&self) -> RetentionTime {
        locked(&self.inner.core.catalog).clock.value()
    }

    /// Takes a reading of the clocks. To be called about every minute: what lies between the last
    /// reading and a crash is lost to the clock, and an hourly entry is put on record.
    pub fn tick(&self, now: Now) -> Result<RetentionTime, StoreError> {
        locked(&self.inner.core.catalog).tick(now)
    }

    /// What the repository holds.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let core = &self.inner.core;
        let free = core.storage.free().map_err(StoreError::io("asking for free space of", ""))?;
        let catalog = locked(&core.catalog);
        let index = locked(&core.index);
        Ok(Stats {
            points: catalog.points.len() as u64,
            segments: catalog.segments.len() as u64,
            bytes: catalog.segments.values().map(|segment| segment.bytes).sum(),
            chunks: index.chunks(),
            index_bytes: index.memory(),
            free,
            chunk_size: core.options.chunk_size,
        })
    }

    /// Number of leaves of the ledger and the root over them.
    #[must_use]
    pub fn ledger_head(&self) -> (u64, [u8; 32]) {
        let catalog = locked(&self.inner.core.catalog);
        (catalog.ledger.tree().size(), catalog.ledger.tree().root())
    }
}

impl Inner {
    pub(crate) fn manifest(&self, id: RecoveryPointId) -> Result<Manifest, StoreError> {
        let reference = {
            let catalog = locked(&self.core.catalog);
            catalog.points.get(&id).ok_or_else(|| StoreError::no_point(id))?.manifest
        };
        read_manifest(&self.core, reference)
    }

    /// Keeps a point from being deleted until it is unpinned.
    pub(crate) fn pin(&self, id: RecoveryPointId) -> Result<(), StoreError> {
        let mut catalog = locked(&self.core.catalog);
        if !catalog.points.contains_key(&id) {
            return Err(StoreError::no_point(id));
        }
        catalog.pin(id);
        Ok(())
    }
}

/// A manifest, read and checked.
pub(crate) fn read_manifest(
    core: &Core,
    reference: format::manifest::RecordRef,
) -> Result<Manifest, StoreError> {
    let mut scratch = Scratch::new(core)?;
    let wanted = wanted(Kind::Manifest, reference.id, reference.place);
    core.read_record(&wanted, &mut scratch)?;
    let decoded = Manifest::decode(&scratch.plain);
    decoded.map_err(|source| StoreError::Damaged { what: "a manifest".into(), source })
}

/// A point that cannot be deleted while this lives.
pub(crate) struct PinnedPoint {
    inner: Arc<Inner>,
    point: RecoveryPointId,
}

impl PinnedPoint {
    pub(crate) fn new(inner: &Arc<Inner>, point: RecoveryPointId) -> Result<Self, StoreError> {
        inner.pin(point)?;
        Ok(Self { inner: Arc::clone(inner), point })
    }
}

impl Drop for PinnedPoint {
    fn drop(&mut self) {
        locked(&self.inner.core.catalog).unpin(self.point);
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::io("asking the system for random numbers for", "")(error.into())
    })?;
    Ok(bytes)
}
