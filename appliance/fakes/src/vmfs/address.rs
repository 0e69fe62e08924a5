//! Block addresses of VMFS-6: resource numbers packed with a type in the low 3 bits.

use super::bytes::low32;

/// Type bits: a file block of 1 MiB.
pub(super) const SFB: u64 = 1;
/// Type bits: a sub-block.
pub(super) const SB: u64 = 2;
/// Type bits: a pointer block of `.pb2.sf`.
pub(super) const PB2: u64 = 5;

/// File blocks per SFB cluster.
pub(super) const SFB_PER_CLUSTER: u64 = 512;

/// File block number `block` of the volume.
pub(super) fn sfb(block: u64) -> u64 {
    SFB | (block / SFB_PER_CLUSTER) << 15 | (block % SFB_PER_CLUSTER) << 51
}

/// The block number in an SFB address.
pub(super) fn sfb_block(address: u64) -> u64 {
    (address >> 15 & 0x7FFF_FFFF) * SFB_PER_CLUSTER + (address >> 51)
}

/// A sub-block (type [`SB`]) or pointer block (type [`PB2`]).
pub(super) fn sub_block(kind: u64, cluster: u64, index: u64) -> u64 {
    kind | cluster << 6 | index << 56
}

/// Cluster and index in a sub-block address.
pub(super) fn sub_block_parts(address: u64) -> (u64, u64) {
    (address >> 6 & 0xF_FFFF_FFFF, address >> 56)
}

/// A file descriptor.
pub(super) fn fd(cluster: u64, index: u64) -> u32 {
    4 | low32(cluster) << 6 | low32(index) << 22
}

/// Cluster and index in a descriptor's address.
pub(super) fn fd_parts(address: u32) -> (u64, u64) {
    (u64::from(address >> 6 & 0xFFFF), u64::from(address >> 22))
}

/// A journal block.
pub(super) fn jb(cluster: u64, index: u64) -> u32 {
    6 | low32(cluster) << 3 | low32(index) << 26
}

/// Bits 7 to 14 of a file block's address: allocated, but to be read as zeros.
const TO_BE_ZEROED: u64 = 0xFF << 7;

pub(super) fn to_be_zeroed(address: u64) -> u64 {
    address | TO_BE_ZEROED
}

pub(super) fn without_to_be_zeroed(address: u64) -> u64 {
    address & !TO_BE_ZEROED
}

pub(super) fn is_to_be_zeroed(address: u64) -> bool {
    address & 7 == SFB && address & TO_BE_ZEROED != 0
}
