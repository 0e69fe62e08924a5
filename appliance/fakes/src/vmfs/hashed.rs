//! A VMFS-6 directory in memory: header with hash table, map block, blocks of entries and of
//! link groups. Entries are only ever added.
//!
//! ```text
//! 0        header, entries of `.` and `..`, 16001 location words
//! 0x10000  block 0: allocation map, 4 bits per block
//!          block n: 14 entries of 288 bytes, or 48 link groups of 84
//! ```

use super::bytes::{KIB, get16, get32, index, low16, low32, put, put16, put32, put64};
use super::directory::Target;
use super::hash::name_hash;

/// Bytes of a block.
const MD: u64 = 4 * KIB;
const HEADER_BYTES: u64 = 0x1_0000;
const VERSION: u32 = 0x00F5_0001;
const DOT_AT: usize = 0x3B8;
const DOT_DOT_AT: usize = 0x4D8;
const TABLE_AT: usize = 0x5F8;
const TABLE_WORDS: u64 = 16001;
const TABLE_WORDS_ROOT: u64 = 15973;
/// Table index of the first system file in the root directory.
const SYSTEM_INDEX: usize = 0x3E66;

const ENTRY_BYTES: usize = 288;
const ENTRIES: u16 = 14;
const GROUP_BYTES: usize = 84;
const GROUPS: u16 = 48;
const GROUP_LINKS: u8 = 12;
const SLOTS_AT: usize = 64;

const TYPE_ENTRIES: u16 = 1;
const TYPE_GROUPS: u16 = 2;
const TYPE_MAP: u16 = 3;
const HAS_ROOM: u8 = 4;
const NEVER_WRITTEN: u8 = 8;
/// Blocks that one map block covers.
const BLOCKS_MAX: usize = 8064;

/// A directory in memory.
pub(super) struct Hashed {
    header: Vec<u8>,
    blocks: Vec<Vec<u8>>,
    root: bool,
}

impl Hashed {
    /// An empty directory that is `own` and lies in `parent`.
    pub(super) fn new(own: Target, parent: Target, root: bool) -> Self {
        let mut header = vec![0; index(HEADER_BYTES)];
        put32(&mut header, 0, VERSION);
        put32(&mut header, 4, 2);
        put32(&mut header, 8, 2);
        put32(&mut header, 0xC, 1);
        put_entry(&mut header[DOT_AT..], b".", own, 0, DOT_AT as u64);
        put_entry(&mut header[DOT_DOT_AT..], b"..", parent, 0, DOT_DOT_AT as u64);
        let mut map = new_block(0, TYPE_MAP, 0);
        map[SLOTS_AT..].fill(NEVER_WRITTEN << 4 | NEVER_WRITTEN);
        let mut directory = Self { header, blocks: vec![map], root };
        directory.set_state(0, TYPE_MAP.to_le_bytes()[0]);
        directory
    }

