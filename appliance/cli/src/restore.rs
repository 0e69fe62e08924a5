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
use crate::part::Part;
use crate::progress::Meter;
use api::endpoint::GetDataRanges;
use model::DiskRange;
use std::io::Read;
use std::path::Path;

/// Bytes of one request.
const PIECE_BYTES: u64 = 32 << 20;
/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How often a download that broke off is asked for its reason.
const REASON_TRIES: usize = 3;

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
        let part = Part::create(self.output, self.force)?;
        part.set_length(capacity)?;
        let restored = self.fill(&part, capacity, meter)?;
        part.publish(capacity)?;
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
