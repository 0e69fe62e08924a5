//! What all parts of an open repository share.
//!
//! Locks are taken in this order, never the other way round: maintenance, catalog, index. Nobody
//! holds one of them while waiting for a thread.

use crate::catalog::Catalog;
use crate::index::Index;
use crate::moves::Footers;
use crate::pipeline::Carrier;
use crate::volumes::Volumes;
use crate::{Options, StoreError};
use format::Place;
use format::codec::{Nonces, Opener, Sealer, Wanted};
use format::header::{Keys, RepositoryId};
use format::keys::KeyRing;
use format::record::Kind;
use model::ChunkId;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use warden::storage::{Read, Storage};
use warden::{Warden, layout};

/// Read handles by serial.
pub(crate) type Files = Mutex<HashMap<u32, Arc<dyn Read>>>;

/// Read handles kept open at most: far below the usual limit of 1024 descriptors.
const OPEN_FILES: usize = 128;

pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) warden: Arc<dyn Warden>,
    pub(crate) volumes: Volumes,
    pub(crate) options: Options,
    pub(crate) id: RepositoryId,
    pub(crate) keys: Keys,
    /// Keys of all epochs; empty when the repository is not encrypted.
    pub(crate) ring: Mutex<KeyRing>,
    pub(crate) carrier: Carrier,
    /// One deletion at a time.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) index: Mutex<Index>,
    /// For records that are made outside of the workers.
    pub(crate) sealer: Mutex<Sealer>,
    pub(crate) next_serial: AtomicU32,
    files: Files,
    pub(crate) footers: Mutex<Footers>,
    /// Read while a commit counts its segments and goes on record, written while a compaction does.
    pub(crate) moving: RwLock<()>,
    /// A compaction may be on record that the catalog does not know: its answer was lost.
    pub(crate) unsettled: AtomicBool,
    /// Where the next compaction goes on.
    pub(crate) compacted_to: AtomicU32,
}

