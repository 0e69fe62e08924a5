//! What changes locks, holds and offices, in the order of the ledger.

use model::{RecoveryPointId, RetentionLock, RetentionTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long a lock that is written now may last, in seconds from now. Locks that were written
/// before keep their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// At least.
    pub min_seconds: u64,
    /// At most.
    pub max_seconds: u64,
}

impl Default for Bounds {
    /// No bounds but those of the clock itself.
    fn default() -> Self {
        Self { min_seconds: 0, max_seconds: u64::MAX }
    }
}

/// What an officer may do, alone or in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// End a legal hold.
    ReleaseHold,
    /// Together with a second officer: end a governance lock early.
    Override,
}

/// What changes the state of locks, in the order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A recovery point exists, locked.
    Commit {
        /// The point.
        point: RecoveryPointId,
        /// Its first lock, from [`Retention::new_lock`](super::Retention::new_lock).
        lock: RetentionLock,
    },
    /// The lock of a point ends later.
    Extend {
        /// The point.
        point: RecoveryPointId,
        /// New end; not before the old one.
        until: RetentionTime,
    },
    /// The lock of a point becomes a compliance lock.
    Tighten {
        /// The point.
        point: RecoveryPointId,
    },
    /// A legal hold by the name of its matter.
    Hold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// The end of a legal hold.
    Unhold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// A governance lock ends now.
    Override {
        /// The point.
        point: RecoveryPointId,
        /// The clock on the leaf: filled in by whoever writes it, not by whoever asks.
        at: RetentionTime,
        /// The two officers.
        by: BTreeSet<String>,
    },
    /// No override from now on, for ever.
    ForbidOverrides,
    /// Bounds of the locks to come.
    SetBounds(Bounds),
    /// A person takes office.
    Enrol {
        /// Name; one person, one name.
        officer: String,
        /// What the officer may do.
        rights: BTreeSet<Right>,
        /// The two officers who approved; empty: at installation, or by the local command.
        by: BTreeSet<String>,
    },
    /// An officer is out of office.
    Dismiss {
        /// Name.
        officer: String,
    },
    /// The point has been deleted. The ledger records a deletion after a
    /// [`Release`](super::Release) was given for it.
    Deleted {
        /// The point.
        point: RecoveryPointId,
        /// The clock on the leaf.
        at: RetentionTime,
    },
}
