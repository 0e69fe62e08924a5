//! The LVM structures of one device: header, volume table entry, extent table.
//!
//! ```text
//! partition + 0x100000  header (512 bytes)
//!   + S                 volume table: entries of 512 bytes
//!   + S + 0x80000       bitmap, then table of 8192 extents of 128 bytes; repeated up to 8 times
//! region + S + 0x80000  the same in each extended region (LVM 5 beyond 16 TiB)
//! ```
//! S is 512, or the metadata alignment of LVM 6. LVM 3 and 4 (VMFS-3, and volumes that were
//! upgraded from it) look like LVM 5. A disk with sectors of 4 KiB was never seen: whether its
//! offsets count bytes is not known, and it is refused.

use crate::bytes::{Fields, index, uuid_text};
use crate::error::{At, VmfsError};
use block::ReadAt;

/// Offset of the header in the partition.
const HEADER: u64 = 0x10_0000;
const MAGIC: u32 = 0xC001_D00D;
const TABLES: u64 = 0x8_0000;
const EXTENTS_PER_MAP: u64 = 8192;
const EXTENT_BYTES: u64 = 128;
/// A device has at most this many pairs of bitmap and table in one region.
const MAPS_MAX: u64 = 8;
/// Extended regions that are followed: enough for 4 PiB.
const REGIONS_MAX: usize = 256;
/// One unit of volume space.
pub(crate) const UNIT: u64 = 256 << 20;

/// What one device says about itself and its part of the volume.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) version: u32,
    pub(crate) generation: u64,
    pub(crate) uuid: String,
    /// Type and bytes of the SCSI id that the host saw when it made the volume.
    pub(crate) scsi_id: (u8, Vec<u8>),
    pub(crate) name: Option<String>,
    pub(crate) volume: Member,
    pub(crate) extents: Vec<PhysicalExtent>,
    /// Hash of the header and the volume table entry, to notice a change.
    pub(crate) fingerprint: [u8; 32],
}

/// The entry of the volume table: a volume, and which of its units are here.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) uuid: [u8; 16],
    pub(crate) snap_id: u32,
    pub(crate) size: u64,
    pub(crate) first_unit: u64,
    pub(crate) last_unit: u64,
    pub(crate) devices: u32,
    id: u32,
}

/// A run of the volume on this device; offsets are in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhysicalExtent {
    pub(crate) logical: u64,
    pub(crate) physical: u64,
    pub(crate) length: u64,
}

struct Header {
    version: u32,
    alignment: u64,
    extents: u64,
    maps: u64,
    region: u64,
    data: u64,
}

/// True when an LVM header begins 1 MiB after `partition`.
pub(crate) fn is_at(device: &dyn ReadAt, partition: u64) -> Result<bool, VmfsError> {
    let at = At { structure: "LVM header", offset: partition.saturating_add(HEADER) };
    if at.offset.saturating_add(512) > device.size() {
        return Ok(false);
    }
    let bytes = device.read_vec(at.offset, 4).map_err(|source| at.unreadable(source))?;
    Ok(Fields(&bytes).u32(0) == MAGIC)
}

/// Reads the LVM structures of a partition.
pub(crate) fn read(partition: &dyn ReadAt) -> Result<Device, VmfsError> {
    let at = At { structure: "LVM header", offset: HEADER };
    let bytes = partition.read_vec(HEADER, 512).map_err(|source| at.unreadable(source))?;
    let fields = Fields(&bytes);
    let header = check_header(at, fields, partition.size())?;
    let (volume, entry) = read_volume(partition, &header)?;
    let extents = read_extents(partition, &header, volume.id)?;
    for extent in &extents {
        let inside = extent.physical + extent.length <= partition.size();
        at.require(inside, "end of an extent", extent.physical, "within the partition")?;
    }
    let id_length = usize::from(fields.u8(0x0D)).min(44);
    let mut hash = blake3::Hasher::new();
    hash.update(&bytes).update(&entry);
    Ok(Device {
        version: header.version,
        generation: fields.u64(0x72),
        uuid: uuid_text(&fields.array(0x82)),
        scsi_id: (fields.u8(0x0C), bytes[0x2E..0x2E + id_length].to_vec()),
        name: read_name(partition, &header)?,
        extents,
        volume,
        fingerprint: hash.finalize().into(),
    })
}

