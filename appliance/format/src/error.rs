//! Why bytes are not what they should be.

use model::ErrorKind;

/// Bytes that cannot be taken for what they should be. Nothing is ever guessed from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Damaged, torn, misplaced or foreign.
    #[error("{what} is damaged: {problem}")]
    Corrupt {
        /// The structure, such as "record header".
        what: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// Whole, but written by a version or feature that is not known here.
    #[error("{what} needs {feature}, which this version does not know; use a newer one")]
    Unsupported {
        /// The structure.
        what: &'static str,
        /// Version, flag or kind.
        feature: String,
    },
    /// Encrypted, and the key that was given does not open it.
    #[error("{what} is not opened by the key that was given; give the right key")]
    WrongKey {
        /// The structure.
        what: &'static str,
    },
    /// Encrypted under an epoch whose key is not there.
    #[error("{what} is encrypted, and the key of epoch {epoch} is missing")]
    NoKey {
        /// The structure.
        what: &'static str,
        /// Number of the epoch.
        epoch: u32,
    },
}

impl FormatError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::WrongKey { .. } | Self::NoKey { .. } => ErrorKind::Refused,
        }
    }

    pub(crate) fn corrupt(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Corrupt { what, problem: problem.into() }
    }

    pub(crate) fn unsupported(what: &'static str, feature: impl Into<String>) -> Self {
        Self::Unsupported { what, feature: feature.into() }
    }
}
