//! What differs between VMFS-5 and VMFS-6: sizes, places, the packing of addresses.
//!
//! An address is a number of a resource with a type in its low 3 bits; 0 is a hole.

use super::bytes::{KIB, MIB, get32, get64, index, low32, put32, put64};
use serde::{Deserialize, Serialize};

/// Type bits: a file block of 1 MiB.
pub(super) const FILE_BLOCK: u64 = 1;
/// Type bits: a sub-block.
pub(super) const SUB_BLOCK: u64 = 2;
/// Type bits: a pointer block of `.pbc.sf`, which the files of VMFS-5 use.
pub(super) const POINTER_BLOCK: u64 = 3;
/// Type bits: a pointer block of `.pb2.sf`, which system files of VMFS-6 use.
pub(super) const POINTER_BLOCK_2: u64 = 5;
/// Type bits: a large file block of 512 MiB (VMFS-6).
pub(super) const LARGE_BLOCK: u64 = 7;

/// File blocks per SFB cluster, and per large block.
pub(super) const SFB_PER_CLUSTER: u64 = 512;

/// Which VMFS a volume is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// VMFS 5.81 on LVM 5, blocks of 1 MiB, dense sub-blocks.
    Vmfs5,
    /// VMFS 6.82 on LVM 6.
    #[default]
    Vmfs6,
}

use Version::{Vmfs5, Vmfs6};

impl Version {
    fn choose<T>(self, five: T, six: T) -> T {
        match self {
            Vmfs5 => five,
            Vmfs6 => six,
        }
    }

    /// Version of the LVM below it.
    pub(super) fn lvm(self) -> u32 {
        self.choose(5, 6)
    }

    /// Bytes of a metadata block.
    pub(super) fn metadata(self) -> u64 {
        self.choose(512, 4 * KIB)
    }

    /// Bytes of a cluster header: lock block and metadata block.
    pub(super) fn cluster_header(self) -> u64 {
        2 * self.metadata()
    }

    /// Bytes of a descriptor.
    pub(super) fn fd_bytes(self) -> u64 {
        self.choose(2 * KIB, 8 * KIB)
    }

    /// First file block of `.fdc.sf`, behind header and heartbeats.
    pub(super) fn first_block(self) -> u64 {
        self.choose(4, 7)
    }

    /// Volume offset of the first descriptor, behind the headers of a group of clusters.
    pub(super) fn first_fd(self) -> u64 {
        self.choose(0x42_0000, 0x72_0000)
    }

    /// Bytes of a sub-block.
    pub(super) fn sub_block_bytes(self) -> u64 {
        self.choose(8 * KIB, 64 * KIB)
    }

    /// Bytes of a pointer block.
    pub(super) fn pointer_block_bytes(self) -> u64 {
        self.choose(4 * KIB, 64 * KIB)
    }

    /// Pointers in a pointer block.
    pub(super) fn pointers(self) -> u64 {
        self.choose(1024, 8192)
    }

    /// Pointers in a descriptor.
    pub(super) fn slots(self) -> u64 {
        self.choose(256, 320)
    }

    /// Largest file that lies in its descriptor.
    pub(super) fn resident_bytes(self) -> u64 {
        self.choose(1024, 3584)
    }

    /// Pointer number `number` of an array of pointers.
    pub(super) fn pointer(self, bytes: &[u8], number: u64) -> u64 {
        match self {
            Vmfs5 => u64::from(get32(bytes, index(number) * 4)),
            Vmfs6 => get64(bytes, index(number) * 8),
        }
    }

    pub(super) fn set_pointer(self, bytes: &mut [u8], number: u64, address: u64) {
        match self {
            Vmfs5 => put32(bytes, index(number) * 4, low32(address)),
            Vmfs6 => put64(bytes, index(number) * 8, address),
        }
    }

