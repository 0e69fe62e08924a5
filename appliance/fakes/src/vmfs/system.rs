//! A new, empty volume: header, heartbeats, system files, root directory.
//!
//! Blocks are given out in the order in which ESXi does it: heartbeats and header, first block
//! of `.fdc.sf`, root directory, `.fbb.sf`, the rest of `.fdc.sf`, `.pbc.sf`, `.sbc.sf`,
//! `.pb2.sf`, `.sdd.sf`; on VMFS-6 then `.jbc.sf` and `.unmap.sf`.

use super::bytes::{KIB, MIB, index, low32};
use super::cluster::{GROUP_OFFSET, Kind, lock_block};
use super::descriptor::{Descriptor, FileType, NewFile, Zla};
use super::device::{Identity, Image};
use super::directory::{Directory, Target};
use super::error::FormatError;
use super::fbb;
use super::header;
use super::pools::Pools;
use super::resource::{Resources, Stamp};
use super::spec::VolumeSpec;
use super::version::{self, POINTER_BLOCK, POINTER_BLOCK_2, Version};

/// Descriptor of the root directory.
pub(super) const ROOT: u32 = 4;
/// Descriptors below this one are kept for system files.
pub(super) const FIRST_USER_FD: u64 = 16;
const UNMAP_RESOURCES: u64 = 1024;
/// Journals in the one group of `.jbc.sf`.
const JOURNALS: u64 = 32;

/// System files in the order of their descriptors, 1 on. VMFS-5 has the first seven.
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
pub(super) const FBB: usize = 0;
pub(super) const FD: usize = 1;
pub(super) const PBC: usize = 2;
pub(super) const SB: usize = 3;
const VH: usize = 4;
pub(super) const PB2: usize = 5;
const SDD: usize = 6;
const JB: usize = 7;
const UNMAP: usize = 8;

/// Length and blocks (block numbers of the volume) of every system file, in the order of names.
struct Plan<'a> {
    spec: &'a VolumeSpec,
    files: Vec<(u64, Vec<u64>)>,
    /// First block that no system file uses.
    end: u64,
    /// File blocks of the volume.
    block_count: u64,
}

/// Writes everything that an empty volume holds.
pub(super) fn format(
    image: &Image,
    spec: &VolumeSpec,
    identity: &Identity,
) -> Result<Pools, FormatError> {
    let plan = Plan::new(spec, image.volume_bytes / MIB)?;
    let stamp = Stamp { time: spec.time, mac: identity.mac };
    let mut pools = plan.pools();
    pools.format(image)?;
    for block in 0..plan.end {
        pools.file_blocks.take(image, block, stamp)?;
    }
    plan.write_headers(image)?;
    plan.write_descriptors(image, &mut pools, stamp)?;
    write_root(image, spec)?;
    let journal = plan.journal(image, &mut pools, stamp)?;
    let slots = header::heartbeats(spec.version, identity, journal);
    image.write(header::HEARTBEATS_AT, &slots)?;
    let (pb2, sdd) = (system_fd_at(spec.version, PB2), system_fd_at(spec.version, SDD));
    image.write(header::HEADER_AT, &header::header(spec, identity, pb2, sdd))?;
    pools.flush(image)?;
    Ok(pools)
}

/// Volume offset of the descriptor of a system file.
pub(super) fn system_fd_at(version: Version, file: usize) -> u64 {
    version.first_fd() + (file as u64 + 1) * version.fd_bytes()
}

impl<'a> Plan<'a> {
    fn new(spec: &'a VolumeSpec, block_count: u64) -> Result<Self, FormatError> {
        let version = spec.version;
        let lengths = lengths(spec, block_count);
        let blocks = |file: usize| lengths[file].div_ceil(MIB);
        let first = version.first_block();
        let mut files: Vec<(u64, Vec<u64>)> = lengths.iter().map(|&n| (n, Vec::new())).collect();
        files[VH].1.extend(0..first);
        files[FD].1.push(first);
        let mut next = first + 2; // the root directory lies between
        for file in [FBB, FD, PBC, SB, PB2, SDD, JB, UNMAP] {
            if file >= files.len() {
                break;
            }
            let wanted = blocks(file) - files[file].1.len() as u64;
            files[file].1.extend(next..next + wanted);
            next += wanted;
        }
        if next >= block_count {
            return Err(FormatError::Spec("the system files alone fill the volume".into()));
        }
        Ok(Self { spec, files, end: next, block_count })
    }

