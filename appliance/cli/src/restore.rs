//! A disk of a recovery point into a sparse raw image.
//!
//! ```text
//! map -> ranges with data -> pieces -> range requests -> blocks that are not zero -> FILE.part
//!     -> length checked -> synced -> renamed to FILE
//! ```
//!
//! FILE appears only when it is whole: whatever breaks on the way removes FILE.part and leaves
//! no FILE, or the old one.

use crate::client::Client;
use crate::error::Error;
use crate::progress::Meter;
use api::endpoint::GetDataRanges;
use model::DiskRange;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of one request.
const PIECE_BYTES: u64 = 32 << 20;
/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How often a download that broke off is asked for its reason.
const REASON_TRIES: usize = 3;
/// Zero blocks of this size become holes: the block of common file systems.
const BLOCK_BYTES: usize = 4096;

/// What to restore, and where to.
pub(crate) struct Restore<'a> {
    pub(crate) client: &'a Client,
    /// Whole id.
    pub(crate) point: &'a str,
    pub(crate) disk: u32,
    pub(crate) output: &'a Path,
    /// Replace `output`.
    pub(crate) force: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) capacity_bytes: u64,
    /// Bytes that came from the appliance.
    pub(crate) fetched_bytes: u64,
    /// Bytes written: the rest is holes.
    pub(crate) written_bytes: u64,
}

impl Restore<'_> {
    /// Restores; the image has `capacity` bytes.
    pub(crate) fn run(&self, capacity: u64, meter: &mut Meter) -> Result<Restored, Error> {
        if !self.force && fs::symlink_metadata(self.output).is_ok() {
            return Err(Error::Exists { path: self.output.to_owned() });
        }
        let part = Part::create(self.output, self.force)?;
        part.file.set_len(capacity).map_err(Error::file("sizing", &part.path))?;
        let restored = self.fill(&part, capacity, meter)?;
        part.publish(self.output, capacity, self.force)?;
        Ok(restored)
    }

    /// Fetches what the map says is data. The map is judged as it comes: it must go forward.
    fn fill(&self, part: &Part, capacity: u64, meter: &mut Meter) -> Result<Restored, Error> {
        let mut done = Restored { capacity_bytes: capacity, ..Restored::default() };
        let mut from = 0;
        loop {
            let query = [("from", from.to_string()), ("limit", api::LIMIT_MAX.to_string())];
            let parameters = [self.point, &self.disk.to_string()];
            let page = self.client.call(GetDataRanges, &parameters, &query, &api::Nothing {})?;
            let mut end = from;
            for range in &page.ranges {
                // A range may begin before `from`, which only cuts the list.
                if range.is_empty() || range.end() <= end || range.end() > capacity {
                    return Err(self.bad_map(*range));
                }
                let offset = range.offset.max(end);
                self.copy(
                    part,
                    DiskRange { offset, length: range.end() - offset },
                    &mut done,
                    meter,
                )?;
                end = range.end();
            }
            match page.next {
                None => return Ok(done),
                Some(next) if next > from && next >= end => from = next,
                Some(next) => return Err(self.bad_map(DiskRange { offset: next, length: 0 })),
            }
        }
    }

    fn bad_map(&self, range: DiskRange) -> Error {
        let path = format!("the map of disk {} of recovery point {}", self.disk, self.point);
        let why = format!("the range {}+{} is not behind the last", range.offset, range.length);
        Error::Misbehaved { method: "GET", url: path, why }
    }

    fn copy(
        &self,
        part: &Part,
        range: DiskRange,
        done: &mut Restored,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let mut offset = range.offset;
        while offset < range.end() {
            let piece = DiskRange { offset, length: (range.end() - offset).min(PIECE_BYTES) };
            self.copy_piece(part, piece, done)?;
            offset = piece.end();
            meter.advance(0, offset, done.capacity_bytes, "restoring", "");
        }
        Ok(())
    }

    fn copy_piece(&self, part: &Part, piece: DiskRange, done: &mut Restored) -> Result<(), Error> {
        let mut from = self.client.disk(self.point, self.disk, piece)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut offset = piece.offset;
        while offset < piece.end() {
            let left = usize::try_from(piece.end() - offset).unwrap_or(BUFFER_BYTES);
            let bytes = &mut buffer[..left.min(BUFFER_BYTES)];
            if let Err((got, source)) = fill(&mut from, bytes) {
                let broken = Error::BrokenOff { offset, length: done.capacity_bytes, source };
                let end = piece.end();
                return Err(self.reason(offset + got, end).unwrap_or(broken));
            }
            done.fetched_bytes += bytes.len() as u64;
            done.written_bytes += part.write_sparse(bytes, offset)?;
            offset += bytes.len() as u64;
        }
        // One read more, so that a broken end is seen and the connection can be used again.
        match from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.bad_map(piece)),
            Err(source) => Err(Error::BrokenOff { offset, length: done.capacity_bytes, source }),
        }
    }

    /// Why a download breaks off somewhere from `offset` on: who asks for what cannot be read is
    /// told. `None`: nothing is said, or it does not break any more.
    fn reason(&self, mut offset: u64, end: u64) -> Option<Error> {
        let mut buffer = vec![0; BUFFER_BYTES];
        for _ in 0..REASON_TRIES {
            let rest =
                DiskRange { offset, length: end.checked_sub(offset).filter(|rest| *rest > 0)? };
            let mut from = match self.client.disk(self.point, self.disk, rest) {
                Ok(from) => from,
                Err(refused @ Error::Refused(_)) => return Some(refused),
                Err(_) => return None,
            };
            loop {
                match fill(&mut from, &mut buffer) {
                    Ok(()) => offset += BUFFER_BYTES as u64,
                    Err((got, _)) => break offset += got,
                }
            }
        }
        None
    }
}

