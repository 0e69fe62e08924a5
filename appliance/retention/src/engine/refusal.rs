//! Verdicts, and what stands in the way of a request.

use super::{Bounds, Right};
use crate::clock::Doubt;
use model::{ErrorKind, LockMode, RecoveryPointId, RetentionTime};
use serde::{Deserialize, Serialize};

/// What may happen to a point now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may be deleted.
    #[error("its lock has ended")]
    Expire,
    /// Its lock has not ended.
    #[error("it is locked in {mode} mode until {} of the compliance clock", until.0)]
    Locked {
        /// Who could end it.
        mode: LockMode,
        /// The first moment at which it no longer holds.
        until: RetentionTime,
    },
    /// Held, whatever its lock says.
    #[error("it is held for: {}", matters.join(", "))]
    Held {
        /// The names of all matters.
        matters: Vec<String>,
    },
}

/// Why a request or an event was not taken. The state is as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No such point.
    #[error("there is no recovery point {point}")]
    Unknown {
        /// The point.
        point: RecoveryPointId,
    },
    /// A second commit of the same id.
    #[error("recovery point {point} exists already")]
    Exists {
        /// The point.
        point: RecoveryPointId,
    },
    /// Locks are extended only.
    #[error(
        "the {mode} lock of recovery point {point} ends at {} of the compliance clock; it cannot \
         end earlier",
        until.0
    )]
    Shorter {
        /// The point.
        point: RecoveryPointId,
        /// Its mode.
        mode: LockMode,
        /// Its end.
        until: RetentionTime,
    },
    /// The lock would be shorter or longer than allowed.
    #[error(
        "a lock of {seconds} s from now is outside of the bounds: at least {} s, at most {} s",
        bounds.min_seconds, bounds.max_seconds
    )]
    OutOfBounds {
        /// Its length from now; what does not fit is shown as the largest or smallest number.
        seconds: i64,
        /// The bounds that are in force.
        bounds: Bounds,
    },
    /// The end of the lock lies beyond the end of the clock.
    #[error("a lock of {seconds} s from now would end after the compliance clock's last second")]
    TooFar {
        /// Its length.
        seconds: u64,
    },
    /// The upper bound is below the lower one.
    #[error(
        "no lock could be at least {} s and at most {} s long",
        bounds.min_seconds, bounds.max_seconds
    )]
    NoBounds {
        /// As asked for.
        bounds: Bounds,
    },
    /// No hold of that name.
    #[error("recovery point {point} has no hold '{matter}'")]
    NoHold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// It is held for as many matters as there can be.
    #[error("recovery point {point} is held for {max} matters already; there can be no more")]
    ManyHolds {
        /// The point.
        point: RecoveryPointId,
        /// The limit.
        max: usize,
    },
    /// The name of a matter or an officer is empty, too long, or not printable.
    #[error("a name has 1 to {max} bytes and no control characters")]
    BadName {
        /// The limit in bytes.
        max: usize,
    },
    /// A lock or a hold stands in the way.
    #[error("recovery point {point} may not be deleted: {verdict}")]
    Kept {
        /// The point.
        point: RecoveryPointId,
        /// What stands in the way.
        verdict: Verdict,
    },
    /// The clocks do not agree.
    #[error("nothing is released now: {doubt}")]
    InDoubt {
        /// Why, and until when.
        doubt: Doubt,
    },
    /// A deletion that was not released at this time.
    #[error("recovery point {point}: asked for at {}, but the clock is at {}", at.0, now.0)]
    NotNow {
        /// The point.
        point: RecoveryPointId,
        /// As the event says.
        at: RetentionTime,
        /// The clock.
        now: RetentionTime,
    },
    /// Everything would be destroyed, and something is kept.
    #[error("{kept} recovery points are kept; the one that is kept longest is {point}: {verdict}")]
    Contains {
        /// How many points are kept.
        kept: usize,
        /// The one that is kept longest: a held one, else the one with the last end.
        point: RecoveryPointId,
        /// Why it is kept.
        verdict: Verdict,
    },
    /// A key would be destroyed, and points need it.
    #[error(
        "the key is needed by {points} recovery points, one of which is {point}; destroying it is \
         destroying them"
    )]
    KeyNeeded {
        /// How many.
        points: usize,
        /// One of them: the one with the last end.
        point: RecoveryPointId,
        /// End of its lock.
        until: RetentionTime,
    },
    /// Compliance locks end by time alone.
    #[error(
        "recovery point {point} is locked in compliance mode until {} of the compliance clock; \
         nobody can end that earlier",
        until.0
    )]
    Compliance {
        /// The point.
        point: RecoveryPointId,
        /// Its end.
        until: RetentionTime,
    },
    /// Overrides were switched off for ever.
    #[error("overrides have been forbidden in this repository for ever")]
    OverridesForbidden,
    /// The request needs an officer who has this right.
    #[error("this needs an officer with the right {right:?}")]
    NeedsRight {
        /// The right.
        right: Right,
    },
    /// The request needs two.
    #[error(
        "this needs two different officers in office, neither of whom enrolled the other{}",
        right.map_or_else(String::new, |right| format!(", each with the right {right:?}"))
    )]
    NeedsTwo {
        /// The right that both must have.
        right: Option<Right>,
    },
    /// Somebody is named who did not sign.
    #[error("'{officer}' is named but did not approve")]
    NotApproved {
        /// Who.
        officer: String,
    },
    /// The officer is in office already.
    #[error("'{officer}' is an officer already")]
    InOffice {
        /// Who.
        officer: String,
    },
    /// There is no such officer, or no longer.
    #[error("'{officer}' is not an officer")]
    NoOfficer {
        /// Who.
        officer: String,
    },
}

impl Refusal {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } | Self::NoHold { .. } | Self::NoOfficer { .. } => {
                ErrorKind::NotFound
            }
            _ => ErrorKind::Refused,
        }
    }
}
