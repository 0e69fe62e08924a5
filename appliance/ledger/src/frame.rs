//! Frames: how leaves lie in the ledger's file, and what is read of a file that a crash left or
//! somebody damaged (FORMAT.md 8).
//!
//! A frame ends with the root over all leaves up to it, so no leaf can be changed, dropped or
//! exchanged without every later frame being wrong.

use crate::leaf::LEAF_MAX;
use crate::tree::leaf_hash;
use crate::{Hash, Head, Leaf, LedgerError, Tree};

const MAGIC: &[u8; 4] = b"HFLF";
const VERSION: u16 = 1;
const HEAD: usize = 48;
const ROOT: usize = 32;

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
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(MAGIC);
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..32].copy_from_slice(repository);
        head[32..36].copy_from_slice(&length.to_le_bytes());
        head[36..40].copy_from_slice(&body_crc(&data, &root).to_le_bytes());
        let crc = crc32fast::hash(&head[..HEAD - 4]);
        head[HEAD - 4..].copy_from_slice(&crc.to_le_bytes());
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
fn take<'a>(
    repository: &[u8; 16],
    tree: &mut Tree,
    bytes: &'a [u8],
) -> Result<(&'a [u8], usize), FrameError> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(FrameError::Cut)?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != *MAGIC || u32_at(HEAD - 4) != crc32fast::hash(&head[..HEAD - 4]) {
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
    Ok((data, HEAD + length + ROOT))
}

/// What follows the last right frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Bytes that were never acknowledged: a crash tore the last batch.
    Torn {
        /// Offset of the first of them; the file is to be cut here.
        at: u64,
        /// How many.
        bytes: u64,
    },
}

/// A leaf that was durable and is no longer right.
pub type Damage = LedgerError;

/// A ledger's file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// All leaves.
    pub leaves: Vec<Leaf>,
    /// The tree over them.
    pub tree: Tree,
    /// What follows them.
    pub tail: Tail,
}

impl Replay {
    /// Reads the whole file. `head` is what was acknowledged: up to its size everything must be
    /// right. Without a head only the first leaf of a repository that was being created may exist.
    pub fn read(
        repository: &[u8; 16],
        bytes: &[u8],
        head: Option<&Head>,
    ) -> Result<Self, LedgerError> {
        let acknowledged = head.map_or(0, |head| head.size);
        let (mut leaves, mut tree, mut at) = (Vec::new(), Tree::default(), 0);
        let damaged = |number, problem: String| LedgerError::Damaged { number, problem };
        if head.is_some_and(|head| head.size == 0 && head.root != tree.root()) {
            return Err(LedgerError::Head { problem: "no leaves, and yet a root".into() });
        }
        while at < bytes.len() {
            match take(repository, &mut tree, &bytes[at..]) {
                Ok((data, length)) => {
                    leaves.push(Leaf::decode(tree.size() - 1, data)?);
                    at += length;
                }
                Err(_) if tree.size() >= acknowledged => break,
                Err(error) => return Err(damaged(tree.size(), error.to_string())),
            }
            if head.is_some_and(|head| head.size == tree.size() && head.root != tree.root()) {
                return Err(damaged(tree.size() - 1, "the head names another root".into()));
            }
        }
        if tree.size() < acknowledged {
            let problem = format!("it ends here, but {acknowledged} leaves were acknowledged");
            return Err(damaged(tree.size(), problem));
        }
        if head.is_none() && tree.size() > 1 {
            return Err(LedgerError::Head { problem: "it is missing".into() });
        }
        let rest = (bytes.len() - at) as u64;
        let tail = if rest == 0 { Tail::Clean } else { Tail::Torn { at: at as u64, bytes: rest } };
        Ok(Self { leaves, tree, tail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use model::{RetentionTime, WallTime};
    use proptest::prelude::*;

    const ID: [u8; 16] = [4; 16];

    /// `count` leaves, and where each frame ends.
    fn log(count: i64) -> (Vec<u8>, Vec<usize>, Tree) {
        let (mut bytes, mut ends, mut tree) = (Vec::new(), Vec::new(), Tree::default());
        for number in 0..count {
            let mut batch = Batch::after(&tree);
            let leaf = Leaf::new(RetentionTime(number), WallTime(0), Event::Clock {});
            batch.push(&ID, &leaf).unwrap();
            bytes.extend_from_slice(batch.bytes());
            tree = batch.tree().clone();
            ends.push(bytes.len());
        }
        (bytes, ends, tree)
    }

    fn head(tree: &Tree) -> Head {
        Head::new(ID, tree)
    }

    #[test]
    fn every_cut_after_the_head_keeps_the_leaves_before_it() {
        let (_, _, acknowledged) = log(3);
        let (bytes, ends, _) = log(5);
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let result = Replay::read(&ID, &bytes[..cut], Some(&head(&acknowledged)));
            if whole < 3 {
                assert!(matches!(result, Err(LedgerError::Damaged { .. })), "cut at {cut}");
                continue;
            }
            let replay = result.unwrap();
            assert_eq!(replay.leaves.len(), whole, "cut at {cut}");
            let clean = ends.contains(&cut);
            assert_eq!(replay.tail == Tail::Clean, clean, "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_below_the_head_is_damage() {
        let (bytes, _, tree) = log(4);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let result = Replay::read(&ID, &damaged, Some(&head(&tree)));
            assert!(matches!(result, Err(LedgerError::Damaged { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_past_that_was_rewritten_with_right_checksums_is_damage() {
        let (bytes, ends, tree) = log(4);
        // Leaf 3 of this log follows other leaves: its frame is right, its root is not.
        let mut other = Batch::after(&Tree::default());
        for number in 10..13 {
            let leaf = Leaf::new(RetentionTime(number), WallTime(0), Event::Clock {});
            other.push(&ID, &leaf).unwrap();
        }
        let spliced = [other.bytes(), &bytes[ends[2]..]].concat();
        assert!(Replay::read(&ID, &spliced, Some(&head(&tree))).is_err());
    }

    #[test]
    fn a_missing_head_is_an_error_once_there_is_more_than_the_first_leaf() {
        let (bytes, ends, _) = log(2);
        assert!(Replay::read(&ID, &bytes[..ends[0]], None).is_ok());
        assert!(matches!(Replay::read(&ID, &bytes, None), Err(LedgerError::Head { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>(),
        ) {
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(MAGIC);
            }
            let _ = Replay::read(&ID, &bytes, None);
        }
    }
}
