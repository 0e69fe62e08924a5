//! The file-system header and the heartbeat slots.

use super::bytes::{MIB, get32, index, low32, put, put16, put32, put64};
use super::device::Identity;
use super::spec::VolumeSpec;
use super::version::Version;

/// Volume offset of the header.
pub(super) const HEADER_AT: u64 = 0x20_0000;
/// Magic of VMFS, and of VMFS-L.
const MAGIC: u32 = 0x2FAB_F15E;
const MAGIC_LOCAL: u32 = 0x2FAB_F15F;
/// Volume offset of the first heartbeat slot.
pub(super) const HEARTBEATS_AT: u64 = 0x30_0000;

/// The 512 bytes of the header. `pb2` and `sdd`: volume offsets of two descriptors.
pub(super) fn header(spec: &VolumeSpec, identity: &Identity, pb2: u64, sdd: u64) -> Vec<u8> {
    let six = spec.version == Version::Vmfs6;
    let mut bytes = vec![0; 512];
    put32(&mut bytes, 0x00, if spec.local { MAGIC_LOCAL } else { MAGIC });
    put32(&mut bytes, 0x04, major(spec.version));
    bytes[0x08] = minor(spec.version);
    put(&mut bytes, 0x09, &identity.file_system);
    put32(&mut bytes, 0x19, if six { 0x4006 } else { 0x6 });
    put(&mut bytes, 0x1D, spec.label.as_bytes());
    put32(&mut bytes, 0x9D, 512);
    put64(&mut bytes, 0xA1, MIB);
    put32(&mut bytes, 0xA9, spec.time);
    put32(&mut bytes, 0xAD, 1);
    put(&mut bytes, 0xB1, &identity.logical_volume);
    put32(&mut bytes, 0xC1, 1);
    put32(&mut bytes, 0xD1, 0x1_0000);
    put32(&mut bytes, 0xD5, if six { 8 } else { 64 });
    put32(&mut bytes, 0xD9, low32(spec.version.sub_block_bytes()));
    put32(&mut bytes, 0xDD, if six { 64 } else { 8 });
    put64(&mut bytes, 0xE1, pb2);
    put32(&mut bytes, 0xE9, 0x0180_0004);
    put(&mut bytes, 0xED, &identity.host);
    put64(&mut bytes, 0xFD, 1);
    put64(&mut bytes, 0x105, sdd);
    put32(&mut bytes, 0x10D, 0x01C0_0004);
    if six {
        put_vmfs6_part(&mut bytes);
    }
    bytes
}

fn put_vmfs6_part(bytes: &mut [u8]) {
    put16(bytes, 0x112, 1);
    put32(bytes, 0x130, 512);
    put32(bytes, 0x134, 4096);
    put16(bytes, 0x138, 9);
    put16(bytes, 0x13E, 16);
    put16(bytes, 0x140, 44);
    put32(bytes, 0x144, 0x10_0000);
    put32(bytes, 0x148, 0x20_0000);
    put32(bytes, 0x14C, 16_000);
    put32(bytes, 0x150, 4_000);
}

fn major(version: Version) -> u32 {
    match version {
        Version::Vmfs5 => 14,
        Version::Vmfs6 => 24,
    }
}

fn minor(version: Version) -> u8 {
    match version {
        Version::Vmfs5 => 81,
        Version::Vmfs6 => 82,
    }
}

/// True when this is the header of a volume that this formatter makes.
pub(super) fn is_ours(version: Version, header: &[u8]) -> bool {
    let (magic, found) = (get32(header, 0), get32(header, 4));
    (magic == MAGIC || magic == MAGIC_LOCAL) && found == major(version)
}

/// All heartbeat slots; one is in use, by the host that `identity` names. `journal` is the
/// address and the volume offset of its journal.
pub(super) fn heartbeats(version: Version, identity: &Identity, journal: (u32, u64)) -> Vec<u8> {
    let (count, mounted) = match version {
        Version::Vmfs5 => (2048, 528),
        Version::Vmfs6 => (1024, 64),
    };
    let mut slots = Vec::new();
    for number in 0..count {
        let mut slot = vec![0; index(version.metadata())];
        put32(&mut slot, 0x00, 0xABCD_EF01);
        put64(&mut slot, 0x04, HEARTBEATS_AT + number * version.metadata());
        if number == mounted {
            put32(&mut slot, 0x00, 0xABCD_EF02);
            put64(&mut slot, 0x0C, 5);
            put64(&mut slot, 0x14, 243_301_000_000);
            put(&mut slot, 0x1C, &identity.host);
            put32(&mut slot, 0x2C, journal.0);
            put32(&mut slot, 0x30, major(version));
            slot[0x34] = minor(version);
            slot[0x35] = 3;
            put(&mut slot, 0x36, b"192.0.2.11");
            put64(&mut slot, 0x64, journal.1);
        }
        slots.append(&mut slot);
    }
    slots
}
