//! Segments while they are written: records into a buffer, buffers into the open file, then the
//! seal (FORMAT.md 4, 7).

use crate::StoreError;
use crate::buffer::Buffer;
use crate::core::{Core, locked};
use crate::pipeline::WriteJob;
use crate::point::PointState;
use crate::scan::Held;
use format::codec::Sealed;
use format::footer::{Entry, Footer, sealed_bytes};
use format::parity::ParityWriter;
use format::record::{Kind, RecordHeader};
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use std::sync::{Arc, Mutex};
use warden::layout;
use warden::storage::Append;
use warden::wire::Request;

/// Bytes that are written with one call.
pub(crate) const WRITE: usize = 4 << 20;

/// An open segment's file, the hash of what was written to it, and its parity.
pub(crate) struct SegmentFile {
    pub(crate) volume: u8,
    pub(crate) serial: u32,
    /// Key epoch of its records; 0: not encrypted.
    epoch: u32,
    /// Gone once it is being sealed: then the file is closed.
    state: Mutex<Option<FileState>>,
}

struct FileState {
    file: Box<dyn Append>,
    hasher: blake3::Hasher,
    parity: ParityWriter,
}

impl SegmentFile {
    fn create(core: &Core, volume: u8, epoch: u32) -> Result<Self, StoreError> {
        let room = core.check_space(volume, 0)?;
        let serial = core.take_serial()?;
        let name = layout::open(volume, serial);
        let created = core.storage.create(&name, core.options.segment_size.min(room));
        let file = created.map_err(StoreError::io("creating", name))?;
        let state = FileState { file, hasher: blake3::Hasher::new(), parity: ParityWriter::new() };
        Ok(Self { volume, serial, epoch, state: Mutex::new(Some(state)) })
    }

    fn name(&self) -> String {
        layout::open(self.volume, self.serial)
    }

    /// Appends records; the order of calls is the order in the file.
    pub(crate) fn write(&self, core: &Core, bytes: &[u8]) -> Result<(), StoreError> {
        core.check_space(self.volume, bytes.len() as u64)?;
        let mut state = locked(&self.state);
        let state = state.as_mut().expect("all writes come before the seal");
        state.hasher.update(bytes);
        state.parity.write(bytes);
        state.file.append(bytes).map_err(StoreError::io("writing", self.name()))
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
    pub(crate) held: Held,
    pub(crate) entries: Vec<Entry>,
}

/// Everything that follows the data of a segment, and what it makes of the whole.
struct Tail {
    bytes: Vec<u8>,
    length: u64,
    /// BLAKE3 of the whole file.
    hash: blake3::Hash,
}

impl Closing {
    /// Of a segment that takes no more records, with those that have not been written yet.
    pub(crate) fn of(open: Open, class: Class) -> (Buffer, Self) {
        let Open { file, buffer, plain_bytes, entries, .. } = open;
        (buffer, Self { file, class, plain_bytes, entries })
    }

