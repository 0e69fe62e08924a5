//! How much memory the daemon takes for a large disk.

use super::Measurement;
use super::goal::Goal;
use anyhow::{Result, ensure};
use lab::{Content, DiskSpec, Lab, LabSpec, Layout, Provisioning, VmSpec};

const GIB: u64 = 1 << 30;
/// What the issue allows.
const LIMIT_MIB: u64 = 300;

/// `ingest.rss_mib`
///
/// # Errors
/// When the backup fails.
pub fn of_a_large_disk() -> Result<Measurement> {
    let content = Content::Scattered { bytes: 100 * GIB, data_bytes: 2 * GIB };
    let disk = DiskSpec { content, provisioning: Provisioning::Thin };
    let vm = VmSpec { name: "large".to_owned(), disks: vec![disk] };
    let spec = LabSpec { lun_bytes: 104 * GIB, layout: Layout::Fragmented, vms: vec![vm] };
    let lab = Lab::start(&spec)?;
    let mut daemon = lab.daemon()?;
    let idle = daemon.peak_resident_kib()? / 1024;
    let runs: api::RunsStarted = daemon.cli()?.json(&["backup", "run", "large"])?;
    ensure!(runs.runs.iter().all(|run| run.error.is_none()), "{:?}", runs.runs);
    let peak = daemon.peak_resident_kib()? / 1024;
    daemon.stop()?;
    Ok(Measurement {
        value: peak as f64,
        unit: "MiB",
        goal: Some(Goal::AtMost(LIMIT_MIB as f64)),
        note: format!(
            "full backup of a thin disk of 100 GiB with 2 GiB of data in \
             2048 places; {idle} MiB before it"
        ),
        ..Measurement::default()
    })
}
