//! One backup run: the straight line, and its way back when it breaks.

use crate::compare::Compared;
use crate::crosscheck::{DEFAULT_PERCENT, Rotation};
use crate::error::RunError;
use crate::journal::{Intent, Journal};
use crate::locate::{blocking, locate};
use crate::ports::{
    DatastoreView, DiskCounts, DiskView, Fabric, Hypervisor, NetworkPath, PointDraft, PointSink,
    PreviousPoint, Store, VmView,
};
use crate::preflight::{Coverage, coverage, find_datastore, parse_path, preflight, room};
use crate::progress::{Progress, StepState};
use crate::session::{Missed, Outcome, Session};
use crate::snapshot::{self, VmSnapshot};
use crate::suspicion::{self, Standing, Suspicion};
use crate::sweep::{Undone, undo};
use crate::transport::{self, Way};
use crate::verdicts::Verdicts;
use crate::watch::{SnapshotLimits, Watched};
use api::{Exclude, Quiesce, TransportPolicy};
use guest::PassedOver;
use model::{
    Consistency, DiskIdentity, ErrorKind, Exclusion, ReadMode, RecoveryPointId, RunId, Transport,
    VmUuid, WallTime,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// What must be free of a datastore, in percent, unless it is told otherwise.
pub const MIN_FREE_PERCENT: u8 = 5;

/// What a run may be told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Read everything allocated even where an incremental is possible.
    pub full: bool,
    /// Whether the guest is brought to rest.
    pub quiesce: Quiesce,
    /// Which ways to the disks may be used.
    pub transport: TransportPolicy,
    /// What is new on a datastore is compared with the network path.
    pub compare: bool,
    /// What must be free of each datastore of the VM before a snapshot is made, in percent.
    pub min_free_percent: u8,
    /// How much of what change tracking calls unchanged is compared, in percent; 0: nothing.
    pub cross_check_percent: u8,
    /// A VM whose disks need consolidation gets it before its run; else it is refused.
    pub consolidate: bool,
    /// What the snapshot may be and take while it exists.
    pub limits: SnapshotLimits,
    /// Pause before metadata that does not fit is looked at again; doubled each time.
    pub map_pause: Duration,
    /// What is not kept of the disks.
    pub exclude: Exclude,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            full: false,
            quiesce: Quiesce::default(),
            transport: TransportPolicy::default(),
            compare: true,
            min_free_percent: MIN_FREE_PERCENT,
            cross_check_percent: DEFAULT_PERCENT,
            consolidate: true,
            limits: SnapshotLimits::default(),
            map_pause: Duration::from_millis(500),
            exclude: Exclude::default(),
        }
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
    /// By which way.
    pub transport: Transport,
    /// Areas that change tracking reported (0 in a full).
    pub changed_areas: u64,
    /// Their bytes.
    pub changed_bytes: u64,
    /// Bytes read, from the SAN or over the network.
    pub bytes_read: u64,
    /// Of these, read only to be compared with the previous point.
    pub bytes_compared: u64,
    /// What the store did.
    pub counts: DiskCounts,
    /// What became of the comparison with the network path.
    pub compared: Compared,
    /// What the point does not keep of it.
    pub excluded: Vec<Exclusion>,
    /// Parts in which nothing was looked for.
    pub passed_over: Vec<PassedOver>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The committed point.
    pub point: RecoveryPointId,
    /// Its disks.
    pub disks: Vec<DiskReport>,
}

/// What became of a point.
enum Written<P> {
    /// All is in it.
    Kept(P, Vec<DiskReport>),
    /// Change tracking kept a change back; the point is abandoned.
    Missed(Missed),
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
        let mut vm = self.hypervisor.vm(vm).await?;
        preflight(&vm, settings.consolidate)?;
        if vm.consolidation_needed {
            vm = self.consolidate_first(&vm, run, started, progress).await?;
        }
        self.transport(&vm, settings).await?;
        if !vm.cbt_enabled && vm.cbt_supported && vm.snapshots.is_empty() {
            progress.detail("change tracking switched on");
            self.hypervisor.enable_cbt(&vm).await?;
        }
        let mut intent = Intent {
            run,
            vm: vm.identity.clone(),
            reference: vm.reference.clone(),
            snapshot: format!("holdfast-{run}"),
            migration_blocked: true,
            opened: started,
        };
        self.journal.open(intent.clone()).map_err(RunError::Journal)?;

