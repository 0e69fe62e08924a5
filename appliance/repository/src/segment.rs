//! Segments while they are written: records into a buffer, buffers into the open file, then the
//! seal (FORMAT.md 4, 7).

use crate::core::{Core, locked};
use crate::pipeline::WriteJob;
use crate::point::PointState;
use crate::storage::{Append, Immutable};
use crate::{StoreError, layout};
use format::codec::Sealed;
use format::footer::{Entry, Footer, tail_bytes};
use format::record::{Kind, RecordHeader};
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use model::ChunkId;
use std::sync::{Arc, Mutex};

/// Bytes that are written with one call.
const WRITE: usize = 4 << 20;

/// An open segment's file and the hash of what was written to it.
pub(crate) struct SegmentFile {
    pub(crate) serial: u32,
    state: Mutex<FileState>,
}

struct FileState {
    file: Box<dyn Append>,
    hasher: blake3::Hasher,
    length: u64,
}

impl SegmentFile {
    fn create(core: &Core) -> Result<Self, StoreError> {
        core.check_space()?;
        let serial = core.take_serial()?;
        let name = layout::open(serial);
        let file = core.storage.create(&name).map_err(StoreError::io("creating", name))?;
        let state = FileState { file, hasher: blake3::Hasher::new(), length: 0 };
        Ok(Self { serial, state: Mutex::new(state) })
    }

    /// Appends records; the order of calls is the order in the file.
    pub(crate) fn write(&self, core: &Core, bytes: &[u8]) -> Result<(), StoreError> {
        core.check_space()?;
        let mut state = locked(&self.state);
        state.hasher.update(bytes);
        state.length += bytes.len() as u64;
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

impl Closing {
    /// Footer, sync, read back, read-only, rename, directory sync, immutable.
    pub(crate) fn seal(self, core: &Core) -> Result<Done, StoreError> {
        let serial = self.file.serial;
        let (open, sealed) = (layout::open(serial), layout::sealed(serial));
        let mut state = locked(&self.file.state);
        let data_hash = *state.hasher.finalize().as_bytes();
        let mut footer = Footer {
            repository: core.id,
            serial,
            class: self.class,
            data_length: state.length,
            data_hash,
            plain_bytes: self.plain_bytes,
            entries: self.entries,
        };
        let (tail, seal) = footer.encode();
        state.file.append(&tail).map_err(StoreError::io("writing", &*open))?;
        state.file.sync().map_err(StoreError::io("syncing", &*open))?;
        read_back(core, serial, &footer, &tail)?;
        core.storage.make_read_only(&open).map_err(StoreError::io("protecting", &*open))?;
        core.storage.rename(&open, &sealed).map_err(StoreError::io("renaming", &*open))?;
        let synced = core.storage.sync_dir(layout::SEGMENTS);
        synced.map_err(StoreError::io("syncing", layout::SEGMENTS))?;
        make_immutable(core, serial)?;
        let bytes = footer.data_length + tail.len() as u64;
        let segment = crate::catalog::Segment { class: self.class, bytes, seal, recorded: false };
        Ok(Done { serial, segment, entries: footer.entries })
    }
}

fn read_back(core: &Core, serial: u32, footer: &Footer, tail: &[u8]) -> Result<(), StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut left = footer.data_length;
    let mut found_tail = Vec::with_capacity(tail.len());
    let mut sink = |piece: &[u8]| {
        let data = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        hasher.update(&piece[..data]);
        left -= data as u64;
        // A file that is longer than it should be must not fill the memory.
        let room = (tail.len() + 1).saturating_sub(found_tail.len());
        let rest = &piece[data..];
        found_tail.extend_from_slice(&rest[..rest.len().min(room)]);
    };
    let open = layout::open(serial);
    core.storage.read_back(&open, &mut sink).map_err(StoreError::io("reading back", open))?;
    if *hasher.finalize().as_bytes() == footer.data_hash && found_tail == tail {
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

/// A record that is ready but for its position.
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: ChunkId,
    pub(crate) plain_length: u32,
    pub(crate) sealed: Sealed<'a>,
}

impl Stream {
    pub(crate) fn new(class: Class) -> Self {
        Self { class, current: None }
    }

    /// Appends a record and says where it lies. Buffers and full segments go to the writer.
    pub(crate) fn append(
        &mut self,
        point: &Arc<PointState>,
        record: &Record<'_>,
    ) -> Result<Place, StoreError> {
        let core = &point.core;
        let stored = u32::try_from(record.sealed.stored.len()).map_err(|_| too_long())?;
        let blocks = RecordHeader::blocks(stored);
        if self.current.as_ref().is_some_and(|open| !open.has_room(blocks, core)) {
            self.finish(point)?;
        }
        let open = match &mut self.current {
            Some(open) => open,
            none => none.insert(Open::create(point, self.class)?),
        };
        let place = open.push(core, record, stored, blocks)?;
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
        let header = SegmentHeader { repository: core.id, serial: file.serial, class };
        buffer.extend_from_slice(&header.encode());
        Ok(Self { file, buffer, next_block: 1, plain_bytes: 0, entries: Vec::new() })
    }

    fn has_room(&self, blocks: u32, core: &Core) -> bool {
        let data = u64::from(self.next_block + blocks) * BLOCK as u64;
        data + tail_bytes(self.entries.len() + 1) as u64 <= core.options.segment_size
    }

    fn push(
        &mut self,
        core: &Core,
        record: &Record<'_>,
        stored_length: u32,
        blocks: u32,
    ) -> Result<Place, StoreError> {
        let sealed = &record.sealed;
        let number = u32::try_from(self.entries.len()).map_err(|_| too_long())?;
        let header = RecordHeader {
            repository: core.id,
            segment: self.file.serial,
            number,
            kind: record.kind,
            encoding: sealed.encoding,
            plain_length: record.plain_length,
            stored_length,
            id: record.id,
            stored_crc: sealed.stored_crc,
        };
        let place = Place::new(self.file.serial, self.next_block, blocks).ok_or_else(too_long)?;
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(sealed.stored);
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK), 0);
        self.entries.push(Entry {
            id: record.id,
            block: self.next_block,
            stored_length,
            plain_length: record.plain_length,
            number,
            kind: record.kind,
            encoding: sealed.encoding,
            stored_crc: sealed.stored_crc,
        });
        self.next_block += blocks;
        self.plain_bytes += u64::from(record.plain_length);
        Ok(place)
    }
}
