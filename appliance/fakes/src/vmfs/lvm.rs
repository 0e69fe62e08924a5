//! The LVM structures of a LUN: header, volume table entry, device names, extent table.
//!
//! LVM 5 has an extent for every 256 MiB, in up to 8 tables; LVM 6 one for the whole LUN.

use super::bytes::{get32, index, low32, put, put32, put64, uuid_text};
use super::device::{DATA, Identity, UNIT};
use super::gpt::SECTOR;
use super::spec::VolumeSpec;
use super::version::Version;

/// LVM header, relative to the partition.
pub(super) const HEADER: u64 = 0x10_0000;
pub(super) const MAGIC: u32 = 0xC001_D00D;
/// Extents in one pair of bitmap and table.
const EXTENTS_PER_MAP: u64 = 8192;
const EXTENT_BYTES: u64 = 128;
/// Bytes of a bitmap: that of LVM 6 fills a metadata block.
const BITMAP_BYTES: [u64; 2] = [1024, 4096];

/// One LUN of a volume.
pub(super) struct Member {
    /// Position among the LUNs.
    pub(super) number: u64,
    /// Number of LUNs.
    pub(super) members: u64,
    /// UUID of the LVM device.
    pub(super) uuid: [u8; 16],
    /// Units of 256 MiB on the LUNs before this one, on this one, and on all.
    pub(super) first_unit: u64,
    pub(super) units: u64,
    pub(super) all_units: u64,
    /// Bytes of the partition.
    pub(super) partition: u64,
}

/// Where the volume table begins, relative to the header.
pub(super) fn tables_at(version: Version) -> u64 {
    match version {
        Version::Vmfs5 => 512,
        Version::Vmfs6 => 4096,
    }
}

/// The structures as (offset from the header, bytes).
pub(super) fn structures(
    spec: &VolumeSpec,
    identity: &Identity,
    member: &Member,
) -> Vec<(u64, Vec<u8>)> {
    let tables = tables_at(spec.version);
    let mut structures =
        vec![(0, header(spec, member)), (tables, volume_entry(spec, identity, member))];
    if member.number == 0 {
        structures.push((tables + 0x7_E000, names(spec, member.members)));
    }
    let extents = extents(spec.version, member);
    let bitmap_bytes = BITMAP_BYTES[usize::from(spec.version == Version::Vmfs6)];
    let mut at = tables + 0x8_0000;
    for part in extents.chunks(index(EXTENTS_PER_MAP)) {
        let mut bitmap = vec![0u8; index(bitmap_bytes)];
        (0..part.len()).for_each(|bit| bitmap[bit / 8] |= 1 << (bit % 8));
        structures.push((at, bitmap));
        structures.push((at + bitmap_bytes, part.concat()));
        at += bitmap_bytes + EXTENTS_PER_MAP * EXTENT_BYTES;
    }
    structures
}

fn header(spec: &VolumeSpec, member: &Member) -> Vec<u8> {
    let extents = extents(spec.version, member).len() as u64;
    let mut bytes = vec![0; 512];
    put32(&mut bytes, 0x00, MAGIC);
    put32(&mut bytes, 0x04, spec.version.lvm());
    put32(&mut bytes, 0x08, 0x15);
    scsi_id(spec, member.number, &mut bytes[0x0C..0x5A]);
    put32(&mut bytes, 0x5A, low32(SECTOR));
    put64(&mut bytes, 0x5E, member.partition);
    put32(&mut bytes, 0x66, 1);
    put32(&mut bytes, 0x6A, low32(extents));
    put32(&mut bytes, 0x6E, low32(extents - 1));
    put64(&mut bytes, 0x72, 3);
    put64(&mut bytes, 0x7A, DATA);
    put(&mut bytes, 0x82, &member.uuid);
    put64(&mut bytes, 0x92, microseconds(spec.time));
    put64(&mut bytes, 0x9A, microseconds(spec.time));
    match spec.version {
        Version::Vmfs5 => put32(&mut bytes, 0xBE, low32(extents.div_ceil(EXTENTS_PER_MAP))),
        Version::Vmfs6 => {
            put32(&mut bytes, 0xCA, 0x1000);
            put32(&mut bytes, 0xCE, low32(member.units));
            put32(&mut bytes, 0xD2, u32::from(spec.local));
        }
    }
    bytes
}

/// Type 2 (NAA), the 16 bytes of the name and 6 of the model, as in the host's `vml.` names.
/// On volumes made by ESXi only types 0 and 1 were seen.
fn scsi_id(spec: &VolumeSpec, number: u64, bytes: &mut [u8]) {
    let mut id = naa(spec, number);
    id.extend_from_slice(b"VIRTUA");
    bytes[0] = 2;
    bytes[1] = id.len().to_le_bytes()[0];
    put(bytes, 34, &id);
}

/// The name of a LUN: that of the specification, and those that follow it.
fn naa(spec: &VolumeSpec, number: u64) -> Vec<u8> {
    let digits = spec.naa.as_str().trim_start_matches("naa.");
    let mut id = hex::decode(digits).expect("an NAA name holds hex digits");
    let last = id.last_mut().expect("an NAA name is not empty");
    *last = last.wrapping_add(number.to_le_bytes()[0]);
    id
}

fn volume_entry(spec: &VolumeSpec, identity: &Identity, member: &Member) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    put64(&mut bytes, 0x00, member.all_units * UNIT);
    put64(&mut bytes, 0x08, 2);
    put32(&mut bytes, 0x10, 1);
    put(&mut bytes, 0x14, uuid_text(&identity.logical_volume).as_bytes());
    put(&mut bytes, 0x54, &identity.logical_volume);
    put32(&mut bytes, 0x64, 1);
    put64(&mut bytes, 0x68, microseconds(spec.time));
    put32(&mut bytes, 0x74, low32(member.units));
    put64(&mut bytes, 0x78, member.first_unit);
    put64(&mut bytes, 0x80, member.first_unit + member.units - 1);
    put64(&mut bytes, 0x88, microseconds(spec.time));
    put32(&mut bytes, 0x90, low32(member.members));
    put32(&mut bytes, 0x110, u32::from(spec.version == Version::Vmfs6));
    bytes
}

/// Name and partition number of every device, 256 bytes each.
fn names(spec: &VolumeSpec, members: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(members * 256)];
    for number in 0..members {
        let name = format!("naa.{}:1", hex::encode(naa(spec, number)));
        put(&mut bytes, index(number * 256), name.as_bytes());
    }
    bytes
}

fn extents(version: Version, member: &Member) -> Vec<Vec<u8>> {
    let (count, units) = match version {
        Version::Vmfs5 => (member.units, 1),
        Version::Vmfs6 => (1, member.units),
    };
    let extent = |number: u64| {
        let mut bytes = vec![0; index(EXTENT_BYTES)];
        bytes[0] = 1;
        put32(&mut bytes, 1, low32(number));
        put64(&mut bytes, 9, DATA + number * UNIT);
        put64(&mut bytes, 17, (member.first_unit + number) * UNIT);
        put64(&mut bytes, 25, units * UNIT);
        put32(&mut bytes, 33, 1);
        bytes
    };
    (0..count).map(extent).collect()
}

/// The version that a header names, when it is one of this formatter's.
pub(super) fn version(header: &[u8]) -> Option<Version> {
    match (get32(header, 0), get32(header, 4)) {
        (MAGIC, 5) => Some(Version::Vmfs5),
        (MAGIC, 6) => Some(Version::Vmfs6),
        _ => None,
    }
}

fn microseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000
}