    fn offsets(&self, file: usize) -> Vec<u64> {
        self.files[file].1.iter().map(|block| block * MIB).collect()
    }

    fn pools(&self) -> Pools {
        let pool = |(file, kind, groups): (usize, Kind, u64)| {
            Resources::new(kind, kind.resources(groups), self.offsets(file))
        };
        let [fds, sub_blocks, pointer_blocks, pb2] = filed(self.spec);
        let kind = Kind::file_blocks(self.spec.version);
        Pools {
            fds: pool(fds),
            sub_blocks: pool(sub_blocks),
            pointer_blocks: pool(pointer_blocks),
            pb2: pool(pb2),
            file_blocks: Resources::new(kind, self.block_count, self.offsets(FBB)),
        }
    }

    fn write_headers(&self, image: &Image) -> Result<(), FormatError> {
        for (file, kind, groups) in filed(self.spec) {
            let header = kind.file_header(kind.resources(groups), groups);
            image.write(self.files[file].1[0] * MIB, &header)?;
        }
        let blocks = &self.files[FBB].1;
        match self.spec.version {
            Version::Vmfs5 => {
                let kind = Kind::file_blocks(Version::Vmfs5);
                let groups = self.block_count.div_ceil(kind.resources(1));
                image.write(blocks[0] * MIB, &kind.file_header(self.block_count, groups))
            }
            Version::Vmfs6 => {
                self.write_unmap(image)?;
                fbb::write(image, self.block_count, |offset| {
                    blocks[index(offset / MIB)] * MIB + offset % MIB
                })
            }
        }
    }

    fn write_unmap(&self, image: &Image) -> Result<(), FormatError> {
        let version = self.spec.version;
        let first = self.files[UNMAP].1[0] * MIB;
        let kind = Kind::pointer_blocks(version);
        let kind = Kind { per_group: 0, size: version.metadata(), flags: 0, ..kind };
        image.write(first, &kind.file_header(UNMAP_RESOURCES, 0))?;
        for number in 0..UNMAP_RESOURCES {
            let at = first + GROUP_OFFSET + number * version.metadata();
            image.write(at, &lock_block(version, 0x10C0_0009, at))?;
        }
        Ok(())
    }

    /// The journal of the host that has the volume mounted: address and place. On VMFS-5 it is a
    /// file block that no file has.
    fn journal(
        &self,
        image: &Image,
        pools: &mut Pools,
        stamp: Stamp,
    ) -> Result<(u32, u64), FormatError> {
        if self.spec.version == Version::Vmfs5 {
            pools.file_blocks.take(image, self.end, stamp)?;
            return Ok((low32(Version::Vmfs5.file_block(self.end)), self.end * MIB));
        }
        let kind = Kind::journals(Version::Vmfs6);
        let mut journals = Resources::new(kind, JOURNALS, self.offsets(JB));
        image.write(self.files[JB].1[0] * MIB, &kind.file_header(JOURNALS, 1))?;
        journals.format(image)?;
        journals.take(image, 0, stamp)?;
        journals.flush(image)?;
        Ok((version::jb(0, 0), journals.locate(0, 0)?))
    }

    fn write_descriptors(
        &self,
        image: &Image,
        pools: &mut Pools,
        stamp: Stamp,
    ) -> Result<(), FormatError> {
        let version = self.spec.version;
        for (number, (length, blocks)) in self.files.iter().enumerate() {
            let mut fd = self.descriptor(number, *length, blocks.len() as u64);
            let pointers: Vec<u64> = blocks.iter().map(|n| version.file_block(*n)).collect();
            if fd.zla() == Zla::FileBlocks {
                (0..).zip(&pointers).for_each(|(slot, address)| fd.set_slot(slot, *address));
            } else {
                write_pointers(image, pools, &mut fd, &pointers, stamp)?;
            }
            blocks.iter().for_each(|_| fd.count_leaf(None));
            pools.fds.take(image, number as u64 + 1, stamp)?;
            fd.write(image)?;
        }
        pools.fds.take(image, 0, stamp)?;
        pools.fds.seek(FIRST_USER_FD);
        let target = Target { kind: 5, fd: version::fd(0, SDD as u64 + 1), generation: 1 };
        let parent = Target { kind: 2, fd: ROOT, generation: 1 };
        let directory = Directory::new(version, target, parent, false);
        image.write(self.files[SDD].1[0] * MIB, &directory.bytes())
    }

