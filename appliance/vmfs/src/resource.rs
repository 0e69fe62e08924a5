//! Resource files: where resource number (cluster, index) lies, and whether it is in use.
//!
//! ```text
//! header | group: c cluster headers (lock block, metadata block), then c x r resources | group ..
//! ```
//! `.fbb.sf` has headers only: its resources are the file blocks of the volume.

use crate::address::Place;
use crate::bytes::{Fields, index};
use crate::error::{At, VmfsError};
use crate::space::Space;
use crate::superblock::{Family, Geometry};

const GROUP_OFFSET: u64 = 0x1_0000;
const SIGNATURE: [u8; 4] = *b"dmfr";
/// Where the header of the SFB child lies in the `.fbb.sf` of VMFS-6.
const CHILD_AT: u64 = 0x1000;
/// Parent group of `.fbb.sf` on VMFS-6: 8 LFB clusters, then 16 groups of 8 SFB clusters.
const PARENT_GROUP: u64 = 0x11_0000;
const SFB_CLUSTERS_PER_PARENT: u64 = 128;

/// A system file that holds resources, or their cluster headers.
#[derive(Debug)]
pub(crate) struct ResourceFile {
    /// For messages.
    pub(crate) name: &'static str,
    /// Volume offsets of its blocks, in order.
    blocks: Vec<u64>,
    block_bytes: u64,
    length: u64,
    header: Header,
    lock_type: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    per_cluster: u64,
    per_group: u64,
    size: u64,
    group_size: u64,
    /// Bytes of the cluster headers at the start of a group.
    headers: u64,
    /// Number of resources.
    count: u64,
}

/// Which resource file it is: name, lock type of its clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) lock_type: u32,
    /// Bytes of a resource that the geometry demands; `None` for file blocks.
    pub(crate) size: Option<u64>,
}

impl ResourceFile {
    /// A resource file whose blocks are known. Reads and checks its header.
    pub(crate) fn open(
        space: &Space,
        geometry: &Geometry,
        kind: Kind,
        blocks: Vec<u64>,
        length: u64,
    ) -> Result<Self, VmfsError> {
        let at = At { structure: kind.name, offset: blocks.first().copied().unwrap_or(0) };
        at.require(!blocks.is_empty(), "number of blocks", 0, "at least 1")?;
        let mut file = Self {
            name: kind.name,
            blocks,
            block_bytes: geometry.file_block,
            length,
            header: Header::default(),
            lock_type: kind.lock_type,
        };
        let sfb_child = kind.size.is_none() && geometry.family == Family::Vmfs6;
        let offset = if sfb_child { CHILD_AT } else { 0 };
        let at = At { structure: kind.name, offset: file.locate(offset, 128)? };
        let bytes = space.read(at, 128)?;
        file.header = check_header(at, geometry, kind, Fields(&bytes))?;
        file.check_length(at)?;
        Ok(file)
    }

    /// True when all that lies in this file lies at the same place in `later`: a resource file
    /// grows at its end, and only there.
    pub(crate) fn is_start_of(&self, later: &Self) -> bool {
        let (here, there) = (&self.header, &later.header);
        (here.per_cluster, here.per_group, here.size)
            == (there.per_cluster, there.per_group, there.size)
            && here.count <= there.count
            && later.blocks.starts_with(&self.blocks)
    }

    /// Volume offset of its first block.
    pub(crate) fn at(&self) -> u64 {
        self.blocks[0]
    }

    /// Number of resources.
    pub(crate) fn count(&self) -> u64 {
        self.header.count
    }

    /// Resources per cluster.
    pub(crate) fn per_cluster(&self) -> u64 {
        self.header.per_cluster
    }

