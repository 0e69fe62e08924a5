//! What can go wrong at the warden, here and over the socket.

use ledger::LedgerError;
use model::ErrorKind;
use retention::Refusal;
use serde::{Deserialize, Serialize};
use std::io;

/// A request that was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum WardenError {
    /// A lock, a hold, a missing signature, or a clock in doubt.
    #[error("{refusal}")]
    Refused {
        /// What stands in the way.
        refusal: Box<Refusal>,
        /// Leaves in the ledger now: the refusal may be one of them.
        size: u64,
    },
    /// Another rule of the repository.
    #[error("{problem}")]
    Denied {
        /// Which, and what to do.
        problem: String,
        /// Kind of the error.
        kind: ErrorKind,
    },
    /// The file system failed.
    #[error("{operation} {path} in the repository failed")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// File, relative to the repository.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The ledger is not accepted.
    #[error("the repository's ledger")]
    Ledger {
        /// Why.
        #[from]
        source: LedgerError,
    },
    /// The ledger ends before a head that was signed for it.
    #[error(
        "the ledger has {size} leaves or other ones, but {known} were signed for, as {witness} \
         shows: the repository was set back to an older state; bring the newer one back, nothing \
         was changed"
    )]
    RolledBack {
        /// Leaves found.
        size: u64,
        /// Leaves that were signed.
        known: u64,
        /// Where the newer head is.
        witness: String,
    },
    /// There is no repository, another one, or somebody else has it open.
    #[error("{path}: {problem}")]
    Directory {
        /// The directory.
        path: String,
        /// What was found.
        problem: String,
        /// Kind of the error.
        kind: ErrorKind,
    },
    /// A write to the ledger failed in a way that leaves its state unknown.
    #[error(
        "the ledger takes no more leaves ({reason}); what is committed stays readable; mend the \
         cause and restart the warden"
    )]
    Stopped {
        /// What happened.
        reason: String,
    },
    /// The other side of the socket does not keep to the protocol.
    #[error("the warden and its client do not understand each other: {problem}")]
    Protocol {
        /// What was received.
        problem: String,
    },
    /// Nobody answers.
    #[error(
        "the warden does not answer: restart its service; until then nothing is committed or \
         deleted, and everything stays readable"
    )]
    Unavailable {
        /// Why.
        source: io::Error,
    },
    /// An error of the warden, told over the socket.
    #[error("{text}")]
    Told {
        /// With all its causes.
        text: String,
        /// Its kind.
        kind: ErrorKind,
    },
}

impl WardenError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.into(), source }
    }

    pub(crate) fn denied(problem: impl Into<String>) -> Self {
        Self::Denied { problem: problem.into(), kind: ErrorKind::Refused }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { refusal, .. } => refusal.kind(),
            Self::Denied { kind, .. } | Self::Directory { kind, .. } | Self::Told { kind, .. } => {
                *kind
            }
            Self::Io { source, .. } => kind_of(source),
            Self::Ledger { source } => source.kind(),
            Self::RolledBack { .. } => ErrorKind::Corrupt,
            Self::Stopped { .. } | Self::Unavailable { .. } => ErrorKind::Retryable,
            Self::Protocol { .. } => ErrorKind::Misbehaved,
        }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        io::ErrorKind::ResourceBusy => ErrorKind::Busy,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        io::ErrorKind::InvalidInput => ErrorKind::Refused,
        _ => ErrorKind::Retryable,
    }
}

/// An error as it goes over the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// With all its causes.
    pub text: String,
    /// When a lock, a hold or a clock stood in the way.
    pub refusal: Option<Box<Refusal>>,
    /// Leaves in the ledger then.
    pub size: Option<u64>,
}

impl From<&WardenError> for WireError {
    fn from(error: &WardenError) -> Self {
        let (refusal, size) = match error {
            WardenError::Refused { refusal, size } => (Some(refusal.clone()), Some(*size)),
            _ => (None, None),
        };
        Self { kind: error.kind(), text: model::chain(error), refusal, size }
    }
}

impl From<WireError> for WardenError {
    fn from(error: WireError) -> Self {
        match error {
            WireError { refusal: Some(refusal), size: Some(size), .. } => {
                Self::Refused { refusal, size }
            }
            WireError { kind, text, .. } => Self::Told { text, kind },
        }
    }
}
