//! From the block number of a file to the address of the block, through pointer blocks.

use super::bytes::index;
use super::descriptor::{Descriptor, Zla};
use super::device::Image;
use super::error::FormatError;
use super::resource::Resources;
use super::version::{FILE_BLOCK, LARGE_BLOCK, POINTER_BLOCK, POINTER_BLOCK_2, SUB_BLOCK, Version};
use super::volume::Volume;
use std::collections::BTreeMap;

/// Pointer blocks kept in memory (16 MiB).
const CACHED_MAX: usize = 256;

/// Pointer blocks by volume offset, and whether the disk has them yet.
#[derive(Default)]
pub(super) struct PointerCache {
    blocks: BTreeMap<u64, (Vec<u8>, bool)>,
}

impl PointerCache {
    /// A block that was just allocated: all holes.
    fn add(&mut self, image: &Image, at: u64) -> Result<(), FormatError> {
        self.make_room(image)?;
        let bytes = vec![0; index(image.version.pointer_block_bytes())];
        self.blocks.insert(at, (bytes, true));
        Ok(())
    }

    fn word(&mut self, image: &Image, at: u64, word: u64) -> Result<u64, FormatError> {
        Ok(image.version.pointer(&self.load(image, at)?.0, word))
    }

    fn set_word(&mut self, image: &Image, at: u64, word: u64, to: u64) -> Result<(), FormatError> {
        let block = self.load(image, at)?;
        image.version.set_pointer(&mut block.0, word, to);
        block.1 = true;
        Ok(())
    }

    fn load(&mut self, image: &Image, at: u64) -> Result<&mut (Vec<u8>, bool), FormatError> {
        if !self.blocks.contains_key(&at) {
            self.make_room(image)?;
            let bytes = image.read(at, image.version.pointer_block_bytes())?;
            self.blocks.insert(at, (bytes, false));
        }
        Ok(self.blocks.get_mut(&at).expect("read above"))
    }

    fn make_room(&mut self, image: &Image) -> Result<(), FormatError> {
        if self.blocks.len() >= CACHED_MAX {
            self.flush(image)?;
            self.blocks.clear();
        }
        Ok(())
    }

    /// Writes the changed blocks.
    pub(super) fn flush(&mut self, image: &Image) -> Result<(), FormatError> {
        for (at, (bytes, changed)) in self.blocks.iter_mut().filter(|(_, block)| block.1) {
            image.write(*at, bytes)?;
            *changed = false;
        }
        Ok(())
    }
}

/// The slot in the descriptor, and the words in the pointer blocks below it, outermost first.
fn steps(version: Version, zla: Zla, block: u64) -> (u64, Vec<u64>) {
    let pointers = version.pointers();
    match zla {
        Zla::FileBlocks | Zla::SubBlocks | Zla::Resident | Zla::RawDevice => (block, Vec::new()),
        Zla::Pointers | Zla::Pb2 => (block / pointers, vec![block % pointers]),
        Zla::DoublePointers => {
            (block / pointers / pointers, vec![block / pointers % pointers, block % pointers])
        }
    }
}

impl Volume {
    /// The address of block number `block` of a file; 0 is a hole.
    pub(super) fn leaf(&mut self, fd: &Descriptor, block: u64) -> Result<u64, FormatError> {
        let (slot, words) = steps(self.image.version, fd.zla(), block);
        let mut address = fd.slot(slot);
        for word in words {
            if address == 0 {
                break;
            }
            let at = self.locate_resource(address)?;
            address = self.pointers.word(&self.image, at, word)?;
        }
        Ok(address)
    }