    /// Volume offset of a resource; an error when the file has no such resource.
    pub(crate) fn find(&self, place: Place) -> Result<u64, VmfsError> {
        let header = &self.header;
        let number = place.cluster.checked_mul(header.per_cluster).map(|n| n + place.index);
        if place.index >= header.per_cluster || number.is_none_or(|n| n >= header.count) {
            let found = format!("cluster {}, index {}", place.cluster, place.index);
            let at = At { structure: self.name, offset: self.at() };
            return Err(at.damaged("resource", found, format!("one of {}", header.count)));
        }
        let (group, member) = (place.cluster / header.per_group, place.cluster % header.per_group);
        let in_group = header.headers + (member * header.per_cluster + place.index) * header.size;
        self.locate(GROUP_OFFSET + group * header.group_size + in_group, header.size)
    }

    /// The bitmap of a cluster as one bit per resource, 1 = in use.
    pub(crate) fn cluster_in_use(
        &self,
        space: &Space,
        geometry: &Geometry,
        cluster: u64,
    ) -> Result<Vec<u64>, VmfsError> {
        let header_bytes = 2 * geometry.metadata;
        let at = At {
            structure: self.name,
            offset: self.locate(self.cluster_at(geometry, cluster), header_bytes)?,
        };
        let bytes = space.read(at, header_bytes)?;
        let (lock, metadata) = bytes.split_at(index(geometry.metadata));
        at.expect("lock type of a cluster", Fields(lock).u32(0), self.lock_type)?;
        at.expect("own offset of a cluster", Fields(lock).u64(4), at.offset)?;
        match geometry.family {
            Family::Vmfs5 => self.bitmap_5(at, cluster, metadata),
            Family::Vmfs6 => self.bitmap_6(at, cluster, metadata),
        }
    }

    fn bitmap_5(&self, at: At, cluster: u64, metadata: &[u8]) -> Result<Vec<u64>, VmfsError> {
        let fields = Fields(metadata);
        at.expect("number of a cluster", fields.u32(0), cluster)?;
        let total = self.cluster_total(cluster);
        at.expect("resources of a cluster", fields.u32(4), total)?;
        let bits = (0..total).map(|n| metadata[16 + index(n / 8)] >> (n % 8) & 1 == 0).collect();
        in_use(at, bits, u64::from(fields.u32(8)))
    }

    fn bitmap_6(&self, at: At, cluster: u64, metadata: &[u8]) -> Result<Vec<u64>, VmfsError> {
        let fields = Fields(metadata);
        at.require(fields.array(0x10) == *b"dmcr", "signature of a cluster", "wrong", "rcmd")?;
        at.expect("number of a cluster", fields.u64(0x18), cluster)?;
        let total = self.cluster_total(cluster);
        at.expect("resources of a cluster", fields.u16(0x20), total)?;
        let two_bits = self.header.size == 0;
        let state = |n: u64| {
            if two_bits {
                let byte = 0x80 + index(n / 256 * 0x100 + n % 256 / 4);
                metadata[byte] >> (n % 4 * 2) & 3
            } else {
                metadata[0x80 + index(n / 8)] >> (n % 8) & 1
            }
        };
        let mut bits = Vec::with_capacity(index(total));
        for n in 0..total {
            let state = state(n);
            at.require(state < 2, "bitmap field", state, "0 (in use) or 1 (free)")?;
            bits.push(state == 0);
        }
        in_use(at, bits, u64::from(fields.u16(0x22)))
    }

    /// Resources of a cluster: the last one may have fewer.
    fn cluster_total(&self, cluster: u64) -> u64 {
        let before = cluster * self.header.per_cluster;
        self.header.per_cluster.min(self.header.count.saturating_sub(before))
    }

    /// Where the header of a cluster lies in the file.
    fn cluster_at(&self, geometry: &Geometry, cluster: u64) -> u64 {
        let header_bytes = 2 * geometry.metadata;
        if self.header.size == 0 && geometry.family == Family::Vmfs6 {
            let (parent, child) =
                (cluster / SFB_CLUSTERS_PER_PARENT, cluster % SFB_CLUSTERS_PER_PARENT);
            return 2 * GROUP_OFFSET + parent * PARENT_GROUP + child * header_bytes;
        }
        let (group, member) = (cluster / self.header.per_group, cluster % self.header.per_group);
        GROUP_OFFSET + group * self.header.group_size + member * header_bytes
    }

