//! Where the VMFS partition lies on a LUN: GPT (UEFI 2.10, section 5.3) or MBR type 0xFB.
//!
//! Both copies of a GPT are read. One good copy is enough (ESXi itself can leave a backup in
//! the wrong place after a LUN has grown); two good copies that disagree are refused.

use crate::bytes::{Fields, index};
use crate::error::{At, VmfsError};
use crate::lvm;
use block::ReadAt;

/// AA31E02A-400F-11DB-9590-000C2911D1B8 as it lies on disk.
const VMFS_TYPE: [u8; 16] = [
    0x2A, 0xE0, 0x31, 0xAA, 0x0F, 0x40, 0xDB, 0x11, 0x95, 0x90, 0x00, 0x0C, 0x29, 0x11, 0xD1, 0xB8,
];
const MBR_VMFS: u8 = 0xFB;
const SECTOR: u64 = 512;
/// Bytes of an array of entries: 128 of 128 by the standard; more is not expected.
const ENTRIES_BYTES_MAX: u64 = 1 << 20;

/// A part of a LUN, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// First byte on the LUN.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Finds the VMFS partition of a LUN: by GPT, by MBR, or the whole device when it is itself a
/// partition (an LVM header lies at 1 MiB).
pub fn find_partition(device: &dyn ReadAt) -> Result<Partition, VmfsError> {
    let mbr = read_sector(device, 0)?;
    for sector in [SECTOR, 4096] {
        if let Some(partition) = gpt(device, sector)? {
            return within(partition, device);
        }
    }
    if let Some(partition) = mbr_partition(&mbr)? {
        return within(partition, device);
    }
    if lvm::is_at(device, 0)? {
        return Ok(Partition { offset: 0, length: device.size() });
    }
    Err(VmfsError::NoVolume { reason: "no VMFS partition in a GPT or MBR, and no LVM header" })
}

fn within(partition: Partition, device: &dyn ReadAt) -> Result<Partition, VmfsError> {
    match partition.offset.checked_add(partition.length) {
        Some(end) if end <= device.size() && partition.length > 0 => Ok(partition),
        _ => Err(TABLE.damaged(
            "end of the VMFS partition",
            format_args!("{:#x} + {:#x}", partition.offset, partition.length),
            format_args!("at most the device's {:#x} bytes", device.size()),
        )),
    }
}

const TABLE: At = At { structure: "partition table", offset: 0 };

/// One good copy of the table: first and last sector of its VMFS partitions.
type Entries = Vec<(u64, u64)>;

fn gpt(device: &dyn ReadAt, sector: u64) -> Result<Option<Partition>, VmfsError> {
    let last = (device.size() / sector).saturating_sub(1);
    let primary = copy(device, sector, 1)?;
    let backup_at = primary.as_ref().map_or(last, |copy| copy.other);
    let backup =
        if backup_at > 1 && backup_at <= last { copy(device, sector, backup_at)? } else { None };
    let found = match (primary, backup) {
        (Some(a), Some(b)) if a.entries != b.entries => {
            return Err(TABLE.damaged("backup GPT", "different", "equal to the primary one"));
        }
        (Some(good), _) | (None, Some(good)) => good.entries,
        (None, None) => return Ok(None),
    };
    match found.as_slice() {
        [] => Ok(None),
        [(first, last)] => partition(*first, *last, sector).map(Some),
        _ => Err(VmfsError::unsupported("a LUN with several VMFS partitions")),
    }
}

fn partition(first: u64, last: u64, sector: u64) -> Result<Partition, VmfsError> {
    let sectors = last.checked_sub(first).and_then(|n| n.checked_add(1));
    let bytes = sectors.and_then(|n| n.checked_mul(sector)).zip(first.checked_mul(sector));
    bytes.map(|(length, offset)| Partition { offset, length }).ok_or_else(|| {
        TABLE.damaged("VMFS entry", format_args!("sectors {first} to {last}"), "a range")
    })
}

struct Copy {
    other: u64,
    entries: Entries,
}

/// A copy of the table whose header stands in sector `own`; `None` when it is not a good one.
fn copy(device: &dyn ReadAt, sector: u64, own: u64) -> Result<Option<Copy>, VmfsError> {
    let Some(at) = own.checked_mul(sector).filter(|at| at + SECTOR <= device.size()) else {
        return Ok(None);
    };
    let bytes = read_sector(device, at)?;
    let header = Fields(&bytes);
    let size = u64::from(header.u32(12));
    if header.array(0) != *b"EFI PART" || !(92..=SECTOR).contains(&size) {
        return Ok(None);
    }
    let mut zeroed = bytes[..index(size)].to_vec();
    zeroed[16..20].fill(0);
    if crc32fast::hash(&zeroed) != header.u32(16) || header.u64(24) != own {
        return Ok(None);
    }
    let entry_bytes = u64::from(header.u32(84));
    let array_bytes = u64::from(header.u32(80)) * entry_bytes;
    let array_at = header.u64(72).checked_mul(sector);
    let readable = entry_bytes >= 128 && array_bytes <= ENTRIES_BYTES_MAX;
    let Some(array_at) = array_at.filter(|_| readable) else { return Ok(None) };
    let array = match device.read_vec(array_at, index(array_bytes)) {
        Ok(array) if crc32fast::hash(&array) == header.u32(88) => array,
        Ok(_) | Err(block::ReadError::OutOfRange { .. }) => return Ok(None),
        Err(source) => return Err(TABLE.unreadable(source)),
    };
    let entries = array
        .chunks_exact(index(entry_bytes))
        .filter(|entry| entry[..16] == VMFS_TYPE)
        .map(|entry| (Fields(entry).u64(32), Fields(entry).u64(40)))
        .collect();
    Ok(Some(Copy { other: header.u64(32), entries }))
}

fn mbr_partition(mbr: &[u8]) -> Result<Option<Partition>, VmfsError> {
    if mbr[510..512] != [0x55, 0xAA] {
        return Ok(None);
    }
    let entries: Vec<Fields> = mbr[446..510].chunks_exact(16).map(Fields).collect();
    let vmfs: Vec<&Fields> = entries.iter().filter(|entry| entry.u8(4) == MBR_VMFS).collect();
    match vmfs.as_slice() {
        [] => Ok(None),
        [entry] => Ok(Some(Partition {
            offset: u64::from(entry.u32(8)) * SECTOR,
            length: u64::from(entry.u32(12)) * SECTOR,
        })),
        _ => Err(VmfsError::unsupported("a LUN with several VMFS partitions")),
    }
}

fn read_sector(device: &dyn ReadAt, at: u64) -> Result<Vec<u8>, VmfsError> {
    let table = At { structure: "partition table", offset: at };
    device.read_vec(at, index(SECTOR)).map_err(|source| table.unreadable(source))
}
