//! Kinds of resources: how their files are laid out, and how a cluster counts and marks what is
//! free.

use super::bytes::{KIB, MIB, get16, get32, index, low16, low32, put, put16, put32, put64};
use super::version::{SFB_PER_CLUSTER, Version};

/// Where the first cluster group begins in every resource file.
pub(super) const GROUP_OFFSET: u64 = 0x1_0000;
/// Bytes of a parent group of the `.fbb.sf` of VMFS-6, and the SFB clusters in it.
pub(super) const PARENT_GROUP: u64 = 0x11_0000;
pub(super) const SFB_CLUSTERS_PER_PARENT: u64 = 128;

/// What kind of resource a file numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) version: Version,
    /// For messages.
    pub(super) name: &'static str,
    /// Type in the lock block of its clusters.
    pub(super) lock_type: u32,
    /// Resources per cluster.
    pub(super) per_cluster: u64,
    /// Clusters per group.
    pub(super) per_group: u64,
    /// Bytes of a resource; 0 for file blocks.
    pub(super) size: u64,
    /// Flags in the file's header (VMFS-6).
    pub(super) flags: u32,
}

impl Kind {
    pub(super) fn descriptors(version: Version) -> Self {
        let (per_cluster, per_group) = match version {
            Version::Vmfs5 => (200, 64),
            Version::Vmfs6 => (256, 8),
        };
        Self {
            version,
            name: "file descriptor",
            lock_type: 0x10C0_0005,
            per_cluster,
            per_group,
            size: version.fd_bytes(),
            flags: 4,
        }
    }

    pub(super) fn sub_blocks(version: Version) -> Self {
        let per_cluster = match version {
            Version::Vmfs5 => 64,
            Version::Vmfs6 => 256,
        };
        let size = version.sub_block_bytes();
        let (name, lock_type) = ("sub-block", 0x10C0_0003);
        Self { name, lock_type, per_cluster, size, ..Self::descriptors(version) }
    }

    /// The pointer blocks of `.pbc.sf`; VMFS-6 has none.
    pub(super) fn pointer_blocks(version: Version) -> Self {
        let per_cluster = match version {
            Version::Vmfs5 => 16,
            Version::Vmfs6 => 0,
        };
        let size = version.pointer_block_bytes();
        let (name, lock_type) = ("pointer block", 0x10C0_0004);
        Self { name, lock_type, per_cluster, size, ..Self::descriptors(version) }
    }

    /// The pointer blocks of `.pb2.sf`.
    pub(super) fn pb2(version: Version) -> Self {
        let per_cluster = match version {
            Version::Vmfs5 => 16,
            Version::Vmfs6 => 32,
        };
        Self { lock_type: 0x10C0_0006, per_cluster, ..Self::pointer_blocks(version) }
    }

    /// The journals of VMFS-6.
    pub(super) fn journals(version: Version) -> Self {
        let (name, lock_type) = ("journal block", 0x10C0_0007);
        let (per_cluster, per_group, size, flags) = (8, 4, 2 * MIB, 0);
        Self { version, name, lock_type, per_cluster, per_group, size, flags }
    }

    pub(super) fn file_blocks(version: Version) -> Self {
        let per_cluster = match version {
            Version::Vmfs5 => 200,
            Version::Vmfs6 => SFB_PER_CLUSTER,
        };
        let (name, lock_type) = ("file block", 0x10C0_0002);
        Self { name, lock_type, per_cluster, size: 0, flags: 0x2A, ..Self::descriptors(version) }
    }

    pub(super) fn group_size(&self) -> u64 {
        self.per_group * (self.version.cluster_header() + self.per_cluster * self.size)
    }

    /// Resources in `groups` whole groups.
    pub(super) fn resources(&self, groups: u64) -> u64 {
        self.per_cluster * self.per_group * groups
    }

    /// Length of a file of `groups` whole groups.
    pub(super) fn file_length(&self, groups: u64) -> u64 {
        GROUP_OFFSET + groups * self.group_size()
    }

    /// The header at the start of the file.
    pub(super) fn file_header(&self, resources: u64, groups: u64) -> Vec<u8> {
        let mut bytes = vec![0; index(4 * KIB)];
        put32(&mut bytes, 0x00, low32(self.per_cluster));
        put32(&mut bytes, 0x04, low32(self.per_group));
        put32(&mut bytes, 0x08, low32(GROUP_OFFSET));
        put32(&mut bytes, 0x0C, low32(self.size));
        put32(&mut bytes, 0x10, low32(self.group_size()));
        put32(&mut bytes, 0x14, low32(resources));
        put32(&mut bytes, 0x18, low32(groups));
        put32(&mut bytes, 0x1C, low32(resources >> 32));
        if self.version == Version::Vmfs6 {
            put(&mut bytes, 0x20, b"dmfr");
            put32(&mut bytes, 0x24, 1);
            put32(&mut bytes, 0x28, self.flags);
            put16(&mut bytes, 0x2C, low16(self.per_cluster));
            put16(&mut bytes, 0x2E, 1);
            put32(&mut bytes, 0x30, 1);
        }
        bytes
    }

