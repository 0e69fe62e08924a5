//! Reading the ledger without owning it: the daemon's side, and proofs.

use crate::WardenError;
use crate::layout;
use crate::state::State;
use crate::storage::{Read, Storage};
use ledger::{Frames, Hash, LedgerError, Prover, Tree};
use std::sync::Arc;

/// Bytes read at a time.
const PIECE: u64 = 1 << 20;
/// Every so many leaves their place in the file is remembered, in half a kilobyte.
const MARK_EVERY: u64 = 1024;

/// A reader of `ledger/leaves`, in memory bounded by a piece and a frame.
pub struct LedgerReader {
    storage: Arc<dyn Storage>,
    frames: Frames,
    /// Number `n` has the leaves before `n * MARK_EVERY` behind it.
    marks: Vec<Frames>,
}

impl LedgerReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn open(storage: Arc<dyn Storage>, repository: [u8; 16]) -> Self {
        let frames = Frames::new(repository);
        Self { storage, marks: vec![frames.branch()], frames }
    }

    /// Reads on until `state` has `size` leaves. Each frame's checksums, number, repository and
    /// chain of roots must be right. After an error neither is of use any more.
    pub fn advance_to(&mut self, size: u64, state: &mut State) -> Result<(), WardenError> {
        if self.frames.tree().size() != state.size() {
            let problem = "this state belongs to another reader".into();
            return Err(LedgerError::Damaged { number: state.size(), problem }.into());
        }
        if state.size() >= size {
            return Ok(());
        }
        let file = self
            .storage
            .open(layout::LEAVES)
            .map_err(WardenError::io("opening", layout::LEAVES))?;
        self.frames.rewind();
        let mut offset = self.frames.offset();
        let length = file.length().map_err(WardenError::io("reading", layout::LEAVES))?;
        while state.size() < size {
            let Some(bytes) = piece(&*file, offset, length)? else {
                let problem = format!("it ends here, but {size} leaves were announced");
                return Err(LedgerError::Damaged { number: state.size(), problem }.into());
            };
            offset += bytes.len() as u64;
            self.frames.push(&bytes);
            while state.size() < size {
                let Some(leaf) = self.frames.next_leaf()? else { break };
                let number = state.size();
                state
                    .apply(number, &leaf)
                    .map_err(|problem| LedgerError::Damaged { number, problem })?;
                if state.size().is_multiple_of(MARK_EVERY) {
                    self.marks.push(self.frames.branch());
                }
            }
        }
        self.frames.rewind();
        Ok(())
    }

    /// A reader that stands a little before leaf `number`, or at the end of what was read: for
    /// [`read_leaves`], which then need not begin at the first leaf.
    #[must_use]
    pub fn before(&self, number: u64) -> Frames {
        let at = usize::try_from(number / MARK_EVERY).unwrap_or(usize::MAX);
        self.marks[at.min(self.marks.len() - 1)].branch()
    }

    /// The tree over what was read.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        self.frames.tree()
    }
}

/// The next piece of a file; `None` at its end.
pub(crate) fn piece(
    file: &dyn Read,
    offset: u64,
    length: u64,
) -> Result<Option<Vec<u8>>, WardenError> {
    let rest = length.saturating_sub(offset).min(PIECE);
    if rest == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(rest).unwrap_or(0)];
    file.read(offset, &mut bytes).map_err(WardenError::io("reading", layout::LEAVES))?;
    Ok(Some(bytes))
}

/// The data of up to `limit` leaves from number `from` on, as they stand in the ledger of `size`
/// leaves. `frames` stands before them: [`LedgerReader::before`].
pub fn read_leaves(
    storage: &dyn Storage,
    mut frames: Frames,
    (from, limit): (u64, usize),
    size: u64,
) -> Result<Vec<Vec<u8>>, WardenError> {
    let file = storage.open(layout::LEAVES).map_err(WardenError::io("opening", layout::LEAVES))?;
    let length = file.length().map_err(WardenError::io("reading", layout::LEAVES))?;
    let (mut number, mut offset) = (frames.tree().size(), frames.offset());
    let mut leaves = Vec::new();
    while let Some(bytes) = piece(&*file, offset, length)? {
        offset += bytes.len() as u64;
        frames.push(&bytes);
        while number < size && leaves.len() < limit {
            let Some(data) = frames.next_bytes()? else { break };
            if number >= from {
                leaves.push(data.to_vec());
            }
            number += 1;
        }
        if number >= size || leaves.len() >= limit {
            break;
        }
    }
    Ok(leaves)
}

/// The proof that leaf `index` is in the ledger of `size` leaves (RFC 9162, 2.1.3), in one pass
/// over the file.
pub fn prove_inclusion(
    storage: &dyn Storage,
    repository: [u8; 16],
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, WardenError> {
    let prover = Prover::inclusion(index, size)
        .ok_or_else(|| WardenError::denied(format!("a ledger of {size} has no leaf {index}")))?;
    prove(storage, repository, prover, size)
}

/// The proof that the ledger of `new` leaves begins with the one of `old` (RFC 9162, 2.1.4).
pub fn prove_consistency(
    storage: &dyn Storage,
    repository: [u8; 16],
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, WardenError> {
    let prover = Prover::consistency(old, new).ok_or_else(|| {
        WardenError::denied(format!("a ledger of {new} leaves does not begin with {old} leaves"))
    })?;
    prove(storage, repository, prover, new)
}

fn prove(
    storage: &dyn Storage,
    repository: [u8; 16],
    mut prover: Prover,
    size: u64,
) -> Result<Vec<Hash>, WardenError> {
    let file = storage.open(layout::LEAVES).map_err(WardenError::io("opening", layout::LEAVES))?;
    let length = file.length().map_err(WardenError::io("reading", layout::LEAVES))?;
    let (mut frames, mut offset) = (Frames::new(repository), 0);
    while let Some(bytes) = piece(&*file, offset, length)? {
        offset += bytes.len() as u64;
        frames.push(&bytes);
        while frames.tree().size() < size {
            match frames.next_hash()? {
                Some(hash) => prover.push(hash),
                None => break,
            }
        }
        if frames.tree().size() >= size {
            break;
        }
    }
    let seen = frames.tree().size();
    prover
        .finish()
        .ok_or_else(|| WardenError::denied(format!("the ledger has {seen} leaves, not {size}")))
}
