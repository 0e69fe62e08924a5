//! Addresses: resource numbers packed with a type in the low 3 bits, 0 for a hole.
//!
//! Flags that no volume made by ESXi was seen with are not guessed about: a copy-on-write bit,
//! a half-set 'to be zeroed' field or a bit without a meaning make the range [`Reason`].

use crate::superblock::{Family, Geometry};
use std::fmt;

/// Why the place of a range is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The copy-on-write bit of a block address is set.
    CopyOnWrite,
    /// A 'to be zeroed' field that says neither 'data' nor 'zeros'.
    PartlyToBeZeroed,
    /// Bits of a block address that have no known meaning are set.
    UnknownBits,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CopyOnWrite => "its block is marked copy-on-write",
            Self::PartlyToBeZeroed => "its block is partly marked 'to be zeroed'",
            Self::UnknownBits => "its block address has bits of unknown meaning",
        })
    }
}

/// What the address of a leaf says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Hole,
    /// A file block, by number.
    Block {
        number: u64,
        zero: bool,
    },
    /// A large block, by number.
    Large {
        number: u64,
        zero: bool,
    },
    SubBlock(Place),
    Unknown(Reason),
}

/// What the address of a pointer block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    Hole,
    /// In `.sbc.sf`: the pointer blocks of VMFS-6 files.
    SubBlock(Place),
    /// In `.pbc.sf`: those of VMFS-5 files.
    Pbc(Place),
    /// In `.pb2.sf`: those of system files.
    Pb2(Place),
    Unknown(Reason),
}

/// A resource: cluster and index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cluster: u64,
    pub(crate) index: u64,
}

/// The type bits are not those of a leaf, or of a pointer block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType(pub(crate) u64);

const FILE_BLOCK: u64 = 1;
const SUB_BLOCK: u64 = 2;
const POINTER_BLOCK: u64 = 3;
const DESCRIPTOR: u32 = 4;
const POINTER_BLOCK_2: u64 = 5;
const LARGE_BLOCK: u64 = 7;
/// Copy-on-write in the addresses of sub-blocks and pointer blocks, and of VMFS-6 file blocks.
const COW: u64 = 1 << 5;
/// File blocks in a cluster of VMFS-6 (512 MiB of 1 MiB blocks).
pub(crate) const FILE_BLOCKS_PER_CLUSTER: u64 = 512;

/// Bits `first..=last` of an address.
fn bits(address: u64, first: u32, last: u32) -> u64 {
    address >> first & ((1 << (last - first + 1)) - 1)
}

/// Decodes the address of a leaf.
pub(crate) fn leaf(geometry: &Geometry, address: u64) -> Result<Leaf, WrongType> {
    match (geometry.family, address & 7) {
        _ if address == 0 => Ok(Leaf::Hole),
        (Family::Vmfs5, FILE_BLOCK) => Ok(file_block_5(address)),
        (Family::Vmfs6, FILE_BLOCK | LARGE_BLOCK) => Ok(file_block_6(address)),
        (_, SUB_BLOCK) => Ok(match sub_block(geometry, address) {
            Ok(place) => Leaf::SubBlock(place),
            Err(reason) => Leaf::Unknown(reason),
        }),
        _ => Err(WrongType(address)),
    }
}

/// Decodes the address of a pointer block.
pub(crate) fn pointer(geometry: &Geometry, address: u64) -> Result<Pointer, WrongType> {
    let decode = |wrap: fn(Place) -> Pointer, place: Result<Place, Reason>| {
        Ok(place.map_or_else(Pointer::Unknown, wrap))
    };
    match address & 7 {
        _ if address == 0 => Ok(Pointer::Hole),
        SUB_BLOCK => decode(Pointer::SubBlock, sub_block(geometry, address)),
        POINTER_BLOCK => decode(Pointer::Pbc, pointer_block(geometry, address)),
        POINTER_BLOCK_2 => decode(Pointer::Pb2, pointer_block(geometry, address)),
        _ => Err(WrongType(address)),
    }
}

/// Decodes the address of a descriptor.
pub(crate) fn descriptor(address: u32) -> Option<Place> {
    let known = address & 7 == DESCRIPTOR && address >> 3 & 7 == 0;
    known.then(|| Place {
        cluster: bits(u64::from(address), 6, 21),
        index: bits(u64::from(address), 22, 31),
    })
}

