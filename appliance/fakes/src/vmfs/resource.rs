//! Resource files: numbered resources in clusters, each cluster with a lock and a free bitmap.
//!
//! `.fdc.sf`, `.sbc.sf`, `.pb2.sf` and `.jbc.sf` hold their resources themselves, after the
//! cluster headers of each group. `.fbb.sf` has only headers: its resources are the file blocks
//! of the volume, two bits each, in child groups within parent groups of 64 GiB.

use super::address::SFB_PER_CLUSTER;
use super::bytes::{MD, MIB, get16, get32, get64, index, low16, low32, put, put16, put32, put64};
use super::device::Image;
use super::error::FormatError;
use std::collections::BTreeMap;

/// Where the first cluster group begins in every resource file.
pub(super) const GROUP_OFFSET: u64 = 0x1_0000;
/// Bytes of a cluster header: lock block and metadata block.
pub(super) const CLUSTER_HEADER: u64 = 2 * MD;
/// Bytes of a parent group of `.fbb.sf`, and the SFB clusters in it.
pub(super) const PARENT_GROUP: u64 = 0x11_0000;
pub(super) const SFB_CLUSTERS_PER_PARENT: u64 = 128;

/// What kind of resource a file numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
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
    /// Flags in the file's header.
    pub(super) flags: u32,
}

pub(super) const FDC: Kind = Kind {
    name: "file descriptor",
    lock_type: 0x10C0_0005,
    per_cluster: 256,
    per_group: 8,
    size: 2 * MD,
    flags: 4,
};
pub(super) const SBC: Kind =
    Kind { name: "sub-block", lock_type: 0x10C0_0003, size: 0x1_0000, ..FDC };
pub(super) const PB2C: Kind =
    Kind { name: "pointer block", lock_type: 0x10C0_0006, per_cluster: 32, ..SBC };
pub(super) const JBC: Kind = Kind {
    name: "journal block",
    lock_type: 0x10C0_0007,
    per_cluster: 8,
    per_group: 4,
    size: 2 * MIB,
    flags: 0,
};
pub(super) const SFBC: Kind = Kind {
    name: "file block",
    lock_type: 0x10C0_0002,
    per_cluster: SFB_PER_CLUSTER,
    per_group: 8,
    size: 0,
    flags: 0x2A,
};

impl Kind {
    pub(super) fn group_size(&self) -> u64 {
        self.per_group * (CLUSTER_HEADER + self.per_cluster * self.size)
    }

    /// Length of a file of `groups` whole groups.
    pub(super) fn file_length(&self, groups: u64) -> u64 {
        GROUP_OFFSET + groups * self.group_size()
    }

    /// The header at the start of the file.
    pub(super) fn file_header(&self, resources: u64, groups: u64) -> Vec<u8> {
        let mut bytes = vec![0; index(MD)];
        put32(&mut bytes, 0x00, low32(self.per_cluster));
        put32(&mut bytes, 0x04, low32(self.per_group));
        put32(&mut bytes, 0x08, low32(GROUP_OFFSET));
        put32(&mut bytes, 0x0C, low32(self.size));
        put32(&mut bytes, 0x10, low32(self.group_size()));
        put32(&mut bytes, 0x14, low32(resources));
        put32(&mut bytes, 0x18, low32(groups));
        put(&mut bytes, 0x20, b"dmfr");
        put32(&mut bytes, 0x24, 1);
        put32(&mut bytes, 0x28, self.flags);
        put16(&mut bytes, 0x2C, low16(self.per_cluster));
        put16(&mut bytes, 0x2E, 1);
        put32(&mut bytes, 0x30, 1);
        bytes
    }

    /// Where the header of `cluster` lies in the file.
    fn header_at(&self, cluster: u64) -> u64 {
        if self.size == 0 {
            let (parent, child) =
                (cluster / SFB_CLUSTERS_PER_PARENT, cluster % SFB_CLUSTERS_PER_PARENT);
            return 2 * GROUP_OFFSET + parent * PARENT_GROUP + child * CLUSTER_HEADER;
        }
        let (group, member) = (cluster / self.per_group, cluster % self.per_group);
        GROUP_OFFSET + group * self.group_size() + member * CLUSTER_HEADER
    }