    /// From an offset in the file to the volume. A resource never crosses a block.
    fn locate(&self, offset: u64, length: u64) -> Result<u64, VmfsError> {
        let into = offset % self.block_bytes;
        let at = At { structure: self.name, offset: self.at() };
        at.require(
            into + length <= self.block_bytes && offset < self.length,
            "place in the file",
            format_args!("{offset:#x}"),
            "within the file and within one block",
        )?;
        let block = self.blocks.get(index(offset / self.block_bytes)).copied();
        let expected = "one of the file's blocks";
        block
            .map(|block| block + into)
            .ok_or_else(|| at.damaged("place in the file", format_args!("{offset:#x}"), expected))
    }

    /// A file may be longer than its resources, never shorter.
    fn check_length(&self, at: At) -> Result<(), VmfsError> {
        let header = &self.header;
        if header.count == 0 || header.size == 0 {
            return Ok(());
        }
        let there = header.count <= self.length / header.size;
        at.require(there, "number of resources", header.count, "as many as the file can hold")?;
        let last = header.count - 1;
        let cluster = last / header.per_cluster;
        let (group, member) = (cluster / header.per_group, cluster % header.per_group);
        let needed = GROUP_OFFSET
            + group * header.group_size
            + header.headers
            + (member * header.per_cluster + last % header.per_cluster + 1) * header.size;
        at.require(self.length >= needed, "length", self.length, "enough for its resources")
    }
}

fn check_header(
    at: At,
    geometry: &Geometry,
    kind: Kind,
    fields: Fields,
) -> Result<Header, VmfsError> {
    let header = Header {
        per_cluster: u64::from(fields.u32(0x00)),
        per_group: u64::from(fields.u32(0x04)),
        size: u64::from(fields.u32(0x0C)),
        group_size: u64::from(fields.u32(0x10)),
        headers: u64::from(fields.u32(0x04)) * 2 * geometry.metadata,
        count: fields.split_u64(0x14, 0x1C),
    };
    at.expect("cluster group offset", fields.u32(0x08), GROUP_OFFSET)?;
    at.expect("resource size", header.size, kind.size.unwrap_or(0))?;
    if geometry.family == Family::Vmfs6 {
        at.require(fields.array(0x20) == SIGNATURE, "signature", "wrong", "rfmd")?;
        at.expect("version", fields.u32(0x24), 1u32)?;
        let bits = if kind.size.is_none() { 2u32 } else { 1 };
        at.expect("bits per resource", fields.u32(0x30), bits)?;
        if kind.size.is_none() {
            at.expect("parent group size", fields.u32(0x40), PARENT_GROUP)?;
            let per_cluster = crate::address::FILE_BLOCKS_PER_CLUSTER;
            at.expect("resources per cluster", header.per_cluster, per_cluster)?;
        }
    }
    // Bitmaps end with their block: 392 bytes of one bit on VMFS-5, 512 resources on VMFS-6.
    let few = header.per_cluster <= 512 && header.per_group <= 64 && header.per_group > 0;
    at.require(few, "resources per cluster", header.per_cluster, "at most 512")?;
    at.require(
        header.per_cluster > 0 || header.count == 0,
        "resources per cluster",
        header.per_cluster,
        "at least 1",
    )?;
    let cluster = 2 * geometry.metadata + header.per_cluster * header.size;
    at.expect("cluster group size", header.group_size, header.per_group * cluster)?;
    at.require(header.count <= 1 << 40, "number of resources", header.count, "at most 2^40")?;
    Ok(header)
}

fn in_use(at: At, used: Vec<bool>, free: u64) -> Result<Vec<u64>, VmfsError> {
    let found = used.iter().filter(|used| !**used).count() as u64;
    at.expect("free counter of a cluster", free, found)?;
    let word = |bits: &[bool]| {
        bits.iter().enumerate().fold(0, |word, (n, used)| word | u64::from(*used) << n)
    };
    Ok(used.chunks(64).map(word).collect())
}
