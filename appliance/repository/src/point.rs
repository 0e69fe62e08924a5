//! Writing a recovery point: disks and files, then the commit.

use crate::StoreError;
use crate::core::{Core, locked};
use crate::disk::{DiskDraft, DiskWriter, Finished};
use crate::map::NodeSink;
use crate::options::check_level;
use crate::repo::Inner;
use crate::segment::{Done, Stream};
use format::manifest::{FileEntry, RecordRef};
use format::map::Node;
use format::record::Kind;
use format::segment::Class;
use format::{Place, RECORD_MAX};
use model::{ChunkId, Consistency, ErrorKind, RecoveryPointId, RunId, VmIdentity, WallTime};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

/// What is known of a recovery point before its first byte.
#[derive(Clone, Debug)]
pub struct PointDraft {
    /// Of which VM.
    pub vm: VmIdentity,
    /// The run that makes it.
    pub run: RunId,
    /// State of the guest.
    pub consistency: Consistency,
    /// When the run began.
    pub started: WallTime,
    /// Bytes of a cell; `None`: the repository's. A parent must have the same.
    pub chunk_size: Option<u32>,
    /// Level of zstd, 1 to 19; `None`: the repository's.
    pub zstd_level: Option<i32>,
}

/// What the threads that work for one point share.
pub(crate) struct PointState {
    pub(crate) core: Arc<Core>,
    /// Bytes of a cell.
    pub(crate) chunk_size: u32,
    pub(crate) zstd_level: i32,
    /// The stream of chunks.
    pub(crate) data: Mutex<Stream>,
    /// Where the chunks lie that are in segments of this point not sealed yet. Taken alone or
    /// after `data`: the sealer takes it while a worker waits with `data` for the writer.
    pub(crate) unsealed: Mutex<HashMap<ChunkId, Place>>,
    pub(crate) metadata: Mutex<Stream>,
    failed: AtomicBool,
    failure: Mutex<Failure>,
    work: Mutex<Work>,
    changed: Condvar,
    segments: Mutex<Segments>,
    pub(crate) new_bytes: AtomicU64,
    vm: VmIdentity,
    /// Where everything of the point lies; known when the first parent or segment is.
    volume: OnceLock<u8>,
}

#[derive(Default)]
struct Failure {
    /// The first error, until somebody has been told.
    error: Option<StoreError>,
    reason: String,
    kind: Option<ErrorKind>,
}

/// Chunks on their way, segments being sealed.
#[derive(Default)]
struct Work {
    chunks: usize,
    segments: usize,
}

/// Segments of this point.
#[derive(Default)]
struct Segments {
    /// Made by it and not sealed, with their volume: to be removed when it fails.
    open: BTreeSet<(u8, u32)>,
    /// Pinned for it: its own and those it found chunks in.
    pinned: BTreeSet<u32>,
}

impl PointState {
    fn new(core: Arc<Core>, draft: &PointDraft) -> Result<Self, StoreError> {
        let chunk_size = draft.chunk_size.unwrap_or(core.options.chunk_size);
        let zstd_level = draft.zstd_level.unwrap_or(core.options.zstd_level);
        core.options.check_chunk_size(chunk_size)?;
        check_level(zstd_level)?;
        Ok(Self {
            core,
            chunk_size,
            zstd_level,
            data: Mutex::new(Stream::new(Class::Data)),
            unsealed: Mutex::default(),
            metadata: Mutex::new(Stream::new(Class::Metadata)),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            work: Mutex::default(),
            changed: Condvar::new(),
            segments: Mutex::default(),
            new_bytes: AtomicU64::new(0),
            vm: draft.vm.clone(),
            volume: OnceLock::new(),
        })
    }

    /// Remembers the first error; nothing more is done for the point.
    pub(crate) fn fail(&self, error: StoreError) {
        let mut failure = locked(&self.failure);
        if failure.kind.is_none() {
            failure.reason = model::chain(&error);
            failure.kind = Some(error.kind());
            failure.error = Some(error);
        }
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The error itself the first time, that there was one afterwards.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if !self.has_failed() {
            return Ok(());
        }
        let mut failure = locked(&self.failure);
        let (reason, kind) = (failure.reason.clone(), failure.kind);
        Err(failure
            .error
            .take()
            .unwrap_or(StoreError::Failed { reason, kind: kind.unwrap_or(ErrorKind::Retryable) }))
    }

    pub(crate) fn departure(&self) {
        locked(&self.work).chunks += 1;
    }

