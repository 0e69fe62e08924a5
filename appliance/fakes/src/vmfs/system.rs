//! A new, empty volume: header, heartbeats, system files, root directory.
//!
//! Blocks are given out in the order in which ESXi does it: heartbeats and header (0 to 6),
//! first block of `.fdc.sf` (7), root directory (8), `.fbb.sf`, the rest of `.fdc.sf`,
//! `.pbc.sf`, `.sbc.sf`, `.pb2.sf`, `.sdd.sf`, `.jbc.sf`, `.unmap.sf`.

use super::address::{self, SFB_PER_CLUSTER};
use super::bytes::{MD, MIB, get32, get64, index, low32, put, put16, put32};
use super::descriptor::{Descriptor, FD_BYTES, FileType, NewFile, SLOTS, Zla};
use super::device::{Identity, Image};
use super::directory::{Directory, Target};
use super::error::FormatError;
use super::header;
use super::resource::{
    CLUSTER_HEADER, FDC, GROUP_OFFSET, JBC, Kind, PARENT_GROUP, PB2C, Resources, SBC,
    SFB_CLUSTERS_PER_PARENT, SFBC, Stamp, cluster_metadata, lock_block,
};
use super::spec::VolumeSpec;

/// Volume offset of the first descriptor: after block 7's file header and cluster headers.
pub(super) const FIRST_FD_AT: u64 = 0x72_0000;
/// Descriptor of the root directory.
pub(super) const ROOT: u32 = 4;
/// Descriptors below this one are kept for system files.
const FIRST_USER_FD: u64 = 16;
/// File blocks per large block.
const SFB_PER_LFB: u64 = 512;
const LFB_PER_CLUSTER: u64 = 16;
const UNMAP_RESOURCES: u64 = 1024;

/// System files in the order of their descriptors, 1 on.
const NAMES: [&str; 9] = [
    ".fbb.sf",
    ".fdc.sf",
    ".pbc.sf",
    ".sbc.sf",
    ".vh.sf",
    ".pb2.sf",
    ".sdd.sf",
    ".jbc.sf",
    ".unmap.sf",
];
/// Indices in [`NAMES`] that the layout names.
const FBB: usize = 0;
const FD: usize = 1;
const PBC: usize = 2;
const SB: usize = 3;
const VH: usize = 4;
const PB2: usize = 5;
const SDD: usize = 6;
const JB: usize = 7;
const UNMAP: usize = 8;

/// The resource files of a volume.
pub(super) struct Pools {
    pub(super) fds: Resources,
    pub(super) sub_blocks: Resources,
    pub(super) pb2: Resources,
    pub(super) file_blocks: Resources,
}

impl Pools {
    /// Writes what changed.
    pub(super) fn flush(&mut self, image: &Image) -> Result<(), FormatError> {
        for pool in [&mut self.fds, &mut self.sub_blocks, &mut self.pb2, &mut self.file_blocks] {
            pool.flush(image)?;
        }
        Ok(())
    }
}

/// Length and blocks (block numbers of the volume) of every system file, in the order of names.
struct Plan {
    files: Vec<(u64, Vec<u64>)>,
    /// First block that no system file uses.
    end: u64,
    sfb_count: u64,
}

/// Writes everything that an empty volume holds.
pub(super) fn format(
    image: &Image,
    spec: &VolumeSpec,
    identity: &Identity,
) -> Result<Pools, FormatError> {
    let plan = Plan::new(spec, image.volume_bytes / MIB)?;
    let mut pools = plan.pools(spec);
    let mut journals = Resources::new(JBC, 32, plan.offsets(JB));
    for pool in [
        &mut pools.fds,
        &mut pools.sub_blocks,
        &mut pools.pb2,
        &mut pools.file_blocks,
        &mut journals,
    ] {
        pool.format()?;
    }
    let stamp = Stamp { time: spec.time, mac: identity.mac };
    for block in 0..plan.end {
        pools.file_blocks.take(image, block, stamp)?;
    }
    journals.take(image, 0, stamp)?;
    journals.flush(image)?;
    plan.write_headers(image, spec)?;
    plan.write_descriptors(image, spec, &mut pools, stamp)?;
    write_root(image, spec)?;
    let journal = (address::jb(0, 0), journals.locate(0, 0)?);
    image.write(header::HEARTBEATS_AT, &header::heartbeats(identity, journal))?;
    let fd = |number: usize| FIRST_FD_AT + (number as u64 + 1) * FD_BYTES;
    image.write(header::HEADER_AT, &header::header(spec, identity, fd(PB2), fd(SDD)))?;
    pools.flush(image)?;
    Ok(pools)
}

