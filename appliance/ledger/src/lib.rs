//! L1: the transparency log. Every event that matters is a leaf; the sync of a commit leaf is the
//! commit of a recovery point.
//!
//! What this is: leaves and their JSON, the frames that carry them and the reading of a log that
//! a crash or somebody damaged, the signed head, and the Merkle tree of RFC 9162 with its proofs.
//! What it is not: files, syncs, a decision about a lock (`retention`), or the effect of a leaf
//! (`warden`). The bytes are defined in `format/FORMAT.md`, section 8.
//!
//! | module | what |
//! |---|---|
//! | [`leaf`], [`event`], [`runs`] | what happened, as JSON |
//! | [`frame`] | leaves to bytes, each bound to all before it |
//! | [`replay`] | bytes to leaves, in bounded memory |
//! | [`note`], [`head`] | C2SP signed notes and checkpoints |
//! | [`tree`], [`proof`] | RFC 9162 |

pub mod event;
pub mod frame;
pub mod head;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod replay;
pub mod runs;
mod text;
pub mod tree;

pub use event::Event;
pub use frame::{Batch, FrameError};
pub use head::{Head, origin};
pub use leaf::Leaf;
pub use note::{NoteSigner, Vkey};
pub use proof::Prover;
pub use replay::{Frames, Replay, Tail};
pub use runs::Runs;
pub use tree::{Hash, Tree};

use model::ErrorKind;

/// Why a ledger is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A leaf that this version does not know might be a lock: nothing is guessed.
    #[error(
        "leaf {number} of the ledger is of a kind or version that is not known here \
         ({problem}); use a newer version"
    )]
    Unknown {
        /// Its number.
        number: u64,
        /// What is unknown.
        problem: String,
    },
    /// Bytes that were durable once are different now.
    #[error(
        "the ledger is damaged at leaf {number}: {problem}; restore ledger/ from a copy, \
         nothing was changed"
    )]
    Damaged {
        /// The first leaf that is not right.
        number: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The head is not readable or belongs to another ledger.
    #[error("the ledger's head is not usable: {problem}")]
    Head {
        /// Why.
        problem: String,
    },
    /// A leaf that would not fit a frame.
    #[error("a leaf of {length} bytes does not fit the ledger (at most 65535)")]
    TooLong {
        /// Bytes.
        length: usize,
    },
}

impl LedgerError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } | Self::Head { .. } => ErrorKind::Corrupt,
            Self::TooLong { .. } => ErrorKind::Refused,
        }
    }
}
