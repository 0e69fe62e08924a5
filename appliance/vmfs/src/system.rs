//! The system files: opened in the order in which each needs the ones before it.
//!
//! `.pb2.sf`, `.pbc.sf` and `.fbb.sf` lie on file blocks alone; `.fdc.sf` may need pointer blocks
//! of `.pbc.sf` (VMFS-5 with small blocks), `.sbc.sf` those of `.pbc.sf` or `.pb2.sf`.

use crate::address::{self, Leaf, Pointer};
use crate::bitmap::SparseBits;
use crate::bytes::index;
use crate::descriptor::{self, Descriptor, FileKind, pointer_bytes, pointers_per_block, word};
use crate::error::{At, VmfsError};
use crate::resource::{Kind, ResourceFile};
use crate::space::Space;
use crate::superblock::{Family, Geometry, Superblock};

/// Descriptor of the root directory.
pub(crate) const ROOT: u32 = 4;
const FBB: u64 = 1;
const FDC: u64 = 2;
const PBC: u64 = 3;
const SBC: u64 = 4;
const PB2: u64 = 6;
/// Highest index that may be a system file, by family.
const LAST_5: u64 = 7;
const LAST_6: u64 = 8;
const LAST_6_NEWER: u64 = 10;

/// The resource files of an open volume, and where system blocks lie.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) geometry: Geometry,
    pub(crate) file_blocks: ResourceFile,
    pub(crate) descriptors: ResourceFile,
    pub(crate) sub_blocks: ResourceFile,
    pub(crate) pointer_blocks: ResourceFile,
    pointer_blocks_2: ResourceFile,
    /// File blocks of all system files, by number.
    pub(crate) system_blocks: SparseBits,
}

/// Opens the system files.
pub(crate) fn open(space: &Space, superblock: &Superblock) -> Result<System, VmfsError> {
    let geometry = &superblock.geometry;
    let pointer_bytes = pointers_per_block(geometry) * pointer_bytes(geometry) as u64;
    let mut boot = Boot { space, geometry, pbc: None, pb2: None, seen: SparseBits::default() };
    let kind = |name, lock_type, size| Kind { name, lock_type, size };
    let pb2_kind = kind(".pb2.sf", 0x10C0_0006, Some(pointer_bytes));
    boot.pb2 = Some(boot.resource_at(PB2, superblock.pb2_at, pb2_kind)?);
    boot.pbc = Some(boot.resource(PBC, kind(".pbc.sf", 0x10C0_0004, Some(pointer_bytes)))?);
    let file_blocks = boot.resource(FBB, kind(".fbb.sf", 0x10C0_0002, None))?;
    let fd_bytes = Some(geometry.fd_bytes());
    let descriptors = boot.resource(FDC, kind(".fdc.sf", 0x10C0_0005, fd_bytes))?;
    let sub_block = Some(geometry.sub_block);
    let sub_blocks = boot.resource(SBC, kind(".sbc.sf", 0x10C0_0003, sub_block))?;
    boot.rest()?;
    check_count(space, geometry, &file_blocks)?;
    Ok(System {
        geometry: geometry.clone(),
        file_blocks,
        descriptors,
        sub_blocks,
        pointer_blocks: boot.pbc.take().expect("opened above"),
        pointer_blocks_2: boot.pb2.take().expect("opened above"),
        system_blocks: boot.seen,
    })
}

fn check_count(space: &Space, geometry: &Geometry, fbb: &ResourceFile) -> Result<(), VmfsError> {
    let at = At { structure: ".fbb.sf", offset: 0 };
    let fits = fbb.count() <= space.size() / geometry.file_block;
    at.require(fits, "number of file blocks", fbb.count(), "no more than the volume has")
}

impl System {
    /// A resource file of which something lies elsewhere in `later`: its name and its place.
    pub(crate) fn moved(&self, later: &Self) -> Option<(&'static str, u64)> {
        let mut pairs = self.files().into_iter().zip(later.files());
        let (file, _) = pairs.find(|(now, later)| !now.is_start_of(later))?;
        Some((file.name, file.at()))
    }

    fn files(&self) -> [&ResourceFile; 5] {
        [
            &self.file_blocks,
            &self.descriptors,
            &self.sub_blocks,
            &self.pointer_blocks,
            &self.pointer_blocks_2,
        ]
    }

    /// Volume offset of the descriptor `address`.
    pub(crate) fn find_descriptor(&self, at: At, address: u32) -> Result<u64, VmfsError> {
        let place = address::descriptor(address).ok_or_else(|| {
            at.damaged("descriptor address", format_args!("{address:#x}"), "one of type 4")
        })?;
        self.descriptors.find(place)
    }

    /// Volume offset of a pointer block; `None` for holes and for what is not understood.
    pub(crate) fn find_pointer(&self, pointer: Pointer) -> Result<Option<u64>, VmfsError> {
        match pointer {
            Pointer::SubBlock(place) => self.sub_blocks.find(place).map(Some),
            Pointer::Pbc(place) => self.pointer_blocks.find(place).map(Some),
            Pointer::Pb2(place) => self.pointer_blocks_2.find(place).map(Some),
            Pointer::Hole | Pointer::Unknown(_) => Ok(None),
        }
    }
}