impl Plan {
    fn new(spec: &VolumeSpec, sfb_count: u64) -> Result<Self, FormatError> {
        let lengths = [
            fbb_length(sfb_count.div_ceil(SFB_PER_CLUSTER)),
            FDC.file_length(u64::from(spec.fd_groups)),
            GROUP_OFFSET,
            SBC.file_length(u64::from(spec.sb_groups)),
            7 * MIB,
            PB2C.file_length(1),
            GROUP_OFFSET + MD,
            JBC.file_length(1),
            GROUP_OFFSET + UNMAP_RESOURCES * MD,
        ];
        let blocks = |file: usize| lengths[file].div_ceil(MIB);
        let mut next = 9; // 0-6 heartbeats, 7 first of .fdc.sf, 8 root directory
        let mut files: Vec<(u64, Vec<u64>)> = lengths.iter().map(|&n| (n, Vec::new())).collect();
        files[VH].1.extend(0..7);
        files[FD].1.push(7);
        for file in [FBB, FD, PBC, SB, PB2, SDD, JB, UNMAP] {
            let wanted = blocks(file) - files[file].1.len() as u64;
            files[file].1.extend(next..next + wanted);
            next += wanted;
        }
        if next >= sfb_count {
            return Err(FormatError::Spec("the system files alone fill the volume".into()));
        }
        Ok(Self { files, end: next, sfb_count })
    }

    fn offsets(&self, file: usize) -> Vec<u64> {
        self.files[file].1.iter().map(|block| block * MIB).collect()
    }

    fn pools(&self, spec: &VolumeSpec) -> Pools {
        let pool = |kind: Kind, groups: u32, file| {
            let count = kind.per_cluster * kind.per_group * u64::from(groups);
            Resources::new(kind, count, self.offsets(file))
        };
        Pools {
            fds: pool(FDC, spec.fd_groups, FD),
            sub_blocks: pool(SBC, spec.sb_groups, SB),
            pb2: pool(PB2C, 1, PB2),
            file_blocks: Resources::new(SFBC, self.sfb_count, self.offsets(FBB)),
        }
    }

    /// The file headers, and the large-block clusters of `.fbb.sf`.
    fn write_headers(&self, image: &Image, spec: &VolumeSpec) -> Result<(), FormatError> {
        for (file, kind, groups) in
            [(FD, FDC, spec.fd_groups), (SB, SBC, spec.sb_groups), (PB2, PB2C, 1), (JB, JBC, 1)]
        {
            let resources = kind.per_cluster * kind.per_group * u64::from(groups);
            let header = kind.file_header(resources, u64::from(groups));
            image.write(self.files[file].1[0] * MIB, &header)?;
        }
        let pbc = Kind { per_cluster: 0, ..SBC };
        let mut header = pbc.file_header(0, 0);
        image.write(self.files[PBC].1[0] * MIB, &header)?;
        header = Kind { per_group: 0, size: MD, flags: 0, ..pbc }.file_header(UNMAP_RESOURCES, 0);
        image.write(self.files[UNMAP].1[0] * MIB, &header)?;
        self.write_unmap(image)?;
        self.write_fbb(image)
    }

    fn write_unmap(&self, image: &Image) -> Result<(), FormatError> {
        let first = self.files[UNMAP].1[0] * MIB + GROUP_OFFSET;
        for number in 0..UNMAP_RESOURCES {
            let at = first + number * MD;
            image.write(at, &lock_block(0x10C0_0009, at))?;
        }
        Ok(())
    }

