//! File descriptors: lock block, metadata, and either resident data or block pointers.

use crate::bytes::Fields;
use crate::error::{At, VmfsError};
use crate::space::Space;
use crate::superblock::{Family, Geometry};
use std::ops::Range;

const LOCK_TYPE: u32 = 0x10C0_0001;
/// Metadata of a descriptor, at the start of its second block.
const METADATA_BYTES: usize = 512;

/// What a descriptor describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The volume itself.
    Volume,
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A file of the file system's own.
    System,
    /// A pointer to another LUN (raw device mapping): it has no data on this volume.
    RawDevice,
}

impl FileKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Volume, Self::Directory, Self::Regular, Self::Symlink, Self::System, Self::RawDevice]
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
            .copied()
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Directory => "directory",
            Self::Regular => "regular file",
            Self::Symlink => "symbolic link",
            Self::System => "system file",
            Self::RawDevice => "raw device mapping",
        }
    }
}

/// How the blocks of a file are found (the zero-level address type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zla {
    FileBlocks,
    SubBlocks,
    Pointers,
    Pointers2,
    DoublePointers,
    Resident,
    RawDevice,
}

impl Zla {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::RawDevice,
            1 => Self::FileBlocks,
            2 => Self::SubBlocks,
            3 => Self::Pointers,
            5 => Self::Pointers2,
            0x10D0 => Self::DoublePointers,
            0x10D1 => Self::Resident,
            _ => return None,
        })
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FileBlocks => "file blocks",
            Self::SubBlocks => "sub-blocks",
            Self::Pointers | Self::Pointers2 => "pointer blocks",
            Self::DoublePointers => "two levels of pointer blocks",
            Self::Resident => "in the descriptor",
            Self::RawDevice => "on another LUN",
        }
    }

    /// Levels of pointer blocks between descriptor and leaf.
    pub(crate) fn levels(self) -> u32 {
        match self {
            Self::Pointers | Self::Pointers2 => 1,
            Self::DoublePointers => 2,
            _ => 0,
        }
    }
}

/// A checked descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    /// Volume offset.
    pub(crate) at: u64,
    pub(crate) address: u32,
    pub(crate) generation: u32,
    pub(crate) kind: FileKind,
    pub(crate) length: u64,
    pub(crate) block_shift: u32,
    /// Leaves that are not holes.
    pub(crate) leaves: u64,
    /// Leaves that are marked 'to be zeroed'.
    pub(crate) to_be_zeroed: u64,
    /// Leaves that are marked copy-on-write.
    pub(crate) copy_on_write: u64,
    /// Pointer blocks; only VMFS-6 counts them.
    pub(crate) pointer_blocks: Option<u64>,
    /// Descriptor of the directory; only VMFS-6 has it, and not for system files.
    pub(crate) parent: u32,
    pub(crate) modified: u32,
    pub(crate) zla: Zla,
    pub(crate) bytes: Vec<u8>,
    slots: Range<usize>,
    resident: Range<usize>,
    slot_bytes: usize,
}

/// Places of the parts, by family.
struct Layout {
    metadata: usize,
    resident: Range<usize>,
    slots: Range<usize>,
    slot_bytes: usize,
}

impl Layout {
    fn of(family: Family) -> Self {
        match family {
            Family::Vmfs5 => {
                Self { metadata: 512, resident: 1024..2048, slots: 1024..2048, slot_bytes: 4 }
            }
            Family::Vmfs6 => Self {
                metadata: 4096,
                resident: 4096 + METADATA_BYTES..8192,
                slots: 8192 - 2560..8192,
                slot_bytes: 8,
            },
        }
    }
}

/// Reads and checks the descriptor `address` at volume offset `offset`.
pub(crate) fn read(
    space: &Space,
    geometry: &Geometry,
    address: u32,
    offset: u64,
) -> Result<Descriptor, VmfsError> {
    let at = At { structure: "file descriptor", offset };
    parse(geometry, address, offset, space.read(at, geometry.fd_bytes())?)
}