    /// Ends the work on a chunk when dropped, also by a panic; that fails the point.
    pub(crate) fn arrival(&self) -> Arrival<'_> {
        Arrival(self)
    }

    pub(crate) fn sealing_begins(&self) {
        locked(&self.work).segments += 1;
    }

    pub(crate) fn sealing_ends(&self) {
        locked(&self.work).segments -= 1;
        self.changed.notify_all();
    }

    /// Waits until no chunk is on its way any more, then says whether all went well.
    pub(crate) fn drain(&self) -> Result<(), StoreError> {
        self.wait(|work| work.chunks == 0);
        self.check()
    }

    /// Waits until no segment is being sealed any more, then says whether all went well.
    pub(crate) fn wait_for_seals(&self) -> Result<(), StoreError> {
        self.wait(|work| work.segments == 0);
        self.check()
    }

    fn wait(&self, done: impl Fn(&Work) -> bool) {
        let mut work = locked(&self.work);
        while !done(&work) {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The volume that everything of this point lies on: without a parent the one of the VM's
    /// last point, or the one with the most room.
    pub(crate) fn volume(&self) -> Result<u8, StoreError> {
        if let Some(&volume) = self.volume.get() {
            return Ok(volume);
        }
        let usual = {
            let catalog = locked(&self.core.catalog);
            catalog.latest_of(&self.vm).and_then(|id| catalog.volume_of(id).ok())
        };
        let chosen = self.core.choose_volume(usual)?;
        Ok(*self.volume.get_or_init(|| chosen))
    }

    /// Sets the volume before anything else does.
    #[cfg(test)]
    pub(crate) fn use_volume(&self, volume: u8) {
        self.volume.set(volume).expect("nothing was written before");
    }

    /// What builds on a point lies on its volume.
    fn build_on(&self, parent: RecoveryPointId) -> Result<(), StoreError> {
        let wanted = locked(&self.core.catalog).volume_of(parent)?;
        let volume = *self.volume.get_or_init(|| wanted);
        if volume == wanted {
            return Ok(());
        }
        let problem = format!(
            "the recovery point is written to volume {volume}, and its parent lies on volume \
             {wanted}: make a full backup"
        );
        Err(StoreError::misuse(problem))
    }

    /// A segment of this point was begun; nobody removes it while the point is written.
    pub(crate) fn opened(&self, volume: u8, serial: u32) {
        let mut index = locked(&self.core.index);
        let mut segments = locked(&self.segments);
        segments.open.insert((volume, serial));
        if segments.pinned.insert(serial) {
            index.pin(serial);
        }
    }

    /// Takes a sealed segment over into catalog and index.
    pub(crate) fn sealed(&self, done: Done) {
        let (serial, volume) = (done.serial, done.held.volume);
        self.new_bytes.fetch_add(done.held.bytes, Ordering::Relaxed);
        self.core.take_in(&done);
        locked(&self.segments).open.remove(&(volume, serial));
        let mut unsealed = locked(&self.unsealed);
        for entry in &done.entries {
            if unsealed.get(&entry.id).is_some_and(|place| place.segment() == serial) {
                unsealed.remove(&entry.id);
            }
        }
    }

    /// Where a chunk of a sealed segment lies, unless that is one to avoid; the segment stays while
    /// this point is written.
    pub(crate) fn find_sealed(
        &self,
        id: &ChunkId,
        avoid: &BTreeSet<u32>,
    ) -> Result<Option<Place>, StoreError> {
        let volume = self.volume()?;
        let mut index = locked(&self.core.index);
        let found = index.find(volume, id).filter(|place| !avoid.contains(&place.segment()));
        if let Some(place) = found
            && locked(&self.segments).pinned.insert(place.segment())
        {
            index.pin(place.segment());
        }
        Ok(found)
    }

    /// The segments that were made by this point and those it found chunks in.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = u32> + use<> {
        locked(&self.segments).pinned.clone().into_iter()
    }

    /// Stores a record of metadata.
    pub(crate) fn store(
        self: &Arc<Self>,
        kind: Kind,
        id: ChunkId,
        plain: &[u8],
    ) -> Result<RecordRef, StoreError> {
        if !(1..=RECORD_MAX).contains(&plain.len()) {
            return Err(StoreError::misuse(format!("a record of {} bytes", plain.len())));
        }
        let mut sealer = locked(&self.core.sealer);
        let sealed = sealer
            .set_level(self.zstd_level)
            .and_then(|()| sealer.seal(kind, id, plain))
            .map_err(StoreError::io("compressing for", ""))?;
        let place = locked(&self.metadata).append(self, &sealed)?;
        Ok(RecordRef { id, place })
    }

    /// Waits for the threads, removes what is not sealed, unpins.
    fn release(&self, committed: bool) {
        self.wait(|work| work.chunks == 0 && work.segments == 0);
        let Segments { open, pinned } = std::mem::take(&mut *locked(&self.segments));
        locked(&self.core.index).unpin(&pinned);
        for (volume, serial) in open {
            debug_assert!(!committed, "a commit seals everything first");
            self.core.discard(volume, serial);
        }
    }
}