    /// Where a resource lies in the file.
    fn resource_at(&self, cluster: u64, index: u64) -> u64 {
        let (group, member) = (cluster / self.per_group, cluster % self.per_group);
        GROUP_OFFSET
            + group * self.group_size()
            + self.per_group * CLUSTER_HEADER
            + (member * self.per_cluster + index) * self.size
    }

    fn is_free(&self, bitmap: &[u8], resource: u64) -> bool {
        let (byte, shift) = self.bit(resource);
        bitmap[byte] >> shift & 1 == 1
    }

    fn set_free(&self, bitmap: &mut [u8], resource: u64, free: bool) {
        let (byte, shift) = self.bit(resource);
        bitmap[byte] = bitmap[byte] & !(1 << shift) | u8::from(free) << shift;
    }

    /// Byte in the metadata block and bit in the byte that say whether `resource` is free. File
    /// blocks have two bits (01 = free) in chunks of 256 resources, 256 bytes apart.
    fn bit(&self, resource: u64) -> (usize, u64) {
        if self.size == 0 {
            let (chunk, field) = (resource / 256, resource % 256);
            (0x80 + index(chunk * 0x100 + field / 4), field % 4 * 2)
        } else {
            (0x80 + index(resource / 8), resource % 8)
        }
    }
}

/// One resource file of an open volume.
pub(super) struct Resources {
    kind: Kind,
    /// Number of resources.
    count: u64,
    /// Volume offsets of the file's blocks.
    blocks: Vec<u64>,
    /// Clusters read so far.
    clusters: BTreeMap<u64, Cluster>,
    /// Where the search for a free resource begins.
    cursor: u64,
}

/// A resource that was free a moment ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// cluster × resources per cluster + index.
    pub(super) number: u64,
    pub(super) cluster: u64,
    pub(super) index: u64,
    /// How often the cluster has allocated, this time included.
    pub(super) allocations: u32,
}

struct Cluster {
    lock: Vec<u8>,
    metadata: Vec<u8>,
    changed: bool,
}

impl Resources {
    pub(super) fn new(kind: Kind, count: u64, blocks: Vec<u64>) -> Self {
        Self { kind, count, blocks, clusters: BTreeMap::new(), cursor: 0 }
    }

    /// Number of resources.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Volume offset of a resource.
    pub(super) fn locate(&self, cluster: u64, index: u64) -> Result<u64, FormatError> {
        self.volume_offset(self.kind.resource_at(cluster, index))
    }

    /// Writes the headers of all clusters, everything free.
    pub(super) fn format(&mut self) -> Result<(), FormatError> {
        for cluster in 0..self.count.div_ceil(self.kind.per_cluster) {
            let at = self.volume_offset(self.kind.header_at(cluster))?;
            let total = self.kind.per_cluster.min(self.count - cluster * self.kind.per_cluster);
            let mut metadata = cluster_metadata(cluster, total);
            if self.kind.size == 0 {
                put16(&mut metadata, 0x2A, 256);
            }
            for resource in 0..total {
                self.kind.set_free(&mut metadata, resource, true);
            }
            let lock = lock_block(self.kind.lock_type, at);
            self.clusters.insert(cluster, Cluster { lock, metadata, changed: true });
        }
        Ok(())
    }

    /// Begins the next search at `resource`.
    pub(super) fn seek(&mut self, resource: u64) {
        self.cursor = resource % self.count;
    }