fn file_block_5(address: u64) -> Leaf {
    match (bits(address, 3, 3), bits(address, 4, 4), bits(address, 5, 5)) {
        (0, 0, zero) => Leaf::Block { number: bits(address, 6, 31), zero: zero == 1 },
        (0, _, _) => Leaf::Unknown(Reason::CopyOnWrite),
        _ => Leaf::Unknown(Reason::UnknownBits),
    }
}

fn file_block_6(address: u64) -> Leaf {
    let large = address & 7 == LARGE_BLOCK;
    let index = bits(address, 51, 63);
    let unknown = bits(address, 3, 4) | bits(address, 6, 6) | bits(address, 46, 50);
    if unknown != 0 || large && index != 0 {
        return Leaf::Unknown(Reason::UnknownBits);
    }
    if address & COW != 0 {
        return Leaf::Unknown(Reason::CopyOnWrite);
    }
    let zero = match bits(address, 7, 14) {
        0 => false,
        0xFF => true,
        _ => return Leaf::Unknown(Reason::PartlyToBeZeroed),
    };
    let cluster = bits(address, 15, 45);
    if large {
        return Leaf::Large { number: cluster, zero };
    }
    if index >= FILE_BLOCKS_PER_CLUSTER {
        return Leaf::Unknown(Reason::UnknownBits);
    }
    Leaf::Block { number: cluster * FILE_BLOCKS_PER_CLUSTER + index, zero }
}

fn sub_block(geometry: &Geometry, address: u64) -> Result<Place, Reason> {
    if geometry.family == Family::Vmfs6 {
        return pointer_block(geometry, address);
    }
    let upper = bits(address, 3, 4);
    if !geometry.dense && upper != 0 {
        return Err(Reason::UnknownBits);
    }
    refuse_cow(address)?;
    Ok(Place { cluster: bits(address, 6, 27), index: bits(address, 28, 31) | upper << 4 })
}

fn pointer_block(geometry: &Geometry, address: u64) -> Result<Place, Reason> {
    if bits(address, 3, 4) != 0 {
        return Err(Reason::UnknownBits);
    }
    refuse_cow(address)?;
    if geometry.family == Family::Vmfs5 {
        return Ok(Place { cluster: bits(address, 6, 27), index: bits(address, 28, 31) });
    }
    if bits(address, 42, 55) != 0 {
        return Err(Reason::UnknownBits);
    }
    Ok(Place { cluster: bits(address, 6, 41), index: bits(address, 56, 63) })
}

