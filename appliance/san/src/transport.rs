//! How commands travel to a LUN: by an iSCSI session of our own.
//!
//! A transport asks the role's allow-list right before the bytes leave, counts what it sends,
//! gives the permit of a job back with its answer, and never repeats a command by itself.

use crate::job::{Answer, Job};
use crate::session::Session;
use crate::{Reconnect, SanError};
use std::time::Duration;
use tokio::sync::oneshot;

/// The way of commands to one target. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// TCP, by our own initiator.
    Iscsi(Session),
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
    /// Sends a job on its way. The answer comes through the receiver.
    pub(crate) async fn start(&self, job: Job) -> oneshot::Receiver<Answer> {
        match self {
            Self::Iscsi(session) => session.start(job).await,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Iscsi(session) => session.place(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        match self {
            Self::Iscsi(session) => session.limits(),
        }
    }

    /// Ends it after the commands in flight.
    pub(crate) async fn logout(&self) {
        match self {
            Self::Iscsi(session) => session.logout().await,
        }
    }

    /// The error of a command that came after the end.
    pub(crate) fn logged_out(&self) -> SanError {
        match self {
            Self::Iscsi(session) => session.logged_out(),
        }
    }
}
