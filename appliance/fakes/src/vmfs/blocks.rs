//! From the block number of a file to the address of the block, through pointer blocks.

use super::address::{self, PB2, SB};
use super::bytes::{get64, index, put64};
use super::descriptor::{Descriptor, Zla};
use super::device::Image;
use super::error::FormatError;
use super::resource::{Resources, Taken};
use super::volume::Volume;
use std::collections::BTreeMap;

/// Pointers in a pointer block of 64 KiB.
pub(super) const POINTERS: u64 = 8192;
const POINTER_BLOCK_BYTES: u64 = 0x1_0000;
/// Pointer blocks kept in memory (16 MiB).
const CACHED_MAX: usize = 256;

/// Pointer blocks by volume offset, and whether the disk has them yet.
#[derive(Default)]
pub(super) struct PointerCache {
    blocks: BTreeMap<u64, (Vec<u8>, bool)>,
}

impl PointerCache {
    /// A block that was just allocated: all holes.
    fn add(&mut self, at: u64) {
        self.blocks.insert(at, (vec![0; index(POINTER_BLOCK_BYTES)], true));
    }

    fn word(&mut self, image: &Image, at: u64, word: u64) -> Result<u64, FormatError> {
        Ok(get64(self.load(image, at)?.0.as_slice(), index(word) * 8))
    }

    fn set_word(&mut self, image: &Image, at: u64, word: u64, to: u64) -> Result<(), FormatError> {
        let block = self.load(image, at)?;
        put64(&mut block.0, index(word) * 8, to);
        block.1 = true;
        Ok(())
    }

    fn load(&mut self, image: &Image, at: u64) -> Result<&mut (Vec<u8>, bool), FormatError> {
        if !self.blocks.contains_key(&at) {
            if self.blocks.len() >= CACHED_MAX {
                self.flush(image)?;
                self.blocks.clear();
            }
            self.blocks.insert(at, (image.read(at, POINTER_BLOCK_BYTES)?, false));
        }
        Ok(self.blocks.get_mut(&at).expect("read above"))
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
fn steps(zla: Zla, block: u64) -> (u64, Vec<u64>) {
    match zla {
        Zla::FileBlocks | Zla::SubBlocks | Zla::Resident => (block, Vec::new()),
        Zla::Pointers | Zla::Pb2 => (block / POINTERS, vec![block % POINTERS]),
        Zla::DoublePointers => {
            (block / POINTERS / POINTERS, vec![block / POINTERS % POINTERS, block % POINTERS])
        }
    }
}

impl Volume {
    /// The address of block number `block` of a file; 0 is a hole.
    pub(super) fn leaf(&mut self, fd: &Descriptor, block: u64) -> Result<u64, FormatError> {
        let (slot, words) = steps(fd.zla(), block);
        let mut address = fd.slot(slot);
        for word in words {
            if address == 0 {
                break;
            }
            let at = self.locate_sub_block(address)?;
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
        let (slot, words) = steps(fd.zla(), block);
        let cluster = (address & 7 == address::SFB)
            .then(|| super::bytes::low32(address::sfb_block(address) / address::SFB_PER_CLUSTER));
        fd.count_leaf(cluster);
        let Some((last, upper)) = words.split_last() else {
            fd.set_slot(slot, address);
            return Ok(());
        };
        if fd.slot(slot) == 0 {
            let pointer = self.new_pointer_block(fd)?;
            fd.set_slot(slot, pointer);
        }
        let mut at = self.locate_sub_block(fd.slot(slot))?;
        for word in upper {
            let mut next = self.pointers.word(&self.image, at, *word)?;
            if next == 0 {
                next = self.new_pointer_block(fd)?;
                self.pointers.set_word(&self.image, at, *word, next)?;
            }
            at = self.locate_sub_block(next)?;
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
        let (slot, words) = steps(fd.zla(), block);
        let Some((last, upper)) = words.split_last() else {
            fd.set_slot(slot, address);
            return Ok(());
        };
        let mut at = self.locate_sub_block(fd.slot(slot))?;
        for word in upper {
            let next = self.pointers.word(&self.image, at, *word)?;
            at = self.locate_sub_block(next)?;
        }
        self.pointers.set_word(&self.image, at, *last, address)
    }

    /// Allocates a sub-block; its bytes are zero, because nothing is ever given back.
    pub(super) fn new_sub_block(&mut self) -> Result<u64, FormatError> {
        let stamp = self.stamp;
        let Taken { cluster, index, .. } = self.pools.sub_blocks.allocate(&self.image, stamp)?;
        Ok(address::sub_block(SB, cluster, index))
    }

    /// Volume offset of a sub-block or PB2 pointer block.
    pub(super) fn locate_sub_block(&self, address: u64) -> Result<u64, FormatError> {
        let (cluster, index) = address::sub_block_parts(address);
        let pool: &Resources =
            if address & 7 == PB2 { &self.pools.pb2 } else { &self.pools.sub_blocks };
        pool.locate(cluster, index)
    }

    fn new_pointer_block(&mut self, fd: &mut Descriptor) -> Result<u64, FormatError> {
        let address = self.new_sub_block()?;
        let at = self.locate_sub_block(address)?;
        self.pointers.add(at);
        fd.count_pointer_block();
        Ok(address)
    }
}
