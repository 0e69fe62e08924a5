//! Nodes of a DiskMap (FORMAT.md 5): a tree of fan-out 256 from cell to ChunkId.
//!
//! A node's hash covers which content lies below it and never where that content is stored, so
//! moving records changes no root.

use crate::fields::Fields;
use crate::header::Keys;
use crate::{FormatError, Place};
use model::ChunkId;

const WHAT: &str = "map node";
const HEAD: usize = 16;
const ENTRY: usize = 48;

/// Entries of a full node.
pub const FAN_OUT: u64 = 256;

/// What lies below one entry of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Zeros, in every cell.
    Zero,
    /// The content of one cell (level 0).
    Chunk {
        /// Plain bytes.
        length: u32,
        /// Id of the content.
        id: ChunkId,
        /// Where it lies.
        place: Place,
    },
    /// A node of the next lower level.
    Node {
        /// Its hash.
        id: ChunkId,
        /// Where it lies.
        place: Place,
    },
}

/// How big the map of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    cells: u64,
}

impl Shape {
    /// The map over `cells` cells.
    #[must_use]
    pub fn new(cells: u64) -> Self {
        Self { cells }
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(self) -> u64 {
        self.cells
    }

    /// Level of the root: the smallest one whose one node covers all cells.
    #[must_use]
    pub fn root_level(self) -> u8 {
        (0..7).find(|&level| Self::span(level + 1) >= self.cells).unwrap_or(7)
    }

    /// Cells below one *entry* of a node of `level`; saturates beyond 64 bits.
    #[must_use]
    pub fn span(level: u8) -> u64 {
        FAN_OUT.saturating_pow(u32::from(level))
    }

    /// Number of entries of node `index` of `level`; 0 when it does not exist.
    #[must_use]
    pub fn entries(self, level: u8, index: u64) -> u64 {
        let first = index.saturating_mul(Self::span(level + 1));
        self.cells.saturating_sub(first).div_ceil(Self::span(level)).min(FAN_OUT)
    }
}

/// A node: 1 to 256 entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// 0: the entries are cells.
    pub level: u8,
    /// Number of the node in its level.
    pub index: u64,
    /// What lies below.
    pub entries: Vec<Below>,
}

impl Node {
    /// True when nothing but zeros lies below: such a node is not stored.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.entries.iter().all(|entry| *entry == Below::Zero)
    }

    /// The node's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + ENTRY * self.entries.len());
        let count = u16::try_from(self.entries.len()).expect("a node has at most 256 entries");
        bytes.extend_from_slice(&[self.level, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.index.to_le_bytes());
        for entry in &self.entries {
            let (kind, length, id, place) = match *entry {
                Below::Zero => (0, 0, [0; 32], 0),
                Below::Chunk { length, id, place } => (1, length, id.0, place.to_bits()),
                Below::Node { id, place } => (2, 0, id.0, place.to_bits()),
            };
            bytes.extend_from_slice(&[kind, 0, 0, 0]);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&id);
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes
    }

    /// Hash of a node's bytes, without the places in them.
    #[must_use]
    pub fn hash(keys: &Keys, encoded: &[u8]) -> ChunkId {
        let (head, entries) = encoded.split_at(HEAD.min(encoded.len()));
        let mut hasher = keys.node_hasher();
        hasher.update(head);
        for entry in entries.chunks(ENTRY) {
            hasher.update(&entry[..entry.len().min(40)]);
        }
        ChunkId(*hasher.finalize().as_bytes())
    }

    /// A node from its bytes, which must have the hash `id`, be node `index` of `level` and have
    /// as many entries as `shape` says.
    pub fn decode(
        bytes: &[u8],
        keys: &Keys,
        id: ChunkId,
        shape: Shape,
        (level, index): (u8, u64),
    ) -> Result<Self, FormatError> {
        if Self::hash(keys, bytes) != id {
            return Err(FormatError::corrupt(WHAT, "its hash is another one"));
        }
        let mut fields = Fields::new(WHAT, bytes);
        let found_level = fields.u8()?;
        fields.zeros(1)?;
        let count = fields.u16()?;
        fields.zeros(4)?;
        let found_index = fields.u64()?;
        let wanted = shape.entries(level, index);
        if (found_level, found_index, u64::from(count)) != (level, index, wanted)
            || bytes.len() != HEAD + ENTRY * usize::from(count)
        {
            return Err(FormatError::corrupt(
                WHAT,
                format!(
                    "node {found_index} of level {found_level} with {count} entries is not \
                     node {index} of level {level} with {wanted}"
                ),
            ));
        }
        let entries =
            (0..count).map(|_| decode_entry(&mut fields, level)).collect::<Result<_, _>>()?;
        Ok(Self { level, index, entries })
    }
}

fn decode_entry(fields: &mut Fields<'_>, level: u8) -> Result<Below, FormatError> {
    let kind = fields.u8()?;
    fields.zeros(3)?;
    let length = fields.u32()?;
    let id = ChunkId(fields.array()?);
    let place = fields.u64()?;
    match (kind, level) {
        (0, _) if length == 0 && id.0 == [0; 32] && place == 0 => Ok(Below::Zero),
        (1, 0) if length > 0 => Ok(Below::Chunk { length, id, place: Place::from_bits(place)? }),
        (2, 1..) if length == 0 => Ok(Below::Node { id, place: Place::from_bits(place)? }),
        _ => Err(FormatError::corrupt(WHAT, format!("an entry of kind {kind} at level {level}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::derive(&crate::keys::Secret::new(&[1; 32]))
    }

    fn place(block: u32) -> Place {
        Place::new(1, block, 1).unwrap()
    }

    #[test]
    fn shapes_at_the_edges() {
        for (cells, level, last) in
            [(1, 0, 1), (256, 0, 256), (257, 1, 2), (65_536, 1, 256), (65_537, 2, 2)]
        {
            let shape = Shape::new(cells);
            assert_eq!((shape.root_level(), shape.entries(level, 0)), (level, last), "{cells}");
        }
        assert_eq!(Shape::new(257).entries(0, 1), 1);
        assert_eq!(Shape::new(257).entries(0, 2), 0);
        assert_eq!(Shape::new(u64::MAX).root_level(), 7);
    }

    #[test]
    fn a_place_is_no_part_of_the_hash_and_everything_else_is() {
        let chunk = |block| Below::Chunk { length: 9, id: ChunkId([2; 32]), place: place(block) };
        let node = |block| Node { level: 0, index: 0, entries: vec![Below::Zero, chunk(block)] };
        let (here, there) = (node(1).encode(), node(2).encode());
        let id = Node::hash(&keys(), &here);
        assert_eq!(id, Node::hash(&keys(), &there));
        let shape = Shape::new(2);
        assert_eq!(Node::decode(&here, &keys(), id, shape, (0, 0)), Ok(node(1)));
        for at in (0..HEAD + ENTRY).chain(HEAD + ENTRY..HEAD + ENTRY + 40) {
            if (HEAD + 40..HEAD + 48).contains(&at) {
                continue; // the place of the first entry
            }
            let mut damaged = here.clone();
            damaged[at] ^= 1;
            assert!(Node::decode(&damaged, &keys(), id, shape, (0, 0)).is_err(), "byte {at}");
        }
        assert!(Node::decode(&here, &keys(), id, Shape::new(3), (0, 0)).is_err());
        assert!(Node::decode(&here, &keys(), id, shape, (1, 0)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let id = Node::hash(&keys(), &bytes);
            let _ = Node::decode(&bytes, &keys(), id, Shape::new(5), (0, 0));
        }
    }
}
