//! The GUID partition table.

use super::{Partition, Purpose, SECTOR, apart, sectors};
use crate::Reason;
use crate::bytes::{Fields, index};
use crate::disk::Area;
use model::DiskRange;

/// Bytes of a list of partitions that are read; 128 entries have 16 KiB.
const LIST_MAX: u64 = 1 << 20;

/// Types that are looked into, in the byte order of the disk (the first three fields of a GUID
/// are little-endian). Source: the Discoverable Partitions Specification; Microsoft's
/// `PARTITION_BASIC_DATA_GUID`.
const SWAP: [u8; 16] = guid(0x0657_FD6D, 0xA4AB, 0x43C4, 0x84E5_0933_C84B_4F4F);
const DATA: [[u8; 16]; 7] = [
    guid(0x0FC6_3DAF, 0x8483, 0x4772, 0x8E79_3D69_D847_7DE4), // Linux data
    guid(0x4F68_BCE3, 0xE8CD, 0x4DB1, 0x96E7_FBCA_F984_B709), // Linux root, x86-64
    guid(0x933A_C7E1, 0x2EB4, 0x4F13, 0xB844_0E14_E2AE_F915), // Linux home
    guid(0x3B8F_8425, 0x20E0, 0x4F3B, 0x907F_1A25_A76F_98E8), // Linux srv
    guid(0x4D21_B016, 0xB534, 0x45C2, 0xA9FB_5C16_E091_FD2D), // Linux var
    guid(0xE6D6_D379, 0xF507, 0x44C2, 0xA23C_238F_2A3D_F928), // Linux LVM
    guid(0xEBD0_A0A2, 0xB9E5, 0x4433, 0x87C0_68B6_B726_99C7), // Microsoft basic data
];

const fn guid(a: u32, b: u16, c: u16, rest: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), rest.to_be_bytes());
    let e = [d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]];
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]]
}

struct Header {
    other: u64,
    first_usable: u64,
    last_usable: u64,
    disk: [u8; 16],
    list_crc: u32,
    entry: u64,
    list: Vec<u8>,
    taken: [DiskRange; 2],
}

pub(super) fn read(disk: &Area<'_>) -> Result<Vec<Partition>, Reason> {
    let first = header(disk, 1)?;
    let second = header(disk, first.other)?;
    let same = first.disk == second.disk
        && first.list_crc == second.list_crc
        && first.list == second.list
        && first.entry == second.entry
        && (first.first_usable, first.last_usable) == (second.first_usable, second.last_usable)
        && second.other == 1;
    if !same {
        return Err(Reason::new("the two copies of its GPT differ"));
    }
    let mut taken = vec![DiskRange { offset: 0, length: SECTOR }];
    taken.extend(first.taken.iter().chain(&second.taken));
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(first.list.chunks_exact(index(first.entry))) {
        let fields = Fields::new("partition entry", entry);
        let kind = fields.part(0, 16)?;
        if kind.iter().all(|&byte| byte == 0) {
            continue;
        }
        let (from, to) = (fields.u64(32)?, fields.u64(40)?);
        if from < first.first_usable || to > first.last_usable || to < from {
            return Err(Reason::new("a partition of its GPT lies outside of what is usable"));
        }
        let range = sectors(disk, from, to - from + 1)?;
        taken.push(range);
        found.push(Partition { number, purpose: purpose(kind), range });
    }
    apart(taken)?;
    Ok(found)
}

fn purpose(kind: &[u8]) -> Purpose {
    match kind {
        kind if kind == SWAP => Purpose::Swap,
        kind if DATA.iter().any(|data| kind == data) => Purpose::Data,
        kind => {
            let hex =
                |bytes: &[u8]| bytes.iter().fold(String::new(), |t, b| t + &format!("{b:02x}"));
            let back = |part: &[u8]| hex(&part.iter().rev().copied().collect::<Vec<_>>());
            let (a, b, c) = (back(&kind[..4]), back(&kind[4..6]), back(&kind[6..8]));
            Purpose::Other(format!("{a}-{b}-{c}-{}-{}", hex(&kind[8..10]), hex(&kind[10..])))
        }
    }
}

/// The header in a sector, with its list; both checked against their checksums.
fn header(disk: &Area<'_>, at: u64) -> Result<Header, Reason> {
    let damaged = || Reason::new("a copy of its GPT is damaged, or at another place than it says");
    let own = sectors(disk, at, 1)?;
    let mut sector = disk.read(own.offset, index(SECTOR))?;
    let fields = Fields::new("GPT", &sector);
    let (size, crc) = (index(fields.u32(12)?), fields.u32(16)?);
    if !fields.has(0, b"EFI PART") || !(92..=sector.len()).contains(&size) || fields.u64(24)? != at
    {
        return Err(damaged());
    }
    let (count, entry) = (u64::from(fields.u32(80)?), u64::from(fields.u32(84)?));
    let (list_at, list_crc) = (fields.u64(72)?, fields.u32(88)?);
    let (other, first_usable, last_usable) = (fields.u64(32)?, fields.u64(40)?, fields.u64(48)?);
    let id = fields.part(56, 16)?.try_into().expect("16 bytes");
    sector[16..20].fill(0);
    if crc32fast::hash(&sector[..size]) != crc {
        return Err(damaged());
    }
    let length = count.checked_mul(entry).filter(|&length| (1..=LIST_MAX).contains(&length));
    let length = length.filter(|_| entry >= 128 && entry.is_power_of_two()).ok_or_else(damaged)?;
    let place = sectors(disk, list_at, length.div_ceil(SECTOR))?;
    let list = disk.read(place.offset, index(length))?;
    if crc32fast::hash(&list) != list_crc {
        return Err(damaged());
    }
    let taken = [own, place];
    Ok(Header { other, first_usable, last_usable, disk: id, list_crc, entry, list, taken })
}
