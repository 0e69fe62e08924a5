//! What can go wrong between us and a LUN, in words for the person who has to act.

use crate::kernel::KernelError;
use iscsi::IscsiError;
use model::{ErrorKind, NaaName};
use scsi::{AccessState, Advice, DecodeError, ForbiddenCdb, LunId, Sense, Status};
use std::io;

/// An operation on a SAN that failed. No variant ever holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SanError {
    /// No TCP connection.
    #[error("connecting to portal {portal}; check address, port and network")]
    Connect {
        /// `host:port`.
        portal: String,
        /// The system's reason.
        source: std::sync::Arc<io::Error>,
    },
    /// The login or the session failed.
    #[error("{operation} at target {target}, portal {portal}")]
    Session {
        /// What was being done.
        operation: &'static str,
        /// `host:port`.
        portal: String,
        /// iSCSI name.
        target: String,
        /// What happened.
        source: IscsiError,
    },
    /// A device of our own kernel, or a command through it, failed.
    #[error("{target} by {portal}")]
    Kernel {
        /// Our port, and the kernel's address of the device.
        portal: String,
        /// The remote port or target.
        target: String,
        /// What happened.
        source: Box<KernelError>,
    },
    /// The path was lost and could not be restored in time. The bytes are unknown.
    #[error("the path to target {target} by portal {portal} is lost; run again when it is back")]
    PathLost {
        /// `host:port`.
        portal: String,
        /// iSCSI name.
        target: String,
        /// The last attempt.
        source: Box<SanError>,
    },
    /// The device answered with an error.
    #[error(
        "{operation} on LUN {lun} of {target}: {status}{}{}",
        shown(sense.as_ref()),
        hint(*advice)
    )]
    Device {
        /// What was being done.
        operation: &'static str,
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// SCSI status.
        status: Status,
        /// Decoded sense data.
        sense: Option<Sense>,
        /// What it means.
        advice: Advice,
    },
    /// Another host shuts us out, and told the LUN so.
    #[error(
        "{operation} on LUN {lun} of {target}: shut out by the {holder}; it was waited for; look \
         for the host that registered this key, it may have gone down without releasing it"
    )]
    Reserved {
        /// What was being done.
        operation: &'static str,
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// Kind and holder of the reservation.
        holder: String,
    },
    /// The device did not answer in time, or its data kept arriving damaged.
    #[error("{operation} on LUN {lun} of {target}: {problem}")]
    Unanswered {
        /// What was being done.
        operation: &'static str,
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// What was the matter.
        problem: &'static str,
    },
    /// The device sent fewer bytes than it must.
    #[error("{operation} on LUN {lun} of {target} gave {got} bytes instead of {wanted}")]
    Short {
        /// What was being done.
        operation: &'static str,
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// Bytes that came.
        got: u32,
        /// Bytes that should have come.
        wanted: u32,
    },
    /// A reply makes no sense.
    #[error("LUN {lun} of {target}")]
    Decode {
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The LUN behind an address is not the one that it was.
    #[error(
        "LUN {lun} of {target} is no longer what it was when this run began ({what} changed); \
         nothing read since is used; rescan and run again"
    )]
    IdentityChanged {
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// What differs.
        what: &'static str,
    },
    /// No LUN of that name was presented to us.
    #[error(
        "no LUN {name} is presented to this appliance; seen: {}; check LUN masking and zoning",
        listed(seen)
    )]
    NotFound {
        /// The wanted name.
        name: NaaName,
        /// Every LUN that was seen, and what could not be looked at.
        seen: Vec<String>,
    },
    /// Two different LUNs claim one name.
    #[error(
        "more than one LUN claims the name {name}, and they differ in {what}, so none of them is \
         read: {}; look for a copied name or a snapshot that is presented with its original",
        listed(seen)
    )]
    Ambiguous {
        /// The name.
        name: NaaName,
        /// What differs.
        what: &'static str,
        /// Who claims it.
        seen: Vec<String>,
    },
    /// The LUN is one of the disks that this box itself lives on.
    #[error(
        "LUN {lun} of {target} is a disk of this appliance itself ({what}); it is never read as a \
         source; take it out of the presentation to the SAN, or move the repository"
    )]
    OwnDisk {
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// What it is to us, and by what it was recognized.
        what: String,
    },
    /// There are paths, and none of them serves reads.
    #[error(
        "no path to LUN {name} serves reads now: {}; check the array's controllers",
        listed(paths)
    )]
    NoPath {
        /// Its best name.
        name: String,
        /// Every path with its state.
        paths: Vec<String>,
    },
    /// The range does not lie on the LUN.
    #[error("read of {length} bytes at {offset:#x} reaches beyond the end of the LUN at {size:#x}")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: usize,
        /// Size of the LUN.
        size: u64,
    },
    /// More than one call may read.
    #[error("a read of {length} bytes; one call reads at most {max}")]
    TooLong {
        /// Bytes asked for.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The role may not send that command. A fault of ours; nothing was sent.
    #[error("LUN {lun} of {target}")]
    Forbidden {
        /// Which LUN.
        lun: LunId,
        /// iSCSI name.
        target: String,
        /// What was to be sent.
        source: ForbiddenCdb,
    },
    /// A value of the configuration cannot be used.
    #[error("portal {portal}: {problem}")]
    Config {
        /// `host:port`.
        portal: String,
        /// Which value, and what it may be.
        problem: &'static str,
    },
    /// The session was logged out.
    #[error("the session with target {target} was logged out")]
    LoggedOut {
        /// iSCSI name.
        target: String,
    },
    /// Nothing to log in to.
    #[error("no portal is configured")]
    NoPortal,
    /// The system gave no random bytes.
    #[error("no random bytes for the login: {0}")]
    Random(getrandom::Error),
}

