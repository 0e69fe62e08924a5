//! The ledger's two files: leaves appended and synced, then the head signed and replaced
//! (FORMAT.md 7, 8).

use crate::reader::piece;
use crate::state::State;
use crate::storage::{self, Append, Storage};
use crate::witness::Witness;
use crate::{WardenError, layout};
use ledger::note::NOTE_MAX;
use ledger::{Batch, Hash, Head, Leaf, LedgerError, NoteSigner, Replay, Tail, Tree};
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
    signer: NoteSigner,
    witness: Option<Box<dyn Witness>>,
    head: String,
    head_is_behind: bool,
    stopped: Option<String>,
}

/// What reading the ledger has shown.
#[derive(Debug, Default)]
pub(crate) struct LedgerFound {
    pub(crate) torn_bytes: u64,
    pub(crate) head_lag: u64,
    pub(crate) without_witness: bool,
}

/// What a ledger is opened with.
pub(crate) struct Keys {
    pub(crate) repository: [u8; 16],
    pub(crate) signer: NoteSigner,
    pub(crate) witness: Option<Box<dyn Witness>>,
}

impl LedgerFile {
    /// A new ledger with its first leaves, which `state` takes.
    pub(crate) fn create(
        storage: &Arc<dyn Storage>,
        keys: Keys,
        first: &[Leaf],
        state: &mut State,
    ) -> Result<(), WardenError> {
        let file = storage
            .create(layout::LEAVES, 0)
            .map_err(WardenError::io("creating", layout::LEAVES))?;
        let mut ledger = Self::new(Arc::clone(storage), keys, file, 0, Tree::default());
        ledger.append(first, state)?;
        if ledger.head_is_behind { ledger.write_head() } else { Ok(()) }
    }

    fn new(
        storage: Arc<dyn Storage>,
        keys: Keys,
        file: Box<dyn Append>,
        length: u64,
        tree: Tree,
    ) -> Self {
        let Keys { repository, signer, witness } = keys;
        let head = String::new();
        let (head_is_behind, stopped) = (false, None);
        Self {
            storage,
            repository,
            file,
            length,
            tree,
            signer,
            witness,
            head,
            head_is_behind,
            stopped,
        }
    }