    /// Blocks that do not fit the descriptor are found through pointer blocks; those of the
    /// `.sbc.sf` of VMFS-6 always are.
    fn descriptor(&self, number: usize, length: u64, blocks: u64) -> Descriptor {
        let version = self.spec.version;
        let zla = match version {
            Version::Vmfs6 if number == SB || blocks > version.slots() => Zla::Pb2,
            Version::Vmfs5 if blocks > version.slots() => Zla::Pointers,
            _ => Zla::FileBlocks,
        };
        let mode = if number == SDD { 0o40700 } else { 0o400 };
        let file = NewFile {
            address: version::fd(0, number as u64 + 1),
            generation: 1,
            kind: FileType::System,
            zla,
            length,
            mode,
            parent: 0,
            time: self.spec.time,
        };
        let mut fd = Descriptor::new(version, system_fd_at(version, number), &file);
        if number == SDD {
            fd.add_link();
        }
        fd
    }
}

/// The files that hold their resources themselves, and their number of groups.
fn filed(spec: &VolumeSpec) -> [(usize, Kind, u64); 4] {
    let version = spec.version;
    let pointer_groups = match version {
        Version::Vmfs5 => spec.sb_groups,
        Version::Vmfs6 => 0,
    };
    [
        (FD, Kind::descriptors(version), spec.fd_groups.into()),
        (SB, Kind::sub_blocks(version), spec.sb_groups.into()),
        (PBC, Kind::pointer_blocks(version), pointer_groups.into()),
        (PB2, Kind::pb2(version), 1),
    ]
}

/// Lengths of the system files, in the order of [`NAMES`].
fn lengths(spec: &VolumeSpec, block_count: u64) -> Vec<u64> {
    let version = spec.version;
    let [fds, sub_blocks, pointer_blocks, pb2] =
        filed(spec).map(|(_, kind, groups)| kind.file_length(groups));
    let file_blocks = Kind::file_blocks(version);
    let clusters = block_count.div_ceil(file_blocks.per_cluster);
    let fbb = match version {
        Version::Vmfs5 => file_blocks.file_length(clusters.div_ceil(file_blocks.per_group)),
        Version::Vmfs6 => fbb::length(clusters),
    };
    let vh = version.first_block() * MIB;
    let mut lengths = vec![fbb, fds, pointer_blocks, sub_blocks, vh, pb2];
    match version {
        Version::Vmfs5 => lengths.push(280), // `.` and `..`
        Version::Vmfs6 => lengths.extend([
            GROUP_OFFSET + 4 * KIB,
            Kind::journals(version).file_length(1),
            GROUP_OFFSET + UNMAP_RESOURCES * version.metadata(),
        ]),
    }
    lengths
}

/// Pointer blocks of a system file: of `.pb2.sf`, or on VMFS-5 of `.pbc.sf`.
fn write_pointers(
    image: &Image,
    pools: &mut Pools,
    fd: &mut Descriptor,
    pointers: &[u64],
    stamp: Stamp,
) -> Result<(), FormatError> {
    let version = image.version;
    let (pool, kind) = match version {
        Version::Vmfs5 => (&mut pools.pointer_blocks, POINTER_BLOCK),
        Version::Vmfs6 => (&mut pools.pb2, POINTER_BLOCK_2),
    };
    for (slot, part) in (0..).zip(pointers.chunks(index(version.pointers()))) {
        let mut bytes = vec![0; index(version.pointer_block_bytes())];
        (0..).zip(part).for_each(|(word, address)| {
            version.set_pointer(&mut bytes, word, *address);
        });
        let taken = pool.allocate(image, stamp)?;
        image.write(pool.locate(taken.cluster, taken.index)?, &bytes)?;
        fd.set_slot(slot, version.resource(kind, taken.cluster, taken.index));
        fd.count_pointer_block();
    }
    Ok(())
}

fn write_root(image: &Image, spec: &VolumeSpec) -> Result<(), FormatError> {
    let version = spec.version;
    let own = Target { kind: 2, fd: ROOT, generation: 1 };
    let mut root = Directory::new(version, own, own, true);
    let names = if version == Version::Vmfs5 { &NAMES[..JB] } else { &NAMES[..] };
    for (number, name) in names.iter().enumerate() {
        let fd = version::fd(0, number as u64 + 1);
        root.insert_system(number, name, Target { kind: 5, fd, generation: 1 });
    }
    let bytes = root.bytes();
    let mut fd = Descriptor::new(
        version,
        version.first_fd(),
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
    let block = version.first_block() + 1;
    fd.set_slot(0, version.file_block(block));
    fd.count_leaf(None);
    image.write(block * MIB, &bytes)?;
    fd.write(image)
}
