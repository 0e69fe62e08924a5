//! Opening a repository after whatever happened to it. The ledger is the warden's: it has been
//! opened, and made whole after a crash, before the daemon comes here.

use crate::catalog::Catalog;
use crate::core::{Core, Parts};
use crate::pipeline::{Carrier, Idle};
use crate::survey::Survey;
use crate::volumes::Volumes;
use crate::{Options, StoreError, keys};
use format::header::{HEADER_BYTES, RepositoryHeader};
use model::{ErrorKind, RecoveryPointId, RetentionTime};
use std::io;
use std::sync::Arc;
use warden::state::State;
use warden::storage::{Storage, read_all, remove_if_there};
use warden::wire::Request;
use warden::{LedgerReader, Warden, layout};

/// What was found when a repository was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Open segments of runs that did not end; nothing refers to them, they were removed.
    pub dropped: Vec<DroppedSegment>,
    /// Sealed segments that no committed point made: kept, and deduplicated against.
    pub orphans: Vec<u32>,
    /// Segments that are missing, or whose tail is not what it was; what that means is said for
    /// each. Everything else is in order.
    pub damaged: Vec<DamagedSegment>,
    /// Volumes that are not mounted where they belong.
    pub missing_volumes: Vec<MissingVolume>,
    /// Files that are none of the repository's; left alone.
    pub foreign: Vec<String>,
    /// One of the two copies of the repository header is damaged.
    pub header_damaged: bool,
    /// Where the retention clock goes on.
    pub clock: RetentionTime,
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

/// A volume that is not there: its points cannot be read until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVolume {
    /// Its number.
    pub number: u8,
    /// The points on it.
    pub points: Vec<RecoveryPointId>,
}

/// The repository's header, from its first right copy.
pub(crate) fn read_header(storage: &dyn Storage) -> Result<(RepositoryHeader, bool), StoreError> {
    let bytes = match read_all(storage, layout::HEADER, HEADER_BYTES as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (path, kind) = (storage.name(), ErrorKind::NotFound);
            return Err(StoreError::Directory { path, problem: "there is no repository", kind });
        }
        other => other.map_err(StoreError::io("reading", layout::HEADER))?,
    };
    let (header, copies) = RepositoryHeader::decode(&bytes)
        .map_err(|source| StoreError::Damaged { what: layout::HEADER.into(), source })?;
    Ok((header, copies.first && copies.second))
}

pub(crate) fn open(
    storage: Arc<dyn Storage>,
    options: &Options,
    warden: Arc<dyn Warden>,
) -> Result<(Core, Idle, Recovery), StoreError> {
    let (header, whole) = read_header(&*storage)?;
    let mut recovery = Recovery { header_damaged: !whole, ..Recovery::default() };
    let options = Options { chunk_size: header.chunk_size, ..options.clone() };
    options.check()?;
    match storage.lock(layout::LOCK) {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::InUse { path: storage.name() }),
        Err(source) => return Err(StoreError::io("locking", layout::LOCK)(source)),
    }
    let status = warden.call(Request::Status)?;
    let mut state = State::new();
    let mut reader = LedgerReader::open(Arc::clone(&storage), header.id.0);
    reader.advance_to(status.size, &mut state)?;
    recovery.clock = state.high_water();
    if let Some(key) = first_key(&*storage, &header, &options, &state)? {
        let reply = warden.call(key)?;
        reader.advance_to(reply.size, &mut state)?;
    }
    let epochs = state.keys().keys().copied();
    let (keys, ring) = keys::open(&*storage, &header, options.encryption.as_ref(), epochs)?;
    let volumes = Volumes::find(&*storage, header.id, state.volumes().iter().copied());
    finish_repairs(&*storage, &*warden, &volumes, (&mut reader, &mut state))?;
    for &volume in &volumes.present {
        drop_open(&*storage, &*warden, volume, &mut recovery)?;
    }
    let found = Survey::run(&*storage, header.id, &volumes, &state, &mut recovery)?;
    let next_serial = found.next_serial(&volumes, &state);
    let catalog = Catalog::new(state, reader, found.files, status.clock);
    let (carrier, idle) = Carrier::new(options.workers);
    let core = Core::new(Parts {
        storage,
        warden,
        volumes,
        id: header.id,
        keys,
        ring,
        carrier,
        catalog,
        index: found.index,
        next_serial,
        options,
    })?;
    Ok((core, idle, recovery))
}

/// An encrypted repository gets its first data key when it is opened for the first time: so it
/// is the ledger that names it, and a creation that is interrupted leaves nothing to be mended.
fn first_key(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    options: &Options,
    state: &State,
) -> Result<Option<Request>, StoreError> {
    let (None, Some(kek)) = (&header.secret, &options.encryption) else { return Ok(None) };
    if !state.keys().is_empty() || !state.destroyed_keys().is_empty() {
        return Ok(None);
    }
    let epoch = keys::FIRST;
    let file = keys::new_epoch(storage, header, kek, epoch)?;
    Ok(Some(Request::AddKey { epoch, file }))
}

/// A repair that a crash interrupted has left the new file of a segment that is on record. The
/// warden proves it again and puts it in place; one that is torn is removed with the open segments.
fn finish_repairs(
    storage: &dyn Storage,
    warden: &dyn Warden,
    volumes: &Volumes,
    (reader, state): (&mut LedgerReader, &mut State),
) -> Result<(), StoreError> {
    for &volume in &volumes.present {
        let directory = layout::open_dir(volume);
        let files = storage.list(&directory).map_err(StoreError::io("listing", directory))?;
        for serial in files.iter().filter_map(|(name, _)| layout::parse_open(name)) {
            if state.segment(serial).is_none() {
                continue;
            }
            match warden.call(Request::Repair { volume, serial }) {
                Ok(reply) => reader.advance_to(reply.size, state)?,
                Err(error) => {
                    let error = model::chain(&error);
                    tracing::warn!(segment = serial, error, "an interrupted repair is dropped");
                }
            }
        }
    }
    Ok(())
}

/// Removes the open segments of runs that did not end (FORMAT.md 7).
fn drop_open(
    storage: &dyn Storage,
    warden: &dyn Warden,
    volume: u8,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    let directory = layout::open_dir(volume);
    let files = storage.list(&directory).map_err(StoreError::io("listing", &*directory))?;
    let dropped_before = recovery.dropped.len();
    for (name, bytes) in files {
        let path = format!("{directory}/{name}");
        match layout::parse_open(&name) {
            None => recovery.foreign.push(path),
            Some(serial) => {
                discard(storage, warden, volume, serial)?;
                recovery.dropped.push(DroppedSegment { serial, bytes });
            }
        }
    }
    if recovery.dropped.len() > dropped_before {
        storage.sync_dir(&directory).map_err(StoreError::io("syncing", directory))?;
    }
    Ok(())
}

/// Removes an open segment. One that the warden has taken over and not sealed is the warden's to
/// remove.
pub(crate) fn discard(
    storage: &dyn Storage,
    warden: &dyn Warden,
    volume: u8,
    serial: u32,
) -> Result<(), StoreError> {
    let path = layout::open(volume, serial);
    match remove_if_there(storage, &path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            warden.call(Request::Discard { volume, serial })?;
            Ok(())
        }
        other => other.map_err(StoreError::io("removing", path)),
    }
}
