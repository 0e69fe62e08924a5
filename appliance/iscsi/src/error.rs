//! Why a connection ended. All of these end it; what a single command met is an [`crate::Outcome`].

use crate::config::ConfigError;
use crate::discovery::TargetAddress;
use crate::{Time, reject};
use model::ErrorKind;
use std::fmt;

/// The end of a connection that was not asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IscsiError {
    /// The target answered the login with a status other than success.
    #[error("the target refused the login: {0}")]
    LoginRefused(LoginStatus),
    /// The target wants us at another address. A driver follows, up to a limit.
    #[error("the target is elsewhere: it redirects to {}", address.portal)]
    Redirected {
        /// Where it wants us.
        address: TargetAddress,
        /// Whether the target means it for good.
        permanent: bool,
    },
    /// The redirections go round in a circle, or on and on.
    #[error(
        "the target's redirections lead nowhere ({}); check its redirection, or configure the \
         portal that is meant",
        trail.join(" -> ")
    )]
    RedirectionLoop {
        /// The portals in the order in which they were tried, and the one that was too many.
        trail: Vec<String>,
    },
    /// The target could not prove that it knows its own secret (mutual CHAP).
    #[error(
        "the target failed mutual authentication; its secret or name is not the configured one"
    )]
    TargetNotAuthentic,
    /// A challenge that was answered before: its answer could be a replayed one.
    #[error(
        "the target sent a CHAP challenge for the second time; it is broken, or someone replays \
         a login that was overheard"
    )]
    ChallengeRepeated,
    /// None of the configured CHAP algorithms suits the target.
    #[error("no CHAP algorithm in common; the target chose '{chosen}'")]
    NoCommonAlgorithm {
        /// As the target wrote it.
        chosen: String,
    },
    /// A peer that does not keep to the protocol.
    #[error("the target broke the protocol: {0}")]
    Misbehaved(String),
    /// A header arrived damaged; nothing after it can be trusted (RFC 7143, 7.8).
    #[error("a header digest is wrong: bytes were damaged on the way")]
    HeaderDigest,
    /// The data of something other than a read arrived damaged.
    #[error("a data digest is wrong outside a read: bytes were damaged on the way")]
    DataDigest,
    /// The target rejected a PDU of ours.
    #[error("the target rejected {}: {}", reject::what(*opcode), reject::why(*reason))]
    Rejected {
        /// RFC 7143, 11.17.1.
        reason: u8,
        /// Operation code of the rejected PDU, if the target sent it back.
        opcode: Option<u8>,
    },
    /// Nothing came in time.
    #[error("no answer to {waited_for} in time")]
    TimedOut {
        /// What was waited for.
        waited_for: &'static str,
    },
    /// The target announced that it ends the session, or asked us to (asynchronous message).
    #[error("the target ended the session (asynchronous event {event})")]
    EndedByTarget {
        /// RFC 7143, 11.9.
        event: u8,
        /// How long it wants to be left alone before the next login.
        wait: Time,
    },
    /// The target hung up during the login, as some do instead of saying what they refuse (LIO,
    /// when it wants CHAP and is offered none).
    #[error(
        "the target closed the connection during the login; {}",
        if *chap { "check user, secret and the target's access list" }
        else { "it may want CHAP, and none is configured for it here" }
    )]
    HungUp {
        /// CHAP is configured.
        chap: bool,
    },
    /// The TCP connection is gone.
    #[error("the connection was closed")]
    Disconnected,
    /// The configuration cannot be used.
    #[error("the iSCSI configuration cannot be used")]
    Config(#[source] ConfigError),
}

impl IscsiError {
    pub(crate) fn misbehaved(what: impl Into<String>) -> Self {
        Self::Misbehaved(what.into())
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LoginRefused(status) => status.kind(),
            Self::Redirected { .. } | Self::NoCommonAlgorithm { .. } => ErrorKind::Unsupported,
            Self::TargetNotAuthentic | Self::ChallengeRepeated | Self::Config(_) => {
                ErrorKind::Refused
            }
            Self::Misbehaved(_) | Self::Rejected { .. } | Self::RedirectionLoop { .. } => {
                ErrorKind::Misbehaved
            }
            Self::HeaderDigest
            | Self::DataDigest
            | Self::TimedOut { .. }
            | Self::EndedByTarget { .. }
            | Self::HungUp { .. }
            | Self::Disconnected => ErrorKind::Retryable,
        }
    }
}

/// Status-Class and Status-Detail of a login response (RFC 7143, 11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginStatus {
    /// 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub class: u8,
    /// Meaning within the class.
    pub detail: u8,
}

impl LoginStatus {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match (self.class, self.detail) {
            (2, 0x03) => ErrorKind::NotFound,
            (2, 0x04) => ErrorKind::Gone,
            (2, 0x05) => ErrorKind::Unsupported,
            (2, 0x06) => ErrorKind::Busy,
            (2, _) => ErrorKind::Refused,
            (3, _) => ErrorKind::Retryable,
            _ => ErrorKind::Misbehaved,
        }
    }

    fn text(self) -> &'static str {
        match (self.class, self.detail) {
            (2, 0x00) => "initiator error (with CHAP: often an algorithm it does not know)",
            (2, 0x01) => "authentication failed; check user and secret",
            (2, 0x02) => "this initiator name is not allowed; add it to the target's access list",
            (2, 0x03) => "no such target; check the name",
            (2, 0x04) => "the target was removed",
            (2, 0x05) => "unsupported protocol version",
            (2, 0x06) => "too many connections",
            (2, 0x07) => "a parameter is missing",
            (2, 0x08) => "cannot include this connection in a session",
            (2, 0x09) => "session type not supported",
            (2, 0x0a) => "the session does not exist",
            (2, 0x0b) => "invalid request during login",
            (3, 0x00) => "target error",
            (3, 0x01) => "service unavailable",
            (3, 0x02) => "out of resources",
            _ => "unknown status",
        }
    }
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {:02x}{:02x}h)", self.text(), self.class, self.detail)
    }
}
