//! What can go wrong between us and a disk of our own kernel.

use super::candidate::Refusal;
use model::ErrorKind;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An operation on the kernel's devices that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KernelError {
    /// A file of the kernel could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A device node, or a command through it, failed.
    #[error("{operation} {node}")]
    Node {
        /// What was being done.
        operation: &'static str,
        /// Name of the node, such as `sg3`.
        node: String,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// The disk is one that is never read as a SAN LUN.
    #[error("{device} is not used as a SAN LUN: {refusal}")]
    NotCandidate {
        /// Its SCSI address.
        device: String,
        /// Why.
        refusal: Refusal,
    },
    /// The kernel has no such device (any more).
    #[error("the kernel has no device for this path; check cable, zoning and LUN masking")]
    Gone,
    /// It is there, but the kernel lets no command through.
    #[error("device {device} is {state}; the kernel lets no command through until it is running")]
    State {
        /// Its SCSI address.
        device: String,
        /// The kernel's word for its state.
        state: String,
    },
    /// A node does not belong to the device that sysfs names.
    #[error("node {node} is not the device that the kernel lists under that name; scan again")]
    WrongNode {
        /// Name of the node.
        node: String,
    },
    /// The host adapter ended a command because the way is gone.
    #[error("the host adapter ended the command: {0}")]
    Adapter(&'static str),
    /// Earlier commands were never answered, and the kernel still holds their memory.
    #[error("{0} earlier commands are still with the kernel, unanswered; no more are sent")]
    Stuck(usize),
}

impl KernelError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn node(operation: &'static str, node: &str, source: impl Into<io::Error>) -> Self {
        Self::Node { operation, node: node.to_owned(), source: Arc::new(source.into()) }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotCandidate { .. } => ErrorKind::Refused,
            Self::Node { source, .. } | Self::Read { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                ErrorKind::Refused
            }
            Self::Read { .. }
            | Self::Node { .. }
            | Self::Gone
            | Self::State { .. }
            | Self::WrongNode { .. }
            | Self::Adapter(_)
            | Self::Stuck(_) => ErrorKind::Retryable,
        }
    }
}