pub(crate) struct Arrival<'a>(&'a PointState);

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "a thread of the repository panicked".to_owned();
            self.0.fail(StoreError::Failed { reason, kind: ErrorKind::Retryable });
        }
        locked(&self.0.work).chunks -= 1;
        self.0.changed.notify_all();
    }
}

impl NodeSink for Arc<PointState> {
    fn store(&mut self, node: &Node) -> Result<RecordRef, StoreError> {
        let bytes = node.encode();
        let id = Node::hash(&self.core.keys, &bytes);
        PointState::store(self, Kind::Node, id, &bytes)
    }
}

impl Core {
    /// A sealed segment is known from now on, and so are its chunks.
    pub(crate) fn take_in(&self, done: &Done) {
        let Done { serial, held, entries } = done;
        locked(&self.catalog).files.insert(*serial, *held);
        let mut index = locked(&self.index);
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Chunk) {
            if let Some(place) = entry.place(*serial) {
                index.insert(held.volume, &entry.id, place);
            }
        }
    }
}

/// A recovery point that is being written. Nothing of it is visible before [`Self::commit`];
/// dropping it abandons it (what has been sealed by then can still be deduplicated against).
pub struct PointWriter {
    pub(crate) inner: Arc<Inner>,
    pub(crate) state: Arc<PointState>,
    pub(crate) id: RecoveryPointId,
    pub(crate) draft: PointDraft,
    pub(crate) disks: Arc<Mutex<Vec<Finished>>>,
    pub(crate) disks_begun: usize,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) parents: Vec<RecoveryPointId>,
}

impl PointWriter {
    pub(crate) fn new(inner: Arc<Inner>, draft: PointDraft) -> Result<Self, StoreError> {
        let id = RecoveryPointId(crate::repo::random()?);
        let state = Arc::new(PointState::new(Arc::clone(&inner.core), &draft)?);
        Ok(Self {
            inner,
            state,
            id,
            draft,
            disks: Arc::default(),
            disks_begun: 0,
            files: Vec::new(),
            parents: Vec::new(),
        })
    }

    /// The id that the point will have.
    #[must_use]
    pub fn id(&self) -> RecoveryPointId {
        self.id
    }

    /// Begins the next disk. Cells that are not put are as in the parent, or zero without one.
    /// The parent must have the same capacity. One disk after another: finish the last one first.
    pub fn disk(&mut self, draft: DiskDraft) -> Result<DiskWriter, StoreError> {
        self.state.check()?;
        if locked(&self.disks).len() != self.disks_begun {
            return Err(StoreError::misuse("the disk before this one has not been finished"));
        }
        if let Some(parent) = &draft.parent {
            self.inner.pin(parent.point)?;
            self.parents.push(parent.point);
            self.state.build_on(parent.point)?;
        }
        let disks = Arc::clone(&self.disks);
        let disk = DiskWriter::new(Arc::clone(&self.inner), Arc::clone(&self.state), draft, disks)?;
        self.disks_begun += 1;
        Ok(disk)
    }

    /// Keeps a small file with the point: at most 8 MiB, a name without directories.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.state.check()?;
        if name.is_empty() || name.contains('/') || self.files.iter().any(|f| f.name == name) {
            return Err(StoreError::misuse(format!("'{name}' is no name, or is there already")));
        }
        let content = if bytes.is_empty() {
            None
        } else {
            let id = self.inner.core.keys.content_id(bytes);
            Some(self.state.store(Kind::File, id, bytes)?)
        };
        let length = bytes.len() as u64;
        self.files.push(FileEntry { name: name.into(), length, content });
        Ok(())
    }
}

impl Drop for PointWriter {
    fn drop(&mut self) {
        let committed = locked(&self.inner.core.catalog).state.point(self.id).is_some();
        if !committed {
            let reason = "the recovery point was abandoned".to_owned();
            self.state.fail(StoreError::Failed { reason, kind: ErrorKind::Cancelled });
        }
        self.state.release(committed);
        let mut catalog = locked(&self.inner.core.catalog);
        for parent in &self.parents {
            catalog.unpin(*parent);
        }
    }
}
