//! Directories: an array of entries (VMFS-5), or blocks of entries with a hash table (VMFS-6).
//!
//! A listing needs the entries only. The rest is compared with them: counters, bitmaps, each
//! entry's own offset and hash, and for a name that was asked for, that the table finds it.

use crate::bytes::{Fields, index};
use crate::descriptor::FileKind;
use crate::error::{At, VmfsError};
use crate::hash::name_hash;
use crate::superblock::Family;
use std::collections::BTreeSet;

/// Largest directory that is read: some 200,000 entries on VMFS-6.
pub(crate) const BYTES_MAX: u64 = 64 << 20;

const ENTRY_BYTES_5: usize = 140;
const NAME_BYTES_5: usize = 128;

const HEADER_BYTES: usize = 0x1_0000;
const BLOCK_BYTES: usize = 4096;
const VERSION: u32 = 0x00F5_0001;
const DOT_AT: usize = 0x3B8;
const DOT_DOT_AT: usize = 0x4D8;
const TABLE_AT: usize = 0x5F8;
const TABLE_WORDS: u64 = 16001;
const TABLE_WORDS_ROOT: u64 = 15973;
const MAPS_MAX: usize = 128;
const SLOTS_AT: usize = 64;
const ENTRY_BYTES: usize = 288;
const NAME_BYTES: usize = 256;
const ENTRIES: u16 = 14;
const GROUP_BYTES: usize = 84;
const GROUPS: u16 = 48;
const GROUP_LINKS: usize = 12;
/// Blocks that one map block covers.
const MAP_COVERS: usize = 2 * BLOCK_BYTES - 128;

const TYPE_ENTRIES: u16 = 1;
const TYPE_GROUPS: u16 = 2;
const TYPE_MAP: u16 = 3;

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileKind,
    pub(crate) address: u32,
    pub(crate) generation: u32,
    /// VMFS-6: block and slot, as the table names them.
    location: u32,
}

/// A whole directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) own: Entry,
    pub(crate) parent: Entry,
    /// All but `.` and `..`, in the order of the disk.
    pub(crate) entries: Vec<Entry>,
}

/// Parses and checks the content of the directory whose descriptor lies at `offset`.
pub(crate) fn parse(family: Family, offset: u64, bytes: &[u8]) -> Result<Listing, VmfsError> {
    let at = At { structure: "directory", offset };
    let listing = match family {
        Family::Vmfs5 => parse_5(at, bytes)?,
        Family::Vmfs6 => parse_6(at, bytes)?,
    };
    let mut names = BTreeSet::new();
    let mut targets = BTreeSet::new();
    for entry in &listing.entries {
        let name = || String::from_utf8_lossy(&entry.name).into_owned();
        at.require(names.insert(&entry.name), "name", name(), "there once")?;
        // VMFS has no hard links: two names of one descriptor are damage.
        at.require(targets.insert(entry.address), "descriptor of", name(), "nobody else's")?;
    }
    Ok(listing)
}

fn parse_5(at: At, bytes: &[u8]) -> Result<Listing, VmfsError> {
    let whole = bytes.len().is_multiple_of(ENTRY_BYTES_5);
    at.require(whole, "length", bytes.len(), "a multiple of 140")?;
    let (mut own, mut parent, mut entries) = (None, None, Vec::new());
    for bytes in bytes.chunks_exact(ENTRY_BYTES_5) {
        let fields = Fields(bytes);
        if fields.u32(4) == 0 {
            continue;
        }
        let entry = entry(at, fields, fields.text(12, NAME_BYTES_5), 0)?;
        match entry.name.as_slice() {
            b"." => own = Some(entry),
            b".." => parent = Some(entry),
            _ => entries.push(entry),
        }
    }
    let missing = |name| at.damaged("entry", "missing", name);
    let own = own.ok_or_else(|| missing("."))?;
    let parent = parent.ok_or_else(|| missing(".."))?;
    Ok(Listing { own, parent, entries })
}