/// Fills the buffer; an error comes with how many bytes it brought.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), (u64, std::io::Error)> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => return Err((got as u64, std::io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => got += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err((got as u64, error)),
        }
    }
    Ok(())
}

/// FILE.part; removed when it is dropped, unless it was published.
struct Part {
    file: File,
    path: PathBuf,
    published: bool,
}

impl Part {
    fn create(output: &Path, force: bool) -> Result<Self, Error> {
        let mut name = OsString::from(output);
        name.push(".part");
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).truncate(force).create(force).create_new(!force);
        let file = options.open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::File { operation: "creating", path: path.clone(), source },
        })?;
        Ok(Self { file, path, published: false })
    }

    /// Writes the blocks of `bytes` that are not all zero; returns how many bytes that were.
    fn write_sparse(&self, bytes: &[u8], offset: u64) -> Result<u64, Error> {
        let mut written = 0;
        let mut at = 0;
        while at < bytes.len() {
            let (skip, take) = next_data(&bytes[at..], offset + at as u64);
            let data = &bytes[at + skip..at + skip + take];
            let place = offset + (at + skip) as u64;
            self.file.write_all_at(data, place).map_err(Error::file("writing", &self.path))?;
            written += take as u64;
            at += skip + take;
        }
        Ok(written)
    }

    fn publish(mut self, output: &Path, capacity: u64, force: bool) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(Error::file("checking", &self.path))?;
        if metadata.len() != capacity {
            let source = std::io::Error::other(format!("it has {} bytes", metadata.len()));
            return Err(Error::BrokenOff { offset: metadata.len(), length: capacity, source });
        }
        self.file.sync_all().map_err(Error::file("syncing", &self.path))?;
        rename(&self.path, output, force)?;
        self.published = true;
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::file("syncing the folder", folder))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            // A file that cannot be removed is still only a FILE.part.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Without `force`, a file that appeared in the meantime is not replaced either.
fn rename(from: &Path, to: &Path, force: bool) -> Result<(), Error> {
    let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Error::Exists { path: to.to_owned() }),
        // The file system does not know the flag; the check at the beginning must do.
        Err(Errno::INVAL) if !force => fs::rename(from, to).map_err(Error::file("renaming to", to)),
        Err(errno) => Err(Error::file("renaming to", to)(errno.into())),
    }
}

/// How many zero bytes to skip and how many bytes of data follow, both in whole blocks of the
/// disk; `offset` is where `bytes` lie on it. The two are never both 0 when `bytes` is not empty.
fn next_data(bytes: &[u8], offset: u64) -> (usize, usize) {
    let skip: usize = blocks(bytes, offset).take_while(|b| is_zero(b)).map(<[u8]>::len).sum();
    let rest = &bytes[skip..];
    let data = blocks(rest, offset + skip as u64).take_while(|b| !is_zero(b));
    (skip, data.map(<[u8]>::len).sum())
}

/// `bytes` cut at the block borders of the disk; the first and last may be short.
fn blocks(bytes: &[u8], offset: u64) -> impl Iterator<Item = &[u8]> {
    let within = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0);
    let first = (BLOCK_BYTES - within).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(BLOCK_BYTES))
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}