/// The value behind a lock. A panic while it was held is a bug that has been reported by then;
/// every structure here is changed in one step, so it can still be used.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts that [`Core::new`] puts together.
pub(crate) struct Parts {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) warden: Arc<dyn Warden>,
    pub(crate) volumes: Volumes,
    pub(crate) options: Options,
    pub(crate) id: RepositoryId,
    pub(crate) keys: Keys,
    pub(crate) ring: KeyRing,
    pub(crate) carrier: Carrier,
    pub(crate) catalog: Catalog,
    pub(crate) index: Index,
    pub(crate) next_serial: u32,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Result<Self, StoreError> {
        let sealer = new_sealer(parts.id, parts.options.zstd_level, &parts.ring)?;
        let (catalog, mut index) = (parts.catalog, parts.index);
        // What compactions left behind goes with the next deletion.
        let there = |serial: &u32| catalog.files.contains_key(serial);
        index.hide(&catalog.moves.emptied_since(0).into_iter().filter(there).collect());
        Ok(Self {
            storage: parts.storage,
            warden: parts.warden,
            volumes: parts.volumes,
            options: parts.options,
            id: parts.id,
            keys: parts.keys,
            ring: Mutex::new(parts.ring),
            carrier: parts.carrier,
            maintenance: Mutex::new(()),
            catalog: Mutex::new(catalog),
            index: Mutex::new(index),
            sealer: Mutex::new(sealer),
            next_serial: AtomicU32::new(parts.next_serial),
            files: Mutex::new(HashMap::new()),
            footers: Mutex::default(),
            moving: RwLock::new(()),
            unsettled: AtomicBool::new(false),
            compacted_to: AtomicU32::new(0),
        })
    }

    pub(crate) fn take_serial(&self) -> Result<u32, StoreError> {
        self.next_serial
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |serial| serial.checked_add(1))
            .map_err(|_| StoreError::misuse("this repository has no segment numbers left"))
    }

    /// Puts the chunks of segments into the index, unless there is known damage in them.
    pub(crate) fn learn(&self) -> impl Fn(u8, &[(ChunkId, Place)]) + Sync {
        |volume, chunks| {
            let Some((_, first)) = chunks.first() else { return };
            let catalog = locked(&self.catalog);
            if catalog.state.segment(first.segment()).is_some_and(|known| known.distrusted) {
                return;
            }
            let mut index = locked(&self.index);
            for (id, place) in chunks {
                index.insert(volume, id, *place);
            }
        }
    }

    /// Removes an open segment that is not going to be sealed. A failure is told, not fatal.
    pub(crate) fn discard(&self, volume: u8, serial: u32) {
        if let Err(error) = self.try_discard(volume, serial) {
            let error = model::chain(&error);
            tracing::warn!(error, segment = serial, "not removed now; the next start does it");
        }
    }

    /// The same for who needs to know.
    pub(crate) fn try_discard(&self, volume: u8, serial: u32) -> Result<(), StoreError> {
        crate::open::discard(&*self.storage, &*self.warden, volume, serial)
    }

    pub(crate) fn opener(&self) -> Result<Opener, StoreError> {
        Opener::new(self.id, self.keys.clone(), locked(&self.ring).clone())
            .map_err(StoreError::io("preparing to read", ""))
    }

    /// Makes records as this repository stores them.
    pub(crate) fn new_sealer(&self) -> Result<Sealer, StoreError> {
        new_sealer(self.id, self.options.zstd_level, &locked(&self.ring))
    }

    /// Epoch under which segments are written now; 0: not encrypted.
    pub(crate) fn epoch(&self) -> u32 {
        locked(&self.ring).latest().unwrap_or(0)
    }

    /// A handle; one of `medium`, if there are any, is past the page cache.
    fn file(&self, serial: u32, medium: Option<&Files>) -> Result<Arc<dyn Read>, StoreError> {
        let mut files = locked(medium.unwrap_or(&self.files));
        if let Some(file) = files.get(&serial) {
            return Ok(Arc::clone(file));
        }
        let name = self.name_of(serial);
        let file = match medium {
            None => self.storage.open(&name),
            Some(_) => self.storage.open_uncached(&name),
        };
        let file = file.map_err(StoreError::io("opening", name))?;
        if files.len() >= OPEN_FILES {
            files.clear();
        }
        files.insert(serial, Arc::clone(&file));
        Ok(file)
    }

    /// The file of a sealed segment, on the volume where it was found.
    pub(crate) fn name_of(&self, serial: u32) -> String {
        layout::sealed(locked(&self.catalog).volume_of_segment(serial), serial)
    }

    /// Closes the handles of segments that are going to be removed.
    pub(crate) fn forget_files(&self, removed: impl Fn(u32) -> bool) {
        locked(&self.files).retain(|&serial, _| !removed(serial));
    }

    /// The plain bytes of a record, checked in every way, in `scratch.plain`. A chunk that was
    /// moved is read where it is now.
    pub(crate) fn read_record(
        &self,
        wanted: &Wanted,
        scratch: &mut Scratch,
    ) -> Result<(), StoreError> {
        if wanted.kind != Kind::Chunk {
            return self.read_at(wanted, scratch);
        }
        let place = self.resolve(&wanted.id, wanted.place);
        match self.read_at(&Wanted { place, ..*wanted }, scratch) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // It was compacted and removed just now.
                let place = self.locate(&wanted.id, wanted.place)?;
                self.read_at(&Wanted { place, ..*wanted }, scratch)
            }
            outcome => outcome,
        }
    }

    /// The same at this place and no other; the record as it is stored is in [`Scratch::raw`].
    pub(crate) fn read_at(&self, wanted: &Wanted, scratch: &mut Scratch) -> Result<(), StoreError> {
        let serial = wanted.place.segment();
        scratch.raw.resize(wanted.place.length(), 0);
        let file = self.file(serial, scratch.medium.as_deref())?;
        let read = file.read(wanted.place.offset(), &mut scratch.raw);
        read.map_err(|source| StoreError::io("reading", self.name_of(serial))(source))?;
        scratch.opener.open(&scratch.raw, wanted, &mut scratch.plain).map_err(|source| {
            let (kind, place) = (wanted.kind, wanted.place);
            let (segment, offset) = (self.name_of(place.segment()), place.offset());
            let what = format!("the {} at byte {offset} of {segment}", word_for(kind));
            StoreError::Damaged { what, source }
        })
    }
}

fn word_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Chunk => "chunk",
        Kind::Node => "map node",
        Kind::Manifest => "manifest",
        Kind::File => "file",
        Kind::Reach => "reach",
    }
}

fn new_sealer(id: RepositoryId, level: i32, ring: &KeyRing) -> Result<Sealer, StoreError> {
    let mut sealer =
        Sealer::new(id, level).map_err(StoreError::io("preparing to compress for", ""))?;
    if let Some(epoch) = ring.latest() {
        let nonces: Nonces = Box::new(|| {
            let mut nonce = [0; format::cipher::NONCE];
            getrandom::fill(&mut nonce).map_err(io::Error::from)?;
            Ok(nonce)
        });
        sealer
            .encrypt(ring, epoch, nonces)
            .map_err(|source| StoreError::Damaged { what: layout::key(epoch), source })?;
    }
    Ok(sealer)
}

/// Buffers and context for reading records, used again and again.
pub(crate) struct Scratch {
    opener: Opener,
    raw: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    /// For who wants to know what is on the medium, whatever the page cache says.
    medium: Option<Arc<Files>>,
}

impl Scratch {
    /// The record that was read last, as it is stored.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub(crate) fn new(core: &Core) -> Result<Self, StoreError> {
        Ok(Self { opener: core.opener()?, raw: Vec::new(), plain: Vec::new(), medium: None })
    }

    /// Reads past the page cache, through handles kept in `files`.
    pub(crate) fn from_medium(core: &Core, files: Arc<Files>) -> Result<Self, StoreError> {
        Ok(Self { medium: Some(files), ..Self::new(core)? })
    }
}

/// Which record of which kind.
pub(crate) fn wanted(kind: Kind, id: ChunkId, place: Place) -> Wanted {
    Wanted { place, kind, id }
}
