//! One backup run: the straight line, and its way back when it breaks.

use crate::compare::Compared;
use crate::error::RunError;
use crate::journal::{Intent, Journal};
use crate::locate::{Located, blocking, locate};
use crate::ports::{
    DiskCounts, DiskView, Fabric, Hypervisor, NetworkPath, PointDraft, PointSink, Store, VmView,
};
use crate::preflight::{coverage, find_datastore, parse_path, preflight};
use crate::progress::{Progress, StepState};
use crate::session::Session;
use crate::sweep::{Undone, undo};
use crate::verdicts::Verdicts;
use model::{
    Consistency, DiskIdentity, ErrorKind, ReadMode, RecoveryPointId, RunId, VmUuid, WallTime,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// What a run may be told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Read everything allocated even where an incremental is possible.
    pub full: bool,
    /// Pause before metadata that does not fit is looked at again; doubled each time.
    pub map_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { full: false, map_pause: Duration::from_millis(500) }
    }
}

/// What became of one disk.
#[derive(Clone, Debug)]
pub struct DiskReport {
    /// Which.
    pub identity: DiskIdentity,
    /// Its label.
    pub label: String,
    /// What was read and why.
    pub mode: ReadMode,
    /// Areas that change tracking reported (0 in a full).
    pub changed_areas: u64,
    /// Their bytes.
    pub changed_bytes: u64,
    /// Bytes read from the SAN.
    pub bytes_read: u64,
    /// What the store did.
    pub counts: DiskCounts,
    /// What became of the comparison with the network path.
    pub compared: Compared,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The committed point.
    pub point: RecoveryPointId,
    /// Its disks.
    pub disks: Vec<DiskReport>,
}

/// The parts that a run works with.
pub struct Backup<H, F, S> {
    /// vCenter or a host.
    pub hypervisor: Arc<H>,
    /// The SAN.
    pub fabric: Arc<F>,
    /// The hypervisor's own way to the bytes of disks.
    pub network: Arc<dyn NetworkPath>,
    /// What was compared with it.
    pub verdicts: Arc<Verdicts>,
    /// The repository.
    pub store: S,
    /// What must be undone.
    pub journal: Arc<Journal>,
    /// The wall clock, for the times that people read.
    pub wall: fn() -> WallTime,
}

impl<H: Hypervisor, F: Fabric, S: Store> Backup<H, F, S> {
    /// Backs up one VM. Whatever happens, the snapshot is removed or stays in the journal.
    pub async fn run(
        &self,
        vm: &VmUuid,
        run: RunId,
        settings: Settings,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, RunError> {
        let result = self.begin(vm, run, settings, progress).await;
        progress.end(if result.is_ok() { StepState::Done } else { StepState::Failed });
        result
    }

    async fn begin(
        &self,
        vm: &VmUuid,
        run: RunId,
        settings: Settings,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, RunError> {
        if progress.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        let started = (self.wall)();
        progress.step("preflight");
        let vm = self.hypervisor.vm(vm).await?;
        preflight(&vm)?;
        if !vm.cbt_enabled && vm.cbt_supported && vm.snapshots.is_empty() {
            progress.detail("change tracking switched on");
            self.hypervisor.enable_cbt(&vm).await?;
        }
        let intent = Intent {
            run,
            vm: vm.identity.clone(),
            reference: vm.reference.clone(),
            snapshot: format!("holdfast-{run}"),
            opened: started,
        };
        self.journal.open(intent.clone()).map_err(RunError::Journal)?;

        progress.step("snapshot");
        let description = format!("temporary, of a Holdfast backup; run {run}");
        let created = self.hypervisor.create_snapshot(&vm, &intent.snapshot, &description).await;
        // Without a clear answer the snapshot may still come into being.
        let settled = match &created {
            Ok(_) => true,
            Err(error) => !matches!(error.kind, ErrorKind::Retryable | ErrorKind::Busy),
        };
        let result = match created {
            Ok(snapshot) => self.with_snapshot(&vm, &snapshot, &intent, settings, progress).await,
            Err(error) => Err(error.into()),
        };
        self.clean_up(&intent, settled, progress, result).await
    }

    /// Removes the snapshot. A failure to do so is a warning when there is a point to keep: the
    /// journal still knows the snapshot, and the next sweep tries again.
    async fn clean_up(
        &self,
        intent: &Intent,
        settled: bool,
        progress: &Progress,
        result: Result<BackupReport, RunError>,
    ) -> Result<BackupReport, RunError> {
        if result.is_ok() {
            progress.step("remove snapshot");
        }
        let left = match undo(&*self.hypervisor, &self.journal, intent, settled).await {
            Ok(Undone::Closed { .. }) => return result,
            Ok(Undone::Waiting) => "vCenter did not say whether it was made".into(),
            Err(error) => model::chain(&error),
        };
        tracing::error!(run = %intent.run, vm = %intent.vm.name, left, "a snapshot may be left");
        progress.warn(format!(
            "snapshot '{}' could not be removed ({left}); it is looked for until it is gone",
            intent.snapshot
        ));
        result
    }

    async fn with_snapshot(
        &self,
        vm: &VmView,
        snapshot: &str,
        intent: &Intent,
        settings: Settings,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, RunError> {
        let disks = self.hypervisor.snapshot_disks(vm, snapshot).await?;
        let coverage = coverage(vm, &disks)?;
        for missing in &coverage.not_contained {
            progress.warn(format!("{} is not contained: {}", missing.label, missing.reason));
        }
        let still_off = self.hypervisor.vm(&vm.identity.uuid).await?.powered_off;

        progress.step("locate");
        let volumes = self.locate_all(vm, &coverage.covered).await?;
        let session =
            Session { backup: self, vm, snapshot, volumes, disks: &disks, settings, progress };
        let previous = session.previous().await?;
        let off = vm.powered_off && still_off;
        let consistency = if off { Consistency::PoweredOff } else { Consistency::Crash };
        let draft = PointDraft {
            vm: vm.identity.clone(),
            run: intent.run,
            consistency,
            started: intent.opened,
        };
        let store = self.store.clone();
        let mut point = blocking("the store", move || store.begin(draft)).await??;
        let mut reports = Vec::new();
        for disk in &coverage.covered {
            let (report, given_back) = session.disk(disk, previous.as_ref(), point).await?;
            reports.push(report);
            point = given_back;
        }
        point = session.attach_configuration(point).await?;
        point = session
            .attach_record(point, &reports, previous.as_ref(), coverage.not_contained)
            .await?;
        session.still_the_same().await?;
        if progress.is_cancelled() {
            return Err(RunError::Cancelled);
        }

        progress.step("commit");
        let id = blocking("the store", move || point.commit()).await??;
        progress.detail(format!("recovery point {id}"));
        Ok(BackupReport { point: id, disks: reports })
    }

    async fn locate_all(
        &self,
        vm: &VmView,
        disks: &[DiskView],
    ) -> Result<BTreeMap<String, Located>, RunError> {
        let views = self.hypervisor.datastores().await?;
        let mut volumes = BTreeMap::new();
        let paths = disks.iter().map(|disk| &disk.identity.path).chain([&vm.vmx_path]);
        for path in paths {
            let name = parse_path(path)?.datastore;
            if let Entry::Vacant(place) = volumes.entry(name) {
                let view = find_datastore(&views, place.key(), path)?;
                place.insert(locate(&*self.fabric, view).await?);
            }
        }
        Ok(volumes)
    }
}