/// The state of opening: what is there already.
struct Boot<'a> {
    space: &'a Space,
    geometry: &'a Geometry,
    pbc: Option<ResourceFile>,
    pb2: Option<ResourceFile>,
    seen: SparseBits,
}

impl Boot<'_> {
    fn resource(&mut self, number: u64, kind: Kind) -> Result<ResourceFile, VmfsError> {
        let at = self.geometry.first_fd + number * self.geometry.fd_bytes();
        self.resource_at(number, at, kind)
    }

    fn resource_at(&mut self, number: u64, at: u64, kind: Kind) -> Result<ResourceFile, VmfsError> {
        let fd = self.descriptor(number, at)?;
        let blocks = self.blocks(kind.name, &fd)?;
        ResourceFile::open(self.space, self.geometry, kind, blocks, fd.length)
    }

    /// The system files that hold nothing for a reader: only their blocks are noted.
    fn rest(&mut self) -> Result<(), VmfsError> {
        let last = if self.geometry.family == Family::Vmfs5 { LAST_5 } else { LAST_6 };
        for number in (1..=last).filter(|n| ![FBB, FDC, PBC, SBC, PB2].contains(n)) {
            let at = self.geometry.first_fd + number * self.geometry.fd_bytes();
            let fd = self.descriptor(number, at)?;
            self.blocks("system file", &fd)?;
        }
        if self.geometry.family == Family::Vmfs6 {
            for number in last + 1..=LAST_6_NEWER {
                self.newer(number)?;
            }
        }
        Ok(())
    }

    /// `.unmap.sf` and `.dfd.sf` exist on newer volumes only; elsewhere these descriptors are
    /// free, or belong to users.
    fn newer(&mut self, number: u64) -> Result<(), VmfsError> {
        let offset = self.geometry.first_fd + number * self.geometry.fd_bytes();
        let at = At { structure: "file descriptor", offset };
        let bytes = self.space.read(at, self.geometry.fd_bytes())?;
        let address = system_address(number);
        match descriptor::parse(self.geometry, address, offset, bytes) {
            Ok(fd) if fd.kind == FileKind::System => {
                self.blocks("system file", &fd)?;
                Ok(())
            }
            Ok(_) | Err(_) => Ok(()), // nothing is read through it
        }
    }

    fn descriptor(&self, number: u64, offset: u64) -> Result<Descriptor, VmfsError> {
        let address = system_address(number);
        let fd = descriptor::read(self.space, self.geometry, address, offset)?;
        let at = At { structure: "system file descriptor", offset };
        at.require(fd.kind == FileKind::System, "type", fd.kind.name(), "system file")?;
        Ok(fd)
    }

    /// Volume offsets of all blocks of a system file. It has no holes, no flags, no repeats.
    fn blocks(&mut self, name: &'static str, fd: &Descriptor) -> Result<Vec<u64>, VmfsError> {
        let at = At { structure: name, offset: fd.at };
        let count = fd.length.div_ceil(self.geometry.file_block);
        let fits = fd.length <= self.space.size();
        at.require(fits, "length", fd.length, "no more than the volume has")?;
        let mut blocks = Vec::new();
        match fd.zla.levels() {
            0 => {
                for slot in 0..count {
                    blocks.push(self.block(at, fd.slot(slot))?);
                }
            }
            1 => {
                let per_block = pointers_per_block(self.geometry);
                for slot in 0..count.div_ceil(per_block) {
                    let left = count - slot * per_block;
                    self.pointed(at, fd.slot(slot), left.min(per_block), &mut blocks)?;
                }
            }
            _ => return Err(VmfsError::unsupported(format!("{name} with two pointer levels"))),
        }
        Ok(blocks)
    }

    /// The blocks that a pointer block of a system file names.
    fn pointed(
        &mut self,
        at: At,
        address: u64,
        count: u64,
        blocks: &mut Vec<u64>,
    ) -> Result<(), VmfsError> {
        let size = pointer_bytes(self.geometry);
        let place = match address::pointer(self.geometry, address) {
            Ok(Pointer::Pbc(place)) => self.pbc.as_ref().map(|file| file.find(place)),
            Ok(Pointer::Pb2(place)) => self.pb2.as_ref().map(|file| file.find(place)),
            _ => None,
        };
        let offset = place.ok_or_else(|| {
            at.damaged("pointer block", format_args!("{address:#x}"), "one of .pbc.sf or .pb2.sf")
        })??;
        let block = At { structure: "pointer block", offset };
        let bytes = self.space.read(block, pointers_per_block(self.geometry) * size as u64)?;
        for number in 0..count {
            blocks.push(self.block(at, word(&bytes, size, number))?);
        }
        Ok(())
    }

    fn block(&mut self, at: At, address: u64) -> Result<u64, VmfsError> {
        let wrong = |expected| at.damaged("block", format_args!("{address:#x}"), expected);
        let Ok(Leaf::Block { number, zero: false }) = address::leaf(self.geometry, address) else {
            return Err(wrong("a plain file block"));
        };
        if number >= self.space.size() / self.geometry.file_block {
            return Err(wrong("a block within the volume"));
        }
        if !self.seen.insert(number) {
            return Err(wrong("a block that no other system file has"));
        }
        Ok(number * self.geometry.file_block)
    }
}

fn system_address(number: u64) -> u32 {
    let number = u32::try_from(index(number)).expect("at most 10");
    ROOT | number << 22
}
