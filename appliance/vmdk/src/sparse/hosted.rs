//! Hosted sparse files ("KDMV"): `monolithicSparse`, the parts of `twoGbMaxExtentSparse`, and
//! `streamOptimized`, whose grains are deflated. For import and export, never found on VMFS.
//!
//! ```text
//! sector 0  header: @0 "KDMV", @4 version 1..3, @8 flags, u64: @12 capacity, @20 grain size,
//!           @28 descriptor (sector, sectors), @44 u32 entries of a table (512), u64: @48 copy of
//!           the directory, @56 directory, @64 overhead; @72 u8 unclean, @73 "\n \r\n",
//!           @77 u16 compression
//! flags     1 newline test, 2 copy of directory and tables, 4 entry 1 means zeros,
//!           0x10000 deflated grains, 0x20000 markers in between
//! stream    directory all ones: it is in the footer, the second but last sector, between a
//!           marker of type 3 and one of type 0
//! marker    u64 sectors, u32 size (0), u32 type; a grain: u64 sector on the disk, u32 size, data
//! ```

use super::layout::{Area, Format, Layout, SECTOR, bytes_of, grain_size};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::descriptor;
use crate::error::VmdkError;
use crate::pages::Pages;

pub(crate) const MAGIC: [u8; 4] = *b"KDMV";
pub(crate) const NEWLINE: u32 = 1;
pub(crate) const COPY: u32 = 2;
pub(crate) const ZERO_GRAINS: u32 = 4;
pub(crate) const DEFLATED: u32 = 0x1_0000;
pub(crate) const MARKERS: u32 = 0x2_0000;
pub(crate) const NEWLINES: [u8; 4] = *b"\n \r\n";
pub(crate) const PER_TABLE: u64 = 512;
/// The directory's place is in the footer.
pub(crate) const AT_END: u64 = u64::MAX;
pub(crate) const MARKER_END: u32 = 0;
pub(crate) const MARKER_TABLE: u32 = 1;
pub(crate) const MARKER_DIRECTORY: u32 = 2;
pub(crate) const MARKER_FOOTER: u32 = 3;
/// Limits of the grain size in sectors: 4 KiB to 2 MiB; 64 KiB is the usual one.
const GRAIN_SECTORS: std::ops::RangeInclusive<u64> = 8..=4096;

/// The fields of a header or footer.
struct Header {
    version: u32,
    flags: u32,
    capacity: u64,
    grain: u64,
    descriptor: (u64, u64),
    per_table: u32,
    copy: u64,
    directory: u64,
    overhead: u64,
    unclean: u8,
    newlines: [u8; 4],
    compression: u16,
}

/// Understands header and, where there is one, footer.
pub(crate) fn layout(pages: &Pages) -> Result<Layout, VmdkError> {
    let header = read(pages, "header", 0)?;
    check(pages, &header)?;
    let mut reserved = vec![Area { start: 0, end: SECTOR }];
    let at = pages.at("header", 0);
    let (first, count) = header.descriptor;
    if first != 0 {
        let area = Area::of_sectors(first, count);
        reserved.push(area.ok_or_else(|| at.damaged("the descriptor's place", first, "near"))?);
    }
    let overhead = bytes_of(pages, "the overhead", header.overhead)?;
    let mut directory = header.directory;
    if directory == AT_END {
        // All tables come behind the first grains, between markers.
        let end = pages.size().saturating_sub(3 * SECTOR);
        reserved = vec![Area { start: 0, end: overhead }, Area { start: end, end: pages.size() }];
        directory = footer(pages, end, &header)?;
    }
    let copy = (header.flags & COPY != 0 && header.copy != 0).then_some(header.copy);
    let place = |sectors| bytes_of(pages, "the place of a directory", sectors);
    Ok(Layout {
        format: Format::Hosted {
            zero_grains: header.flags & ZERO_GRAINS != 0,
            packed: header.flags & DEFLATED != 0,
            marked: header.directory == AT_END,
            overhead,
        },
        capacity: bytes_of(pages, "the capacity", header.capacity)?,
        grain: grain_size(pages, header.grain, GRAIN_SECTORS)?,
        per_table: PER_TABLE,
        width: 4,
        directory: place(directory)?,
        copy: copy.map(place).transpose()?,
        reserved,
    })
}

