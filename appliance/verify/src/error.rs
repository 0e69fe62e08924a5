//! Why a command came to no result, or to a bad one.

use crate::report::Damage;
use model::ErrorKind;
use std::io;
use std::path::PathBuf;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be checked: wrong key, unknown version, nothing there.
    #[error("{0}")]
    Refused(String),
    /// What was asked for is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A file of ours, not of the repository.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl VerifyError {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) => ErrorKind::Refused,
            Self::Damaged(_) => ErrorKind::Corrupt,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Retryable,
            },
        }
    }
}
