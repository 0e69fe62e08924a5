//! The repository's face.

use crate::catalog::RecoveryPoint;
use crate::core::{Core, Scratch, locked, wanted};
use crate::open::Recovery;
use crate::pipeline::Threads;
use crate::point::{PointDraft, PointWriter};
use crate::reader::DiskReader;
use crate::report::{Progress, VerifyReport};
use crate::{Options, StoreError};
use format::manifest::Manifest;
use format::record::Kind;
use model::{RecoveryPointId, VmIdentity};
use std::path::Path;
use std::sync::Arc;
use warden::Warden;
use warden::storage::{Directory, Storage};

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
    /// Free bytes of all volumes that answer.
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
    /// Opens the repository in `dir`, after a crash too. `warden` has its ledger.
    pub fn open(
        dir: &Path,
        options: &Options,
        warden: Arc<dyn Warden>,
    ) -> Result<(Self, Recovery), StoreError> {
        let storage = Directory::new(dir.to_owned(), options.immutable);
        Self::open_on(Arc::new(storage), options, warden)
    }

    pub(crate) fn open_on(
        storage: Arc<dyn Storage>,
        options: &Options,
        warden: Arc<dyn Warden>,
    ) -> Result<(Self, Recovery), StoreError> {
        let (core, idle, recovery) = crate::open::open(storage, options, warden)?;
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
        catalog.state.points().filter_map(|(id, _)| catalog.summary(id)).collect()
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
        catalog.latest_of(vm).and_then(|id| catalog.summary(id))
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

    /// What the repository holds.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let core = &self.inner.core;
        let free = core.reachable().fold(0, |all: u64, (_, free)| all.saturating_add(free));
        let catalog = locked(&core.catalog);
        let index = locked(&core.index);
        Ok(Stats {
            points: catalog.state.point_count() as u64,
            segments: catalog.files.len() as u64,
            bytes: catalog.files.values().map(|held| held.bytes).sum(),
            chunks: index.chunks(),
            index_bytes: index.memory(),
            free,
            chunk_size: core.options.chunk_size,
        })
    }
}

impl Inner {
    pub(crate) fn manifest(&self, id: RecoveryPointId) -> Result<Manifest, StoreError> {
        manifest(&self.core, id, &mut Scratch::new(&self.core)?)
    }

    /// Keeps a point from being deleted until it is unpinned.
    pub(crate) fn pin(&self, id: RecoveryPointId) -> Result<(), StoreError> {
        locked(&self.core.catalog).pin(id)
    }
}

/// Reads the manifest of a point.
pub(crate) fn manifest(
    core: &Core,
    id: RecoveryPointId,
    scratch: &mut Scratch,
) -> Result<Manifest, StoreError> {
    let reference = locked(&core.catalog).manifest(id)?;
    core.read_record(&wanted(Kind::Manifest, reference.id, reference.place), scratch)?;
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
