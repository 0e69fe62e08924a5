//! Why a run ended without a recovery point.

use crate::ports::{BoxError, PortError};
use block::PlanError;
use model::{DiskRange, ErrorKind};
use vmdk::VmdkError;
use vmfs::VmfsError;

/// A run failed. `Display` says what was being done; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The VM is in a state in which no run may begin.
    #[error("VM '{vm}' cannot be backed up now: {reason}")]
    Preflight {
        /// Its name.
        vm: String,
        /// Why, with what to do about it.
        reason: String,
    },
    /// The guest could not be brought to rest, and the policy wants it.
    #[error("the guest of VM '{vm}' could not be brought to rest: {reason}")]
    NotQuiesced {
        /// Its name.
        vm: String,
        /// The hypervisor's reason.
        reason: String,
    },
    /// The snapshot became too old or too large, or its datastore too full, and the policy ends the
    /// run then.
    #[error("the backup of VM '{vm}' was ended because of its snapshot: {reason}")]
    SnapshotLimit {
        /// Its name.
        vm: String,
        /// Which limit, and how it stands.
        reason: String,
    },
    /// Nothing of a configuration could be read.
    #[error("nothing of the {name} could be read: {reason}")]
    NoConfiguration {
        /// Whose.
        name: String,
        /// Why.
        reason: String,
    },
    /// A disk cannot be read over the SAN.
    #[error("disk '{disk}' has no SAN path: {reason}")]
    NoSanPath {
        /// Its path.
        disk: String,
        /// Why, with what to do about it.
        reason: String,
    },
    /// What the LUN says about itself is not what the hypervisor says about it.
    #[error("LUN {lun} is not the one datastore '{datastore}' lies on: {difference}")]
    Identity {
        /// Name of the LUN.
        lun: String,
        /// Name of the datastore.
        datastore: String,
        /// What differs.
        difference: String,
    },
    /// A driver failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The file system on the LUN could not be read.
    #[error("reading '{path}' from the datastore")]
    Datastore {
        /// The path, or the datastore's name.
        path: String,
        /// The parser's error.
        source: VmfsError,
    },
    /// The disk's descriptor could not be understood.
    #[error("reading the descriptor '{path}'")]
    Descriptor {
        /// Its path.
        path: String,
        /// The parser's error.
        source: VmdkError,
    },
    /// The block map has a range that the parser does not understand.
    #[error("the block map of '{path}' is not understood at {range:?}: {reason}")]
    UnknownRange {
        /// The flat file.
        path: String,
        /// Where.
        range: DiskRange,
        /// What was found.
        reason: String,
    },
    /// The hypervisor calls a range allocated that the block map calls a hole, several times.
    #[error(
        "'{path}': the hypervisor calls {count} ranges allocated that the datastore's block map \
         calls empty, first {first:?}; reading them as zeros could be wrong, so nothing was kept. \
         Run the backup again; if it stays so, the disk needs the network transport"
    )]
    Disagreement {
        /// The flat file.
        path: String,
        /// How many ranges.
        count: usize,
        /// The first of them.
        first: DiskRange,
    },
    /// The SAN and the hypervisor's network path give different bytes for one place of a disk.
    #[error(
        "'{path}': the bytes at offset {offset} are not those that the network path brings; \
         nothing of this run was kept. Do not back up this datastore over the SAN before the \
         cause is known"
    )]
    Differs {
        /// The disk's descriptor.
        path: String,
        /// The first byte that differs.
        offset: u64,
    },
    /// What was compared could not be written down.
    #[error("what was compared with the network path cannot be written down")]
    Verdicts(#[source] BoxError),
    /// Metadata changed while the disk was being read.
    #[error("'{what}' changed while it was being read; nothing was kept, run the backup again")]
    Moved {
        /// What moved.
        what: String,
    },
    /// The read plan contradicts itself: our bug.
    #[error("planning the reads of '{path}'")]
    Plan {
        /// The flat file.
        path: String,
        /// What does not fit.
        source: PlanError,
    },
    /// The intent could not be written down, so nothing was begun.
    #[error("writing the journal failed; nothing was begun")]
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
    #[error("cancelled")]
    Cancelled,
}

impl RunError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Preflight { .. }
            | Self::NotQuiesced { .. }
            | Self::SnapshotLimit { .. }
            | Self::NoConfiguration { .. }
            | Self::Identity { .. } => ErrorKind::Refused,
            Self::NoSanPath { .. } | Self::UnknownRange { .. } => ErrorKind::Unsupported,
            Self::Port(error) => error.kind,
            Self::Datastore { source, .. } => source.kind(),
            Self::Descriptor { source, .. } => source.kind(),
            Self::Disagreement { .. } | Self::Differs { .. } | Self::Plan { .. } => {
                ErrorKind::Corrupt
            }
            Self::Verdicts(_) | Self::Moved { .. } | Self::Journal(_) | Self::Thread { .. } => {
                ErrorKind::Retryable
            }
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "vm-not-ready",
            Self::NotQuiesced { .. } => "not-quiesced",
            Self::SnapshotLimit { .. } => "snapshot-limit",
            Self::NoConfiguration { .. } => "no-configuration",
            Self::NoSanPath { .. } => "no-san-path",
            Self::Identity { .. } => "lun-identity",
            Self::Port(error) => port_code(error.kind),
            Self::Datastore { .. } => "datastore-unreadable",
            Self::Descriptor { .. } => "descriptor-unreadable",
            Self::UnknownRange { .. } => "block-map-unknown",
            Self::Disagreement { .. } => "block-map-disagrees",
            Self::Differs { .. } => "bytes-differ",
            Self::Verdicts(_) => "state-unwritable",
            Self::Moved { .. } => "source-moved",
            Self::Plan { .. } | Self::Thread { .. } => "internal",
            Self::Journal(_) => "journal-unwritable",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a person can do now.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Retryable | ErrorKind::Busy | ErrorKind::Gone => {
                "Run the backup again; if it fails again, look at the cause named last."
            }
            ErrorKind::Full => {
                "Free or add space for the repository. Nothing was deleted; the earlier \
                 recovery points are whole."
            }
            ErrorKind::Refused => "Correct what the text names, then run the backup again.",
            ErrorKind::NotFound => {
                "Check that it exists and is presented to this box, then run the backup again."
            }
            ErrorKind::Unsupported => "This version cannot back up that disk.",
            ErrorKind::Corrupt | ErrorKind::Misbehaved => {
                "Nothing was kept of this run. Check the datastore and the storage, then run \
                 the backup again."
            }
            ErrorKind::Cancelled => "Run the backup again when it suits.",
        }
    }
}

pub(crate) fn port_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Retryable => "peer-unreachable",
        ErrorKind::Busy => "peer-busy",
        ErrorKind::NotFound => "not-found",
        ErrorKind::Gone => "gone",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Misbehaved => "peer-misbehaved",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Refused => "peer-refused",
        ErrorKind::Full => "repository-full",
        ErrorKind::Cancelled => "cancelled",
    }
}
