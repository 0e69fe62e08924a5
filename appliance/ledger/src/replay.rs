//! Reading a ledger's file, and what is read of one that a crash left or somebody damaged
//! (FORMAT.md 8, "Reading"). Bytes are pushed in pieces of any size; memory is bounded by a piece
//! and a frame.

use crate::frame::{FRAME_HEAD, FRAME_MAX, FrameError, take};
use crate::tree::leaf_hash;
use crate::{Hash, Head, Leaf, LedgerError, Tree};
use std::ops::Range;

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

/// A ledger that is being read from its first byte, or from a leaf up to which it was read before.
///
/// Invariant: `offset` is the end of the frame of the last leaf in `tree`.
#[derive(Clone, Debug)]
pub struct Frames {
    repository: [u8; 16],
    tree: Tree,
    offset: u64,
    kept: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// From the first leaf on.
    #[must_use]
    pub fn new(repository: [u8; 16]) -> Self {
        Self { repository, tree: Tree::default(), offset: 0, kept: Vec::new(), taken: 0 }
    }

    /// Another reader that goes on behind the last leaf that was taken, with nothing pushed yet.
    #[must_use]
    pub fn branch(&self) -> Self {
        let (tree, offset) = (self.tree.clone(), self.offset);
        Self { repository: self.repository, tree, offset, kept: Vec::new(), taken: 0 }
    }

    /// The tree over the leaves that were taken.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Offset in the file behind the last leaf that was taken.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that were pushed and not taken: part of a frame, or what is no frame.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.kept[self.taken..]
    }

    /// More bytes of the file, behind those pushed so far.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.drain(..self.taken);
        self.taken = 0;
        self.kept.extend_from_slice(bytes);
    }

    /// Forgets what was pushed and not taken, so that reading can go on at [`Self::offset`].
    pub fn rewind(&mut self) {
        self.kept.clear();
        self.taken = 0;
    }

    /// The next leaf; `None` when more bytes are needed for it. After an error nothing has moved.
    pub fn next_leaf(&mut self) -> Result<Option<Leaf>, LedgerError> {
        match self.next_data()? {
            Some(data) => Leaf::decode(self.tree.size() - 1, &self.kept[data]).map(Some),
            None => Ok(None),
        }
    }

    /// The hash of the next leaf, whatever it says: for proofs.
    pub fn next_hash(&mut self) -> Result<Option<Hash>, LedgerError> {
        Ok(self.next_data()?.map(|data| leaf_hash(&self.kept[data])))
    }

    /// The data of the next leaf as it stands in the file, whatever it says: for people, and for
    /// whoever computes its hash himself.
    pub fn next_bytes(&mut self) -> Result<Option<&[u8]>, LedgerError> {
        Ok(self.next_data()?.map(|data| &self.kept[data]))
    }

    /// Where the data of the next leaf lies in `kept`.
    fn next_data(&mut self) -> Result<Option<Range<usize>>, LedgerError> {
        let from = self.taken + FRAME_HEAD;
        match take(&self.repository, &mut self.tree, &self.kept[self.taken..]) {
            Ok((data, length)) => {
                let data = from..from + data.len();
                self.taken += length;
                self.offset += length as u64;
                Ok(Some(data))
            }
            Err(FrameError::Cut) if self.kept.len() - self.taken < FRAME_MAX => Ok(None),
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    fn damaged(&self, problem: String) -> LedgerError {
        LedgerError::Damaged { number: self.tree.size(), problem }
    }
}

/// A whole ledger as it is opened: the frames, held against the head that acknowledged them.
///
/// Push the file, and take leaves until `None`, as with [`Frames`]; then [`Replay::finish`]. The
/// head's signature is not this type's matter: which key counts is told by the leaves.
#[derive(Clone, Debug)]
pub struct Replay {
    frames: Frames,
    head: Option<Head>,
    torn: bool,
    pushed: u64,
}

impl Replay {
    /// A ledger of `repository` of which `head` was acknowledged: up to its size everything must
    /// be right. Without a head only the first leaf of a repository that was being created may
    /// exist.
    pub fn new(repository: [u8; 16], head: Option<Head>) -> Result<Self, LedgerError> {
        let frames = Frames::new(repository);
        if head.as_ref().is_some_and(|head| head.size == 0 && head.root != frames.tree().root()) {
            return Err(LedgerError::Head { problem: "no leaves, and yet a root".into() });
        }
        Ok(Self { frames, head, torn: false, pushed: 0 })
    }

    /// More bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pushed += bytes.len() as u64;
        if !self.torn {
            self.frames.push(bytes);
        }
    }

    /// The next leaf; `None` when more bytes are needed, or when only what was never acknowledged
    /// is left.
    pub fn next_leaf(&mut self) -> Result<Option<Leaf>, LedgerError> {
        if self.torn {
            return Ok(None);
        }
        let before = self.frames.tree().size();
        let acknowledged = self.head.as_ref().map_or(0, |head| head.size);
        let leaf = match self.frames.next_leaf() {
            Err(LedgerError::Damaged { .. }) if before >= acknowledged => {
                self.torn = true;
                self.frames.rewind();
                return Ok(None);
            }
            other => other?,
        };
        let tree = self.frames.tree();
        let named = self.head.as_ref().is_some_and(|head| head.size == tree.size());
        if leaf.is_some() && named && self.head.as_ref().is_some_and(|h| h.root != tree.root()) {
            let problem = "the head names another root".into();
            return Err(LedgerError::Damaged { number: before, problem });
        }
        Ok(leaf)
    }

    /// The tree over the leaves so far.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        self.frames.tree()
    }

    /// The file has ended: what follows its last right frame.
    pub fn finish(self) -> Result<(Frames, Tail), LedgerError> {
        let size = self.frames.tree().size();
        let acknowledged = self.head.as_ref().map_or(0, |head| head.size);
        if size < acknowledged {
            let problem = format!("it ends here, but {acknowledged} leaves were acknowledged");
            return Err(LedgerError::Damaged { number: size, problem });
        }
        if self.head.is_none() && size > 1 {
            return Err(LedgerError::Head { problem: "it is missing".into() });
        }
        let at = self.frames.offset();
        let tail = match self.pushed - at {
            0 => Tail::Clean,
            bytes => Tail::Torn { at, bytes },
        };
        let mut frames = self.frames;
        frames.rewind();
        Ok((frames, tail))
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