    /// Makes block number `block`, a hole, point to `address`; allocates the pointer blocks
    /// that are missing on the way. The descriptor is changed in memory.
    pub(super) fn set_leaf(
        &mut self,
        fd: &mut Descriptor,
        block: u64,
        address: u64,
    ) -> Result<(), FormatError> {
        let version = self.image.version;
        let (slot, words) = steps(version, fd.zla(), block);
        fd.count_leaf(version.sfb_cluster(address));
        let Some((last, upper)) = words.split_last() else {
            fd.set_slot(slot, address);
            return Ok(());
        };
        if fd.slot(slot) == 0 {
            let pointer = self.new_pointer_block(fd)?;
            fd.set_slot(slot, pointer);
        }
        let mut at = self.locate_resource(fd.slot(slot))?;
        for word in upper {
            let mut next = self.pointers.word(&self.image, at, *word)?;
            if next == 0 {
                next = self.new_pointer_block(fd)?;
                self.pointers.set_word(&self.image, at, *word, next)?;
            }
            at = self.locate_resource(next)?;
        }
        self.pointers.set_word(&self.image, at, *last, address)
    }

    /// Makes block number `block`, which has an address, point to another one.
    pub(super) fn replace_leaf(
        &mut self,
        fd: &mut Descriptor,
        block: u64,
        address: u64,
    ) -> Result<(), FormatError> {
        let (slot, words) = steps(self.image.version, fd.zla(), block);
        let Some((last, upper)) = words.split_last() else {
            fd.set_slot(slot, address);
            return Ok(());
        };
        let mut at = self.locate_resource(fd.slot(slot))?;
        for word in upper {
            let next = self.pointers.word(&self.image, at, *word)?;
            at = self.locate_resource(next)?;
        }
        self.pointers.set_word(&self.image, at, *last, address)
    }

    /// Volume offset of the leaf `address` of block number `block`.
    pub(super) fn locate_leaf(&self, address: u64, block: u64) -> Result<u64, FormatError> {
        match address & 7 {
            FILE_BLOCK | LARGE_BLOCK => Ok(self.image.version.block_at(address, block)),
            _ => self.locate_resource(address),
        }
    }

    /// Allocates one block (or sub-block) for a leaf.
    pub(super) fn new_leaf(&mut self, zla: Zla) -> Result<u64, FormatError> {
        let version = self.image.version;
        if zla == Zla::SubBlocks {
            let taken = self.pools.sub_blocks.allocate(&self.image, self.stamp)?;
            return Ok(version.resource(SUB_BLOCK, taken.cluster, taken.index));
        }
        if let Some(scatter) = &mut self.scatter {
            if scatter.run == 0 {
                scatter.run = 1 + scatter.random.below(6);
                let count = self.pools.file_blocks.count();
                self.pools.file_blocks.seek(scatter.random.below(count));
            }
            scatter.run -= 1;
        }
        let taken = self.pools.file_blocks.allocate(&self.image, self.stamp)?;
        Ok(version.file_block(taken.number))
    }

    /// Allocates a large block. It takes the file blocks that it lies on.
    pub(super) fn new_large_block(&mut self) -> Result<u64, FormatError> {
        let cluster = self.pools.file_blocks.allocate_cluster(&self.image, self.stamp)?;
        self.pools.join_large_block(&self.image, cluster)?;
        Ok(Version::large_block(cluster))
    }

    /// Volume offset of a sub-block or pointer block.
    fn locate_resource(&self, address: u64) -> Result<u64, FormatError> {
        let (cluster, index) = self.image.version.resource_parts(address);
        let pool: &Resources = match address & 7 {
            POINTER_BLOCK => &self.pools.pointer_blocks,
            POINTER_BLOCK_2 => &self.pools.pb2,
            _ => &self.pools.sub_blocks,
        };
        pool.locate(cluster, index)
    }

    fn new_pointer_block(&mut self, fd: &mut Descriptor) -> Result<u64, FormatError> {
        let (pool, kind) = match self.image.version {
            Version::Vmfs5 => (&mut self.pools.pointer_blocks, POINTER_BLOCK),
            Version::Vmfs6 => (&mut self.pools.sub_blocks, SUB_BLOCK),
        };
        let taken = pool.allocate(&self.image, self.stamp)?;
        let at = pool.locate(taken.cluster, taken.index)?;
        self.pointers.add(&self.image, at)?;
        fd.count_pointer_block();
        Ok(self.image.version.resource(kind, taken.cluster, taken.index))
    }
}
