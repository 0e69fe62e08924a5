//! SEsparse, the `-sesparse.vmdk` of `seSparse` disks: snapshots on VMFS-6, and of 2 TiB and more.
//!
//! ```text
//! sector 0   constant header, u64 each: magic, version 2.1, capacity, grain size 8, table size 64,
//!            flags, 4 reserved, then (offset, size) of eight areas, in sectors; zeros
//! area 0     volatile header, u64 each: magic, free table, next transaction, replay; zeros
//! area 3     grain directory: u64 0x10000000_nnnnnnnn is table n, 0 none
//! area 4     grain tables of 4096 u64
//! area 7     grains of 4 KiB
//! areas 1, 2, 5, 6: journal header, journal, free bitmap, back map; not read
//! ```
//! The top four bits of a table's entry say what it is; see [`entry`].

use super::layout::{Area, Format, Layout, bytes_of, require_zeros, words};
use crate::error::VmdkError;
use crate::pages::Pages;

pub(crate) const MAGIC: u64 = 0xCAFE_BABE;
const VOLATILE_MAGIC: u64 = 0xCAFE_CAFE;
const VERSION: u64 = 0x2_0000_0001;
const HEADER: u64 = 512;
/// Sectors of a grain, and of a grain table.
const GRAIN_SECTORS: u64 = 8;
const TABLE_SECTORS: u64 = 64;
const PER_TABLE: u64 = TABLE_SECTORS * 512 / 8;
/// The upper half of a directory entry that has a table.
const HAS_TABLE: u64 = 0x1000_0000;

/// Understands both headers. Like the one other reader, it refuses what it does not know, and a
/// journal that waits for its replay: tables may then be older than the guest's writes.
pub(crate) fn layout(pages: &Pages) -> Result<Layout, VmdkError> {
    let header = pages.bytes("header", 0, HEADER)?;
    let [magic, version, capacity, grain, table, flags] = words(&header);
    let at = pages.at("header", 0);
    at.require(magic == MAGIC, "the signature", format_args!("{magic:#x}"), "0xcafebabe")?;
    at.known(version == VERSION, "version", version)?;
    at.known(grain == GRAIN_SECTORS, "a grain size in sectors of", grain)?;
    at.known(table == TABLE_SECTORS, "a grain table size in sectors of", table)?;
    at.known(flags == 0, "flags", flags)?;
    require_zeros(pages, "reserved part of the header", 48, &header[48..80])?;
    require_zeros(pages, "header", 208, &header[208..])?;
    let places: [u64; 16] = words(&header[80..208]);
    let mut areas = [Area { start: 0, end: 0 }; 8];
    for (area, place) in areas.iter_mut().zip(places.chunks(2)) {
        let found = Area::of_sectors(place[0], place[1]);
        *area = found.ok_or_else(|| at.damaged("the place of an area", place[0], "in a file"))?;
    }
    let [volatile, journal_header, journal, directory, tables, bitmap, back_map, grains] = areas;
    let used = tables_used(pages, volatile)?;
    let start = Area { start: 0, end: HEADER };
    let layout = Layout {
        format: Format::SeSparse { tables, used, grains },
        capacity: bytes_of(pages, "the capacity", capacity)?,
        grain: GRAIN_SECTORS * 512,
        per_table: PER_TABLE,
        width: 8,
        directory: directory.start,
        copy: None,
        reserved: vec![start, volatile, journal_header, journal, bitmap, back_map],
    };
    let room = directory.length() >= layout.directory_bytes();
    at.require(room, "the size of the directory", directory.length(), "room for each table")?;
    check_areas(pages, &areas)?;
    Ok(layout)
}

/// Checks the volatile header; returns the number of the first table that is free.
fn tables_used(pages: &Pages, area: Area) -> Result<u64, VmdkError> {
    let header = pages.bytes("volatile header", area.start, HEADER)?;
    let [magic, used, _, replay] = words(&header);
    let at = pages.at("volatile header", area.start);
    let found = format_args!("{magic:#x}");
    at.require(magic == VOLATILE_MAGIC, "the signature", found, "0xcafecafe")?;
    at.known(replay == 0, "a journal that has to be replayed,", replay)?;
    require_zeros(pages, "volatile header", area.start + 32, &header[32..])?;
    Ok(used)
}

/// The areas lie one behind the other in their order, without gaps from the journal on: so they
/// do in the one real sample, and so an area cannot be moved by a byte that tipped over.
fn check_areas(pages: &Pages, areas: &[Area; 8]) -> Result<(), VmdkError> {
    let ordered = areas[0].start >= HEADER && areas.windows(2).all(|p| p[0].end <= p[1].start);
    let at = pages.at("header", 0);
    at.require(ordered, "the places of its areas", "others", "one behind the other")?;
    let gap = areas[2..].windows(2).find(|pair| pair[0].end != pair[1].start);
    at.known(gap.is_none(), "a gap before", gap.map_or(0, |pair| pair[1].start))
}

/// The table that a directory entry names, as its number; `None` for no table.
pub(crate) fn table(value: u64) -> Result<Option<u32>, &'static str> {
    match (value, value >> 32) {
        (0, _) => Ok(None),
        (_, HAS_TABLE) => Ok(u32::try_from(value & 0xFFFF_FFFF).ok()),
        _ => Err("0 or 0x10000000 in its upper half"),
    }
}

/// An entry of a grain table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// In the parent.
    Absent,
    /// The guest gave the grain up: zeros, whatever the old one still holds.
    Unmapped(u64),
    Zero,
    /// The grain with this number in the area of grains.
    At(u64),
}

/// Decodes an entry. The number of a grain is rotated: its low 12 bits stand above the others.
pub(crate) fn entry(value: u64) -> Result<Entry, &'static str> {
    let number = (value >> 48 & 0xFFF) | (value & 0xFFFF_FFFF_FFFF) << 12;
    match (value >> 60, number) {
        (0, 0) => Ok(Entry::Absent),
        (1, _) => Ok(Entry::Unmapped(number)),
        (2, 0) => Ok(Entry::Zero),
        (3, _) => Ok(Entry::At(number)),
        _ => Err("an entry of a known kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_four_kinds() {
        assert_eq!(entry(0), Ok(Entry::Absent));
        assert_eq!(entry(0x1005_0000_0000_0000), Ok(Entry::Unmapped(5)));
        assert_eq!(entry(0x2000_0000_0000_0000), Ok(Entry::Zero));
        assert_eq!(entry(0x3fff_0000_0000_0000), Ok(Entry::At(4095)));
        assert_eq!(entry(0x3001_0000_0000_0002), Ok(Entry::At(0x2001)));
        for wrong in [1, 0x2000_0000_0000_0001, 0x4000_0000_0000_0000, u64::MAX] {
            assert!(entry(wrong).is_err(), "{wrong:#x}");
        }
    }

    #[test]
    fn directory_entries_name_tables() {
        assert_eq!(table(0), Ok(None));
        assert_eq!(table(0x1000_0000_0000_0000), Ok(Some(0)));
        assert_eq!(table(0x1000_0000_0000_0007), Ok(Some(7)));
        assert!(table(7).is_err() && table(0x3000_0000_0000_0007).is_err());
    }
}