    /// Takes the next free resource.
    pub(super) fn allocate(&mut self, image: &Image, stamp: Stamp) -> Result<Taken, FormatError> {
        let clusters = self.count.div_ceil(self.kind.per_cluster);
        let first = self.cursor / self.kind.per_cluster;
        for step in 0..=clusters {
            let number = (first + step) % clusters;
            let from = if step == 0 { self.cursor % self.kind.per_cluster } else { 0 };
            let kind = self.kind;
            let cluster = self.cluster(image, number)?;
            if get16(&cluster.metadata, 0x22) == 0 {
                continue;
            }
            let total = u64::from(get16(&cluster.metadata, 0x20));
            if let Some(found) = (from..total).find(|&n| kind.is_free(&cluster.metadata, n)) {
                let resource = number * kind.per_cluster + found;
                let allocations = self.take(image, resource, stamp)?;
                self.cursor = (resource + 1) % self.count;
                return Ok(Taken { number: resource, cluster: number, index: found, allocations });
            }
        }
        Err(FormatError::Full(self.kind.name))
    }

    /// Takes a resource that must be free. Returns how often its cluster has allocated.
    pub(super) fn take(
        &mut self,
        image: &Image,
        resource: u64,
        stamp: Stamp,
    ) -> Result<u32, FormatError> {
        let kind = self.kind;
        let cluster = self.cluster(image, resource / kind.per_cluster)?;
        let metadata = &mut cluster.metadata;
        let member = resource % kind.per_cluster;
        assert!(kind.is_free(metadata, member), "taken twice: {} {resource}", kind.name);
        kind.set_free(metadata, member, false);
        let free = get16(metadata, 0x22) - 1;
        put16(metadata, 0x22, free);
        let allocations = get32(metadata, 0x58) + 1;
        put32(metadata, 0x58, allocations);
        put(metadata, 0x5C, &stamp.mac);
        put32(metadata, 0x62, stamp.time);
        put32(metadata, 0x7C, low32(member + 1));
        cluster.changed = true;
        Ok(allocations)
    }

    /// Writes changed cluster headers, each with a lock taken and given back.
    pub(super) fn flush(&mut self, image: &Image) -> Result<(), FormatError> {
        for cluster in self.clusters.values_mut().filter(|cluster| cluster.changed) {
            let at = get64(&cluster.lock, 4);
            let token = get64(&cluster.lock, 0x1C);
            put64(&mut cluster.lock, 0x1C, token + 2);
            image.write(at + MD, &cluster.metadata)?;
            image.write(at, &cluster.lock)?;
            cluster.changed = false;
        }
        Ok(())
    }

    fn cluster(&mut self, image: &Image, number: u64) -> Result<&mut Cluster, FormatError> {
        if !self.clusters.contains_key(&number) {
            let at = self.volume_offset(self.kind.header_at(number))?;
            let lock = image.read(at, MD)?;
            let metadata = image.read(at + MD, MD)?;
            if get32(&lock, 0) != self.kind.lock_type || get64(&lock, 4) != at {
                let problem = "it has no lock of its kind";
                return Err(FormatError::NotOurs { structure: "cluster", offset: at, problem });
            }
            self.clusters.insert(number, Cluster { lock, metadata, changed: false });
        }
        Ok(self.clusters.get_mut(&number).expect("read above"))
    }

    fn volume_offset(&self, file_offset: u64) -> Result<u64, FormatError> {
        let block = self.blocks.get(index(file_offset / MIB));
        block.map(|block| block + file_offset % MIB).ok_or(FormatError::Full(self.kind.name))
    }
}

/// Who allocates, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) time: u32,
    pub(super) mac: [u8; 6],
}

/// A lock block that nobody holds.
pub(super) fn lock_block(lock_type: u32, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(MD)];
    put32(&mut bytes, 0, lock_type);
    put64(&mut bytes, 4, at);
    put64(&mut bytes, 0x1C, 1);
    bytes
}

/// The metadata block of a cluster of `total` resources with an empty bitmap, all of them free.
pub(super) fn cluster_metadata(cluster: u64, total: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(MD)];
    put(&mut bytes, 0x10, b"dmcr");
    put64(&mut bytes, 0x18, cluster);
    put16(&mut bytes, 0x20, low16(total));
    put16(&mut bytes, 0x22, low16(total));
    put32(&mut bytes, 0x30, 1);
    bytes
}