impl SanError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. }
            | Self::Unanswered { .. }
            | Self::NoPath { .. }
            | Self::Random(_) => ErrorKind::Retryable,
            Self::Session { source, .. } => source.kind(),
            Self::Kernel { source, .. } => source.kind(),
            Self::PathLost { source, .. } => match source.kind() {
                kind @ (ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Gone) => kind,
                _ => ErrorKind::Retryable,
            },
            Self::Device { advice, .. } => device_kind(*advice),
            Self::Reserved { .. } => ErrorKind::Busy,
            Self::Short { .. } => ErrorKind::Misbehaved,
            Self::Decode { source, .. } => source.kind(),
            Self::NotFound { .. } | Self::NoPortal => ErrorKind::NotFound,
            Self::IdentityChanged { .. }
            | Self::Ambiguous { .. }
            | Self::OwnDisk { .. }
            | Self::Config { .. } => ErrorKind::Refused,
            Self::Forbidden { source, .. } => source.kind(),
            Self::OutOfRange { .. } | Self::TooLong { .. } => ErrorKind::Corrupt,
            Self::LoggedOut { .. } => ErrorKind::Cancelled,
        }
    }

    /// The path is to blame: it was lost, or never there.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::PathLost { .. }
                | Self::Session { .. }
                | Self::Connect { .. }
                | Self::LoggedOut { .. }
        )
    }

    /// The device does not know the command.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Device { advice: Advice::Unsupported, .. })
    }

    /// The state of the path, where the device told it instead of an answer.
    pub(crate) fn state_told(&self) -> Option<AccessState> {
        match self {
            Self::Device { sense: Some(sense), .. } => AccessState::told_by(sense),
            _ => None,
        }
    }
}

fn device_kind(advice: Advice) -> ErrorKind {
    match advice {
        Advice::LowerDepth | Advice::WaitReserved => ErrorKind::Busy,
        Advice::Unsupported => ErrorKind::Unsupported,
        Advice::Changed | Advice::Protected => ErrorKind::Refused,
        Advice::Unreadable | Advice::OutOfRange => ErrorKind::Corrupt,
        Advice::Done
        | Advice::Repeat
        | Advice::RepeatElsewhere
        | Advice::StatesChanged
        | Advice::LunsChanged
        | Advice::Wait
        | Advice::PathUnusable
        | Advice::Failed => ErrorKind::Retryable,
    }
}

fn shown(sense: Option<&Sense>) -> String {
    sense.map(|sense| format!(", {sense}")).unwrap_or_default()
}

/// What to do next, where the status alone does not say it.
fn hint(advice: Advice) -> &'static str {
    match advice {
        Advice::LowerDepth => "; the array is overloaded, run again later",
        Advice::WaitReserved => "; another host holds a reservation on the LUN",
        Advice::PathUnusable => "; this path is standby or the LUN is not mapped by it",
        Advice::Changed => "; the LUN's capacity changed, rescan and run again",
        Advice::Unreadable => "; the array cannot give these blocks back",
        _ => "",
    }
}

fn listed(seen: &[String]) -> String {
    if seen.is_empty() { "none".into() } else { seen.join("; ") }
}
