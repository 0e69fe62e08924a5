//! The `.fbb.sf` of VMFS-6: headers of parent (large blocks) and child (file blocks), and the
//! clusters of large blocks.
//!
//! On volumes made by ESXi only large blocks that are split into file blocks were seen. That 0
//! in the bitmap is a large block in use follows from the other bitmaps; no reader asks.

use super::bytes::{get32, get64, low32, put, put16, put32};
use super::cluster::{
    GROUP_OFFSET, Kind, PARENT_GROUP, SFB_CLUSTERS_PER_PARENT, lock_block, metadata_block,
};
use super::device::Image;
use super::error::FormatError;
use super::version::{SFB_PER_CLUSTER, Version};

const LFB_PER_CLUSTER: u64 = 16;
/// Where the header of the child lies.
pub(super) const CHILD_AT: u64 = 0x1000;
/// Bits of a large block in the bitmap, and their value when it is split into file blocks.
const BITS: u64 = 3;
const SPLIT: u64 = 4;
/// The bitmap in the metadata block.
const BITMAP_AT: usize = 0x80;

/// Length of the file for a volume of `sfb_clusters` clusters of file blocks.
pub(super) fn length(sfb_clusters: u64) -> u64 {
    let last = sfb_clusters - 1;
    let parent = last / SFB_CLUSTERS_PER_PARENT;
    let in_parent = last % SFB_CLUSTERS_PER_PARENT + 1;
    2 * GROUP_OFFSET + parent * PARENT_GROUP + in_parent * Version::Vmfs6.cluster_header()
}

/// Writes both headers and all clusters of large blocks. `at`: from the file to the volume.
pub(super) fn write(
    image: &Image,
    file_blocks: u64,
    at: impl Fn(u64) -> u64,
) -> Result<(), FormatError> {
    let sfb_clusters = file_blocks.div_ceil(SFB_PER_CLUSTER);
    let large_blocks = sfb_clusters;
    let parents = sfb_clusters.div_ceil(SFB_CLUSTERS_PER_PARENT);
    image.write(at(0), &parent_header(large_blocks, parents))?;
    image.write(at(CHILD_AT), &child_header(file_blocks, sfb_clusters))?;
    for cluster in 0..large_blocks.div_ceil(LFB_PER_CLUSTER) {
        let offset = at(large_cluster_at(cluster));
        let total = LFB_PER_CLUSTER.min(large_blocks - cluster * LFB_PER_CLUSTER);
        let mut header = lock_block(Version::Vmfs6, 0x10C0_0008, offset);
        header.append(&mut split_cluster(cluster, total));
        image.write(offset, &header)?;
    }
    Ok(())
}

/// Marks a large block as in use instead of split. `at`: from the file to the volume.
pub(super) fn join(
    image: &Image,
    large_block: u64,
    at: impl Fn(u64) -> Result<u64, FormatError>,
) -> Result<(), FormatError> {
    let (cluster, member) = (large_block / LFB_PER_CLUSTER, large_block % LFB_PER_CLUSTER);
    let md = Version::Vmfs6.metadata();
    let offset = at(large_cluster_at(cluster))? + md;
    let mut metadata = image.read(offset, md)?;
    let bitmap = get64(&metadata, BITMAP_AT) & !(((1 << BITS) - 1) << (member * BITS));
    put(&mut metadata, BITMAP_AT, &bitmap.to_le_bytes());
    let allocations = get32(&metadata, 0x58) + 1;
    put32(&mut metadata, 0x58, allocations);
    image.write(offset, &metadata)
}

fn large_cluster_at(cluster: u64) -> u64 {
    GROUP_OFFSET + cluster / 8 * PARENT_GROUP + cluster % 8 * Version::Vmfs6.cluster_header()
}

fn parent_header(large_blocks: u64, parents: u64) -> Vec<u8> {
    let kind =
        Kind { per_cluster: LFB_PER_CLUSTER, flags: 0x35, ..Kind::file_blocks(Version::Vmfs6) };
    let mut bytes = kind.file_header(large_blocks, parents);
    put32(&mut bytes, 0x0C, 0x2000);
    put32(&mut bytes, 0x10, low32(PARENT_GROUP));
    put16(&mut bytes, 0x2C, 0x348);
    put16(&mut bytes, 0x2E, 0x34);
    put32(&mut bytes, 0x30, 3);
    put32(&mut bytes, 0x34, low32(CHILD_AT));
    bytes
}

fn child_header(file_blocks: u64, clusters: u64) -> Vec<u8> {
    let groups = clusters.div_ceil(SFB_CLUSTERS_PER_PARENT);
    let mut bytes = Kind::file_blocks(Version::Vmfs6).file_header(file_blocks, groups);
    put16(&mut bytes, 0x2C, 0xD8);
    put32(&mut bytes, 0x30, 2);
    put32(&mut bytes, 0x38, low32(LFB_PER_CLUSTER));
    put32(&mut bytes, 0x3C, 8);
    put32(&mut bytes, 0x40, low32(PARENT_GROUP));
    put32(&mut bytes, 0x54, low32(clusters));
    bytes
}

/// A cluster of large blocks that are all split into file blocks.
fn split_cluster(cluster: u64, total: u64) -> Vec<u8> {
    let mut bytes = metadata_block(Version::Vmfs6, cluster, total);
    put16(&mut bytes, 0x22, 0);
    let bitmap = (0..total).fold(0, |map, member| map | SPLIT << (member * BITS));
    put(&mut bytes, BITMAP_AT, &u64::to_le_bytes(bitmap));
    bytes
}
