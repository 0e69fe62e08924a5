//! How the appliance fares, in one answer.

use crate::inventory::InventoryStatus;
use crate::maintenance::{Forecast, MaintenanceRun, QuarantinedSegment};
use crate::san::Acknowledgement;
use jiff::Timestamp;
use model::NaaName;
use serde::{Deserialize, Serialize};

/// The appliance at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// What is done so that it stays readable, and how it will fare.
    #[serde(default)]
    pub care: CareStatus,
}

/// How the repository is cared for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CareStatus {
    /// How much was read back lately.
    pub scrub: ScrubStatus,
    /// Segments that are damaged beyond repair, some at most.
    pub quarantined: Vec<QuarantinedSegment>,
    /// How many segments have damage beyond repair, listed or not.
    pub quarantined_total: u64,
    /// When it is full; `None`: it could not be said.
    pub forecast: Option<Forecast>,
    /// The newest task of each kind since the appliance was started.
    pub tasks: Vec<MaintenanceRun>,
    /// Keep rules are configured: recovery points expire by themselves.
    pub expires: bool,
}

/// How much of the repository was read back lately. Times are of the retention clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Every byte is to be read again within so many days.
    pub goal_days: u32,
    /// Bytes of segments that were read within them, or sealed.
    pub bytes_within: u64,
    /// Bytes of all segments.
    pub bytes_total: u64,
    /// Bytes that no scrub has read since they were sealed.
    pub bytes_never: u64,
    /// When the segment that was read longest ago was read; `None` without segments.
    pub oldest: Option<Timestamp>,
    /// Segments with damage that is not repaired.
    pub damaged: u64,
    /// The goal is met.
    pub on_track: bool,
}

impl ScrubStatus {
    /// How much was read within the goal, in percent, rounded down; 100 without segments.
    #[must_use]
    pub fn percent_within(&self) -> u64 {
        let hundredfold = u128::from(self.bytes_within) * 100;
        let percent = hundredfold.checked_div(u128::from(self.bytes_total)).unwrap_or(100);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
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
    /// Whether its inventory is followed.
    #[serde(default)]
    pub inventory: InventoryStatus,
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
    /// Where it was found first, such as `iqn.…, LUN 1 at 10.0.0.1:3260`.
    pub target: String,
    /// Its size.
    pub capacity_bytes: u64,
    /// It can be read now.
    pub ready: bool,
    /// The datastore on it, when it is known.
    pub datastore: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
    /// It is presented read-only; `None`: it does not say.
    #[serde(default)]
    pub write_protected: Option<bool>,
    /// Somebody has accepted that it is presented writable.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// Paths that were found.
    #[serde(default)]
    pub paths: u64,
    /// Paths that commands can take now.
    #[serde(default)]
    pub paths_usable: u64,
}
