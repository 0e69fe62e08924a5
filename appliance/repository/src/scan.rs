//! What lies on the volumes, held against the ledger: the footers of all sealed segments, read
//! several at a time, say which chunks there are. Bound by one read for each segment: the footer
//! and the trailer behind it lie together.

use crate::StoreError;
use format::footer::Footer;
use format::header::RepositoryId;
use format::parity::Geometry;
use format::record::Kind;
use format::segment::Class;
use format::trailer::Trailer;
use format::{BLOCK, FormatError, Place};
use model::ChunkId;
use std::sync::atomic::{AtomicUsize, Ordering};
use warden::layout;
use warden::storage::{Read, Storage};

/// Threads that read: several requests keep the arms of an array busy.
const READERS: usize = 8;
/// Segments that a thread takes at once: neighbours on the disk.
const AT_ONCE: usize = 32;
/// Bytes that are read at once before the trailer: footers of up to 583 records.
const FOOTER_READ: u64 = 32 << 10;

/// A sealed segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Where it is.
    pub(crate) volume: u8,
    /// What it holds.
    pub(crate) class: Class,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its key; 0: not encrypted.
    pub(crate) epoch: u32,
    /// Chunks in it; 0 when its footer cannot be read.
    pub(crate) chunks: u32,
}

impl Held {
    /// A file whose footer cannot be read: its records still can, by their places.
    pub(crate) fn unreadable(file: &File) -> Self {
        let File { volume, length: bytes, .. } = *file;
        Self { volume, class: Class::Data, bytes, epoch: 0, chunks: 0 }
    }
}

/// A file to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) volume: u8,
    pub(crate) serial: u32,
    pub(crate) length: u64,
    /// Seal and length by the ledger; `None`: no leaf names it.
    pub(crate) recorded: Option<([u8; 32], u64)>,
}

/// What the tail of a segment says.
pub(crate) struct Tail {
    pub(crate) footer: Footer,
    pub(crate) trailer: Trailer,
    /// The trailer beside the footer is wrong; the one at the end of the file was used.
    pub(crate) copy_used: bool,
}

/// A segment that can be used, and what does not matter yet.
pub(crate) type Usable = (Held, Option<&'static str>);

/// Takes the chunks of a segment on a volume; called by several threads.
pub(crate) type TakeChunks<'a> = &'a (dyn Fn(u8, &[(ChunkId, Place)]) + Sync);

/// Reads the footers of `files` and shows their chunks to `take`; what was found, in the order of
/// `files`.
pub(crate) fn read_footers(
    storage: &dyn Storage,
    repository: RepositoryId,
    files: &[File],
    take: TakeChunks<'_>,
) -> Vec<Result<Usable, StoreError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let first = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            let Some(some) = files.get(first..) else { return found };
            for (number, file) in (first..).zip(some.iter().take(AT_ONCE)) {
                found.push((number, read_one(storage, repository, file, take)));
            }
        }
    };
    let threads = files.len().div_ceil(AT_ONCE).min(READERS);
    let mut found = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |reader: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        readers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    found.sort_unstable_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, outcome)| outcome).collect()
}

fn read_one(
    storage: &dyn Storage,
    repository: RepositoryId,
    file: &File,
    take: TakeChunks<'_>,
) -> Result<Usable, StoreError> {
    let name = layout::sealed(file.volume, file.serial);
    let open = storage.open(&name).map_err(StoreError::io("opening", &*name))?;
    let tail = read_footer(&*open, &name, file.serial, file.length, file.recorded)?;
    let Tail { footer, trailer, copy_used } = tail;
    if footer.repository != repository {
        return Err(corrupt(&name, "it belongs to another repository"));
    }
    let chunks = footer.entries.iter().filter(|entry| entry.kind == Kind::Chunk);
    let places: Vec<_> =
        chunks.filter_map(|entry| Some((entry.id, entry.place(file.serial)?))).collect();
    take(file.volume, &places);
    let held = Held {
        volume: file.volume,
        class: footer.class,
        bytes: file.length,
        epoch: trailer.epoch,
        chunks: u32::try_from(places.len()).unwrap_or(u32::MAX),
    };
    Ok((held, copy_used.then_some("its first trailer is wrong; the last block was used")))
}

/// The footer of a sealed segment and the trailer that vouches for it, checked against what the
/// ledger says. The blocks between footer and trailer must be zeros.
pub(crate) fn read_footer(
    file: &dyn Read,
    name: &str,
    serial: u32,
    length: u64,
    recorded: Option<([u8; 32], u64)>,
) -> Result<Tail, StoreError> {
    let damaged = |source| StoreError::Damaged { what: name.to_owned(), source };
    let read = |at, buffer: &mut [u8]| file.read(at, buffer);
    if recorded.is_some_and(|(_, bytes)| bytes != length) {
        return Err(corrupt(name, "its length is not the one in the ledger"));
    }
    let geometry =
        Geometry::of_file(length).ok_or_else(|| corrupt(name, "its length is impossible"))?;
    let end = geometry.protected_length();
    let start = end.saturating_sub(FOOTER_READ);
    let mut bytes = vec![0; buffer_length(end + BLOCK as u64 - start)];
    read(start, &mut bytes).map_err(StoreError::io("reading", name))?;
    let (_, beside) = bytes.split_at(bytes.len() - BLOCK);
    let (trailer, copy_used) = match Trailer::decode(beside, length) {
        Ok(trailer) => (trailer, false),
        Err(_) => (Trailer::read(length, read).map_err(|error| from_read(name, error))?.0, true),
    };
    if trailer.serial != serial {
        return Err(corrupt(name, "it belongs to another segment"));
    }
    if recorded.is_some_and(|(seal, _)| seal != trailer.seal) {
        return Err(corrupt(name, "it is not the segment that the ledger names"));
    }
    bytes.truncate(bytes.len() - BLOCK);
    if trailer.footer_offset < start {
        bytes = vec![0; buffer_length(end - trailer.footer_offset)];
        read(trailer.footer_offset, &mut bytes).map_err(StoreError::io("reading", name))?;
    } else {
        bytes.drain(..buffer_length(trailer.footer_offset - start));
    }
    let (footer, zeros) = bytes
        .split_at_checked(buffer_length(trailer.footer_length))
        .ok_or_else(|| corrupt(name, "its footer is cut off"))?;
    if zeros.iter().any(|&byte| byte != 0) {
        return Err(corrupt(name, "a byte between footer and trailer is not zero"));
    }
    let footer = Footer::decode(footer, &trailer).map_err(damaged)?;
    Ok(Tail { footer, trailer, copy_used })
}

/// A length within a segment, which is at most 4 GiB.
fn buffer_length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn corrupt(name: &str, problem: &str) -> StoreError {
    let source = FormatError::Corrupt { what: "segment", problem: problem.to_owned() };
    StoreError::Damaged { what: name.to_owned(), source }
}

fn from_read(name: &str, error: format::trailer::ReadError<std::io::Error>) -> StoreError {
    match error {
        format::trailer::ReadError::Read(source) => StoreError::io("reading", name)(source),
        format::trailer::ReadError::Format(source) => {
            StoreError::Damaged { what: name.to_owned(), source }
        }
    }
}
