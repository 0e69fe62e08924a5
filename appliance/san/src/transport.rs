//! How commands travel to a LUN: by an iSCSI session of our own, or by the kernel's device for it
//! (Fibre Channel, SAS, the kernel's own iSCSI).
//!
//! A transport asks the role's allow-list right before the bytes leave, counts what it sends,
//! gives the permit of a job back with its answer, and never repeats a command by itself.

use crate::job::Job;
use crate::kernel::KernelDisk;
use crate::session::Session;
use crate::{Reconnect, SanError};
use std::time::Duration;

/// The way of commands to one target. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// TCP, by our own initiator.
    Iscsi(Session),
    /// A SCSI device of our own kernel: one LUN.
    Kernel(KernelDisk),
}

/// What a transport carries at a time, and how long it is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Commands in flight on one LUN.
    pub(crate) lun_depth: u16,
    /// Bytes of one READ.
    pub(crate) transfer: u32,
    /// For one command, after which it is aborted.
    pub(crate) command_timeout: Duration,
    /// How long a LUN that is busy, reserved or in transition is waited for.
    pub(crate) busy_patience: Duration,
    /// What to do about a lost way.
    pub(crate) reconnect: Reconnect,
    /// How long a command may go unanswered while another way is usable.
    pub(crate) failover_after: Duration,
}

/// Where a way begins and ends, in words for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host:port` of an iSCSI portal, or our own port (its kind, host and WWPN).
    pub(crate) portal: String,
    /// iSCSI name of the target, or the WWPN of the remote port.
    pub(crate) target: String,
}

impl Transport {
    /// Sends a job on its way. The answer comes to where the job says.
    pub(crate) async fn start(&self, job: Job) {
        match self {
            Self::Iscsi(session) => session.start(job).await,
            Self::Kernel(disk) => disk.start(job),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Iscsi(session) => session.place(),
            Self::Kernel(disk) => disk.place(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        match self {
            Self::Iscsi(session) => session.limits(),
            Self::Kernel(disk) => disk.limits(),
        }
    }

    /// A name of the target's port: ways to the same port serve a LUN equally (SAM-5, 4.6). That
    /// of an iSCSI target is its portal group (RFC 7143, 4.4.3); one that does not name it is
    /// taken to have one for each portal.
    pub(crate) fn target_port(&self) -> String {
        match self {
            Self::Iscsi(session) => {
                let Place { portal, target } = session.place();
                match session.agreed().portal_group {
                    Some(group) => format!("{target},t,{group:#06x}"),
                    None => format!("{target} at {portal}"),
                }
            }
            Self::Kernel(disk) => disk.place().target.clone(),
        }
    }

    /// True for two handles of the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Iscsi(one), Self::Iscsi(other)) => one.is_same(other),
            (Self::Kernel(one), Self::Kernel(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Ends it after the commands in flight.
    pub(crate) async fn logout(&self) {
        match self {
            Self::Iscsi(session) => session.logout().await,
            Self::Kernel(disk) => disk.logout().await,
        }
    }

    /// The error of a command that came after the end.
    pub(crate) fn logged_out(&self) -> SanError {
        match self {
            Self::Iscsi(session) => session.logged_out(),
            Self::Kernel(disk) => disk.logged_out(),
        }
    }
}
