//! From the block number of a file to the leaf: through the descriptor's slots and up to two
//! levels of pointer blocks. Every place is checked before it is believed.

use crate::address::{self, Leaf, Pointer, Reason};
use crate::descriptor::{Descriptor, Zla, pointer_bytes, pointers_per_block, word};
use crate::error::{At, VmfsError};
use crate::space::Space;
use crate::superblock::Family;
use crate::system::System;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pointer blocks of one file that are kept: 1 MiB on VMFS-6, 8192 file blocks each.
const KEPT_MAX: usize = 16;

/// Where a leaf lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Hole,
    Zero,
    /// Volume offset of the block, and its size: the file offset modulo the size is the
    /// position in it.
    At {
        base: u64,
        size: u64,
    },
    Unknown(Reason),
}

/// The answer for a block of a file, valid for `blocks` blocks from it on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) placed: Placed,
    pub(crate) blocks: u64,
    /// The block is a part of a large one.
    pub(crate) large: bool,
}

/// The pointer blocks of one file: the latest ones, and the hashes of all that were used.
#[derive(Default)]
pub(crate) struct PointerCache(Mutex<Visited>);

#[derive(Default)]
struct Visited {
    recent: VecDeque<(u64, Arc<Vec<u8>>)>,
    hashes: BTreeMap<u64, [u8; 32]>,
}

impl PointerCache {
    /// Offsets and hashes of all pointer blocks used so far, ascending.
    pub(crate) fn visited(&self) -> Vec<(u64, [u8; 32])> {
        self.lock().hashes.iter().map(|(offset, hash)| (*offset, *hash)).collect()
    }

    /// The pointer block at a volume offset. When it was used before, it must not have changed.
    pub(crate) fn load(
        &self,
        space: &Space,
        system: &System,
        offset: u64,
    ) -> Result<Arc<Vec<u8>>, VmfsError> {
        if let Some(bytes) = self.lock().recent(offset) {
            return Ok(bytes);
        }
        let bytes = read(space, system, offset)?;
        let hash = *blake3::hash(&bytes).as_bytes();
        let mut visited = self.lock();
        if *visited.hashes.entry(offset).or_insert(hash) != hash {
            return Err(VmfsError::Moved { structure: "pointer block", offset });
        }
        let bytes = Arc::new(bytes);
        if visited.recent.len() == KEPT_MAX {
            visited.recent.pop_front();
        }
        visited.recent.push_back((offset, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Visited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visited {
    fn recent(&self, offset: u64) -> Option<Arc<Vec<u8>>> {
        let found = self.recent.iter().rev().find(|(kept, _)| *kept == offset);
        found.map(|(_, bytes)| Arc::clone(bytes))
    }
}

/// Reads a pointer block.
pub(crate) fn read(space: &Space, system: &System, offset: u64) -> Result<Vec<u8>, VmfsError> {
    let geometry = &system.geometry;
    let length = pointers_per_block(geometry) * pointer_bytes(geometry) as u64;
    space.read(At { structure: "pointer block", offset }, length)
}

/// Finds the leaf of block number `block`, which lies within the reach of the slots.
pub(crate) fn find(
    space: &Space,
    system: &System,
    fd: &Descriptor,
    cache: &PointerCache,
    block: u64,
) -> Result<Step, VmfsError> {
    let geometry = &system.geometry;
    let per_block = pointers_per_block(geometry);
    let mut span = per_block.pow(fd.zla.levels());
    let mut at = At { structure: "file descriptor", offset: fd.at };
    let mut address = fd.slot(block / span);
    let mut within = block % span;
    for _ in 0..fd.zla.levels() {
        let whole = |placed| Ok(Step { placed, blocks: span - within, large: false });
        let offset = match pointer(system, at, address)? {
            PointedAt::Hole => return whole(Placed::Hole),
            PointedAt::Unknown(reason) => return whole(Placed::Unknown(reason)),
            PointedAt::Block(offset) => offset,
        };
        let bytes = cache.load(space, system, offset)?;
        at = At { structure: "pointer block", offset };
        span /= per_block;
        address = word(&bytes, pointer_bytes(geometry), within / span);
        within %= span;
    }
    let (placed, leaf) = leaf(system, fd, at, address, block)?;
    Ok(Step { placed, blocks: 1, large: matches!(leaf, Leaf::Large { .. }) })
}

/// What the address of a pointer block leads to.
pub(crate) enum PointedAt {
    Hole,
    Unknown(Reason),
    /// Volume offset of the pointer block.
    Block(u64),
}

/// Decodes the address of a pointer block of a user file that stands in the structure `at`.
pub(crate) fn pointer(system: &System, at: At, address: u64) -> Result<PointedAt, VmfsError> {
    let wrong = |expected| at.damaged("pointer", format_args!("{address:#x}"), expected);
    let pointer = address::pointer(&system.geometry, address)
        .map_err(|_| wrong("the address of a pointer block"))?;
    match (pointer, system.geometry.family) {
        (Pointer::Hole, _) => Ok(PointedAt::Hole),
        (Pointer::Unknown(reason), _) => Ok(PointedAt::Unknown(reason)),
        (Pointer::SubBlock(_), Family::Vmfs6) | (Pointer::Pbc(_), Family::Vmfs5) => {
            let offset = system.find_pointer(pointer)?;
            offset.map(PointedAt::Block).ok_or_else(|| wrong("the address of a pointer block"))
        }
        _ => Err(wrong("a pointer block of the kind that files of this version have")),
    }
}

/// Decodes and places the leaf of block number `block` that stands in the structure `at`.
pub(crate) fn leaf(
    system: &System,
    fd: &Descriptor,
    at: At,
    address: u64,
    block: u64,
) -> Result<(Placed, Leaf), VmfsError> {
    let geometry = &system.geometry;
    let wrong = |expected| at.damaged("block address", format_args!("{address:#x}"), expected);
    let leaf = address::leaf(geometry, address).map_err(|_| wrong("the address of a block"))?;
    let placed = match (leaf, fd.zla) {
        (Leaf::Hole, _) => Placed::Hole,
        (Leaf::Unknown(reason), _) => Placed::Unknown(reason),
        (Leaf::SubBlock(place), Zla::SubBlocks) => {
            Placed::At { base: system.sub_blocks.find(place)?, size: geometry.sub_block }
        }
        (_, Zla::SubBlocks) => return Err(wrong("the address of a sub-block")),
        (Leaf::Block { number, zero }, _) => {
            check_file_block(system, at, number)?;
            let base = number * geometry.file_block;
            if zero { Placed::Zero } else { Placed::At { base, size: geometry.file_block } }
        }
        (Leaf::Large { number, zero }, _) => {
            let per_large = geometry.large_block / geometry.file_block;
            let first = number.checked_mul(per_large).ok_or_else(|| wrong("one in the volume"))?;
            check_file_block(system, at, first + block % per_large)?;
            let base = number * geometry.large_block;
            if zero { Placed::Zero } else { Placed::At { base, size: geometry.large_block } }
        }
        (Leaf::SubBlock(_), _) => return Err(wrong("the address of a file block")),
    };
    Ok((placed, leaf))
}

/// A file block of a user's file lies in the volume, behind the fixed areas, and is no system
/// file's.
fn check_file_block(system: &System, at: At, number: u64) -> Result<(), VmfsError> {
    let geometry = &system.geometry;
    let there = number < system.file_blocks.count();
    let users = number >= geometry.start / geometry.file_block;
    at.require(there && users, "block number", number, "one of the volume's")?;
    let system_file = system.system_blocks.contains(number);
    at.require(!system_file, "block number", number, "not that of a system file")
}
