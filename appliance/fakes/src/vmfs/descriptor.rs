//! File descriptors: a lock block and a metadata block, with resident data or pointers.
//!
//! ```text
//! VMFS-5   lock 512 | metadata 512 | resident data, or 256 pointers of 4 bytes: 1024
//! VMFS-6   lock 4096 | metadata 512 | resident data 3584, its last 2560 are the 320 pointers
//! ```

use super::bytes::{get32, get64, index, low32, put, put32, put64};
use super::cluster::lock_block;
use super::device::Image;
use super::error::FormatError;
use super::version::Version;

const LOCK_TYPE: u32 = 0x10C0_0001;
const META_BYTES: usize = 512;

/// What a descriptor describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileType {
    Directory = 2,
    Regular = 3,
    Symlink = 4,
    System = 5,
    RawDevice = 6,
}

/// How the blocks of a file are found (the zero-level address type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zla {
    RawDevice = 0,
    FileBlocks = 1,
    SubBlocks = 2,
    Pointers = 3,
    Pb2 = 5,
    DoublePointers = 0x10D0,
    Resident = 0x10D1,
}

impl Zla {
    fn from_number(number: u32) -> Option<Self> {
        [
            Self::RawDevice,
            Self::FileBlocks,
            Self::SubBlocks,
            Self::Pointers,
            Self::Pb2,
            Self::DoublePointers,
            Self::Resident,
        ]
        .into_iter()
        .find(|zla| *zla as u32 == number)
    }

    /// log2 of the size of a leaf; resident files carry the sub-block's.
    fn block_shift(self, version: Version) -> u8 {
        match self {
            Self::RawDevice => 9,
            Self::SubBlocks | Self::Resident => {
                version.sub_block_bytes().trailing_zeros().to_le_bytes()[0]
            }
            _ => 20,
        }
    }
}

/// What a new descriptor says.
pub(super) struct NewFile {
    pub(super) address: u32,
    pub(super) generation: u32,
    pub(super) kind: FileType,
    pub(super) zla: Zla,
    pub(super) length: u64,
    pub(super) mode: u32,
    pub(super) parent: u32,
    pub(super) time: u32,
}

/// A descriptor in memory, with the volume offset it belongs to.
#[derive(Clone)]
pub(super) struct Descriptor {
    version: Version,
    at: u64,
    bytes: Vec<u8>,
}

impl Descriptor {
    /// A new one, to be written at volume offset `at`.
    pub(super) fn new(version: Version, at: u64, file: &NewFile) -> Self {
        let mut bytes = lock_block(version, LOCK_TYPE, at);
        bytes.resize(index(version.fd_bytes()), 0);
        let meta = &mut bytes[index(version.metadata())..];
        let shift = file.zla.block_shift(version);
        put32(meta, 0x00, file.address);
        put32(meta, 0x04, file.generation);
        put32(meta, 0x08, 1);
        put32(meta, 0x0C, file.kind as u32);
        put64(meta, 0x14, file.length);
        put64(meta, 0x1C, 1 << shift);
        for time in [0x2C, 0x30, 0x34] {
            put32(meta, time, file.time);
        }
        put32(meta, 0x40, file.mode);
        put32(meta, 0x44, file.zla as u32);
        put32(meta, 0x68, file.address);
        put32(meta, 0x6C, 20);
        meta[0x89] = shift;
        if version == Version::Vmfs6 {
            put(meta, 0x64, b"dmdf");
            put32(meta, 0x70, file.parent);
            if file.kind == FileType::Regular && shift == 20 {
                put32(meta, 0x10, 9);
                put32(meta, 0x7C, 1);
                put32(meta, 0x80, 1);
            }
        }
        Self { version, at, bytes }
    }

    /// Reads the descriptor at volume offset `at`.
    pub(super) fn read(image: &Image, at: u64) -> Result<Self, FormatError> {
        let version = image.version;
        let bytes = image.read(at, version.fd_bytes())?;
        let descriptor = Self { version, at, bytes };
        let known = get32(&descriptor.bytes, 0) == LOCK_TYPE && get64(&descriptor.bytes, 4) == at;
        if known && Zla::from_number(descriptor.word(0x44)).is_some() {
            return Ok(descriptor);
        }
        let problem = "it is not one of this formatter's";
        Err(FormatError::NotOurs { structure: "file descriptor", offset: at, problem })
    }