        progress.step("snapshot");
        if let Err(error) = self.hold_still(&vm, &mut intent, progress).await {
            return self.clean_up(&intent, true, progress, Err(error)).await;
        }
        let created = snapshot::create(&*self.hypervisor, &vm, &intent, settings, progress).await;
        // Without a clear answer the snapshot may still come into being.
        let settled = match &created {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::Retryable | ErrorKind::Busy),
        };
        let result = match created {
            Ok(snapshot) => {
                let watched = Watched {
                    hypervisor: &*self.hypervisor,
                    vm: &vm,
                    snapshot: &snapshot.handle,
                    limits: settings.limits,
                    min_free_percent: settings.min_free_percent,
                    progress,
                };
                let work = self.with_snapshot(&vm, &snapshot, &intent, settings, progress);
                watched.during(work).await
            }
            Err(error) => Err(error),
        };
        self.clean_up(&intent, settled, progress, result).await
    }

    /// Merges what a removed snapshot of somebody left over. What a crash breaks off the next
    /// start goes on with: the intent says so.
    async fn consolidate_first(
        &self,
        vm: &VmView,
        run: RunId,
        opened: WallTime,
        progress: &Progress,
    ) -> Result<VmView, RunError> {
        progress.step("consolidate");
        let intent = Intent {
            run,
            vm: vm.identity.clone(),
            reference: vm.reference.clone(),
            snapshot: format!("holdfast-{run}"),
            migration_blocked: false,
            opened,
        };
        self.journal.open(intent).map_err(RunError::Journal)?;
        let merged = self.hypervisor.consolidate(vm).await;
        let now = self.hypervisor.again(vm).await;
        self.journal.close(run).map_err(RunError::Journal)?;
        let now = now?;
        if !now.consolidation_needed {
            return Ok(now);
        }
        let why = merged.err().map_or_else(
            || "vCenter says that they still need it".into(),
            |error| model::chain(&error),
        );
        Err(RunError::Preflight {
            vm: vm.identity.name.clone(),
            reason: format!(
                "its disks need consolidation, and it did not succeed ({why}); find out who holds \
                 their files"
            ),
        })
    }

    /// Holds off migration, where that is possible. What is refused was not done, and the journal
    /// says so; without a clear answer it is allowed again afterwards.
    async fn hold_still(
        &self,
        vm: &VmView,
        intent: &mut Intent,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let why = match self.hypervisor.block_migration(vm, &intent.snapshot).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) if matches!(error.kind, ErrorKind::Retryable | ErrorKind::Busy) => {
                return Err(error.into());
            }
            Err(error) => Some(model::chain(&error)),
        };
        if let Some(why) = why {
            progress.warn(format!(
                "migration of VM '{}' could not be held off ({why}); if its disks move, the run \
                 fails",
                vm.identity.name
            ));
        }
        intent.migration_blocked = false;
        self.journal.open(intent.clone()).map_err(RunError::Journal)
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
        snapshot: &VmSnapshot,
        intent: &Intent,
        settings: Settings,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, RunError> {
        let VmSnapshot { handle: snapshot, quiesced } = snapshot;
        let disks = self.hypervisor.snapshot_disks(vm, snapshot).await?;
        let coverage = coverage(vm, &disks)?;
        for missing in &coverage.not_contained {
            progress.warn(format!("{} is not contained: {}", missing.label, missing.reason));
        }
        let still_off = self.hypervisor.again(vm).await?.powered_off;

        progress.step("locate");
        let views = self.hypervisor.datastores().await?;
        let volumes = self.locate_all(vm, &coverage.covered, &views, settings.transport).await?;
        tell_ways(&volumes, progress);
        let forced = match settings.full {
            true => Some("asked for".into()),
            false => suspicion::distrusted(&self.journal, &vm.identity),
        };
        let mut session = Session {
            backup: self,
            vm,
            snapshot,
            volumes,
            disks: &disks,
            settings,
            progress,
            forced,
            rotation: None,
        };
        let previous = session.previous().await?;
        let before = previous.as_ref().and_then(|point| point.cross_check);
        session.rotation = Rotation::next(before, settings.cross_check_percent, intent.run);
        let off = vm.powered_off && still_off;
        let draft = PointDraft {
            vm: vm.identity.clone(),
            run: intent.run,
            consistency: match (off, *quiesced) {
                (true, _) => Consistency::PoweredOff,
                (false, true) => Consistency::Quiesced,
                (false, false) => Consistency::Crash,
            },
            started: intent.opened,
        };
        let (point, reports) = loop {
            match self.write(&session, draft.clone(), &coverage, previous.as_ref()).await? {
                Written::Kept(point, reports) => break (point, reports),
                Written::Missed(missed) => {
                    session.forced =
                        Some(self.distrust(&session, intent, missed, previous.as_ref()).await?);
                }
            }
        };
        session.still_the_same().await?;
        if progress.is_cancelled() {
            return Err(RunError::Cancelled);
        }

        progress.step("commit");
        let id = blocking("the store", move || point.commit()).await??;
        progress.detail(format!("recovery point {id}"));
        self.note_commit(vm, id, &reports, session.rotation, progress);
        Ok(BackupReport { point: id, disks: reports })
    }

    /// Writes a point up to its commit. A full read compares nothing, so it misses nothing.
    async fn write(
        &self,
        session: &Session<'_, H, F, S>,
        draft: PointDraft,
        coverage: &Coverage,
        previous: Option<&PreviousPoint>,
    ) -> Result<Written<S::Point>, RunError> {
        let store = self.store.clone();
        let mut point = blocking("the store", move || store.begin(draft)).await??;
        let mut reports = Vec::new();
        for disk in &coverage.covered {
            match session.disk(disk, previous, point).await? {
                Outcome::Kept(report, given_back) => {
                    reports.push(*report);
                    point = given_back;
                }
                Outcome::Missed(missed) => return Ok(Written::Missed(missed)),
            }
        }
        point = session.attach_configuration(point).await?;
        let left_out = &coverage.not_contained;
        point = session.attach_record(point, &reports, previous, left_out).await?;
        Ok(Written::Kept(point, reports))
    }

    /// Change tracking kept a change back: that is in the journal before anything else is done.
    /// Gives the reason for reading in full.
    async fn distrust(
        &self,
        session: &Session<'_, H, F, S>,
        intent: &Intent,
        missed: Missed,
        previous: Option<&PreviousPoint>,
    ) -> Result<String, RunError> {
        let Session { vm, progress, .. } = session;
        let (store, identity) = (self.store.clone(), vm.identity.clone());
        let points = blocking("the store", move || store.since_full(&identity)).await?;
        let points = points.unwrap_or_else(|error| {
            let error = model::chain(&error);
            tracing::error!(error, "which points are concerned is not known");
            previous.iter().map(|point| point.id).collect()
        });
        let Missed { disk, area, count } = missed;
        let reason = format!(
            "the cross-check found {count} areas, the first at byte {}, that change tracking \
             calls unchanged and that differ from the previous recovery point",
            area.offset
        );
        progress.warn(format!(
            "{disk}: {reason}; {} recovery points may lack changes. All disks are read in full now",
            points.len()
        ));
        tracing::error!(run = %intent.run, vm = vm.identity.name, disk, reason, "cross-check");
        let suspicion = Suspicion {
            run: intent.run,
            vm: vm.identity.clone(),
            found: (self.wall)(),
            disk,
            area,
            points,
            standing: Standing::Distrusted,
        };
        suspicion::begin(&self.journal, suspicion).map_err(RunError::Journal)?;
        Ok(reason)
    }

    /// What the commit means for an earlier suspicion. When that cannot be written down the next
    /// run trusts less than it could, which harms nothing.
    fn note_commit(
        &self,
        vm: &VmView,
        point: RecoveryPointId,
        reports: &[DiskReport],
        rotation: Option<Rotation>,
        progress: &Progress,
    ) {
        let full = reports.iter().all(|disk| disk.mode != ReadMode::Incremental);
        let proven = !full && rotation.is_some_and(Rotation::is_whole);
        let noted = suspicion::committed(&self.journal, &vm.identity, point, full, proven);
        if let Err(error) = noted {
            progress.warn(format!("the journal could not be written: {error}"));
        }
    }

    /// Whether there is room and a way to the disks: known before the VM is touched. What is found
    /// here is looked for again when the snapshot is there.
    async fn transport(&self, vm: &VmView, settings: Settings) -> Result<(), RunError> {
        let views = self.hypervisor.datastores().await?;
        room(vm, &views, settings.min_free_percent)?;
        let covered: Vec<_> =
            vm.disks.iter().filter(|disk| disk.not_covered.is_none()).cloned().collect();
        self.locate_all(vm, &covered, &views, settings.transport).await.map(drop)
    }

    async fn locate_all(
        &self,
        vm: &VmView,
        disks: &[DiskView],
        views: &[DatastoreView],
        policy: TransportPolicy,
    ) -> Result<BTreeMap<String, Way>, RunError> {
        let mut volumes = BTreeMap::new();
        let paths = disks.iter().map(|disk| &disk.identity.path).chain([&vm.vmx_path]);
        for path in paths {
            let name = parse_path(path)?.datastore;
            if let Entry::Vacant(place) = volumes.entry(name) {
                let view = find_datastore(views, place.key(), path)?;
                let way = match policy {
                    TransportPolicy::Network => Way::Network("so it was asked for".into()),
                    _ => transport::decide(policy, locate(&*self.fabric, view).await)?,
                };
                place.insert(way);
            }
        }
        Ok(volumes)
    }
}

/// Says which datastores are read over the network, and why.
fn tell_ways(volumes: &BTreeMap<String, Way>, progress: &Progress) {
    for (name, way) in volumes {
        if let Way::Network(why) = way {
            progress.detail(format!("datastore '{name}' is read over the network: {why}"));
        }
    }
}