/// The descriptor inside the file, with its padding; `None` when it has none.
pub(crate) fn descriptor(pages: &Pages) -> Result<Option<Vec<u8>>, VmdkError> {
    let header = read(pages, "header", 0)?;
    let (first, count) = header.descriptor;
    if first == 0 {
        return Ok(None);
    }
    let at = pages.at("header", 0);
    let small = count > 0 && count <= descriptor::BYTES_MAX as u64 / SECTOR;
    at.require(small, "the size of the descriptor", count, "1 to 128 sectors")?;
    let start = bytes_of(pages, "the place of the descriptor", first)?;
    pages.bytes("descriptor", start, count * SECTOR).map(Some)
}

fn read(pages: &Pages, structure: &'static str, offset: u64) -> Result<Header, VmdkError> {
    let bytes = pages.bytes(structure, offset, SECTOR)?;
    let at = pages.at(structure, offset);
    at.require(bytes[..4] == MAGIC, "the signature", "another", "\"KDMV\"")?;
    Ok(Header {
        version: u32_at(&bytes, 4),
        flags: u32_at(&bytes, 8),
        capacity: u64_at(&bytes, 12),
        grain: u64_at(&bytes, 20),
        descriptor: (u64_at(&bytes, 28), u64_at(&bytes, 36)),
        per_table: u32_at(&bytes, 44),
        copy: u64_at(&bytes, 48),
        directory: u64_at(&bytes, 56),
        overhead: u64_at(&bytes, 64),
        unclean: bytes[72],
        newlines: bytes[73..77].try_into().expect("4 bytes"),
        compression: u16_at(&bytes, 77),
    })
}

fn check(pages: &Pages, header: &Header) -> Result<(), VmdkError> {
    let at = pages.at("header", 0);
    at.known((1..=3).contains(&header.version), "version", header.version.into())?;
    let unknown = header.flags & !(NEWLINE | COPY | ZERO_GRAINS | DEFLATED | MARKERS);
    at.known(unknown == 0, "flags", unknown.into())?;
    at.known(u64::from(header.per_table) == PER_TABLE, "tables of", header.per_table.into())?;
    let unclean = header.unclean;
    at.known(unclean == 0, "the mark of a disk that was not closed cleanly,", unclean.into())?;
    at.known(header.compression <= 1, "compression", header.compression.into())?;
    let packed = header.flags & (DEFLATED | MARKERS);
    let known = packed == 0 || packed == DEFLATED | MARKERS;
    at.known(known, "a half of the flags for compression,", packed.into())?;
    let agrees = (packed != 0) == (header.compression == 1);
    at.require(agrees, "the compression", header.compression, "as the flags say")?;
    let whole = header.flags & NEWLINE == 0 || header.newlines == NEWLINES;
    let expected = "line ends as they were written; the file went through a text transfer";
    at.require(whole, "the newline test", format_args!("{:?}", header.newlines), expected)
}

/// The place of the directory, from the footer in the second of the last three sectors.
fn footer(pages: &Pages, end: u64, header: &Header) -> Result<u64, VmdkError> {
    require_marker(pages, end, 1, MARKER_FOOTER)?;
    require_marker(pages, end + 2 * SECTOR, 0, MARKER_END)?;
    let footer = read(pages, "footer", end + SECTOR)?;
    let fields = |h: &Header| {
        (h.version, h.flags, h.capacity, h.grain, h.descriptor, h.per_table, h.compression)
    };
    let at = pages.at("footer", end + SECTOR);
    let same = fields(&footer) == fields(header) && footer.overhead == header.overhead;
    at.require(same, "a field", "another than in the header", "the same")?;
    let place = footer.directory;
    let given = place != AT_END && place > 0;
    at.require(given, "the place of the directory", "not given", "in the file")?;
    let tables = header.capacity.div_ceil(header.grain.max(1)).div_ceil(PER_TABLE);
    let before = bytes_of(pages, "the place of the directory", place - 1)?;
    require_marker(pages, before, (tables * 4).div_ceil(SECTOR), MARKER_DIRECTORY)?;
    Ok(place)
}

/// The marker before the grain table at `table`.
pub(crate) fn require_table_marker(pages: &Pages, table: u64) -> Result<(), VmdkError> {
    require_marker(pages, table - SECTOR, PER_TABLE * 4 / SECTOR, MARKER_TABLE)
}

/// The marker of a structure of some sectors, which the next sector begins.
fn require_marker(pages: &Pages, offset: u64, sectors: u64, kind: u32) -> Result<(), VmdkError> {
    let found = (pages.entry("marker", offset, 8)?, pages.entry("marker", offset + 8, 8)?);
    let right = found == (sectors, u64::from(kind) << 32);
    let expected = "that of what follows it";
    pages.at("marker", offset).require(right, "it", format_args!("{found:x?}"), expected)
}