    /// A directory as it lies on disk.
    pub(super) fn parse(bytes: &[u8], root: bool) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(index(HEADER_BYTES))?;
        if get32(header, 0) != VERSION {
            return None;
        }
        let blocks = body.chunks_exact(index(MD)).map(<[u8]>::to_vec).collect();
        Some(Self { header: header.to_vec(), blocks, root })
    }

    /// The bytes for the disk; their number is the file's length.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        self.blocks.iter().for_each(|block| bytes.extend_from_slice(block));
        bytes
    }

    /// What `name` stands for.
    pub(super) fn find(&self, name: &str) -> Option<Target> {
        let hash = name_hash(name.as_bytes());
        let mut location = self.table(self.table_index(hash));
        while Location::is_group(location) {
            let group = self.group(location);
            let links = (0..usize::from(group[2] - group[3])).map(|n| get32(group, 6 + n * 6));
            if let Some(found) = links.into_iter().find_map(|link| self.named(link, name)) {
                return Some(found);
            }
            location = get32(group, 0x4E);
        }
        self.named(location, name)
    }

    /// Adds a name that is not there yet; false when the directory is full.
    pub(super) fn insert(&mut self, name: &str, target: Target) -> bool {
        let hash = name_hash(name.as_bytes());
        let Some(location) = self.add_entry(name, target, hash) else { return false };
        self.link(self.table_index(hash), location, hash)
    }

    /// Adds a system file; they stand at fixed places in the table, in the order of `number`.
    pub(super) fn insert_system(&mut self, number: usize, name: &str, target: Target) {
        let location = self.add_entry(name, target, 0).expect("an empty directory has room");
        self.set_table(SYSTEM_INDEX + number, location);
    }

    fn named(&self, location: u32, name: &str) -> Option<Target> {
        if location == 0 {
            return None;
        }
        let (block, slot) = Location::parts(location);
        let entry = &self.blocks[block][SLOTS_AT + slot * ENTRY_BYTES..][..ENTRY_BYTES];
        let stored = entry[0x18..0x118].split(|byte| *byte == 0).next().unwrap_or(&[]);
        (stored == name.as_bytes()).then(|| Target {
            kind: get32(entry, 0),
            fd: get32(entry, 4),
            generation: get32(entry, 8),
        })
    }

    fn add_entry(&mut self, name: &str, target: Target, hash: u64) -> Option<u32> {
        let (block, slot) = self.take_slot(TYPE_ENTRIES, ENTRIES)?;
        let at = SLOTS_AT + slot * ENTRY_BYTES;
        let own_offset = HEADER_BYTES + block as u64 * MD + at as u64;
        put_entry(&mut self.blocks[block][at..], name.as_bytes(), target, hash, own_offset);
        for counter in [4, 8] {
            let entries = get32(&self.header, counter) + 1;
            put32(&mut self.header, counter, entries);
        }
        Some(Location::entry(block, slot))
    }

    /// Makes the table's word `table_index` lead to the entry at `location`.
    fn link(&mut self, table_index: usize, location: u32, hash: u64) -> bool {
        let first = self.table(table_index);
        if first == 0 {
            self.set_table(table_index, location);
            return true;
        }
        if !Location::is_group(first) {
            let Some(group) = self.new_group(table_index) else { return false };
            let (block, slot) = Location::parts(first);
            let entry = SLOTS_AT + slot * ENTRY_BYTES;
            let high = get16(&self.blocks[block], entry + 0xE);
            self.add_link(group, first, high);
            self.add_link(group, location, low16(hash >> 16));
            self.set_table(table_index, group);
            return true;
        }
        self.link_to_chain(first, table_index, location, hash)
    }

    fn link_to_chain(&mut self, first: u32, at: usize, location: u32, hash: u64) -> bool {
        let mut last = first;
        while self.group(last)[3] == 0 {
            let next = get32(self.group(last), 0x4E);
            if next == 0 {
                let Some(group) = self.new_group(at) else { return false };
                put32(self.group_mut(last), 0x4E, group);
                last = group;
                break;
            }
            last = next;
        }
        self.add_link(last, location, low16(hash >> 16));
        true
    }

    fn new_group(&mut self, table_index: usize) -> Option<u32> {
        let (block, slot) = self.take_slot(TYPE_GROUPS, GROUPS)?;
        let location = Location::group(block, slot);
        let group = self.group_mut(location);
        put16(group, 0, low16(table_index as u64));
        group[2] = GROUP_LINKS;
        group[3] = GROUP_LINKS;
        Some(location)
    }

    fn add_link(&mut self, group: u32, location: u32, hash_high: u16) {
        let group = self.group_mut(group);
        let free = usize::from(group[4]);
        put32(group, 6 + free * 6, location);
        put16(group, 10 + free * 6, hash_high);
        group[3] -= 1;
        group[4] += 1;
    }

    /// A free slot of a block of type `kind`; a new block when all others are full.
    fn take_slot(&mut self, kind: u16, slots: u16) -> Option<(usize, usize)> {
        let low = kind.to_le_bytes()[0];
        let open = (1..self.blocks.len()).rev().find(|&block| self.state(block) == low | HAS_ROOM);
        let block = open.or_else(|| self.add_block(kind, slots))?;
        let bytes = &mut self.blocks[block];
        let free = get16(bytes, 6);
        let slot = usize::from(slots - free); // slots are never given back
        bytes[8 + slot / 8] &= !(1 << (slot % 8));
        put16(bytes, 6, free - 1);
        self.set_state(block, if free == 1 { low } else { low | HAS_ROOM });
        Some((block, slot))
    }

    fn add_block(&mut self, kind: u16, slots: u16) -> Option<usize> {
        if self.blocks.len() == BLOCKS_MAX {
            return None;
        }
        self.blocks.push(new_block(1, kind, slots));
        Some(self.blocks.len() - 1)
    }

    /// The map's nibble of a block; the first block of a pair has the high one.
    fn state(&self, block: usize) -> u8 {
        self.blocks[0][SLOTS_AT + block / 2] >> (4 - block % 2 * 4) & 0xF
    }

    fn set_state(&mut self, block: usize, state: u8) {
        let shift = 4 - block % 2 * 4;
        let byte = &mut self.blocks[0][SLOTS_AT + block / 2];
        *byte = *byte & !(0xF << shift) | state << shift;
    }

    fn table_index(&self, hash: u64) -> usize {
        index(hash % if self.root { TABLE_WORDS_ROOT } else { TABLE_WORDS })
    }

    fn table(&self, table_index: usize) -> u32 {
        get32(&self.header, TABLE_AT + table_index * 4)
    }

    fn set_table(&mut self, table_index: usize, location: u32) {
        put32(&mut self.header, TABLE_AT + table_index * 4, location);
    }

    fn group(&self, location: u32) -> &[u8] {
        let (block, slot) = Location::parts(location);
        &self.blocks[block][SLOTS_AT + slot * GROUP_BYTES..][..GROUP_BYTES]
    }

    fn group_mut(&mut self, location: u32) -> &mut [u8] {
        let (block, slot) = Location::parts(location);
        &mut self.blocks[block][SLOTS_AT + slot * GROUP_BYTES..][..GROUP_BYTES]
    }
}

