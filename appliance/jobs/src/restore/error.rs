//! Why a restore into vCenter ended without its VM.

use crate::ports::{BoxError, PortError};
use model::ErrorKind;
use vmdk::VmdkError;

/// The restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It would not be safe, or cannot be done; nothing was begun.
    #[error("{reason}")]
    Refused {
        /// For people.
        reason: String,
        /// What a person can do.
        next_step: &'static str,
    },
    /// A peer could not do what was asked for.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A disk cannot be written as a VMDK.
    #[error("a disk cannot be written as a VMDK")]
    Stream(#[source] VmdkError),
    /// What came back is not what was sent.
    #[error(
        "disk {index} differs from the recovery point at byte {at}, read back by {how}; the VM was \
         not powered on and is left as '{left}'"
    )]
    Differs {
        /// Number of the disk in the point.
        index: u32,
        /// The first byte that differs.
        at: u64,
        /// How it was read back.
        how: String,
        /// The name that it has.
        left: String,
    },
    /// A VM is not replaced by one whose bytes nobody has read back.
    #[error(
        "'{name}' is not replaced, since its replacement could not be verified: {reason}; the \
         replacement is left as '{left}'"
    )]
    Unverified {
        /// The VM that was to be replaced.
        name: String,
        /// Why not.
        reason: String,
        /// The name of the replacement.
        left: String,
    },
    /// The journal could not be written, so nothing was begun, or what is left is finished later.
    #[error("writing the journal failed")]
    Journal(#[source] BoxError),
    /// A thread of ours ended abnormally: our bug.
    #[error("{what} ended abnormally")]
    Thread {
        /// Which part.
        what: &'static str,
        /// The panic or cancellation.
        source: BoxError,
    },
    /// The operator or the shutdown asked for it.
    #[error("cancelled; nothing of the VM is kept")]
    Cancelled,
}

impl RestoreError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::Unverified { .. } => ErrorKind::Refused,
            Self::Port(error) => error.kind,
            Self::Stream(error) => error.kind(),
            Self::Differs { .. } => ErrorKind::Corrupt,
            Self::Journal(_) | Self::Thread { .. } => ErrorKind::Retryable,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "restore-refused",
            Self::Port(error) => crate::error::port_code(error.kind),
            Self::Stream(_) => "vmdk",
            Self::Differs { .. } => "restored-bytes-differ",
            Self::Unverified { .. } => "replacement-unverified",
            Self::Journal(_) => "journal-unwritable",
            Self::Thread { .. } => "internal",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a person can do now.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Refused { next_step, .. } => next_step,
            Self::Differs { .. } => {
                "Do not use that VM. Look at the storage that it lies on, restore to another \
                 datastore, and remove it when it has been looked at."
            }
            Self::Unverified { .. } => {
                "Look at the replacement; then rename it yourself, or restore again with \
                 --no-verify to replace the VM all the same."
            }
            _ => match self.kind() {
                ErrorKind::Refused => "Correct what the text names, then restore again.",
                ErrorKind::Full => "Free space on the datastore or name another one (--datastore).",
                ErrorKind::Corrupt => "Verify the recovery point; it lists what is damaged.",
                ErrorKind::Cancelled => "Restore again when it suits.",
                _ => "Restore again; if it fails again, look at the cause named last.",
            },
        }
    }
}