fn entry(at: At, fields: Fields, name: &[u8], location: u32) -> Result<Entry, VmfsError> {
    let kind = FileKind::from_number(fields.u32(0))
        .ok_or_else(|| at.damaged("type of an entry", fields.u32(0), "1 to 6"))?;
    at.require(!name.is_empty(), "name of an entry", "empty", "at least a byte")?;
    let (address, generation) = (fields.u32(4), fields.u32(8));
    Ok(Entry { name: name.to_vec(), kind, address, generation, location })
}

fn parse_6(at: At, bytes: &[u8]) -> Result<Listing, VmfsError> {
    let body = bytes.len().checked_sub(HEADER_BYTES);
    let whole = body.is_some_and(|body| body.is_multiple_of(BLOCK_BYTES) && body > 0);
    at.require(whole, "length", bytes.len(), "a header of 64 KiB and blocks of 4 KiB")?;
    let (header, blocks) = bytes.split_at(HEADER_BYTES);
    let header = Fields(header);
    at.expect("version", header.u32(0), VERSION)?;
    let own = entry_6(at, header.0, DOT_AT, DOT_AT as u64, 0)?;
    let parent = entry_6(at, header.0, DOT_DOT_AT, DOT_DOT_AT as u64, 0)?;
    at.require(own.name == b".", "first entry", "another name", ".")?;
    at.require(parent.name == b"..", "second entry", "another name", "..")?;
    let mut entries = Vec::new();
    for (number, block) in blocks.chunks_exact(BLOCK_BYTES).enumerate() {
        if state(at, header, blocks, number)? == Some(TYPE_ENTRIES) {
            entries_of(at, block, number, &mut entries)?;
        }
    }
    at.expect("number of entries", header.u32(4), entries.len() as u64 + 2)?;
    at.expect("number of allocated entries", header.u32(8), entries.len() as u64 + 2)?;
    Ok(Listing { own, parent, entries })
}

/// The type of a block, checked against the block's own header; `None` when it was never
/// written.
fn state(at: At, header: Fields, blocks: &[u8], number: usize) -> Result<Option<u16>, VmfsError> {
    let maps = index(u64::from(header.u32(0x0C)));
    at.require((1..=MAPS_MAX).contains(&maps), "number of map blocks", maps, "1 to 128")?;
    let map = number / MAP_COVERS;
    at.require(map < maps, "block", number, "covered by a map block")?;
    let map_block = index(u64::from(header.u32(0x10 + map * 4)));
    let map_bytes = block(at, blocks, map_block)?;
    at.expect("type of a map block", Fields(map_bytes).u16(2), TYPE_MAP)?;
    let within = number % MAP_COVERS;
    let nibble = map_bytes[SLOTS_AT + within / 2] >> (4 - within % 2 * 4) & 0xF;
    if nibble & 8 != 0 {
        return Ok(None);
    }
    let (kind, room) = (u16::from(nibble & 3), nibble & 4 != 0);
    let fields = Fields(block(at, blocks, number)?);
    at.expect("type of a block", fields.u16(2), kind)?;
    let slots = match kind {
        TYPE_ENTRIES => ENTRIES,
        TYPE_GROUPS => GROUPS,
        TYPE_MAP => return Ok(Some(kind)),
        _ => return Err(at.damaged("type of a block", kind, "1, 2 or 3")),
    };
    at.expect("version of a block", fields.u16(0), 1u16)?;
    at.expect("slots of a block", fields.u16(4), slots)?;
    let free = (0..slots).filter(|slot| is_free(fields, *slot)).count() as u64;
    at.expect("free slots of a block", fields.u16(6), free)?;
    at.require(room == (free > 0), "map entry of a block", nibble, "as full as the block")?;
    Ok(Some(kind))
}

fn is_free(block: Fields, slot: u16) -> bool {
    block.u8(8 + usize::from(slot / 8)) >> (slot % 8) & 1 == 1
}

fn block(at: At, blocks: &[u8], number: usize) -> Result<&[u8], VmfsError> {
    let start = number.checked_mul(BLOCK_BYTES).filter(|start| *start < blocks.len());
    let start = start.ok_or_else(|| at.damaged("block", number, "within the directory"))?;
    Ok(&blocks[start..start + BLOCK_BYTES])
}