    /// Where the header of `cluster` lies in the file.
    pub(super) fn header_at(&self, cluster: u64) -> u64 {
        let header = self.version.cluster_header();
        if self.size == 0 && self.version == Version::Vmfs6 {
            let (parent, child) =
                (cluster / SFB_CLUSTERS_PER_PARENT, cluster % SFB_CLUSTERS_PER_PARENT);
            return 2 * GROUP_OFFSET + parent * PARENT_GROUP + child * header;
        }
        let (group, member) = (cluster / self.per_group, cluster % self.per_group);
        GROUP_OFFSET + group * self.group_size() + member * header
    }

    /// Where a resource lies in the file.
    pub(super) fn resource_at(&self, cluster: u64, index: u64) -> u64 {
        let (group, member) = (cluster / self.per_group, cluster % self.per_group);
        GROUP_OFFSET
            + group * self.group_size()
            + self.per_group * self.version.cluster_header()
            + (member * self.per_cluster + index) * self.size
    }

    /// The metadata block of a cluster of `total` resources, all of them free.
    pub(super) fn all_free(&self, cluster: u64, total: u64) -> Vec<u8> {
        let mut metadata = metadata_block(self.version, cluster, total);
        if self.size == 0 && self.version == Version::Vmfs6 {
            put16(&mut metadata, 0x2A, 256);
        }
        (0..total).for_each(|resource| self.set_free(&mut metadata, resource, true));
        metadata
    }

    pub(super) fn is_free(&self, metadata: &[u8], resource: u64) -> bool {
        let (byte, shift) = self.bit(resource);
        metadata[byte] >> shift & 1 == 1
    }

    pub(super) fn set_free(&self, metadata: &mut [u8], resource: u64, free: bool) {
        let (byte, shift) = self.bit(resource);
        metadata[byte] = metadata[byte] & !(1 << shift) | u8::from(free) << shift;
    }

    /// Resources of the cluster, and those of them that are free.
    pub(super) fn counters(&self, metadata: &[u8]) -> (u64, u64) {
        match self.version {
            Version::Vmfs5 => (get32(metadata, 4).into(), get32(metadata, 8).into()),
            Version::Vmfs6 => (get16(metadata, 0x20).into(), get16(metadata, 0x22).into()),
        }
    }

    pub(super) fn set_free_count(&self, metadata: &mut [u8], free: u64) {
        match self.version {
            Version::Vmfs5 => put32(metadata, 8, low32(free)),
            Version::Vmfs6 => put16(metadata, 0x22, low16(free)),
        }
    }

    /// Byte in the metadata block and bit in the byte that say whether `resource` is free. File
    /// blocks of VMFS-6 have two bits (01 = free), in chunks of 256 that lie 256 bytes apart.
    fn bit(&self, resource: u64) -> (usize, u64) {
        match self.version {
            Version::Vmfs5 => (16 + index(resource / 8), resource % 8),
            Version::Vmfs6 if self.size == 0 => {
                let (chunk, field) = (resource / 256, resource % 256);
                (0x80 + index(chunk * 0x100 + field / 4), field % 4 * 2)
            }
            Version::Vmfs6 => (0x80 + index(resource / 8), resource % 8),
        }
    }
}

/// A lock block that nobody holds.
pub(super) fn lock_block(version: Version, lock_type: u32, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(version.metadata())];
    put32(&mut bytes, 0, lock_type);
    put64(&mut bytes, 4, at);
    put64(&mut bytes, 0x1C, 1);
    bytes
}

/// The metadata block of a cluster of `total` free resources, its bitmap still empty.
pub(super) fn metadata_block(version: Version, cluster: u64, total: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(version.metadata())];
    match version {
        Version::Vmfs5 => {
            put32(&mut bytes, 0, low32(cluster));
            put32(&mut bytes, 4, low32(total));
            put32(&mut bytes, 8, low32(total));
        }
        Version::Vmfs6 => {
            put(&mut bytes, 0x10, b"dmcr");
            put64(&mut bytes, 0x18, cluster);
            put16(&mut bytes, 0x20, low16(total));
            put16(&mut bytes, 0x22, low16(total));
            put32(&mut bytes, 0x30, 1);
        }
    }
    bytes
}
