//! The ledger's two files: leaves appended and synced, then the head replaced (FORMAT.md 7, 8).

use crate::storage::{self, Append, Storage};
use crate::{StoreError, layout};
use ledger::{Batch, Head, Leaf, Replay, Tail, Tree};
use std::io;
use std::sync::Arc;

/// The open ledger.
///
/// Invariant: the file holds exactly `length` acknowledged bytes unless `stopped`; before a batch
/// is written the head names `tree`.
pub(crate) struct LedgerFile {
    storage: Arc<dyn Storage>,
    repository: [u8; 16],
    file: Box<dyn Append>,
    length: u64,
    tree: Tree,
    head_is_behind: bool,
    stopped: bool,
}

impl LedgerFile {
    /// A new ledger with its first leaf.
    pub(crate) fn create(
        storage: &Arc<dyn Storage>,
        repository: [u8; 16],
        first: &Leaf,
    ) -> Result<(), StoreError> {
        let file =
            storage.create(layout::LEAVES).map_err(StoreError::io("creating", layout::LEAVES))?;
        let mut ledger = Self {
            storage: Arc::clone(storage),
            repository,
            file,
            length: 0,
            tree: Tree::default(),
            head_is_behind: false,
            stopped: false,
        };
        ledger.append(std::slice::from_ref(first))?;
        if ledger.head_is_behind { ledger.write_head() } else { Ok(()) }
    }

    /// Reads the ledger and makes it ready for more: a torn tail is kept aside and cut off.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        repository: [u8; 16],
    ) -> Result<(Self, Vec<Leaf>, Tail), StoreError> {
        let head = match storage::read_all(&**storage, layout::HEAD) {
            Ok(text) => Some(Head::decode(repository, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StoreError::io("reading", layout::HEAD)(source)),
        };
        let bytes = storage::read_all(&**storage, layout::LEAVES)
            .map_err(StoreError::io("reading", layout::LEAVES))?;
        let mut replay = Replay::new(repository, head.clone())?;
        replay.push(&bytes);
        let mut leaves = Vec::new();
        while let Some(leaf) = replay.next_leaf()? {
            leaves.push(leaf);
        }
        let (frames, tail) = replay.finish()?;
        let file =
            storage.reopen(layout::LEAVES).map_err(StoreError::io("opening", layout::LEAVES))?;
        let mut ledger = Self {
            storage: Arc::clone(storage),
            repository,
            file,
            length: bytes.len() as u64,
            head_is_behind: head != Some(Head::new(repository, frames.tree())),
            tree: frames.tree().clone(),
            stopped: false,
        };
        if let Tail::Torn { at, bytes: torn } = tail {
            let kept = &bytes[bytes.len() - usize::try_from(torn).unwrap_or(bytes.len())..];
            ledger.set_aside(at, kept)?;
        } else if ledger.head_is_behind {
            // Frames beyond the head may never have been synced by the process that wrote them.
            ledger.file.sync().map_err(StoreError::io("syncing", layout::LEAVES))?;
        }
        Ok((ledger, leaves, tail))
    }

    fn set_aside(&mut self, at: u64, torn: &[u8]) -> Result<(), StoreError> {
        let name = layout::torn(self.tree.size());
        storage::replace(&*self.storage, &name, torn).map_err(StoreError::io("writing", name))?;
        let cut = self.file.cut(at).and_then(|()| self.file.sync());
        cut.map_err(StoreError::io("cutting", layout::LEAVES))?;
        self.length = at;
        Ok(())
    }

    /// Makes `leaves` durable, all or a prefix of them; `Ok` when all are.
    pub(crate) fn append(&mut self, leaves: &[Leaf]) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::LedgerStopped);
        }
        if self.head_is_behind {
            self.write_head()?;
        }
        let mut batch = Batch::after(&self.tree);
        for leaf in leaves {
            batch.push(&self.repository, leaf)?;
        }
        if let Err(source) = self.file.append(batch.bytes()) {
            let cut = self.file.cut(self.length).and_then(|()| self.file.sync());
            self.stopped = cut.is_err();
            return Err(StoreError::io("appending to", layout::LEAVES)(source));
        }
        if let Err(source) = self.file.sync() {
            self.stopped = true; // the leaves may or may not be durable
            return Err(StoreError::io("syncing", layout::LEAVES)(source));
        }
        self.length += batch.bytes().len() as u64;
        self.tree = batch.tree().clone();
        self.head_is_behind = true;
        if let Err(error) = self.write_head() {
            // The leaves are durable: it happened. The head follows before the next batch.
            tracing::warn!(error = model::chain(&error), "the ledger's head could not be written");
        }
        Ok(())
    }

    /// Writes the head when it is behind: what it does not name could still be taken for torn.
    pub(crate) fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.head_is_behind && !self.stopped { self.write_head() } else { Ok(()) }
    }

    fn write_head(&mut self) -> Result<(), StoreError> {
        let head = Head::new(self.repository, &self.tree).encode();
        storage::replace(&*self.storage, layout::HEAD, head.as_bytes())
            .map_err(StoreError::io("writing", layout::HEAD))?;
        self.head_is_behind = false;
        Ok(())
    }

    /// Number of leaves and the root over them.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}
