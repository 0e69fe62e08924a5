//! What a run writes down about itself and keeps with its recovery point: figures for people,
//! which no restore needs.

use crate::backup::DiskReport;
use crate::compare::Compared;
use crate::crosscheck::Rotation;
pub use api::NotContained;
use api::{DiskStats, text};
use model::{ReadMode, RecoveryPointId, Transport};
use serde::{Deserialize, Serialize};

/// The record, as a JSON file of the recovery point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The point whose unchanged cells this one shares.
    #[serde(default, with = "text::display_option")]
    pub previous: Option<RecoveryPointId>,
    /// Where the cross-check of its chain stood with it; `None`: nothing was compared.
    #[serde(default)]
    pub cross_check: Option<Rotation>,
    /// The disks.
    pub disks: Vec<DiskRecord>,
    /// Disks of the VM that the point does not hold.
    #[serde(default)]
    pub not_contained: Vec<NotContained>,
}

/// Figures of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// `VirtualDevice.key`.
    pub key: i32,
    /// How much was read, and why.
    pub read: ReadMode,
    /// The way the bytes came.
    pub transport: Transport,
    /// Figures of its backup.
    pub stats: DiskStats,
    /// What became of the comparison with the network path; points of before have none.
    #[serde(default)]
    pub compared: Option<Compared>,
    /// Where nothing was looked for that could be left out, and why.
    #[serde(default)]
    pub passed_over: Vec<String>,
}

impl RunRecord {
    /// Name of the file.
    pub const FILE: &str = "holdfast-run.json";

    /// The record of these disks.
    #[must_use]
    pub fn of(
        disks: &[DiskReport],
        previous: Option<RecoveryPointId>,
        cross_check: Option<Rotation>,
        not_contained: &[NotContained],
    ) -> Self {
        let disks = disks.iter().map(DiskRecord::of).collect();
        Self { previous, cross_check, disks, not_contained: not_contained.to_vec() }
    }

    /// From the file's bytes; unknown fields are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl DiskRecord {
    fn of(disk: &DiskReport) -> Self {
        let stats = DiskStats {
            read_bytes: disk.bytes_read,
            changed_areas: disk.changed_areas,
            changed_bytes: disk.changed_bytes,
            compared_bytes: disk.bytes_compared,
            cells: disk.counts.cells,
            stored_bytes: disk.counts.bytes_stored,
        };
        let (key, read) = (disk.identity.key, disk.mode.clone());
        let compared = Some(disk.compared.clone());
        let told = disk.passed_over.iter().map(|part| format!("{}: {}", part.what, part.reason));
        let passed_over = told.collect();
        Self { key, read, transport: disk.transport, stats, compared, passed_over }
    }
}
