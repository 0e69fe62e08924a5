//! Locks and the two times. A lock ends by the retention clock, never by the wall clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Seconds of the repository's own retention clock, counted in the Unix epoch's scale. It may
/// lag behind the wall clock (the clock runs late, never early), so it is shown as 'at least'.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct RetentionTime(pub i64);

/// Seconds since the Unix epoch by the machine's clock: for people and logs, never for locks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct WallTime(pub i64);

/// Who may end a lock before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Two people together, on record.
    Governance,
    /// Nobody.
    Compliance,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

/// A time lock on a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionLock {
    /// Who may end it early.
    pub mode: LockMode,
    /// The first moment at which it no longer holds.
    pub until: RetentionTime,
}