fn check_header(at: At, fields: Fields, partition: u64) -> Result<Header, VmfsError> {
    at.expect("magic", fields.u32(0), MAGIC)?;
    let version = fields.u32(4);
    if !(3..=6).contains(&version) {
        return Err(VmfsError::unsupported(format!("LVM version {version}")));
    }
    if fields.u32(8) != 0x15 {
        return Err(VmfsError::unsupported(format!("LVM version {version}.{}", fields.u32(8))));
    }
    if fields.u32(0x5A) == 4096 {
        return Err(VmfsError::unsupported("an LVM on a disk with sectors of 4 KiB (4Kn)"));
    }
    at.expect("disk block size", fields.u32(0x5A), 512u32)?;
    let total = fields.u64(0x5E);
    at.require(total <= partition, "total bytes", total, "at most the partition")?;
    at.expect("number of volumes", fields.u32(0x66), 1u32)?;
    let locked = fields.array::<16>(0xA2) != [0; 16];
    at.require(!locked, "locked-by UUID", "set", "zero (no host changes the LVM now)")?;
    let alignment = if version == 6 { u64::from(fields.u32(0xCA)) } else { 512 };
    if version == 6 && alignment != 4096 {
        return Err(VmfsError::unsupported(format!("LVM metadata alignment {alignment}")));
    }
    let maps = u64::from(fields.u32(0xBE)).max(1);
    at.require(maps <= MAPS_MAX, "number of extent maps", maps, "at most 8")?;
    Ok(Header {
        version,
        alignment,
        extents: u64::from(fields.u32(0x6A)),
        maps,
        region: fields.u64(0xC2),
        data: fields.u64(0x7A),
    })
}

fn read_volume(partition: &dyn ReadAt, header: &Header) -> Result<(Member, Vec<u8>), VmfsError> {
    let at = At { structure: "LVM volume entry", offset: HEADER + header.alignment };
    let bytes = partition.read_vec(at.offset, 512).map_err(|source| at.unreadable(source))?;
    let fields = Fields(&bytes);
    if fields.u32(0x10) != 1 {
        let state = fields.u32(0x10);
        return Err(VmfsError::unsupported(format!(
            "a volume that waits for its resignature (state {state})"
        )));
    }
    let member = Member {
        uuid: fields.array(0x54),
        snap_id: fields.u32(0x64),
        size: fields.u64(0),
        first_unit: fields.u64(0x78),
        last_unit: fields.u64(0x80),
        devices: fields.u32(0x90),
        id: fields.u32(0x70),
    };
    let whole = member.size > 0 && member.size.is_multiple_of(UNIT);
    at.require(whole, "size", member.size, "a positive multiple of 256 MiB")?;
    let count = member.last_unit.checked_sub(member.first_unit).and_then(|n| n.checked_add(1));
    at.require(
        count == Some(u64::from(fields.u32(0x74))),
        "number of units",
        fields.u32(0x74),
        "last unit - first unit + 1",
    )?;
    Ok((member, bytes))
}

/// The first device name; only the first device of a volume has any.
fn read_name(partition: &dyn ReadAt, header: &Header) -> Result<Option<String>, VmfsError> {
    let at = At { structure: "LVM device name", offset: HEADER + header.alignment + 0x7_E000 };
    let bytes = partition.read_vec(at.offset, 256).map_err(|source| at.unreadable(source))?;
    let name = Fields(&bytes).text(0, 256);
    Ok((!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()))
}