/// Checks the bytes of a descriptor.
pub(crate) fn parse(
    geometry: &Geometry,
    address: u32,
    offset: u64,
    bytes: Vec<u8>,
) -> Result<Descriptor, VmfsError> {
    let at = At { structure: "file descriptor", offset };
    let layout = Layout::of(geometry.family);
    let lock = Fields(&bytes);
    at.expect("lock type", lock.u32(0), LOCK_TYPE)?;
    at.expect("own offset in the lock", lock.u64(4), offset)?;
    let meta = Fields(&bytes[layout.metadata..layout.metadata + METADATA_BYTES]);
    at.expect("own address", meta.u32(0), address)?;
    let vmfs6 = geometry.family == Family::Vmfs6;
    if vmfs6 {
        at.require(meta.array(0x64) == *b"dmdf", "signature", "wrong", "fdmd")?;
    }
    let kind = FileKind::from_number(meta.u32(0x0C))
        .ok_or_else(|| at.damaged("type", meta.u32(0x0C), "1 to 6"))?;
    let zla = Zla::from_number(meta.u32(0x44)).ok_or_else(|| {
        VmfsError::unsupported(format!("a file with address type {:#x}", meta.u32(0x44)))
    })?;
    let descriptor = Descriptor {
        at: offset,
        address,
        generation: meta.u32(0x04),
        kind,
        length: meta.u64(0x14),
        block_shift: u32::from(meta.u8(0x89)),
        leaves: meta.u64(0x24),
        to_be_zeroed: meta.split_u64(0x48, 0x54),
        copy_on_write: meta.split_u64(0x4C, 0x58),
        pointer_blocks: vmfs6.then(|| u64::from(meta.u32(0x5C))),
        parent: meta.u32(0x70),
        modified: meta.u32(0x2C),
        zla,
        slots: layout.slots,
        resident: layout.resident,
        slot_bytes: layout.slot_bytes,
        bytes: bytes.clone(),
    };
    descriptor.check_shape(at, geometry, meta.u64(0x1C))?;
    Ok(descriptor)
}

impl Descriptor {
    /// Type, address type, block size and length must fit one another.
    fn check_shape(&self, at: At, geometry: &Geometry, block_size: u64) -> Result<(), VmfsError> {
        let wanted = match self.zla {
            Zla::RawDevice => 512,
            Zla::SubBlocks | Zla::Resident => geometry.sub_block,
            _ => geometry.file_block,
        };
        at.expect("block size", block_size, wanted)?;
        at.expect("block shift", self.block_shift, u64::from(wanted.trailing_zeros()))?;
        let raw = self.kind == FileKind::RawDevice;
        at.require(
            raw == (self.zla == Zla::RawDevice),
            "address type",
            format_args!("{:?} of a {}", self.zla, self.kind.name()),
            "0 for raw device mappings and for nothing else",
        )?;
        let system = self.kind == FileKind::System;
        let odd = self.zla == Zla::Pointers2 && !system;
        at.require(!odd, "address type", "5", "one for user files")?;
        if self.zla == Zla::Resident {
            let room = self.resident.len() as u64;
            at.require(self.length <= room, "length", self.length, "that of a resident file")?;
        } else if !raw {
            let blocks = self.length.div_ceil(1 << self.block_shift);
            let fits = blocks <= self.capacity(geometry);
            at.require(fits, "length", self.length, "no more than its pointers can reach")?;
        }
        Ok(())
    }

    /// Blocks that the descriptor's slots can reach.
    fn capacity(&self, geometry: &Geometry) -> u64 {
        let pointers = pointers_per_block(geometry);
        self.slot_count() * pointers.pow(self.zla.levels())
    }

    /// Number of pointers in the descriptor.
    pub(crate) fn slot_count(&self) -> u64 {
        (self.slots.len() / self.slot_bytes) as u64
    }

    /// The address in a slot; slots behind the last are a mistake of the caller's.
    pub(crate) fn slot(&self, slot: u64) -> u64 {
        word(&self.bytes[self.slots.clone()], self.slot_bytes, slot)
    }

    /// The content of a resident file.
    pub(crate) fn resident(&self) -> &[u8] {
        let length = crate::bytes::index(self.length).min(self.resident.len());
        &self.bytes[self.resident.clone()][..length]
    }

    /// The SCSI disk id of a raw device mapping: type and bytes.
    pub(crate) fn raw_device_id(&self) -> (u8, &[u8]) {
        let id = &self.bytes[self.resident.clone()][..78];
        let length = usize::from(id[1]).min(44);
        (id[0], &id[34..34 + length])
    }
}

/// Pointers in a pointer block: 4 KiB of 32 bits, or 64 KiB of 64 bits.
pub(crate) fn pointers_per_block(geometry: &Geometry) -> u64 {
    match geometry.family {
        Family::Vmfs5 => 1024,
        Family::Vmfs6 => 8192,
    }
}

/// Bytes of a pointer.
pub(crate) fn pointer_bytes(geometry: &Geometry) -> usize {
    match geometry.family {
        Family::Vmfs5 => 4,
        Family::Vmfs6 => 8,
    }
}

/// Pointer number `number` in an array of pointers of `size` bytes.
pub(crate) fn word(bytes: &[u8], size: usize, number: u64) -> u64 {
    let fields = Fields(bytes);
    let at = crate::bytes::index(number) * size;
    if size == 4 { u64::from(fields.u32(at)) } else { fields.u64(at) }
}