/// Location words: type in bits 0-1, block in 2-23, slot in 24-31.
struct Location;

impl Location {
    fn entry(block: usize, slot: usize) -> u32 {
        low32(1 | (block as u64) << 2 | (slot as u64) << 24)
    }

    fn group(block: usize, slot: usize) -> u32 {
        low32(2 | (block as u64) << 2 | (slot as u64) << 24)
    }

    fn is_group(location: u32) -> bool {
        location & 3 == 2
    }

    fn parts(location: u32) -> (usize, usize) {
        (index(u64::from(location >> 2 & 0x3F_FFFF)), index(u64::from(location >> 24)))
    }
}

fn put_entry(bytes: &mut [u8], name: &[u8], target: Target, hash: u64, own_offset: u64) {
    put32(bytes, 0, target.kind);
    put32(bytes, 4, target.fd);
    put32(bytes, 8, target.generation);
    put16(bytes, 0xC, low16(hash));
    put16(bytes, 0xE, low16(hash >> 16));
    put64(bytes, 0x10, own_offset);
    put(bytes, 0x18, name);
}

fn new_block(version: u16, kind: u16, slots: u16) -> Vec<u8> {
    let mut bytes = vec![0; index(MD)];
    put16(&mut bytes, 0, version);
    put16(&mut bytes, 2, kind);
    put16(&mut bytes, 4, slots);
    put16(&mut bytes, 6, slots);
    for slot in 0..usize::from(slots) {
        bytes[8 + slot / 8] |= 1 << (slot % 8);
    }
    bytes
}
