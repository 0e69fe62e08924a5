//! Deflated grains of streamOptimized files: the one place of this crate that carries data.
//!
//! ```text
//! u64 sector on the disk | u32 size | zlib stream of `size` bytes | up to the next sector
//! ```

use super::layout::{Layout, SECTOR};
use crate::bytes::{index, u32_at, u64_at};
use crate::error::VmdkError;
use crate::pages::Pages;
use flate2::{Decompress, FlushDecompress, Status};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes before the zlib stream.
pub(crate) const HEADER: usize = 12;

/// The grain that was unpacked last: neighbouring reads mostly want the same one.
#[derive(Default)]
pub(crate) struct Unpacked(Mutex<Option<(u64, Arc<Vec<u8>>)>>);

impl Unpacked {
    /// The bytes of grain `number`, which lies at `offset`.
    pub(crate) fn grain(
        &self,
        pages: &Pages,
        layout: &Layout,
        number: u64,
        offset: u64,
    ) -> Result<Arc<Vec<u8>>, VmdkError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, bytes)) = &*last
            && *kept == number
        {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(unpack(pages, layout, number, offset)?);
        *last = Some((number, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

/// The whole grain, or for a short last one as much as its writer put in.
fn unpack(pages: &Pages, layout: &Layout, number: u64, offset: u64) -> Result<Vec<u8>, VmdkError> {
    let at = pages.at("compressed grain", offset);
    let mut header = [0; HEADER];
    pages.data(offset, &mut header)?;
    let (sector, size) = (u64_at(&header, 0), u64::from(u32_at(&header, 8)));
    let expected = number * (layout.grain / SECTOR);
    at.require(sector == expected, "its sector on the disk", sector, "the one that led here")?;
    // zlib never needs twice the room of what it packs.
    let end = offset + HEADER as u64 + size;
    let possible = size > 0 && size <= 2 * layout.grain && end <= pages.size();
    at.require(possible, "its size", size, "what a grain can have")?;
    let mut packed = vec![0; index(size)];
    pages.data(offset + HEADER as u64, &mut packed)?;
    let mut grain = Vec::with_capacity(index(layout.grain));
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress_vec(&packed, &mut grain, FlushDecompress::Finish);
    let whole = matches!(status, Ok(Status::StreamEnd)) && zlib.total_in() == size;
    at.require(whole, "its content", "no whole zlib stream", "one with a right checksum")?;
    let (length, short) = (grain.len() as u64, layout.grain_bytes(number));
    let right = length == layout.grain || length == short;
    at.require(right, "its length when unpacked", length, "that of a grain")?;
    Ok(grain)
}