fn entries_of(
    at: At,
    block: &[u8],
    number: usize,
    entries: &mut Vec<Entry>,
) -> Result<(), VmfsError> {
    for slot in (0..ENTRIES).filter(|slot| !is_free(Fields(block), *slot)) {
        let in_block = SLOTS_AT + usize::from(slot) * ENTRY_BYTES;
        let own_offset = (HEADER_BYTES + number * BLOCK_BYTES + in_block) as u64;
        let word = (number as u64) << 2 | u64::from(slot) << 24 | 1;
        let location = u32::try_from(word)
            .map_err(|_| at.damaged("block", number, "one that a location can name"))?;
        entries.push(entry_6(at, block, in_block, own_offset, location)?);
    }
    Ok(())
}

fn entry_6(
    at: At,
    bytes: &[u8],
    start: usize,
    own_offset: u64,
    location: u32,
) -> Result<Entry, VmfsError> {
    let fields = Fields(&bytes[start..start + ENTRY_BYTES]);
    let name = fields.text(0x18, NAME_BYTES);
    at.expect("own offset of an entry", fields.u64(0x10), own_offset)?;
    at.require(name.len() < NAME_BYTES, "name of an entry", "endless", "up to 255 bytes")?;
    let entry = entry(at, fields, name, location)?;
    // System files stand at fixed places in the table, `.` and `..` in none.
    let hashed = entry.kind != FileKind::System && location != 0;
    let hash = if hashed { name_hash(name) & 0xFFFF_FFFF } else { 0 };
    let stored = u64::from(fields.u16(0xC)) | u64::from(fields.u16(0xE)) << 16;
    at.expect("hash of an entry", stored, hash)?;
    Ok(entry)
}

/// VMFS-6: the hash table must lead to an entry that the listing found.
pub(crate) fn check_lookup(
    offset: u64,
    bytes: &[u8],
    root: bool,
    entry: &Entry,
) -> Result<(), VmfsError> {
    if entry.kind == FileKind::System {
        return Ok(());
    }
    let at = At { structure: "directory", offset };
    let (header, blocks) = bytes.split_at(HEADER_BYTES);
    let words = if root { TABLE_WORDS_ROOT } else { TABLE_WORDS };
    let table_index = name_hash(&entry.name) % words;
    let mut location = Fields(header).u32(TABLE_AT + index(table_index) * 4);
    // A chain visits a link group at most once: no longer than all groups there are.
    for _ in 0..=blocks.len() / GROUP_BYTES {
        if location == entry.location {
            return Ok(());
        }
        if location & 3 != u32::from(TYPE_GROUPS) {
            break;
        }
        let group = link_group(at, blocks, location, table_index)?;
        let used = usize::from(group.u8(2).saturating_sub(group.u8(3))).min(GROUP_LINKS);
        if (0..used).any(|link| group.u32(6 + link * 6) == entry.location) {
            return Ok(());
        }
        location = group.u32(0x4E);
    }
    let name = String::from_utf8_lossy(&entry.name).into_owned();
    Err(at.damaged("hash table", format_args!("without {name:?}"), "leading to every entry"))
}

fn link_group<'a>(
    at: At,
    blocks: &'a [u8],
    location: u32,
    table_index: u64,
) -> Result<Fields<'a>, VmfsError> {
    let (number, slot) = (location >> 2 & 0x3F_FFFF, location >> 24);
    let bytes = block(at, blocks, index(u64::from(number)))?;
    at.expect("type of a link block", Fields(bytes).u16(2), TYPE_GROUPS)?;
    at.require(slot < u32::from(GROUPS), "slot of a link group", slot, "0 to 47")?;
    let start = SLOTS_AT + index(u64::from(slot)) * GROUP_BYTES;
    let group = Fields(&bytes[start..start + GROUP_BYTES]);
    at.expect("index of a link group", group.u16(0), table_index)?;
    Ok(group)
}
