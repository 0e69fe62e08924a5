//! Care of the repository: scrub and repair, expiry, reclaim, compaction, and the forecast.
//!
//! The appliance does all of it by itself; what is asked for here is done before its turn. Tasks
//! are done one after another, and those that read or copy much wait while a backup runs.

use crate::problem::Problem;
use crate::run::RunState;
use crate::text;
use crate::vm::VmRef;
use jiff::Timestamp;
use model::RecoveryPointId;
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaintenanceTask {
    /// Read what is due within a day, and repair what is damaged.
    Scrub,
    /// Read every segment, and repair what is damaged.
    ScrubAll,
    /// Delete what the keep rules do not want and no lock keeps.
    Expire,
    /// Remove segments that no recovery point needs.
    Reclaim,
    /// Copy what is needed of mostly dead segments together, so that their space comes back.
    Compact,
}

impl MaintenanceTask {
    /// What people call it, as a noun.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scrub | Self::ScrubAll => "scrub",
            Self::Expire => "expiry",
            Self::Reclaim => "reclaim",
            Self::Compact => "compaction",
        }
    }
}

/// Asks for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// Which one.
    pub task: MaintenanceTask,
}

/// One task, asked for or done by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceRun {
    /// Its number since the appliance was started.
    pub number: u64,
    /// What it does.
    pub task: MaintenanceTask,
    /// Somebody asked for it; else it is the appliance's own.
    pub asked: bool,
    /// How it stands. `Warning`: done, and there is something to look at.
    pub state: RunState,
    /// It waits until the backup that runs has ended.
    pub waits: bool,
    /// Bytes read, of `total_bytes`.
    pub done_bytes: u64,
    /// Bytes that will be read; 0: not known.
    pub total_bytes: u64,
    /// When it ended, by the wall clock.
    pub finished: Option<Timestamp>,
    /// When it ended, by the retention clock.
    pub finished_retention: Option<Timestamp>,
    /// What it brought.
    pub result: Option<MaintenanceResult>,
    /// Why it failed.
    pub error: Option<Problem>,
}

/// What a task brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MaintenanceResult {
    /// Of both kinds of scrub.
    Scrub(ScrubResult),
    /// Of an expiry.
    Expire(ExpireResult),
    /// Of a reclaim.
    Reclaim(Freed),
    /// Of a compaction.
    Compact(CompactResult),
}

/// What a scrub read and mended. Lists are bounded; the totals count all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubResult {
    /// Segments read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that were not what had been sealed.
    pub damaged: u64,
    /// Segments that were repaired.
    pub repaired_total: u64,
    /// These.
    pub repaired: Vec<RepairedSegment>,
    /// Segments that could not be repaired.
    pub quarantined_total: u64,
    /// These.
    pub quarantined: Vec<QuarantinedSegment>,
    /// Segments whose repair had no room; it is tried again.
    pub postponed: u64,
    /// It ended early, because the appliance stopped or somebody asked for something else.
    pub stopped: bool,
}

/// A segment that was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedSegment {
    /// Its serial.
    pub segment: u32,
    /// Blocks of 4096 bytes that had been wrong.
    pub blocks: u64,
}

/// A segment that is damaged beyond its parity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedSegment {
    /// Its serial.
    pub segment: u32,
    /// Recovery points that need it, oldest first, some at most: parts of them cannot be restored.
    #[serde(with = "text::display_list")]
    pub points: Vec<RecoveryPointId>,
    /// How many they are.
    pub points_total: u64,
    /// Why it could not be repaired, where that is still known.
    #[serde(default)]
    pub why: Option<String>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What an expiry deleted. Lists are bounded; the totals count all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireResult {
    /// Recovery points that were deleted.
    pub deleted_total: u64,
    /// These.
    #[serde(with = "text::display_list")]
    pub deleted: Vec<RecoveryPointId>,
    /// Recovery points that the rules do not want, or that are damaged, and that stay.
    pub kept_total: u64,
    /// Recovery points that the rules want.
    pub wanted: u64,
    /// What was freed.
    pub freed: Freed,
}

/// What a compaction moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactResult {
    /// Segments looked at.
    pub examined: u64,
    /// Segments that were emptied.
    pub from: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Segments that took up what is still needed of them.
    pub to: u64,
    /// Their bytes.
    pub bytes_after: u64,
    /// What was removed afterwards.
    pub freed: Freed,
}

/// Exactly what an expiry by the configured rules would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryPreview {
    /// Recovery points that would go.
    pub go: Vec<ExpiryPoint>,
    /// Recovery points that the rules do not want, or that are damaged, and that stay.
    pub kept: Vec<ExpiryPoint>,
    /// What would be freed.
    pub freed: Freed,
}

/// A recovery point in a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryPoint {
    /// Its id.
    #[serde(with = "text::display")]
    pub id: RecoveryPointId,
    /// Its VM.
    pub vm: VmRef,
    /// When its VM snapshot was taken.
    pub created: Timestamp,
    /// Why it stays; `None`: it goes.
    pub reason: Option<String>,
}

/// What the forecast goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastQuery {
    /// Days whose intake is taken to go on; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_days: Option<u32>,
    /// What if all that comes in were locked for so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_days: Option<u32>,
}

/// When the repository is full, if what comes in goes on. Times are of the retention clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Of these: locked or held.
    pub locked_bytes: u64,
    /// Bytes that may be used, without the reserve.
    pub usable_bytes: u64,
    /// What came in on an average day.
    pub bytes_per_day: u64,
    /// Whole days until it is full if nothing is deleted; `None`: never.
    pub full_in_days: Option<u64>,
    /// Whole days until locked data alone fills it; `None`: never.
    pub locked_full_in_days: Option<u64>,
    /// The locks that new data gets make it certain that it runs full.
    pub certain: bool,
    /// Seconds of intake that this was computed from.
    pub seen_seconds: u64,
    /// All of it in a sentence.
    pub text: String,
}
