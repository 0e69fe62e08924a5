//! An open resource file: finds, takes and keeps account of its resources.

use super::bytes::{MIB, get32, get64, index, low32, put, put32, put64};
use super::cluster::{Kind, lock_block};
use super::device::Image;
use super::error::FormatError;
use super::version::Version;
use std::collections::BTreeMap;

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
    /// How many the cluster has given out, this one included.
    pub(super) allocations: u32,
}

struct Cluster {
    lock: Vec<u8>,
    metadata: Vec<u8>,
    changed: bool,
}

/// Who allocates, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) time: u32,
    pub(super) mac: [u8; 6],
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
    pub(super) fn format(&self, image: &Image) -> Result<(), FormatError> {
        if self.count == 0 {
            return Ok(());
        }
        for cluster in 0..self.count.div_ceil(self.kind.per_cluster) {
            let at = self.volume_offset(self.kind.header_at(cluster))?;
            let total = self.kind.per_cluster.min(self.count - cluster * self.kind.per_cluster);
            let mut header = lock_block(image.version, self.kind.lock_type, at);
            header.append(&mut self.kind.all_free(cluster, total));
            image.write(at, &header)?;
        }
        Ok(())
    }

    /// Begins the next search at `resource`.
    pub(super) fn seek(&mut self, resource: u64) {
        self.cursor = resource % self.count;
    }

    /// Takes the next free resource.
    pub(super) fn allocate(&mut self, image: &Image, stamp: Stamp) -> Result<Taken, FormatError> {
        let kind = self.kind;
        let clusters = self.count.div_ceil(kind.per_cluster);
        let first = self.cursor / kind.per_cluster;
        for step in 0..=clusters {
            let number = (first + step) % clusters;
            let from = if step == 0 { self.cursor % kind.per_cluster } else { 0 };
            let cluster = self.cluster(image, number)?;
            let (total, free) = kind.counters(&cluster.metadata);
            if free == 0 {
                continue;
            }
            if let Some(found) = (from..total).find(|&n| kind.is_free(&cluster.metadata, n)) {
                let resource = number * kind.per_cluster + found;
                let allocations = self.take(image, resource, stamp)?;
                self.cursor = (resource + 1) % self.count;
                return Ok(Taken { number: resource, cluster: number, index: found, allocations });
            }
        }
        Err(FormatError::Full(kind.name))
    }

    /// Takes all resources of the next cluster of which none is taken. Returns its number.
    pub(super) fn allocate_cluster(
        &mut self,
        image: &Image,
        stamp: Stamp,
    ) -> Result<u64, FormatError> {
        let kind = self.kind;
        let whole = self.count / kind.per_cluster;
        let first = self.cursor / kind.per_cluster;
        for number in (0..whole).map(|step| (first + step) % whole) {
            let (total, free) = kind.counters(&self.cluster(image, number)?.metadata);
            if free == total {
                for member in 0..total {
                    self.take(image, number * kind.per_cluster + member, stamp)?;
                }
                return Ok(number);
            }
        }
        Err(FormatError::Full("large block"))
    }

    /// Takes a resource that must be free. Returns how many its cluster has given out.
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
        let (total, free) = kind.counters(metadata);
        kind.set_free_count(metadata, free - 1);
        let allocations = low32(total - free + 1);
        match image.version {
            Version::Vmfs5 => put32(metadata, 0xC, low32(member + 1)),
            Version::Vmfs6 => {
                put32(metadata, 0x58, allocations);
                put(metadata, 0x5C, &stamp.mac);
                put32(metadata, 0x62, stamp.time);
                put32(metadata, 0x7C, low32(member + 1));
            }
        }
        cluster.changed = true;
        Ok(allocations)
    }

    /// Writes changed cluster headers, each with a lock taken and given back.
    pub(super) fn flush(&mut self, image: &Image) -> Result<(), FormatError> {
        for cluster in self.clusters.values_mut().filter(|cluster| cluster.changed) {
            let at = get64(&cluster.lock, 4);
            let token = get64(&cluster.lock, 0x1C);
            put64(&mut cluster.lock, 0x1C, token + 2);
            image.write(at + image.version.metadata(), &cluster.metadata)?;
            image.write(at, &cluster.lock)?;
            cluster.changed = false;
        }
        Ok(())
    }

    fn cluster(&mut self, image: &Image, number: u64) -> Result<&mut Cluster, FormatError> {
        if !self.clusters.contains_key(&number) {
            let at = self.volume_offset(self.kind.header_at(number))?;
            let md = image.version.metadata();
            let lock = image.read(at, md)?;
            let metadata = image.read(at + md, md)?;
            if get32(&lock, 0) != self.kind.lock_type || get64(&lock, 4) != at {
                let problem = "it has no lock of its kind";
                return Err(FormatError::NotOurs { structure: "cluster", offset: at, problem });
            }
            self.clusters.insert(number, Cluster { lock, metadata, changed: false });
        }
        Ok(self.clusters.get_mut(&number).expect("read above"))
    }

    /// From an offset in the file to the volume.
    pub(super) fn volume_offset(&self, file_offset: u64) -> Result<u64, FormatError> {
        let block = self.blocks.get(index(file_offset / MIB));
        block.map(|block| block + file_offset % MIB).ok_or(FormatError::Full(self.kind.name))
    }
}