    /// Writes it, with the lock taken and given back.
    pub(super) fn write(&mut self, image: &Image) -> Result<(), FormatError> {
        let token = get64(&self.bytes, 0x1C);
        put64(&mut self.bytes, 0x1C, token + 2);
        let (lock, rest) = self.bytes.split_at(self.meta());
        image.write(self.at + self.version.metadata(), rest)?;
        image.write(self.at, lock)
    }

    pub(super) fn address(&self) -> u32 {
        self.word(0x00)
    }

    pub(super) fn generation(&self) -> u32 {
        self.word(0x04)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.word(0x0C) == FileType::Directory as u32
    }

    pub(super) fn length(&self) -> u64 {
        get64(&self.bytes, self.meta() + 0x14)
    }

    pub(super) fn set_length(&mut self, length: u64) {
        let at = self.meta() + 0x14;
        put64(&mut self.bytes, at, length);
    }

    pub(super) fn block_size(&self) -> u64 {
        get64(&self.bytes, self.meta() + 0x1C)
    }

    pub(super) fn zla(&self) -> Zla {
        Zla::from_number(self.word(0x44)).expect("checked when read or made from one")
    }

    pub(super) fn add_link(&mut self) {
        let links = self.word(0x08) + 1;
        self.set_word(0x08, links);
    }

    /// Counts one more leaf; `cluster` is that of a file block of VMFS-6.
    pub(super) fn count_leaf(&mut self, cluster: Option<u32>) {
        let at = self.meta() + 0x24;
        let leaves = get64(&self.bytes, at) + 1;
        put64(&mut self.bytes, at, leaves);
        self.set_word(0x50, low32(leaves));
        self.set_word(0x60, low32(leaves >> 32));
        if let Some(cluster) = cluster {
            self.set_word(0x74, cluster);
        }
    }

    /// Counts blocks that are to be read as zeros.
    pub(super) fn count_to_be_zeroed(&mut self, change: i32) {
        let blocks = self.word(0x48).wrapping_add_signed(change);
        self.set_word(0x48, blocks);
    }

    /// Counts a block that is marked copy-on-write.
    pub(super) fn count_copy_on_write(&mut self) {
        let blocks = self.word(0x4C) + 1;
        self.set_word(0x4C, blocks);
    }

    /// Counts a large block. That this counter means it is a guess: none was ever seen.
    pub(super) fn count_large_block(&mut self) {
        let blocks = self.word(0x8C) + 1;
        self.set_word(0x8C, blocks);
    }

    /// Counts a pointer block; VMFS-5 does not.
    pub(super) fn count_pointer_block(&mut self) {
        if self.version == Version::Vmfs6 {
            let blocks = self.word(0x5C) + 1;
            self.set_word(0x5C, blocks);
        }
    }

    /// Moves the time of the last change to `time`, or on by a second.
    pub(super) fn touch(&mut self, time: Option<u32>) {
        let time = time.unwrap_or_else(|| self.word(0x2C).wrapping_add(1));
        self.set_word(0x2C, time);
        self.set_word(0x30, time);
    }

    pub(super) fn slot(&self, slot: u64) -> u64 {
        self.version.pointer(&self.bytes[self.slots_at()..], slot)
    }

    pub(super) fn set_slot(&mut self, slot: u64, address: u64) {
        let (version, at) = (self.version, self.slots_at());
        version.set_pointer(&mut self.bytes[at..], slot, address);
    }

    /// The bytes of a resident file.
    pub(super) fn resident(&self) -> &[u8] {
        let start = self.meta() + META_BYTES;
        &self.bytes[start..start + index(self.length())]
    }

    pub(super) fn set_resident(&mut self, offset: u64, data: &[u8]) {
        let at = self.meta() + META_BYTES + index(offset);
        put(&mut self.bytes, at, data);
    }

    fn meta(&self) -> usize {
        index(self.version.metadata())
    }

    fn slots_at(&self) -> usize {
        match self.version {
            Version::Vmfs5 => 1024,
            Version::Vmfs6 => 8192 - 320 * 8,
        }
    }

    fn word(&self, at: usize) -> u32 {
        get32(&self.bytes, self.meta() + at)
    }

    fn set_word(&mut self, at: usize, value: u32) {
        let at = self.meta() + at;
        put32(&mut self.bytes, at, value);
    }
}
