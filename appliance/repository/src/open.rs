//! Creating a repository, and opening one after whatever happened to it.

use crate::catalog::{Catalog, Replayed, Segment};
use crate::core::{Core, Parts};
use crate::delete::remove_segment;
use crate::index::Index;
use crate::ledger_file::LedgerFile;
use crate::pipeline::{Carrier, Idle};
use crate::segment::make_immutable;
use crate::storage::{self, Storage};
use crate::{Options, StoreError, layout};
use format::FormatError;
use format::footer::Footer;
use format::header::{RepositoryHeader, RepositoryId};
use format::keys::{KeyEncryptionKey, Secret};
use format::record::Kind;
use format::trailer::{ReadError, Trailer};
use ledger::{Event, Leaf, Tail};
use model::{ErrorKind, RetentionTime, WallTime};
use retention::Now;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What was found when a repository was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Open segments of runs that did not end; nothing refers to them, they were removed.
    pub dropped: Vec<DroppedSegment>,
    /// Sealed segments that no committed point made: kept, and deduplicated against.
    pub orphans: Vec<u32>,
    /// Bytes of a last ledger entry that was never acknowledged; they were moved aside.
    pub torn_ledger_bytes: u64,
    /// Segments whose deletion had been interrupted and is complete now.
    pub deletions_completed: u64,
    /// Segments that are missing, or whose footer is not what it was. Points that reach them are
    /// damaged; everything else is in order.
    pub damaged: Vec<DamagedSegment>,
    /// Files that are none of the repository's; left alone.
    pub foreign: Vec<String>,
    /// One of the two copies of the repository header is damaged.
    pub header_damaged: bool,
    /// Where the retention clock goes on.
    pub clock: RetentionTime,
}

/// A repository that was created.
pub struct Created {
    /// Of an encrypted one: opens it when the key that was given at creation is lost. It is not
    /// stored and cannot be shown again.
    pub recovery_key: Option<KeyEncryptionKey>,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("encrypted", &self.recovery_key.is_some()).finish()
    }
}

/// An open segment that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedSegment {
    /// Its serial.
    pub serial: u32,
    /// Bytes of its file.
    pub bytes: u64,
}

/// A sealed segment that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Its serial.
    pub serial: u32,
    /// What is wrong.
    pub what: String,
}

fn directory(storage: &dyn Storage, problem: &'static str, kind: ErrorKind) -> StoreError {
    StoreError::Directory { path: storage.name(), problem, kind }
}

fn take_lock(storage: &dyn Storage) -> Result<(), StoreError> {
    match storage.lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::InUse { path: storage.name() }),
        Err(source) => Err(StoreError::io("locking", "lock")(source)),
    }
}

/// The header file is written last: without it there is no repository.
pub(crate) fn create(
    storage: &Arc<dyn Storage>,
    options: &Options,
    wall: WallTime,
) -> Result<Created, StoreError> {
    options.check()?;
    for path in ["", layout::SEGMENTS, layout::LEDGER] {
        storage.create_dir(path).map_err(StoreError::io("creating", path))?;
    }
    take_lock(&**storage)?;
    clear_half_made(&**storage)?;
    let id = RepositoryId(crate::repo::random()?);
    let (secret, recovery_key) = match &options.encryption {
        None => (Some(Secret::new(&crate::repo::random()?)), None),
        Some(kek) => (None, Some(crate::keys::create(&**storage, id, kek)?)),
    };
    let header = RepositoryHeader { id, secret, chunk_size: options.chunk_size, created: wall };
    let bounds = ledger::event::LockBounds { min_seconds: 0, max_seconds: u64::MAX };
    let event = Event::Created {
        repository: header.id.to_string(),
        chunk_size: options.chunk_size,
        bounds,
        signer: String::new(),
    };
    let first = Leaf::new(RetentionTime(wall.0), wall, event);
    LedgerFile::create(storage, header.id.0, &first)?;
    storage::replace(&**storage, layout::HEADER, &header.encode())
        .map_err(StoreError::io("writing", layout::HEADER))?;
    Ok(Created { recovery_key })
}

/// Removes what a creation left that did not come to its end; refuses anything else.
fn clear_half_made(storage: &dyn Storage) -> Result<(), StoreError> {
    let list = |path: &'static str| storage.list(path).map_err(StoreError::io("listing", path));
    if list("")?.iter().any(|(name, _)| name == layout::HEADER) {
        return Err(directory(storage, "there is a repository already", ErrorKind::Refused));
    }
    let foreign = list("")?.iter().any(|(name, _)| name != "lock" && name != "repository.new");
    if foreign || !list(layout::SEGMENTS)?.is_empty() {
        return Err(directory(storage, "the directory is not empty", ErrorKind::Refused));
    }
    for directory in [layout::LEDGER, layout::KEYS] {
        let files = match storage.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files.map_err(StoreError::io("listing", directory))?,
        };
        for (name, _) in files {
            let path = format!("{directory}/{name}");
            storage.remove(&path).map_err(StoreError::io("removing", path))?;
        }
    }
    Ok(())
}