    /// Footer, parity, tables, trailers; cut to its length, sync, read back; then it is the
    /// warden's.
    pub(crate) fn seal(self, core: &Core) -> Result<Done, StoreError> {
        let Self { file, class, plain_bytes, mut entries } = self;
        let (volume, serial, open) = (file.volume, file.serial, file.name());
        let mut state = locked(&file.state).take().expect("sealed once");
        let mut footer = Footer {
            repository: core.id,
            serial,
            class,
            cohort: 0,
            epoch: file.epoch,
            data_length: state.parity.length(),
            data_hash: *state.hasher.finalize().as_bytes(),
            plain_bytes,
            entries: std::mem::take(&mut entries),
        };
        let tail = make_tail(&mut footer, &mut state)?;
        state.file.append(&tail.bytes).map_err(StoreError::io("writing", &*open))?;
        state.file.cut(tail.length).map_err(StoreError::io("cutting", &*open))?;
        state.file.sync().map_err(StoreError::io("syncing", &*open))?;
        drop(state); // the warden takes over only what nobody can write to any more
        read_back(core, &file, &tail)?;
        core.ask(Request::Seal { volume, serial })?;
        let chunks = footer.entries.iter().filter(|entry| entry.kind == Kind::Chunk).count();
        let held = Held {
            volume,
            class,
            bytes: tail.length,
            epoch: footer.epoch,
            chunks: u32::try_from(chunks).unwrap_or(u32::MAX),
        };
        Ok(Done { serial, held, entries: footer.entries })
    }
}

fn make_tail(footer: &mut Footer, state: &mut FileState) -> Result<Tail, StoreError> {
    let encoded = footer.encode();
    let mut parity = std::mem::take(&mut state.parity);
    parity.write(&encoded.bytes);
    let protection = parity.finish().ok_or_else(too_long)?;
    let behind = footer.trailer(&encoded, &protection).tail(&protection);
    let length = protection.geometry.file_length();
    let mut bytes = encoded.bytes;
    bytes.extend_from_slice(&behind);
    state.hasher.update(&bytes);
    Ok(Tail { bytes, length, hash: state.hasher.finalize() })
}

fn read_back(core: &Core, file: &SegmentFile, tail: &Tail) -> Result<(), StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    let mut sink = |piece: &[u8]| {
        hasher.update(piece);
        length += piece.len() as u64;
    };
    let open = file.name();
    core.storage.read_back(&open, &mut sink).map_err(StoreError::io("reading back", open))?;
    if hasher.finalize() == tail.hash && length == tail.length {
        Ok(())
    } else {
        Err(StoreError::ReadBack { segment: file.serial })
    }
}

/// One stream of records of one class into segments, for one point.
pub(crate) struct Stream {
    class: Class,
    current: Option<Open>,
}

/// A segment that grows.
pub(crate) struct Open {
    pub(crate) file: Arc<SegmentFile>,
    /// What has not been written to the file.
    pub(crate) buffer: Buffer,
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
        // A worker may be behind a change of the key: all records of a segment have one.
        let epoch = sealed.header.encryption.map_or(0, |encryption| encryption.epoch);
        let fits = |open: &Open| open.file.epoch == epoch && open.has_room(blocks, core);
        if self.current.as_ref().is_some_and(|open| !fits(open)) {
            self.finish(point)?;
        }
        let open = match &mut self.current {
            Some(open) => open,
            none => {
                let open = Open::create(core, point.volume()?, self.class, epoch)?;
                point.opened(open.file.volume, open.file.serial);
                none.insert(open)
            }
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
        let (bytes, closing) = Closing::of(open, self.class);
        let carrier = &point.core.carrier;
        carrier.write(point, WriteJob::Data { file: Arc::clone(&closing.file), bytes })?;
        point.sealing_begins();
        carrier.write(point, WriteJob::Finish { closing })
    }
}

fn too_long() -> StoreError {
    StoreError::misuse("a record is longer than the format allows")
}

impl Open {
    pub(crate) fn create(
        core: &Core,
        volume: u8,
        class: Class,
        epoch: u32,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(SegmentFile::create(core, volume, epoch)?);
        let mut buffer = core.carrier.buffer();
        let header =
            SegmentHeader { repository: core.id, serial: file.serial, class, cohort: 0, epoch };
        buffer.push(&header.encode());
        Ok(Self { file, buffer, next_block: 1, plain_bytes: 0, entries: Vec::new() })
    }

    pub(crate) fn has_room_for(&self, record: &Sealed<'_>, core: &Core) -> bool {
        self.has_room(RecordHeader::blocks(record.header.stored_length), core)
    }

    fn has_room(&self, blocks: u32, core: &Core) -> bool {
        let data = u64::from(self.next_block + blocks) * BLOCK as u64;
        sealed_bytes(data, self.entries.len() + 1)
            .is_some_and(|bytes| bytes <= core.options.segment_size)
    }

    pub(crate) fn push(&mut self, sealed: &Sealed<'_>) -> Result<Place, StoreError> {
        let number = u32::try_from(self.entries.len()).map_err(|_| too_long())?;
        let segment = self.file.serial;
        let header = RecordHeader { segment, number, ..sealed.header };
        let blocks = RecordHeader::blocks(header.stored_length);
        let place = Place::new(segment, self.next_block, blocks).ok_or_else(too_long)?;
        self.buffer.push(&header.encode());
        self.buffer.push(sealed.stored);
        self.buffer.pad();
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