    /// The address of file block number `block` of the volume.
    pub(super) fn file_block(self, block: u64) -> u64 {
        match self {
            Vmfs5 => FILE_BLOCK | block << 6,
            Vmfs6 => FILE_BLOCK | (block / SFB_PER_CLUSTER) << 15 | (block % SFB_PER_CLUSTER) << 51,
        }
    }

    /// The address of large block number `block` of the volume (VMFS-6).
    pub(super) fn large_block(block: u64) -> u64 {
        LARGE_BLOCK | block << 15
    }

    /// Volume offset of file block number `block` of a file whose leaf is `address`: all 512
    /// neighbours in a large block have the same address.
    pub(super) fn block_at(self, address: u64, block: u64) -> u64 {
        let number = match (self, address & 7) {
            (Vmfs5, _) => address >> 6 & 0x3FF_FFFF,
            (Vmfs6, LARGE_BLOCK) => {
                (address >> 15 & 0x7FFF_FFFF) * SFB_PER_CLUSTER + block % SFB_PER_CLUSTER
            }
            (Vmfs6, _) => (address >> 15 & 0x7FFF_FFFF) * SFB_PER_CLUSTER + (address >> 51),
        };
        number * MIB
    }

    /// The SFB cluster that a file block lies in (VMFS-6).
    pub(super) fn sfb_cluster(self, address: u64) -> Option<u32> {
        let block = self == Vmfs6 && address & 7 == FILE_BLOCK;
        block.then(|| low32(address >> 15 & 0x7FFF_FFFF))
    }

    /// The address of a sub-block or pointer block.
    pub(super) fn resource(self, kind: u64, cluster: u64, index: u64) -> u64 {
        match (self, kind) {
            (Vmfs5, SUB_BLOCK) => kind | (index >> 4) << 3 | cluster << 6 | (index & 15) << 28,
            (Vmfs5, _) => kind | cluster << 6 | index << 28,
            (Vmfs6, _) => kind | cluster << 6 | index << 56,
        }
    }

    /// Cluster and index in the address of a sub-block or pointer block.
    pub(super) fn resource_parts(self, address: u64) -> (u64, u64) {
        match (self, address & 7) {
            (Vmfs5, SUB_BLOCK) => {
                (address >> 6 & 0x3F_FFFF, address >> 28 | (address >> 3 & 3) << 4)
            }
            (Vmfs5, _) => (address >> 6 & 0x3F_FFFF, address >> 28),
            (Vmfs6, _) => (address >> 6 & 0xF_FFFF_FFFF, address >> 56),
        }
    }

    /// Bits of a file block's address: allocated, but to be read as zeros.
    fn to_be_zeroed_bits(self) -> u64 {
        self.choose(1 << 5, 0xFF << 7)
    }

    /// The address of a block that is to be read as zeros.
    pub(super) fn to_be_zeroed(self, address: u64) -> u64 {
        address | self.to_be_zeroed_bits()
    }

    pub(super) fn without_to_be_zeroed(self, address: u64) -> u64 {
        address & !self.to_be_zeroed_bits()
    }

    pub(super) fn is_to_be_zeroed(self, address: u64) -> bool {
        let block = matches!(address & 7, FILE_BLOCK | LARGE_BLOCK);
        block && address & self.to_be_zeroed_bits() != 0
    }

    /// The address of a file block that two files share until one is written to.
    pub(super) fn copy_on_write(self, address: u64) -> u64 {
        address | self.choose(1 << 4, 1 << 5)
    }
}

/// The address of a descriptor.
pub(super) fn fd(cluster: u64, index: u64) -> u32 {
    4 | low32(cluster) << 6 | low32(index) << 22
}

/// Cluster and index in a descriptor's address.
pub(super) fn fd_parts(address: u32) -> (u64, u64) {
    (u64::from(address >> 6 & 0xFFFF), u64::from(address >> 22))
}

/// The address of a journal block (VMFS-6).
pub(super) fn jb(cluster: u64, index: u64) -> u32 {
    6 | low32(cluster) << 3 | low32(index) << 26
}