pub(crate) fn open(
    storage: Arc<dyn Storage>,
    options: &Options,
    now: Now,
) -> Result<(Core, Idle, Recovery), StoreError> {
    let mut recovery = Recovery::default();
    let header = read_header(&*storage, &mut recovery)?;
    let options = Options { chunk_size: header.chunk_size, ..options.clone() };
    options.check()?;
    take_lock(&*storage)?;
    let (keys, ring) = crate::keys::open(&*storage, &header, options.encryption.as_ref())?;
    let (ledger, leaves, tail) = LedgerFile::open(&storage, header.id.0)?;
    if let Tail::Torn { bytes, .. } = tail {
        recovery.torn_ledger_bytes = bytes;
    }
    let replayed = Replayed::new(leaves)?;
    recovery.clock = replayed.high_water;
    let mut scan = Scan::run(&storage, &header, &replayed, &mut recovery)?;
    scan.index.forget(&replayed.distrusted);
    let unfinished = replayed.unfinished_deletion;
    let mut catalog = Catalog::new(replayed, scan.segments, ledger, now);
    if unfinished {
        let segments = recovery.deletions_completed;
        if let Err(error) = catalog.record(vec![Event::Deleted { segments, bytes: 0 }], now) {
            // Nothing depends on this leaf; the next start finds the same files gone again.
            tracing::warn!(error = model::chain(&error), "completed deletion not on record");
        }
    }
    let (carrier, idle) = Carrier::new(options.workers);
    let core = Core::new(Parts {
        storage,
        id: header.id,
        keys,
        ring,
        carrier,
        catalog,
        index: scan.index,
        next_serial: scan.next_serial,
        options,
    })?;
    for serial in scan.unprotected {
        make_immutable(&core, serial)?;
    }
    Ok((core, idle, recovery))
}

fn read_header(
    storage: &dyn Storage,
    recovery: &mut Recovery,
) -> Result<RepositoryHeader, StoreError> {
    let bytes = match storage::read_all(storage, layout::HEADER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(directory(storage, "there is no repository", ErrorKind::NotFound));
        }
        other => other.map_err(StoreError::io("reading", layout::HEADER))?,
    };
    let (header, copies) = RepositoryHeader::decode(&bytes)
        .map_err(|source| StoreError::Damaged { what: layout::HEADER.into(), source })?;
    recovery.header_damaged = !(copies.first && copies.second);
    Ok(header)
}

/// What lies in `segments/`, compared with the ledger.
struct Scan {
    segments: BTreeMap<u32, Segment>,
    index: Index,
    next_serial: u32,
    /// Sealed segments; the attribute may be missing after a crash.
    unprotected: Vec<u32>,
}

impl Scan {
    fn run(
        storage: &Arc<dyn Storage>,
        header: &RepositoryHeader,
        replayed: &Replayed,
        recovery: &mut Recovery,
    ) -> Result<Self, StoreError> {
        let mut scan = Self {
            segments: BTreeMap::new(),
            index: Index::new(),
            next_serial: 1,
            unprotected: Vec::new(),
        };
        let mut files =
            storage.list(layout::SEGMENTS).map_err(StoreError::io("listing", layout::SEGMENTS))?;
        files.sort_unstable();
        let mut removed = false;
        for (name, bytes) in files {
            match layout::parse(&name) {
                layout::Name::Foreign => recovery.foreign.push(name),
                layout::Name::Open(serial) => {
                    let path = layout::open(serial);
                    storage.remove(&path).map_err(StoreError::io("removing", path))?;
                    recovery.dropped.push(DroppedSegment { serial, bytes });
                    removed = true;
                }
                layout::Name::Sealed(serial) if replayed.deleted.contains(&serial) => {
                    remove_segment(&**storage, serial)?;
                    recovery.deletions_completed += 1;
                    removed = true;
                }
                layout::Name::Sealed(serial) => {
                    scan.sealed(storage, header, serial, replayed, recovery);
                }
            }
        }
        if removed {
            let synced = storage.sync_dir(layout::SEGMENTS);
            synced.map_err(StoreError::io("syncing", layout::SEGMENTS))?;
        }
        scan.missing(replayed, recovery);
        let used = scan.segments.keys().chain(&replayed.deleted).max().copied().unwrap_or(0);
        scan.next_serial = used.saturating_add(1);
        Ok(scan)
    }

