//! Segments while they are written: records into a buffer, buffers into the open file, then the
//! seal (FORMAT.md 4, 7).

use crate::core::{Core, locked};
use crate::pipeline::WriteJob;
use crate::point::PointState;
use crate::storage::{Append, Immutable};
use crate::{StoreError, layout};
use format::codec::Sealed;
use format::footer::{Entry, Footer, sealed_bytes};
use format::parity::ParityWriter;
use format::record::RecordHeader;
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use std::sync::{Arc, Mutex};

/// Bytes that are written with one call.
const WRITE: usize = 4 << 20;

/// An open segment's file, the hash of what was written to it, and its parity.
pub(crate) struct SegmentFile {
    pub(crate) serial: u32,
    state: Mutex<FileState>,
}

struct FileState {
    file: Box<dyn Append>,
    hasher: blake3::Hasher,
    parity: ParityWriter,
}

impl SegmentFile {
    fn create(core: &Core) -> Result<Self, StoreError> {
        core.check_space()?;
        let serial = core.take_serial()?;
        let name = layout::open(serial);
        let file = core.storage.create(&name).map_err(StoreError::io("creating", name))?;
        let state = FileState { file, hasher: blake3::Hasher::new(), parity: ParityWriter::new() };
        Ok(Self { serial, state: Mutex::new(state) })
    }

    /// Appends records; the order of calls is the order in the file.
    pub(crate) fn write(&self, core: &Core, bytes: &[u8]) -> Result<(), StoreError> {
        core.check_space()?;
        let mut state = locked(&self.state);
        state.hasher.update(bytes);
        state.parity.write(bytes);
        state.file.append(bytes).map_err(StoreError::io("writing", layout::open(self.serial)))
    }
}

/// What is needed to seal a segment once all its records are written.
pub(crate) struct Closing {
    pub(crate) file: Arc<SegmentFile>,
    class: Class,
    plain_bytes: u64,
    entries: Vec<Entry>,
}

/// A sealed segment.
pub(crate) struct Done {
    pub(crate) serial: u32,
    pub(crate) segment: crate::catalog::Segment,
    pub(crate) entries: Vec<Entry>,
}

/// Everything that follows the data of a segment, and what it makes of the whole.
struct Tail {
    bytes: Vec<u8>,
    seal: [u8; 32],
    length: u64,
    /// BLAKE3 of the whole file.
    hash: blake3::Hash,
}

impl Closing {
    /// Footer, parity, tables, trailers; sync, read back, read-only, rename, directory sync,
    /// immutable.
    pub(crate) fn seal(self, core: &Core) -> Result<Done, StoreError> {
        let Self { file, class, plain_bytes, mut entries } = self;
        let serial = file.serial;
        let (open, sealed) = (layout::open(serial), layout::sealed(serial));
        let mut state = locked(&file.state);
        let mut footer = Footer {
            repository: core.id,
            serial,
            class,
            cohort: 0,
            epoch: core.epoch(),
            data_length: state.parity.length(),
            data_hash: *state.hasher.finalize().as_bytes(),
            plain_bytes,
            entries: std::mem::take(&mut entries),
        };
        let tail = make_tail(&mut footer, &mut state)?;
        state.file.append(&tail.bytes).map_err(StoreError::io("writing", &*open))?;
        state.file.sync().map_err(StoreError::io("syncing", &*open))?;
        read_back(core, serial, &tail)?;
        core.storage.make_read_only(&open).map_err(StoreError::io("protecting", &*open))?;
        core.storage.rename(&open, &sealed).map_err(StoreError::io("renaming", &*open))?;
        let synced = core.storage.sync_dir(layout::SEGMENTS);
        synced.map_err(StoreError::io("syncing", layout::SEGMENTS))?;
        make_immutable(core, serial)?;
        let Tail { seal, length, .. } = tail;
        let segment = crate::catalog::Segment { class, bytes: length, seal, recorded: false };
        Ok(Done { serial, segment, entries: footer.entries })
    }
}

fn make_tail(footer: &mut Footer, state: &mut FileState) -> Result<Tail, StoreError> {
    let encoded = footer.encode();
    let mut parity = std::mem::take(&mut state.parity);
    parity.write(&encoded.bytes);
    let protection = parity.finish().ok_or_else(too_long)?;
    let behind = footer.trailer(&encoded, &protection).tail(&protection);
    let (seal, length) = (encoded.seal, protection.geometry.file_length());
    let mut bytes = encoded.bytes;
    bytes.extend_from_slice(&behind);
    state.hasher.update(&bytes);
    Ok(Tail { bytes, seal, length, hash: state.hasher.finalize() })
}

