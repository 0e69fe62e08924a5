//! How the appliance fares, in one answer.

use jiff::Timestamp;
use model::NaaName;
use serde::{Deserialize, Serialize};

/// The appliance at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the appliance's software.
    pub version: String,
    /// The judgement.
    pub state: Health,
    /// Why not `ok`; empty when it is.
    pub reasons: Vec<Reason>,
    /// Where recovery points are kept.
    pub repository: RepositoryStatus,
    /// Where VMs are known.
    pub vcenter: VcenterStatus,
    /// Where disks are read.
    pub san: SanStatus,
    /// The clock that locks end by; it may lag behind `wall_now`.
    pub retention_now: Timestamp,
    /// The machine's clock.
    pub wall_now: Timestamp,
    /// Seconds that the retention clock is behind `wall_now`: locks end that much later.
    #[serde(default)]
    pub retention_lag_seconds: i64,
    /// Why nothing is released now, though locks may have ended.
    #[serde(default)]
    pub retention_doubt: Option<String>,
}

/// The judgement of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything works.
    Ok,
    /// Something needs a person.
    Degraded,
}

/// One thing that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name for programs, such as `vcenter-unreachable`.
    pub code: String,
    /// What is the matter, in a sentence.
    pub text: String,
    /// What to do about it.
    pub next_step: String,
}

/// The repository's disks and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryStatus {
    /// Its folder on the appliance.
    pub path: String,
    /// Size of its file system.
    pub capacity_bytes: u64,
    /// Free in its file system.
    pub free_bytes: u64,
    /// Taken by its segments.
    pub stored_bytes: u64,
    /// Number of recovery points.
    pub points: u64,
    /// Number of sealed segments.
    pub segments: u64,
    /// Recovery points that are locked or held now.
    #[serde(default)]
    pub kept_points: u64,
    /// Bytes of segments that they need: nothing gives these back before their time.
    #[serde(default)]
    pub kept_bytes: u64,
    /// What is stored is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Who seals, commits and deletes.
    #[serde(default)]
    pub warden: WardenStatus,
}

/// The warden: the only part that seals, commits and deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WardenStatus {
    /// It is a process of its own; else it runs inside the daemon and protects against nothing
    /// that the daemon itself does.
    pub own_process: bool,
    /// It answered when it was last asked. Without it nothing is committed or deleted; reading
    /// goes on.
    pub answers: bool,
    /// Why it does not answer, or takes nothing more.
    pub error: Option<String>,
    /// What is not enforced here, each in a sentence.
    pub not_enforced: Vec<String>,
    /// Names of the officers, whose signatures end holds and governance locks.
    pub officers: Vec<String>,
    /// Shortest lock that is accepted, in seconds.
    pub lock_min_seconds: u64,
    /// Longest lock that is accepted, in seconds.
    pub lock_max_seconds: u64,
}

/// The connection to vCenter or a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcenterStatus {
    /// Its address, without user and password.
    pub url: String,
    /// The last call succeeded.
    pub connected: bool,
    /// What it calls itself (`about.fullName`); `None` until the first login.
    pub full_name: Option<String>,
    /// Why not connected.
    pub error: Option<String>,
}

/// The LUNs within reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanStatus {
    /// By name.
    pub luns: Vec<LunStatus>,
}

/// One LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunStatus {
    /// `naa.` and hex digits.
    pub naa: NaaName,
    /// Where it was found, such as `iqn.…, LUN 1 at 10.0.0.1:3260`.
    pub target: String,
    /// Its size.
    pub capacity_bytes: u64,
    /// It can be read now.
    pub ready: bool,
    /// The datastore on it, when it is known.
    pub datastore: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}
