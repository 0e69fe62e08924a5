//! Runs: one execution of a job on one VM or one recovery point.

use crate::page::{Listed, newest_first};
use crate::problem::Problem;
use crate::restore::RestoreResult;
use crate::text;
use crate::vm::VmRef;
use jiff::Timestamp;
use model::{DiskRange, RecoveryPointId, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Asks for backups: one run for each VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Names or `config.instanceUuid`s. A name that several VMs have is refused.
    pub vms: Vec<String>,
    /// Also the configuration of every host, and of the vCenter where there is one: a run for each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub configuration: bool,
    /// Read everything allocated, even where an incremental were possible.
    #[serde(default)]
    pub full: bool,
    /// How much of what change tracking calls unchanged is compared with the previous point, in
    /// percent of the disk, 0 to 100; the configured share when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_check_percent: Option<u8>,
    /// Whether the guest is brought to rest; as configured when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Quiesce>,
    /// Which ways to the disks may be used; as configured when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportPolicy>,
    /// What is not kept of the disks; as configured when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Exclude>,
}

/// Which ways to the bytes of a disk may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportPolicy {
    /// From the LUNs. A disk that the SAN does not have is refused, with the reason.
    #[default]
    SanOnly,
    /// From the LUNs; over the network what the SAN does not have, or what is not understood there.
    PreferSan,
    /// Over the network, whole disks.
    Network,
}

/// What is not kept of disks; a restore gives zeros there. Written as a list, such as `["swap"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ExcludeKind>", into = "Vec<ExcludeKind>")]
pub struct Exclude {
    /// What guests have swapped out.
    pub swap: bool,
}

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExcludeKind {
    /// As [`Exclude::swap`].
    Swap,
}

impl Default for Exclude {
    fn default() -> Self {
        Self { swap: true }
    }
}

impl From<Vec<ExcludeKind>> for Exclude {
    fn from(list: Vec<ExcludeKind>) -> Self {
        Self { swap: list.contains(&ExcludeKind::Swap) }
    }
}

impl From<Exclude> for Vec<ExcludeKind> {
    fn from(exclude: Exclude) -> Self {
        exclude.swap.then_some(ExcludeKind::Swap).into_iter().collect()
    }
}

/// Whether the guest is brought to rest (through VMware Tools) before its snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiesce {
    /// No: points are as after a power cut.
    Never,
    /// Where that fails, a point as after a power cut is made, with a warning.
    #[default]
    OrCrash,
    /// Where that fails, the run fails.
    Must,
}

/// The runs that a request has started, in the order of the request's VMs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunsStarted {
    /// Queued or running.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Unique for ever.
    #[serde(with = "text::display")]
    pub id: RunId,
    /// What it does.
    pub kind: RunKind,
    /// On which VM (or on a recovery point of which VM).
    pub vm: VmRef,
    /// The recovery point it verifies or has made.
    #[serde(default, with = "text::display_option")]
    pub point: Option<RecoveryPointId>,
    /// How it stands.
    pub state: RunState,
    /// The step it is in, in words for people; `None` before the first and after the last.
    pub step: Option<String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it left the queue.
    pub started: Option<Timestamp>,
    /// When it ended, whatever the end.
    pub finished: Option<Timestamp>,
    /// Figures of the disk being worked on; `None` while no data flows.
    pub progress: Option<Progress>,
    /// All steps so far, in order.
    pub steps: Vec<RunStep>,
    /// What went well but not as wanted, each a sentence.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// What it brought.
    pub result: Option<RunResult>,
}

impl Listed for Run {
    fn cursor(&self) -> String {
        newest_first(self.created, &self.id)
    }
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// Makes a recovery point.
    Backup,
    /// Reads every chunk of a recovery point and compares its hash.
    Verify,
    /// Makes a VM of a recovery point.
    Restore,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Waits for its turn.
    Queued,
    /// Works.
    Running,
    /// Ended as wanted.
    Succeeded,
    /// Ended with what was wanted, and with something to look at.
    Warning,
    /// Ended without.
    Failed,
    /// Somebody asked for it to stop.
    Cancelled,
}

impl RunState {
    /// True when it will not change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Figures of the disk being worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Label of the disk.
    pub disk: String,
    /// Bytes dealt with, of `total_bytes`.
    pub done_bytes: u64,
    /// Bytes to deal with: what is allocated or changed, or stored.
    pub total_bytes: u64,
    /// Bytes really read (from the SAN, or from the repository in a verify run).
    pub read_bytes: u64,
    /// Bytes added to the repository, compressed.
    pub stored_bytes: u64,
    /// Rate of `done_bytes` over the last seconds.
    pub rate_bytes_per_second: u64,
    /// Seconds left at that rate; `None`: not known yet.
    pub eta_seconds: Option<u64>,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStep {
    /// Stable name, such as `snapshot`, `read`, `seal`.
    pub name: String,
    /// How it stands.
    pub state: StepState,
    /// How long it took, or has taken so far.
    pub seconds: f64,
    /// A sentence for people.
    pub detail: Option<String>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Works.
    Running,
    /// Done.
    Succeeded,
    /// Done, with something to look at.
    Warning,
    /// Not done.
    Failed,
    /// Not needed.
    Skipped,
}

/// What a run brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RunResult {
    /// A recovery point.
    Backup(BackupResult),
    /// A judgement of one.
    Verify(VerifyResult),
    /// A VM.
    Restore(RestoreResult),
}

/// Figures of a backup, summed over the VM's disks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupResult {
    /// What can be restored now.
    #[serde(with = "text::display")]
    pub point: RecoveryPointId,
    /// Bytes read straight from LUNs.
    pub san_read_bytes: u64,
    /// Bytes read through the vSphere API.
    pub network_read_bytes: u64,
    /// Areas that change tracking reported (0 in a full run).
    pub changed_areas: u64,
    /// Their bytes, before rounding to the chunk grid.
    pub changed_bytes: u64,
    /// Bytes read only to be compared with the previous point: change tracking calls them
    /// unchanged, and they were. What differs makes the run a full one, with a warning.
    #[serde(default)]
    pub compared_bytes: u64,
    /// Cells of the grid that were read.
    pub cells: u64,
    /// Bytes added to the repository, compressed, with their headers.
    pub stored_bytes: u64,
    /// Bytes of the cells read, per byte of those that were new; `None`: none was new.
    pub dedup_ratio: Option<f64>,
    /// Bytes of the new chunks, per byte stored for them; `None`: none was new.
    pub compression_ratio: Option<f64>,
    /// Seconds spent in each step.
    pub step_seconds: BTreeMap<String, f64>,
}

/// Judgement of a verify run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyResult {
    /// Chunks read and compared.
    pub chunks: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
    /// What is damaged; empty: the point is whole. Bounded; `damage_total` counts all.
    pub damage: Vec<Damage>,
    /// Number of damaged places, listed or not.
    pub damage_total: u64,
}

/// One damaged place of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Index of the disk; `None`: not data of a disk (a file, the point's own description).
    pub disk: Option<u32>,
    /// Which bytes of the disk cannot be restored.
    pub range: Option<DiskRange>,
    /// What is wrong, in a sentence.
    pub reason: String,
}