fn read_back(core: &Core, serial: u32, tail: &Tail) -> Result<(), StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    let mut sink = |piece: &[u8]| {
        hasher.update(piece);
        length += piece.len() as u64;
    };
    let open = layout::open(serial);
    core.storage.read_back(&open, &mut sink).map_err(StoreError::io("reading back", open))?;
    if hasher.finalize() == tail.hash && length == tail.length {
        Ok(())
    } else {
        Err(StoreError::ReadBack { segment: serial })
    }
}

/// Sets the tripwire; says so once per segment when it cannot be set.
pub(crate) fn make_immutable(core: &Core, serial: u32) -> Result<(), StoreError> {
    let name = layout::sealed(serial);
    match core.storage.set_immutable(&name, true) {
        Ok(Immutable::Set | Immutable::NotWanted) => Ok(()),
        Ok(Immutable::Impossible(error)) => {
            tracing::debug!(%error, segment = name, "no immutable attribute; read-only mode only");
            Ok(())
        }
        Err(source) => Err(StoreError::io("protecting", name)(source)),
    }
}

/// One stream of records of one class into segments, for one point.
pub(crate) struct Stream {
    class: Class,
    current: Option<Open>,
}

struct Open {
    file: Arc<SegmentFile>,
    buffer: Vec<u8>,
    next_block: u32,
    plain_bytes: u64,
    entries: Vec<Entry>,
}

impl Stream {
    pub(crate) fn new(class: Class) -> Self {
        Self { class, current: None }
    }

    /// Appends a record and says where it lies. Buffers and full segments go to the writer.
    pub(crate) fn append(
        &mut self,
        point: &Arc<PointState>,
        sealed: &Sealed<'_>,
    ) -> Result<Place, StoreError> {
        let core = &point.core;
        let blocks = RecordHeader::blocks(sealed.header.stored_length);
        if self.current.as_ref().is_some_and(|open| !open.has_room(blocks, core)) {
            self.finish(point)?;
        }
        let open = match &mut self.current {
            Some(open) => open,
            none => none.insert(Open::create(point, self.class)?),
        };
        let place = open.push(sealed)?;
        if open.buffer.len() >= WRITE {
            let bytes = std::mem::replace(&mut open.buffer, core.carrier.buffer());
            let job = WriteJob::Data { file: Arc::clone(&open.file), bytes };
            core.carrier.write(point, job)?;
        }
        Ok(place)
    }

    /// Hands what is open to the writer, to be sealed. Without records there is nothing to do.
    pub(crate) fn finish(&mut self, point: &Arc<PointState>) -> Result<(), StoreError> {
        let Some(open) = self.current.take() else { return Ok(()) };
        let Open { file, buffer, plain_bytes, entries, .. } = open;
        let carrier = &point.core.carrier;
        carrier.write(point, WriteJob::Data { file: Arc::clone(&file), bytes: buffer })?;
        let closing = Closing { file, class: self.class, plain_bytes, entries };
        point.sealing_begins();
        carrier.write(point, WriteJob::Finish { closing })
    }
}

fn too_long() -> StoreError {
    StoreError::misuse("a record is longer than the format allows")
}

impl Open {
    fn create(point: &Arc<PointState>, class: Class) -> Result<Self, StoreError> {
        let core = &point.core;
        let file = Arc::new(SegmentFile::create(core)?);
        point.opened(file.serial);
        let mut buffer = core.carrier.buffer();
        let header = SegmentHeader {
            repository: core.id,
            serial: file.serial,
            class,
            cohort: 0,
            epoch: core.epoch(),
        };
        buffer.extend_from_slice(&header.encode());
        Ok(Self { file, buffer, next_block: 1, plain_bytes: 0, entries: Vec::new() })
    }

    fn has_room(&self, blocks: u32, core: &Core) -> bool {
        let data = u64::from(self.next_block + blocks) * BLOCK as u64;
        sealed_bytes(data, self.entries.len() + 1)
            .is_some_and(|bytes| bytes <= core.options.segment_size)
    }

    fn push(&mut self, sealed: &Sealed<'_>) -> Result<Place, StoreError> {
        let number = u32::try_from(self.entries.len()).map_err(|_| too_long())?;
        let segment = self.file.serial;
        let header = RecordHeader { segment, number, ..sealed.header };
        let blocks = RecordHeader::blocks(header.stored_length);
        let place = Place::new(segment, self.next_block, blocks).ok_or_else(too_long)?;
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(sealed.stored);
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK), 0);
        self.entries.push(Entry {
            id: header.id,
            block: self.next_block,
            stored_length: header.stored_length,
            plain_length: header.plain_length,
            number,
            kind: header.kind,
            encoding: header.encoding,
            encrypted: header.encryption.is_some(),
            stored_crc: header.stored_crc,
        });
        self.next_block += blocks;
        self.plain_bytes += u64::from(header.plain_length);
        Ok(place)
    }
}
