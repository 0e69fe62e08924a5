//! A GUID partition table with one VMFS partition (UEFI 2.10, section 5).

use super::bytes::{Random, index, put, put32, put64};

/// Bytes per logical block of the LUN.
pub(super) const SECTOR: u64 = 512;
/// First sector of the partition, as ESXi places it.
pub(super) const PARTITION_FIRST: u64 = 2048;
/// Sectors of the array of 128 entries.
const ENTRY_SECTORS: u64 = 32;
/// AA31E02A-400F-11DB-9590-000C2911D1B8 as it lies on disk.
const VMFS_TYPE: [u8; 16] = [
    0x2A, 0xE0, 0x31, 0xAA, 0x0F, 0x40, 0xDB, 0x11, 0x95, 0x90, 0x00, 0x0C, 0x29, 0x11, 0xD1, 0xB8,
];

/// Both copies of the table for a LUN of `sectors`, as (offset, bytes) to be written.
pub(super) fn table(sectors: u64, random: &mut Random) -> Vec<(u64, Vec<u8>)> {
    let disk_guid = guid(random);
    let entries = entries(sectors, guid(random));
    let backup_entries = sectors - 1 - ENTRY_SECTORS;
    vec![
        (0, protective_mbr(sectors)),
        (SECTOR, header(1, sectors - 1, 2, sectors, &disk_guid, &entries)),
        (2 * SECTOR, entries.clone()),
        (backup_entries * SECTOR, entries.clone()),
        (
            (sectors - 1) * SECTOR,
            header(sectors - 1, 1, backup_entries, sectors, &disk_guid, &entries),
        ),
    ]
}

/// Last sector that a partition may use.
pub(super) fn last_usable(sectors: u64) -> u64 {
    sectors - ENTRY_SECTORS - 2
}

fn guid(random: &mut Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    put64(&mut bytes, 0, random.next());
    put64(&mut bytes, 8, random.next());
    bytes[7] = bytes[7] & 0x0F | 0x40; // version 4, random
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

fn entries(sectors: u64, guid: [u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; index(ENTRY_SECTORS * SECTOR)];
    put(&mut bytes, 0, &VMFS_TYPE);
    put(&mut bytes, 16, &guid);
    put64(&mut bytes, 32, PARTITION_FIRST);
    put64(&mut bytes, 40, last_usable(sectors));
    bytes
}

fn header(
    own: u64,
    other: u64,
    entries_at: u64,
    sectors: u64,
    disk: &[u8; 16],
    entries: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; index(SECTOR)];
    put(&mut bytes, 0, b"EFI PART");
    put32(&mut bytes, 8, 0x0001_0000);
    put32(&mut bytes, 12, 92);
    put64(&mut bytes, 24, own);
    put64(&mut bytes, 32, other);
    put64(&mut bytes, 40, 2 + ENTRY_SECTORS);
    put64(&mut bytes, 48, last_usable(sectors));
    put(&mut bytes, 56, disk);
    put64(&mut bytes, 72, entries_at);
    put32(&mut bytes, 80, 128);
    put32(&mut bytes, 84, 128);
    put32(&mut bytes, 88, crc32fast::hash(entries));
    let crc = crc32fast::hash(&bytes[..92]);
    put32(&mut bytes, 16, crc);
    bytes
}

fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(SECTOR)];
    let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    put(&mut bytes, 446, &[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF]);
    put32(&mut bytes, 454, 1);
    put32(&mut bytes, 458, length);
    put(&mut bytes, 510, &[0x55, 0xAA]);
    bytes
}
