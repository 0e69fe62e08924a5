//! What can go wrong in the store.

use format::FormatError;
use model::{ErrorKind, LockMode, RecoveryPointId, RetentionTime};
use retention::{Refusal, Verdict};
use std::io;
use warden::WardenError;

/// An operation of the store that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    /// Free space is below the reserve: nothing more is taken in, nothing is deleted.
    #[error(
        "volume {volume} of the repository is full: {free} bytes are free, {reserve} are kept in \
         reserve and {needed} are needed; add space or delete expired recovery points"
    )]
    Full {
        /// Its number; 0 is the repository's own directory.
        volume: u8,
        /// Bytes.
        free: u64,
        /// Bytes.
        reserve: u64,
        /// Bytes.
        needed: u64,
    },
    /// Another process has the repository open.
    #[error("repository {path} is in use by another process")]
    InUse {
        /// Its directory.
        path: String,
    },
    /// There is no repository, or there is one where one was to be created.
    #[error("{path}: {problem}")]
    Directory {
        /// The directory.
        path: String,
        /// What was found.
        problem: &'static str,
        /// Kind of the error.
        kind: ErrorKind,
    },
    /// No such point, or no such disk in it.
    #[error("there is no {what} in this repository")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Stored bytes are not what was stored.
    #[error("{what} cannot be used")]
    Damaged {
        /// Which structure, and where it lies.
        what: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A file was read back with other bytes than had been written to it.
    #[error(
        "segment {segment} was read back with other bytes than were written: the storage below \
         the repository loses or changes data; check disks, controller and memory"
    )]
    ReadBack {
        /// Its serial.
        segment: u32,
    },
    /// The warden did not do it.
    #[error(transparent)]
    Warden(#[from] WardenError),
    /// The caller asked for something that cannot be.
    #[error("{problem}")]
    Misuse {
        /// What is wrong.
        problem: String,
    },
    /// An earlier error of the same run; it was reported when it happened.
    #[error("the run has failed before: {reason}")]
    Failed {
        /// The first error, in one line.
        reason: String,
        /// Its kind.
        kind: ErrorKind,
    },
}

impl StoreError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                io::ErrorKind::NotFound => ErrorKind::Gone,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Refused
                }
                io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
                _ => ErrorKind::Retryable,
            },
            Self::Full { .. } => ErrorKind::Full,
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Directory { kind, .. } | Self::Failed { kind, .. } => *kind,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Damaged { source, .. } => source.kind(),
            Self::ReadBack { .. } => ErrorKind::Corrupt,
            Self::Warden(error) => error.kind(),
            Self::Misuse { .. } => ErrorKind::Refused,
        }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    pub(crate) fn misuse(problem: impl Into<String>) -> Self {
        Self::Misuse { problem: problem.into() }
    }

    pub(crate) fn no_point(point: RecoveryPointId) -> Self {
        Self::NotFound { what: format!("recovery point {point}") }
    }
}

/// Why a recovery point was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Its lock has not ended. The attempt is on record.
    #[error(
        "recovery point {point} is locked in {mode} mode for at least {} more seconds (until \
         {} of the retention clock, which is at {})",
        until.0.saturating_sub(now.0), until.0, now.0
    )]
    Locked {
        /// The point.
        point: RecoveryPointId,
        /// Who could end the lock early.
        mode: LockMode,
        /// The first moment at which it no longer holds.
        until: RetentionTime,
        /// The retention clock.
        now: RetentionTime,
    },
    /// Held, whatever its lock says. The attempt is on record.
    #[error("recovery point {point} is held for: {}; release the hold first", matters.join(", "))]
    Held {
        /// The point.
        point: RecoveryPointId,
        /// Names of the matters.
        matters: Vec<String>,
    },
    /// A backup builds on it, or it is being read.
    #[error(
        "recovery point {point} is in use by a running backup, restore or verification; try \
         again when it has ended"
    )]
    InUse {
        /// The point.
        point: RecoveryPointId,
    },
    /// The retention clock cannot be trusted now. The attempt is on record.
    #[error("recovery point {point} is not deleted now")]
    Refused {
        /// The point.
        point: RecoveryPointId,
        /// Why.
        source: Refusal,
    },
    /// The store failed; nothing that remains needs anything that was removed.
    #[error("deleting recovery point {point} failed")]
    Store {
        /// The point.
        point: RecoveryPointId,
        /// Why.
        source: StoreError,
    },
}

impl DeleteError {
    /// What the warden's answer to a deletion of `points` means for the first of them that it
    /// names; `now` is the retention clock.
    pub(crate) fn of(points: &[RecoveryPointId], error: StoreError, now: RetentionTime) -> Self {
        let first = points.first().copied().unwrap_or(RecoveryPointId([0; 16]));
        let refusal = match error {
            StoreError::Warden(WardenError::Refused { refusal, .. }) => *refusal,
            source => return Self::Store { point: first, source },
        };
        match refusal {
            Refusal::Kept { point, verdict: Verdict::Locked { mode, until } } => {
                Self::Locked { point, mode, until, now }
            }
            Refusal::Kept { point, verdict: Verdict::Held { matters } } => {
                Self::Held { point, matters }
            }
            Refusal::Unknown { point } => {
                Self::Store { point, source: StoreError::no_point(point) }
            }
            source => Self::Refused { point: first, source },
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked { .. } | Self::Held { .. } => ErrorKind::Refused,
            Self::Refused { source, .. } => source.kind(),
            Self::InUse { .. } => ErrorKind::Busy,
            Self::Store { source, .. } => source.kind(),
        }
    }
}
