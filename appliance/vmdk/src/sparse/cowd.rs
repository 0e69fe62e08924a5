//! COWD, the `-delta.vmdk` of `vmfsSparse` disks: snapshots on VMFS-5 below 2 TiB.
//!
//! ```text
//! 0     header, 2048 bytes: "COWD", version 1, flags 3, capacity, grain size, directory (sector,
//!       entries), next free sector (u32 each); names; @1648 u32 dirty
//! 2048  grain directory: u32 sector of a grain table of 4096 u32; 0: none
//!       then grain tables and grains, as they came; a table entry is the sector of a grain or 0
//! ```
//! There is no entry for zeros: 0 leads to the parent.

use super::layout::{Area, Format, Layout, SECTOR, bytes_of, grain_size};
use crate::bytes::u32_at;
use crate::error::VmdkError;
use crate::pages::Pages;

pub(crate) const MAGIC: [u8; 4] = *b"COWD";
const HEADER: u64 = 2048;
/// Sector of the directory: right behind the header. A byte of it that tips over would else lead
/// to bytes of the guest, which nothing could tell from a directory.
const DIRECTORY: u64 = 4;
const PER_TABLE: u64 = 4096;
/// ESXi makes grains of one sector; 1 MiB is far beyond any that was heard of.
const GRAIN_SECTORS_MAX: u64 = 2048;

/// Understands the header.
pub(crate) fn layout(pages: &Pages) -> Result<Layout, VmdkError> {
    let header = pages.bytes("header", 0, HEADER)?;
    let field = |at: usize| u64::from(u32_at(&header, at));
    let at = pages.at("header", 0);
    at.require(header[..4] == MAGIC, "the signature", hex(&header[..4]), "\"COWD\"")?;
    at.known(field(4) == 1, "version", field(4))?;
    at.known(field(8) == 3, "flags", field(8))?;
    at.known(field(20) == DIRECTORY, "a directory in sector", field(20))?;
    at.known(field(1648) == 0, "the mark of a disk that was not closed cleanly,", field(1648))?;
    let layout = Layout {
        format: Format::Cowd,
        capacity: bytes_of(pages, "the capacity", field(12))?,
        grain: grain_size(pages, field(16), 1..=GRAIN_SECTORS_MAX)?,
        per_table: PER_TABLE,
        width: 4,
        directory: DIRECTORY * SECTOR,
        copy: None,
        reserved: vec![Area { start: 0, end: HEADER }],
    };
    let enough = field(24) >= layout.tables();
    at.require(enough, "the number of directory entries", field(24), "one for each table")?;
    Ok(layout)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