    fn sealed(
        &mut self,
        storage: &Arc<dyn Storage>,
        header: &RepositoryHeader,
        serial: u32,
        replayed: &Replayed,
        recovery: &mut Recovery,
    ) {
        let known = replayed.segments.get(&serial);
        let name = layout::sealed(serial);
        let footer = storage
            .open(&name)
            .map_err(StoreError::io("opening", &*name))
            .and_then(|file| read_footer(&*file, &name, known))
            .and_then(|Read { footer, segment, warning, .. }| {
                let damage = warning.map(|what| DamagedSegment { serial, what });
                recovery.damaged.extend(damage);
                let right = (footer.repository, footer.serial) == (header.id, serial);
                let problem = "it belongs to another segment".to_owned();
                let foreign = FormatError::Corrupt { what: "segment footer", problem };
                if right {
                    Ok((footer, segment))
                } else {
                    Err(StoreError::Damaged { what: name.clone(), source: foreign })
                }
            });
        self.unprotected.push(serial);
        match footer {
            Ok((footer, segment)) => {
                for entry in footer.entries.iter().filter(|entry| entry.kind == Kind::Chunk) {
                    if let Some(place) = entry.place(serial) {
                        self.index.insert(&entry.id, place);
                    }
                }
                if known.is_none() {
                    recovery.orphans.push(serial);
                }
                self.segments.insert(serial, segment);
            }
            Err(error) => {
                recovery.damaged.push(DamagedSegment { serial, what: model::chain(&error) });
                // Its records can still be read by their places. Without a leaf nothing needs it,
                // but it is not removed either: only what is understood is removed.
                if let Some(segment) = known {
                    self.segments.insert(serial, segment.clone());
                }
            }
        }
    }

    fn missing(&mut self, replayed: &Replayed, recovery: &mut Recovery) {
        for (&serial, segment) in &replayed.segments {
            self.segments.entry(serial).or_insert_with(|| {
                let what = "the segment is missing".to_owned();
                recovery.damaged.push(DamagedSegment { serial, what });
                segment.clone()
            });
        }
    }
}

/// What [`read_footer`] found.
pub(crate) struct Read {
    pub(crate) trailer: Trailer,
    pub(crate) footer: Footer,
    pub(crate) segment: Segment,
    /// Something that is wrong and does not matter yet.
    pub(crate) warning: Option<String>,
}

/// The footer of a sealed segment, checked against what the ledger says of it. The bytes between
/// the footer and the next block must be zeros.
pub(crate) fn read_footer(
    file: &dyn storage::Read,
    name: &str,
    known: Option<&Segment>,
) -> Result<Read, StoreError> {
    let io = |error| StoreError::io("reading", name)(error);
    let damaged = |source| StoreError::Damaged { what: name.to_owned(), source };
    let corrupt = |problem: &str| {
        damaged(FormatError::Corrupt { what: "segment", problem: problem.to_owned() })
    };
    let length = file.length().map_err(io)?;
    let (trailer, copies) = Trailer::read(length, |offset, bytes| file.read(offset, bytes))
        .map_err(|error| match error {
            ReadError::Read(error) => io(error),
            ReadError::Format(source) => damaged(source),
        })?;
    if known.is_some_and(|known| known.seal != trailer.seal || known.bytes != length) {
        return Err(corrupt("it is not the segment that the ledger names"));
    }
    let between = usize::try_from(trailer.geometry.protected_length() - trailer.footer_offset)
        .map_err(|_| corrupt("its footer is too long"))?;
    let mut bytes = vec![0; between];
    file.read(trailer.footer_offset, &mut bytes).map_err(io)?;
    let footer_length = usize::try_from(trailer.footer_length).unwrap_or(usize::MAX);
    let (footer, zeros) =
        bytes.split_at_checked(footer_length).ok_or_else(|| corrupt("its footer is cut off"))?;
    if zeros.iter().any(|&byte| byte != 0) {
        return Err(corrupt("a byte behind the footer is not zero"));
    }
    let footer = Footer::decode(footer, &trailer).map_err(damaged)?;
    let segment = Segment {
        class: footer.class,
        bytes: length,
        seal: trailer.seal,
        recorded: known.is_some(),
    };
    let warning = (!copies.last).then(|| "its last block is wrong; its copy was used".to_owned());
    Ok(Read { trailer, footer, segment, warning })
}
