//! Frames: how leaves lie in the ledger's file (FORMAT.md 8).
//!
//! A frame ends with the root over all leaves up to it, so no leaf can be changed, dropped or
//! exchanged without every later frame being wrong. How a whole file is read is in
//! [`crate::replay`].

use crate::leaf::LEAF_MAX;
use crate::tree::leaf_hash;
use crate::{Hash, Leaf, LedgerError, Tree};

const MAGIC: &[u8; 4] = b"HFLF";
const VERSION: u16 = 1;
pub(crate) const FRAME_HEAD: usize = 48;
const ROOT: usize = 32;

/// Longest frame, in bytes.
pub const FRAME_MAX: usize = FRAME_HEAD + LEAF_MAX + ROOT;

/// Frames that are to be written with one write and one sync.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    tree: Tree,
}

impl Batch {
    /// A batch that goes on after `tree`.
    #[must_use]
    pub fn after(tree: &Tree) -> Self {
        Self { bytes: Vec::new(), tree: tree.clone() }
    }

    /// Adds a leaf.
    pub fn push(&mut self, repository: &[u8; 16], leaf: &Leaf) -> Result<(), LedgerError> {
        let data = leaf.encode()?;
        let length = u32::try_from(data.len()).expect("encode refuses more than LEAF_MAX");
        let number = self.tree.size();
        self.tree.push(leaf_hash(&data));
        let root = self.tree.root();
        let mut head = [0; FRAME_HEAD];
        head[..4].copy_from_slice(MAGIC);
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..32].copy_from_slice(repository);
        head[32..36].copy_from_slice(&length.to_le_bytes());
        head[36..40].copy_from_slice(&body_crc(&data, &root).to_le_bytes());
        let crc = crc32fast::hash(&head[..FRAME_HEAD - 4]);
        head[FRAME_HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
        for part in [&head[..], &data, &root] {
            self.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    /// The bytes to append.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tree once they are durable.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}

fn body_crc(data: &[u8], root: &Hash) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(data);
    hasher.update(root);
    hasher.finalize()
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside of it.
    #[error("it is cut off")]
    Cut,
    /// Bytes are not what they must be.
    #[error("{0}")]
    Wrong(&'static str),
}

/// The data of the first frame in `bytes` and the length of the frame; `tree` grows by it only
/// if everything is right.
pub(crate) fn take<'a>(
    repository: &[u8; 16],
    tree: &mut Tree,
    bytes: &'a [u8],
) -> Result<(&'a [u8], usize), FrameError> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD>().ok_or(FrameError::Cut)?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != *MAGIC || u32_at(FRAME_HEAD - 4) != crc32fast::hash(&head[..FRAME_HEAD - 4]) {
        return Err(FrameError::Wrong("the frame's head is wrong"));
    }
    if head[4..8] != [1, 0, 0, 0] || u32_at(40) != 0 {
        return Err(FrameError::Wrong("the frame's version is not known here"));
    }
    if head[8..16] != tree.size().to_le_bytes() || head[16..32] != *repository {
        return Err(FrameError::Wrong("the frame belongs elsewhere"));
    }
    let length = u32_at(32) as usize;
    if length == 0 || length > LEAF_MAX {
        return Err(FrameError::Wrong("the frame's length is impossible"));
    }
    let (data, rest) = rest.split_at_checked(length).ok_or(FrameError::Cut)?;
    let root = rest.first_chunk::<ROOT>().ok_or(FrameError::Cut)?;
    if body_crc(data, root) != u32_at(36) {
        return Err(FrameError::Wrong("the frame's checksum is wrong"));
    }
    let mut grown = tree.clone();
    grown.push(leaf_hash(data));
    if grown.root() != *root {
        return Err(FrameError::Wrong("the tree's root is another one"));
    }
    *tree = grown;
    Ok((data, FRAME_HEAD + length + ROOT))
}