/// All used extents of the volume, neighbours joined.
fn read_extents(
    partition: &dyn ReadAt,
    header: &Header,
    volume: u32,
) -> Result<Vec<PhysicalExtent>, VmfsError> {
    let mut extents = Vec::new();
    let mut left = header.extents;
    let mut table = Table { at: HEADER, maps: header.maps, next: header.region };
    for _ in 0..=REGIONS_MAX {
        for map in 0..table.maps {
            let entries = left.min(EXTENTS_PER_MAP);
            read_map(partition, header, table.at, map, entries, volume, &mut extents)?;
            left -= entries;
        }
        if left == 0 {
            return Ok(extents);
        }
        table = extended_region(partition, &table)?;
    }
    Err(VmfsError::unsupported("an LVM device with more than 256 extended regions"))
}

struct Table {
    at: u64,
    maps: u64,
    next: u64,
}

fn extended_region(partition: &dyn ReadAt, table: &Table) -> Result<Table, VmfsError> {
    let at = At { structure: "LVM extended region", offset: table.next };
    at.require(table.next > table.at, "offset", table.next, "beyond the region before it")?;
    let bytes = partition.read_vec(at.offset, 512).map_err(|source| at.unreadable(source))?;
    let fields = Fields(&bytes);
    at.expect("magic", fields.u32(0), MAGIC)?;
    let maps = u64::from(fields.u32(4));
    at.require((1..=MAPS_MAX).contains(&maps), "number of extent maps", maps, "1 to 8")?;
    Ok(Table { at: table.next, maps, next: fields.u64(0x10) })
}

fn read_map(
    partition: &dyn ReadAt,
    header: &Header,
    region: u64,
    map: u64,
    entries: u64,
    volume: u32,
    extents: &mut Vec<PhysicalExtent>,
) -> Result<(), VmfsError> {
    let bitmap_bytes = if header.version == 6 { header.alignment.max(1024) } else { 1024 };
    let pair = bitmap_bytes + EXTENTS_PER_MAP * EXTENT_BYTES;
    let offset = region
        .checked_add(header.alignment + TABLES + map * pair)
        .ok_or_else(|| VmfsError::unsupported("an LVM region beyond 16 EiB"))?;
    let at = At { structure: "LVM extent table", offset };
    let read = |offset, length| {
        partition.read_vec(offset, index(length)).map_err(|source| at.unreadable(source))
    };
    let bitmap = read(offset, entries.div_ceil(8))?;
    let table = read(offset + bitmap_bytes, entries * EXTENT_BYTES)?;
    for (number, entry) in table.chunks_exact(index(EXTENT_BYTES)).enumerate() {
        let marked = bitmap[number / 8] >> (number % 8) & 1;
        at.expect("bitmap bit of an extent", marked, entry[0])?;
        if entry[0] != 0 {
            let extent = parse_extent(at, Fields(entry), header, volume)?;
            append(extents, extent);
        }
    }
    Ok(())
}

fn parse_extent(
    at: At,
    entry: Fields,
    header: &Header,
    volume: u32,
) -> Result<PhysicalExtent, VmfsError> {
    at.expect("volume id of an extent", entry.u32(5), volume)?;
    at.expect("version of an extent", entry.u32(33), 1u32)?;
    let extent =
        PhysicalExtent { physical: entry.u64(9), logical: entry.u64(17), length: entry.u64(25) };
    let ends = extent.physical.checked_add(extent.length).is_some()
        && extent.logical.checked_add(extent.length).is_some();
    let sane = ends && extent.length > 0 && extent.length.is_multiple_of(UNIT);
    at.require(sane, "length of an extent", extent.length, "a positive multiple of 256 MiB")?;
    let after_metadata = extent.physical >= header.data;
    at.require(after_metadata, "place of an extent", extent.physical, "behind the metadata")?;
    Ok(extent)
}

/// Appends an extent; a continuation of the last one makes that longer.
fn append(extents: &mut Vec<PhysicalExtent>, extent: PhysicalExtent) {
    match extents.last_mut() {
        Some(last)
            if last.logical + last.length == extent.logical
                && last.physical + last.length == extent.physical =>
        {
            last.length += extent.length;
        }
        _ => extents.push(extent),
    }
}