fn refuse_cow(address: u64) -> Result<(), Reason> {
    if address & COW == 0 { Ok(()) } else { Err(Reason::CopyOnWrite) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn geometry(family: Family, dense: bool) -> Geometry {
        Geometry { dense, ..crate::superblock::usual(family) }
    }

    fn leaf_at(family: Family, address: u64) -> Leaf {
        leaf(&geometry(family, true), address).unwrap()
    }

    fn place(cluster: u64, index: u64) -> Place {
        Place { cluster, index }
    }

    /// Addresses that ESXi wrote, and where it put the blocks.
    #[test]
    fn file_blocks_lie_where_esxi_put_them() {
        for (family, address, offset) in [
            (Family::Vmfs5, 0x0001_7F41, 0x5FD0_0000),
            (Family::Vmfs5, 0x0001_7F81, 0x5FE0_0000),
            (Family::Vmfs5, 0x0001_5E41, 0x5790_0000),
            (Family::Vmfs5, 0x0001_5E81, 0x57A0_0000),
            (Family::Vmfs5, 0x0001_7EC1, 0x5FB0_0000),
            (Family::Vmfs6, 0x0B18_0000_0000_8001, 0x3630_0000),
            (Family::Vmfs6, 0x0B20_0000_0000_8001, 0x3640_0000),
            (Family::Vmfs6, 0x0608_0000_0001_8001, 0x6C10_0000),
            (Family::Vmfs6, 0x0610_0000_0001_8001, 0x6C20_0000),
            (Family::Vmfs6, 0x0038_0000_0000_0001, 7 * MIB),
            (Family::Vmfs6, 0x06F0_0000_0000_8001, 734 * MIB),
        ] {
            let block = Leaf::Block { number: offset / MIB, zero: false };
            assert_eq!(leaf_at(family, address), block, "{address:#x}");
        }
    }

    #[test]
    fn sub_blocks_and_pointer_blocks_are_those_of_esxi() {
        let five = |dense, address| leaf(&geometry(Family::Vmfs5, dense), address).unwrap();
        assert_eq!(five(true, 0x0000_0482), Leaf::SubBlock(place(18, 0)));
        assert_eq!(five(true, 0x1000_0482), Leaf::SubBlock(place(18, 1)));
        assert_eq!(five(true, 0x1000_049A), Leaf::SubBlock(place(18, 0x31)));
        assert_eq!(five(false, 0x1000_049A), Leaf::Unknown(Reason::UnknownBits));
        let six = |address| leaf_at(Family::Vmfs6, address);
        assert_eq!(six(0x0100_0000_0000_08C2), Leaf::SubBlock(place(35, 1)));
        let pointer = |family, address| pointer(&geometry(family, true), address).unwrap();
        assert_eq!(pointer(Family::Vmfs5, 0x1003_4483), Pointer::Pbc(place(0xD12, 1)));
        assert_eq!(pointer(Family::Vmfs6, 0x0100_0000_0000_0482), Pointer::SubBlock(place(18, 1)));
        assert_eq!(pointer(Family::Vmfs6, 5), Pointer::Pb2(place(0, 0)));
        assert_eq!(pointer(Family::Vmfs6, 0), Pointer::Hole);
    }

    #[test]
    fn descriptors_are_those_of_esxi() {
        assert_eq!(descriptor(0x1A40_0104), Some(place(4, 0x69)));
        assert_eq!(descriptor(0x0040_03C4), Some(place(15, 1)));
        assert_eq!(descriptor(0x0180_0004), Some(place(0, 6)));
        assert_eq!(descriptor(0x0180_0005), None);
        assert_eq!(descriptor(0x0180_000C), None);
    }

    #[test]
    fn flags_are_zeros_or_unknown_but_never_data() {
        let six = 0x0B18_0000_0000_8001;
        let (number, zero) = (0x363, true);
        assert_eq!(leaf_at(Family::Vmfs6, six | 0xFF << 7), Leaf::Block { number, zero });
        for bit in 7..15 {
            let partly = Leaf::Unknown(Reason::PartlyToBeZeroed);
            assert_eq!(leaf_at(Family::Vmfs6, six | 1 << bit), partly, "{bit}");
        }
        for bit in [3, 4, 6, 46, 47, 48, 49, 50] {
            let unknown = Leaf::Unknown(Reason::UnknownBits);
            assert_eq!(leaf_at(Family::Vmfs6, six | 1 << bit), unknown, "{bit}");
        }
        let cow = Leaf::Unknown(Reason::CopyOnWrite);
        assert_eq!(leaf_at(Family::Vmfs6, six | 1 << 5), cow);
        let five = 0x0001_7F41;
        assert_eq!(leaf_at(Family::Vmfs5, five | 1 << 5), Leaf::Block { number: 0x5FD, zero });
        assert_eq!(leaf_at(Family::Vmfs5, five | 1 << 4), cow);
        assert_eq!(leaf_at(Family::Vmfs5, five | 1 << 3), Leaf::Unknown(Reason::UnknownBits));
        assert_eq!(leaf_at(Family::Vmfs6, 7 | 3 << 15), Leaf::Large { number: 3, zero: false });
    }

    proptest! {
        #[test]
        fn any_address_is_understood_unknown_or_refused(address: u64, dense: bool) {
            for family in [Family::Vmfs5, Family::Vmfs6] {
                let geometry = geometry(family, dense);
                let address = if family == Family::Vmfs5 { address & 0xFFFF_FFFF } else { address };
                let _ = pointer(&geometry, address);
                if let Ok(Leaf::Block { number, .. }) = leaf(&geometry, address) {
                    prop_assert!(number < 1 << 40);
                }
            }
        }
    }
}