    fn write_fbb(&self, image: &Image) -> Result<(), FormatError> {
        let sfb_clusters = self.sfb_count.div_ceil(SFB_PER_CLUSTER);
        let lfbs = self.sfb_count.div_ceil(SFB_PER_LFB);
        let parents = sfb_clusters.div_ceil(SFB_CLUSTERS_PER_PARENT);
        let blocks = &self.files[FBB].1;
        let at = |offset: u64| blocks[index(offset / MIB)] * MIB + offset % MIB;
        image.write(at(0), &fbb_parent_header(lfbs, parents))?;
        image.write(at(0x1000), &fbb_child_header(self.sfb_count, sfb_clusters))?;
        for cluster in 0..lfbs.div_ceil(LFB_PER_CLUSTER) {
            let offset =
                at(GROUP_OFFSET + cluster / 8 * PARENT_GROUP + cluster % 8 * CLUSTER_HEADER);
            let total = LFB_PER_CLUSTER.min(lfbs - cluster * LFB_PER_CLUSTER);
            image.write(offset, &lock_block(0x10C0_0008, offset))?;
            image.write(offset + MD, &split_lfbs(cluster, total))?;
        }
        Ok(())
    }

    fn write_descriptors(
        &self,
        image: &Image,
        spec: &VolumeSpec,
        pools: &mut Pools,
        stamp: Stamp,
    ) -> Result<(), FormatError> {
        for (number, (length, blocks)) in self.files.iter().enumerate() {
            let mut fd = system_descriptor(number, *length, spec.time);
            if number == SB {
                write_pb2(image, pools, &mut fd, blocks, stamp)?;
            } else {
                for (slot, block) in blocks.iter().enumerate() {
                    fd.set_slot(slot as u64, address::sfb(*block));
                }
            }
            blocks.iter().for_each(|_| fd.count_leaf(None));
            pools.fds.take(image, number as u64 + 1, stamp)?;
            fd.write(image)?;
        }
        pools.fds.take(image, 0, stamp)?;
        pools.fds.seek(FIRST_USER_FD);
        let target = Target { kind: 5, fd: address::fd(0, SDD as u64 + 1), generation: 1 };
        let parent = Target { kind: 2, fd: ROOT, generation: 1 };
        image.write(self.files[SDD].1[0] * MIB, &Directory::new(target, parent, false).bytes())
    }
}

fn system_descriptor(number: usize, length: u64, time: u32) -> Descriptor {
    let index = number as u64 + 1;
    let zla = if number == SB { Zla::Pb2 } else { Zla::FileBlocks };
    let mode = if number == SDD { 0o40700 } else { 0o400 };
    let file = NewFile {
        address: address::fd(0, index),
        generation: 1,
        kind: FileType::System,
        zla,
        length,
        mode,
        parent: 0,
        time,
    };
    let mut fd = Descriptor::new(FIRST_FD_AT + index * FD_BYTES, &file);
    if number == SDD {
        fd.add_link();
    }
    fd
}

/// `.sbc.sf` finds its blocks through one block of `.pb2.sf`.
fn write_pb2(
    image: &Image,
    pools: &mut Pools,
    fd: &mut Descriptor,
    blocks: &[u64],
    stamp: Stamp,
) -> Result<(), FormatError> {
    let mut pointers = vec![0; 0x1_0000];
    for (slot, block) in blocks.iter().enumerate() {
        put(&mut pointers, slot * 8, &address::sfb(*block).to_le_bytes());
    }
    let taken = pools.pb2.allocate(image, stamp)?;
    image.write(pools.pb2.locate(taken.cluster, taken.index)?, &pointers)?;
    fd.set_slot(0, address::sub_block(address::PB2, taken.cluster, taken.index));
    fd.count_pointer_block();
    Ok(())
}

fn write_root(image: &Image, spec: &VolumeSpec) -> Result<(), FormatError> {
    let own = Target { kind: 2, fd: ROOT, generation: 1 };
    let mut root = Directory::new(own, own, true);
    for (number, name) in NAMES.iter().enumerate() {
        let fd = address::fd(0, number as u64 + 1);
        root.insert_system(number, name, Target { kind: 5, fd, generation: 1 });
    }
    let bytes = root.bytes();
    let mut fd = Descriptor::new(
        FIRST_FD_AT,
        &NewFile {
            address: ROOT,
            generation: 1,
            kind: FileType::Directory,
            zla: Zla::FileBlocks,
            length: bytes.len() as u64,
            mode: 0o1755,
            parent: 0,
            time: spec.time,
        },
    );
    fd.add_link(); // its own `.`
    fd.add_link(); // .sdd.sf
    fd.set_slot(0, address::sfb(8));
    fd.count_leaf(None);
    image.write(8 * MIB, &bytes)?;
    fd.write(image)
}

