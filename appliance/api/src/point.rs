//! Recovery points: what can be restored, until when it is locked, what is in it.

use crate::page::{Listed, PageQuery, limit_in_force, newest_first};
use crate::portrait::Portrait;
use crate::text;
use crate::vm::VmRef;
use jiff::Timestamp;
use model::{
    ChangeId, Consistency, DiskRange, Exclusion, LockMode, ReadMode, RecoveryPointId, RunId,
    Transport,
};
use serde::{Deserialize, Serialize};

/// Which recovery points are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointQuery {
    /// Only those of this VM: its name (now or at the time of the backup) or its uuid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// As [`PageQuery::limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// As [`PageQuery::after`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl PointQuery {
    /// The part of it that says which page.
    #[must_use]
    pub fn page(&self) -> PageQuery {
        PageQuery { limit: self.limit, after: self.after.clone() }
    }
}

/// Just enough to name a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRef {
    /// Its id.
    #[serde(with = "text::display")]
    pub id: RecoveryPointId,
    /// When its VM snapshot was taken.
    pub created: Timestamp,
}

/// One recovery point in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointSummary {
    /// Its id.
    #[serde(with = "text::display")]
    pub id: RecoveryPointId,
    /// The VM, by its name at the time of the backup.
    pub vm: VmRef,
    /// When its VM snapshot was taken, by the wall clock.
    pub created: Timestamp,
    /// Capacity of all its disks.
    pub size_bytes: u64,
    /// What this point added to the repository, compressed.
    pub stored_new_bytes: u64,
    /// It holds the configuration of a host or a server: files, and no disks.
    #[serde(default)]
    pub configuration: bool,
    /// How much was read for it; `full` when at least one disk was read in full.
    pub mode: PointMode,
    /// How the bytes came; `network` when at least one disk came that way.
    pub transport: Transport,
    /// State of the guest.
    pub consistency: Consistency,
    /// Its lock; `None`: never locked.
    pub lock: Option<LockView>,
    /// The last verify run on it; `None`: none yet.
    pub verified: Option<Verification>,
    /// Segments that it needs and that are damaged beyond repair: what lies in them cannot be
    /// restored, all else can.
    #[serde(default)]
    pub lost_segments: Vec<u32>,
    /// The run that found that change tracking keeps changes back: this point was made with its
    /// help, so areas of it may be older than the point.
    #[serde(default, with = "text::display_option")]
    pub suspected_by: Option<RunId>,
}

impl Listed for PointSummary {
    fn cursor(&self) -> String {
        newest_first(self.created, &self.id)
    }
}

/// How much of the VM was read for a recovery point. Every point restores in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PointMode {
    /// Everything allocated.
    Full,
    /// What had changed.
    Incremental,
}

/// A retention lock as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Who may end it early.
    pub mode: LockMode,
    /// It holds at least until then; the retention clock may run late, never early.
    pub until: Timestamp,
    /// It holds now.
    pub locked: bool,
}

/// What keeps a recovery point from being deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Its lock.
    pub lock: LockView,
    /// Names of the matters that hold it.
    pub holds: Vec<String>,
}

/// Lets a lock end later. It cannot be made to end earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockExtension {
    /// The new end, by the appliance's own clock; not before the present one.
    pub until: Timestamp,
}

/// Turns a governance lock into a compliance lock, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockTightening {
    /// The end of the lock as it stands now, repeated by the person who asks: until then this
    /// appliance lets nobody remove the point, whatever he is entitled to.
    pub until: Timestamp,
}

/// Begins a legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The name of the matter.
    pub matter: String,
}

/// Exactly what deleting a recovery point would give back now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionPreview {
    /// Nothing stands in the way now.
    pub allowed: bool,
    /// What stands in the way.
    pub reason: Option<String>,
    /// Segments that nothing else needs.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The outcome of the last verify run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When it ended.
    pub at: Timestamp,
    /// Nothing was damaged.
    pub intact: bool,
}

/// Everything about one recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointDetail {
    /// What lists show.
    #[serde(flatten)]
    pub summary: PointSummary,
    /// `about.instanceUuid` of the vCenter or host it was read from.
    pub server_uuid: String,
    /// The run that made it.
    #[serde(with = "text::display")]
    pub run: RunId,
    /// The point whose unchanged cells it shares.
    #[serde(default, with = "text::display_option")]
    pub previous: Option<RecoveryPointId>,
    /// Its disks, by index.
    pub disks: Vec<PointDisk>,
    /// Disks of the VM that it does not hold, and why.
    #[serde(default)]
    pub not_contained: Vec<NotContained>,
    /// The VM's small files that were kept with it.
    pub files: Vec<PointFile>,
    /// The VM in its inventory; `None`: the point is older than this, or has lost it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portrait: Option<Portrait>,
    /// Names of the matters that hold it, whatever its lock says.
    #[serde(default)]
    pub holds: Vec<String>,
}

/// A disk of the VM that a recovery point does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotContained {
    /// `VirtualDevice.key`.
    pub key: i32,
    /// `deviceInfo.label`.
    pub label: String,
    /// `backing.fileName`.
    pub path: String,
    /// Why not.
    pub reason: String,
}

/// One disk of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointDisk {
    /// Position in the recovery point, from 0: the number that calls take.
    pub index: u32,
    /// `VirtualDevice.key`.
    pub key: i32,
    /// `backing.uuid`.
    pub uuid: String,
    /// `backing.fileName` of the base.
    pub path: String,
    /// Length of its image.
    pub capacity_bytes: u64,
    /// The cursor for the next incremental; `None`: change tracking was off.
    pub change_id: Option<ChangeId>,
    /// How much was read, and why.
    pub read: ReadMode,
    /// The way its bytes came.
    pub transport: Transport,
    /// Figures of its backup.
    pub stats: DiskStats,
    /// What of it the point does not keep: a restore gives zeros there.
    #[serde(default)]
    pub excluded: Vec<Exclusion>,
    /// Where nothing was looked for that could be left out, and why; for people.
    #[serde(default)]
    pub passed_over: Vec<String>,
}

/// Figures of one disk's backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStats {
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Areas that change tracking reported (0 in a full read).
    pub changed_areas: u64,
    /// Their bytes.
    pub changed_bytes: u64,
    /// Bytes read only to be compared with the previous point, and found equal.
    #[serde(default)]
    pub compared_bytes: u64,
    /// Cells of the chunk grid that were read.
    pub cells: u64,
    /// Bytes added to the repository, compressed.
    pub stored_bytes: u64,
}

/// A small file of the VM, such as its `.vmx` or `.nvram`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointFile {
    /// Its name without a path.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
}

/// Which part of the list of a disk's data ranges is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRangesQuery {
    /// Only ranges that end behind this byte of the disk; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// As [`PageQuery::limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl DataRangesQuery {
    /// The limit in force: 1 to [`crate::LIMIT_MAX`].
    #[must_use]
    pub fn limit(&self) -> usize {
        limit_in_force(self.limit)
    }
}

/// Where a disk has data; every byte outside of the ranges is zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRanges {
    /// Length of the disk's image.
    pub capacity_bytes: u64,
    /// Ascending, not empty, not overlapping, within the capacity.
    pub ranges: Vec<DiskRange>,
    /// What to give as `from` for the ranges behind these; `None`: these were the last.
    pub next: Option<u64>,
}