    /// Reads the ledger into `state` and makes it ready for more: a torn tail is kept aside and
    /// cut off.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        keys: Keys,
        state: &mut State,
    ) -> Result<(Self, LedgerFound), WardenError> {
        let note = read_head(&**storage)?;
        let witness = match &keys.witness {
            Some(witness) => {
                witness.load().map_err(WardenError::io("reading", "the witness's head"))?
            }
            None => None,
        };
        let mut check = Check::new(keys.repository, note.as_deref(), witness.as_deref())?;
        let length = check.read(&**storage, state)?;
        let (tree, tail) = check.finish()?;
        let mut found = LedgerFound { without_witness: witness.is_none(), ..Default::default() };
        let file =
            storage.reopen(layout::LEAVES).map_err(WardenError::io("opening", layout::LEAVES))?;
        let mut ledger = Self::new(Arc::clone(storage), keys, file, length, tree);
        let head = Head::new(ledger.repository, &ledger.tree);
        let acknowledged = check_head(ledger.repository, note.as_deref());
        found.head_lag = head.size - acknowledged.as_ref().map_or(0, |head| head.size);
        ledger.head_is_behind = acknowledged.as_ref() != Some(&head);
        ledger.head = note.and_then(|note| String::from_utf8(note).ok()).unwrap_or_default();
        match tail {
            Tail::Torn { at, bytes } => {
                found.torn_bytes = bytes;
                ledger.set_aside(at, bytes);
            }
            // Frames beyond the head may never have been synced by the process that wrote them.
            Tail::Clean if ledger.head_is_behind => {
                ledger.file.sync().map_err(WardenError::io("syncing", layout::LEAVES))?;
            }
            Tail::Clean => {}
        }
        Ok((ledger, found))
    }

    /// Keeps the torn tail for people and cuts it off. When that fails, such as on a full disk,
    /// everything stays readable and no more leaves are accepted.
    fn set_aside(&mut self, at: u64, bytes: u64) {
        if let Err(error) = self.try_set_aside(at, bytes) {
            tracing::error!(error = model::chain(&error), "the ledger's torn tail stays");
            self.stopped = Some("its torn tail could not be moved aside".into());
        }
    }

    fn try_set_aside(&mut self, at: u64, bytes: u64) -> Result<(), WardenError> {
        let name = layout::torn(self.tree.size());
        let io = |error| WardenError::io("writing", &*name)(error);
        storage::remove_if_there(&*self.storage, &name).map_err(io)?;
        let mut aside = self.storage.create(&name, bytes).map_err(io)?;
        let leaves = self
            .storage
            .open(layout::LEAVES)
            .map_err(WardenError::io("opening", layout::LEAVES))?;
        let mut offset = at;
        while let Some(bytes) = piece(&*leaves, offset, self.length)? {
            offset += bytes.len() as u64;
            aside.append(&bytes).map_err(io)?;
        }
        aside.sync().and_then(|()| self.storage.sync_dir(layout::LEDGER)).map_err(io)?;
        let cut = self.file.cut(at).and_then(|()| self.file.sync());
        cut.map_err(WardenError::io("cutting", layout::LEAVES))?;
        self.length = at;
        Ok(())
    }

    /// Makes `leaves` durable, all or a prefix of them; `Ok` when all are, and `state` has them.
    pub(crate) fn append(&mut self, leaves: &[Leaf], state: &mut State) -> Result<(), WardenError> {
        self.writable()?;
        // Before a byte is written: what the replay refuses would lock everybody out for ever.
        state.check(leaves).map_err(|problem| {
            WardenError::denied(format!("this would break the rules of the ledger: {problem}"))
        })?;
        if self.head_is_behind {
            self.write_head()?;
        }
        let mut batch = Batch::after(&self.tree);
        for leaf in leaves {
            batch.push(&self.repository, leaf)?;
        }
        if let Err(source) = self.file.append(batch.bytes()) {
            let cut = self.file.cut(self.length).and_then(|()| self.file.sync());
            if cut.is_err() {
                self.stop("a write failed, and what it left could not be cut off");
            }
            return Err(WardenError::io("appending to", layout::LEAVES)(source));
        }
        if let Err(source) = self.file.sync() {
            self.stop("a sync failed; the leaves may or may not be durable");
            return Err(WardenError::io("syncing", layout::LEAVES)(source));
        }
        self.length += batch.bytes().len() as u64;
        let first = self.tree.size();
        self.tree = batch.tree().clone();
        self.head_is_behind = true;
        for (number, leaf) in (first..).zip(leaves) {
            if let Err(problem) = state.apply(number, leaf) {
                self.stop("a leaf was written that breaks the rules of the ledger");
                return Err(LedgerError::Damaged { number, problem }.into());
            }
        }
        if let Err(error) = self.write_head() {
            // The leaves are durable: it happened. The head follows before the next batch.
            tracing::warn!(error = model::chain(&error), "the ledger's head could not be written");
        }
        Ok(())
    }

    /// Writes the head when it is behind: what it does not name could still be taken for torn.
    pub(crate) fn catch_up(&mut self) -> Result<(), WardenError> {
        if self.head_is_behind && self.stopped.is_none() { self.write_head() } else { Ok(()) }
    }

    fn write_head(&mut self) -> Result<(), WardenError> {
        let head = Head::new(self.repository, &self.tree).sign(&self.signer);
        storage::replace(&*self.storage, layout::HEAD, head.as_bytes())
            .map_err(WardenError::io("writing", layout::HEAD))?;
        self.head = head;
        self.head_is_behind = false;
        if let Some(witness) = &self.witness
            && let Err(error) = witness.store(self.head.as_bytes())
        {
            // Older than the ledger is what a witness may be; newer it must never be.
            tracing::warn!(%error, "the last head could not be kept outside of the repository");
        }
        Ok(())
    }

    /// Fails when no more leaves are accepted.
    pub(crate) fn writable(&self) -> Result<(), WardenError> {
        match &self.stopped {
            Some(reason) => Err(WardenError::Stopped { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(crate) fn stop(&mut self, reason: &str) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
    }

    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    pub(crate) fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    /// The signed head as it is in the file.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Acknowledged bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

fn read_head(storage: &dyn Storage) -> Result<Option<Vec<u8>>, WardenError> {
    match storage::read_all(storage, layout::HEAD, NOTE_MAX as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(WardenError::io("reading", layout::HEAD)),
    }
}

fn check_head(repository: [u8; 16], note: Option<&[u8]>) -> Option<Head> {
    note.and_then(|note| Head::peek(repository, note).ok())
}

/// A ledger that is held against the heads that were signed for it, while it is read.
struct Check<'a> {
    repository: [u8; 16],
    replay: Option<Replay>,
    /// Heads that must be right at their size, with what they are.
    heads: Vec<(Head, &'a [u8], &'static str)>,
}

impl<'a> Check<'a> {
    fn new(
        repository: [u8; 16],
        note: Option<&'a [u8]>,
        witness: Option<&'a [u8]>,
    ) -> Result<Self, WardenError> {
        let mut heads = Vec::new();
        for (note, name) in [(note, layout::HEAD), (witness, "the warden's own record")] {
            if let Some(note) = note {
                heads.push((Head::peek(repository, note)?, note, name));
            }
        }
        if heads.iter().any(|(head, _, _)| head.size == 0) {
            return Err(LedgerError::Head { problem: "no ledger is without leaves".into() }.into());
        }
        let own = note.and_then(|_| heads.first()).map(|(head, _, _)| head.clone());
        Ok(Self { repository, replay: Some(Replay::new(repository, own)?), heads })
    }

    /// Streams the leaves into `state`; the length of the file.
    fn read(&mut self, storage: &dyn Storage, state: &mut State) -> Result<u64, WardenError> {
        let Some(mut replay) = self.replay.take() else { return Ok(0) };
        let io = |error| WardenError::io("reading", layout::LEAVES)(error);
        let file = storage.open(layout::LEAVES).map_err(io)?;
        let length = file.length().map_err(io)?;
        let mut offset = 0;
        while let Some(bytes) = piece(&*file, offset, length)? {
            offset += bytes.len() as u64;
            replay.push(&bytes);
            while let Some(leaf) = replay.next_leaf()? {
                let number = state.size();
                state
                    .apply(number, &leaf)
                    .map_err(|problem| LedgerError::Damaged { number, problem })?;
                self.head_at(replay.tree(), state)?;
            }
        }
        let size = replay.tree().size();
        if let Some((head, _, name)) = self.heads.iter().find(|(head, _, _)| head.size > size) {
            let witness = (*name).to_owned();
            return Err(WardenError::RolledBack { size, known: head.size, witness });
        }
        self.replay = Some(replay);
        Ok(length)
    }

    /// When a head names just these leaves: signature and root.
    fn head_at(&self, tree: &Tree, state: &State) -> Result<(), WardenError> {
        for (head, note, name) in self.heads.iter().filter(|(head, _, _)| head.size == tree.size())
        {
            let vkey = state
                .signer()
                .ok_or_else(|| LedgerError::Head { problem: "no leaf says who signs it".into() })?;
            let signed = Head::open(self.repository, note, vkey)?;
            let root: Hash = tree.root();
            if signed.root != root {
                let (size, witness) = (tree.size(), (*name).to_owned());
                return Err(WardenError::RolledBack { size, known: head.size, witness });
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(Tree, Tail), WardenError> {
        let Some(replay) = self.replay else {
            return Err(LedgerError::Head { problem: "the ledger was not read".into() }.into());
        };
        let (frames, tail) = replay.finish()?;
        Ok((frames.tree().clone(), tail))
    }
}