fn fbb_length(sfb_clusters: u64) -> u64 {
    let last = sfb_clusters - 1;
    let parent = last / SFB_CLUSTERS_PER_PARENT;
    let in_parent = last % SFB_CLUSTERS_PER_PARENT + 1;
    2 * GROUP_OFFSET + parent * PARENT_GROUP + in_parent * CLUSTER_HEADER
}

fn fbb_parent_header(lfbs: u64, parents: u64) -> Vec<u8> {
    let kind = Kind { per_cluster: LFB_PER_CLUSTER, flags: 0x35, ..SFBC };
    let mut bytes = kind.file_header(lfbs, parents);
    put32(&mut bytes, 0x0C, 0x2000);
    put32(&mut bytes, 0x10, low32(PARENT_GROUP));
    put16(&mut bytes, 0x2C, 0x348);
    put16(&mut bytes, 0x2E, 0x34);
    put32(&mut bytes, 0x30, 3);
    put32(&mut bytes, 0x34, 0x1000);
    bytes
}

fn fbb_child_header(sfbs: u64, clusters: u64) -> Vec<u8> {
    let mut bytes = SFBC.file_header(sfbs, clusters.div_ceil(SFB_CLUSTERS_PER_PARENT));
    put16(&mut bytes, 0x2C, 0xD8);
    put32(&mut bytes, 0x30, 2);
    put32(&mut bytes, 0x38, low32(LFB_PER_CLUSTER));
    put32(&mut bytes, 0x3C, 8);
    put32(&mut bytes, 0x40, low32(PARENT_GROUP));
    put32(&mut bytes, 0x54, low32(clusters));
    bytes
}

/// A cluster of large blocks that are all split into file blocks: the value 4 in 3 bits each.
fn split_lfbs(cluster: u64, total: u64) -> Vec<u8> {
    let mut bytes = cluster_metadata(cluster, total);
    put16(&mut bytes, 0x22, 0);
    let bitmap = (0..total).fold(get64(&bytes, 0x80), |map, lfb| map | 4 << (lfb * 3));
    put(&mut bytes, 0x80, &bitmap.to_le_bytes());
    bytes
}

/// Finds the resource files of a volume made by [`format`].
pub(super) fn open(image: &Image) -> Result<Pools, FormatError> {
    let fd = |file: usize| Descriptor::read(image, FIRST_FD_AT + (file as u64 + 1) * FD_BYTES);
    let direct = |file: usize| -> Result<Vec<u64>, FormatError> {
        let fd = fd(file)?;
        let slots = (0..SLOTS).map(|slot| fd.slot(slot)).take_while(|slot| *slot != 0);
        Ok(slots.map(|slot| address::sfb_block(slot) * MIB).collect())
    };
    let pool = |kind: Kind, blocks: Vec<u64>, header_at: u64| -> Result<_, FormatError> {
        let first = *blocks.first().ok_or(FormatError::Full(kind.name))?;
        let header = image.read(first + header_at, 64)?;
        Ok(Resources::new(kind, u64::from(get32(&header, 0x14)), blocks))
    };
    let pb2 = pool(PB2C, direct(PB2)?, 0)?;
    let (cluster, member) = address::sub_block_parts(fd(SB)?.slot(0));
    let pointers = image.read(pb2.locate(cluster, member)?, 0x1_0000)?;
    let sub_blocks = (0..pointers.len() / 8)
        .map(|word| get64(&pointers, word * 8))
        .take_while(|word| *word != 0)
        .map(|word| address::sfb_block(word) * MIB)
        .collect();
    let mut fds = pool(FDC, direct(FD)?, 0)?;
    fds.seek(FIRST_USER_FD);
    Ok(Pools {
        fds,
        sub_blocks: pool(SBC, sub_blocks, 0)?,
        pb2,
        file_blocks: pool(SFBC, direct(FBB)?, 0x1000)?,
    })
}
