//! A scripted engine: everything in memory, the same at every start, with faults at known
//! places. Used by the tests of `console` and `cli` and by the example `demo-engine`.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod care;
pub mod disks;
pub mod inventory;
pub mod points;
pub mod record;
pub mod runs;
pub mod san;
pub mod vms;

use api::{
    AcknowledgementRequest, ConsistencyQuery, DataRanges, DataRangesQuery, DeletionPreview,
    Discovered, DiscoveryRequest, ExpiryPreview, FcPorts, Forecast, ForecastQuery, HoldRequest,
    InclusionQuery, InventoryObject, KeyEpoch, Leaves, LeavesQuery, LedgerHead, LockExtension,
    LockTightening, LockView, LunBytesQuery, LunTest, LunTestRequest, MaintenanceRequest,
    MaintenanceRun, Page, PageQuery, PointDetail, PointQuery, PointSummary, Proof, Protection, Run,
    RunKind, RunRequest, RunsStarted, SanLun, SanLuns, SanPaths, SanSessions, SnapshotView, Status,
    VmSummary, VolumeRequest, Volumes,
};
use bytes::Bytes;
use console::{Blob, Chunks, Engine, EngineError, EngineResult};
use model::{DiskRange, ErrorKind, LockMode, NaaName, RecoveryPointId, RunId};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef-demo";

/// What moves a run on.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// One stage with each look at it.
    Looks,
    /// One stage in half a second.
    Time,
}

pub struct Scripted {
    pace: Pace,
    points: Mutex<Vec<PointDetail>>,
    runs: Mutex<Vec<runs::Scripted>>,
    /// Set when a delete that was told to take its time has begun.
    pub slow_delete_begun: AtomicBool,
    /// Set when it has ended.
    pub slow_delete_done: AtomicBool,
}

impl Scripted {
    pub fn new(pace: Pace, points: Vec<PointDetail>) -> Self {
        Self {
            pace,
            points: Mutex::new(points),
            runs: Mutex::new(Vec::new()),
            slow_delete_begun: AtomicBool::new(false),
            slow_delete_done: AtomicBool::new(false),
        }
    }

    fn find(&self, id: RecoveryPointId) -> EngineResult<PointDetail> {
        let points = self.points.lock().unwrap();
        points.iter().find(|point| point.summary.id == id).cloned().ok_or_else(|| {
            EngineError::new(
                ErrorKind::NotFound,
                "point-unknown",
                "There is no such recovery point",
                format!("No recovery point has the id {id}."),
            )
            .next_step("Take the id from 'holdfast point list'.")
        })
    }

    fn change(
        &self,
        id: RecoveryPointId,
        to: impl FnOnce(LockView) -> EngineResult<LockView>,
    ) -> EngineResult<Protection> {
        self.find(id)?;
        let mut points = self.points.lock().unwrap();
        let point = points.iter_mut().find(|point| point.summary.id == id).unwrap();
        let lock = to(point.summary.lock.unwrap_or_else(points::lock))?;
        point.summary.lock = Some(lock);
        Ok(Protection { lock, holds: point.holds.clone() })
    }

    fn check_disk(&self, id: RecoveryPointId, disk: u32) -> EngineResult<()> {
        let known = self.find(id)?.disks.iter().any(|known| known.index == disk);
        known.then_some(()).ok_or_else(|| {
            EngineError::new(
                ErrorKind::NotFound,
                "disk-unknown",
                "The recovery point has no such disk",
                format!("Recovery point {id} has no disk {disk}."),
            )
            .next_step("Take the index from 'holdfast point show'.")
        })
    }

    fn start(&self, kind: RunKind, vm: api::VmRef, point: Option<RecoveryPointId>) -> Run {
        let mut runs = self.runs.lock().unwrap();
        let number = runs.len();
        runs.push(runs::Scripted::new(number, kind, vm, point));
        runs.last_mut().unwrap().look(Pace::Time)
    }
}

impl Engine for Scripted {
    async fn status(&self) -> EngineResult<Status> {
        Ok(vms::status(self.points.lock().unwrap().len() as u64))
    }

    async fn vms(&self, query: PageQuery) -> EngineResult<Page<VmSummary>> {
        Ok(Page::cut(vms::all(), &query))
    }

    async fn inventory(&self, query: PageQuery) -> EngineResult<Page<InventoryObject>> {
        Ok(Page::cut(inventory::objects(), &query))
    }

    async fn snapshots(&self, query: PageQuery) -> EngineResult<Page<SnapshotView>> {
        Ok(Page::cut(inventory::snapshots(), &query))
    }

    async fn start_runs(&self, request: RunRequest) -> EngineResult<RunsStarted> {
        let found: EngineResult<Vec<_>> = request.vms.iter().map(|name| vms::find(name)).collect();
        let start = |vm| self.start(RunKind::Backup, vm, None);
        Ok(RunsStarted { runs: found?.into_iter().map(start).collect() })
    }

    async fn runs(&self, query: PageQuery) -> EngineResult<Page<Run>> {
        let mut runs = self.runs.lock().unwrap();
        Ok(Page::cut(runs.iter_mut().map(|run| run.look(Pace::Time)), &query))
    }

    async fn run(&self, id: RunId) -> EngineResult<Run> {
        let mut runs = self.runs.lock().unwrap();
        let found = runs.iter_mut().find(|run| run.id() == id);
        found.map(|run| run.look(self.pace)).ok_or_else(|| {
            EngineError::new(
                ErrorKind::NotFound,
                "run-unknown",
                "There is no such run",
                format!("No run has the id {id}."),
            )
            .next_step("Take the id from 'holdfast run list'.")
        })
    }

    async fn points(&self, query: PointQuery) -> EngineResult<Page<PointSummary>> {
        let points = self.points.lock().unwrap();
        let wanted = |point: &PointSummary| {
            query.vm.as_ref().is_none_or(|vm| *vm == point.vm.name || *vm == point.vm.uuid.0)
        };
        let found = points.iter().map(|point| point.summary.clone()).filter(wanted);
        Ok(Page::cut(found, &query.page()))
    }

    async fn point(&self, id: RecoveryPointId) -> EngineResult<PointDetail> {
        assert_ne!(id, points::PANIC, "the engine was told to panic");
        self.find(id)
    }

    async fn verify_point(&self, id: RecoveryPointId) -> EngineResult<Run> {
        let point = self.find(id)?;
        Ok(self.start(RunKind::Verify, point.summary.vm, Some(id)))
    }

    async fn restore_point(
        &self,
        id: RecoveryPointId,
        _request: api::RestoreRequest,
    ) -> EngineResult<Run> {
        let point = self.find(id)?;
        Ok(self.start(RunKind::Restore, point.summary.vm, Some(id)))
    }

    async fn cancel_run(&self, id: RunId) -> EngineResult<Run> {
        self.run(id).await
    }

    async fn delete_point(&self, id: RecoveryPointId) -> EngineResult<()> {
        if let Some(lock) = self.find(id)?.summary.lock.filter(|lock| lock.locked) {
            return Err(EngineError::locked(id, lock));
        }
        if id == points::SLOW_DELETE {
            self.slow_delete_begun.store(true, Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            self.slow_delete_done.store(true, Ordering::SeqCst);
        }
        self.points.lock().unwrap().retain(|point| point.summary.id != id);
        Ok(())
    }

    async fn preview_deletion(&self, id: RecoveryPointId) -> EngineResult<DeletionPreview> {
        let lock = self.find(id)?.summary.lock.filter(|lock| lock.locked);
        let reason = lock.map(|lock| format!("It is protected at least until {}.", lock.until));
        Ok(DeletionPreview { allowed: reason.is_none(), reason, segments: 3, bytes: 1 << 30 })
    }

    async fn extend_lock(
        &self,
        id: RecoveryPointId,
        request: LockExtension,
    ) -> EngineResult<Protection> {
        self.change(id, |lock| match request.until >= lock.until {
            true => Ok(LockView { until: request.until, ..lock }),
            false => Err(EngineError::new(
                ErrorKind::Refused,
                "lock-refused",
                "The lock stays as it is",
                "A lock cannot be made to end earlier.",
            )),
        })
    }

    async fn tighten_lock(
        &self,
        id: RecoveryPointId,
        request: LockTightening,
    ) -> EngineResult<Protection> {
        self.change(id, |lock| {
            assert_eq!(request.until, lock.until, "the end is repeated");
            Ok(LockView { mode: LockMode::Compliance, ..lock })
        })
    }

    async fn hold_point(
        &self,
        id: RecoveryPointId,
        request: HoldRequest,
    ) -> EngineResult<Protection> {
        self.find(id)?;
        let mut points = self.points.lock().unwrap();
        let point = points.iter_mut().find(|point| point.summary.id == id).unwrap();
        point.holds.push(request.matter);
        let lock = point.summary.lock.unwrap_or_else(points::lock);
        Ok(Protection { lock, holds: point.holds.clone() })
    }

    async fn start_maintenance(&self, request: MaintenanceRequest) -> EngineResult<MaintenanceRun> {
        Ok(care::queued(request.task))
    }

    async fn maintenance(&self, number: u64) -> EngineResult<MaintenanceRun> {
        care::ended(number)
    }

    async fn preview_expiry(&self) -> EngineResult<ExpiryPreview> {
        Ok(care::preview())
    }

    async fn forecast(&self, query: ForecastQuery) -> EngineResult<Forecast> {
        Ok(care::forecast(query))
    }

    async fn volumes(&self) -> EngineResult<Volumes> {
        Ok(care::volumes())
    }

    async fn add_volume(&self, request: VolumeRequest) -> EngineResult<Volumes> {
        care::add_volume(request.number)
    }

    async fn rotate_key(&self) -> EngineResult<KeyEpoch> {
        Ok(KeyEpoch { epoch: 2 })
    }

    async fn ledger_head(&self) -> EngineResult<LedgerHead> {
        Ok(record::head(record::SIZE))
    }

    async fn leaves(&self, query: LeavesQuery) -> EngineResult<Leaves> {
        Ok(record::leaves(query))
    }

    async fn prove_inclusion(&self, query: InclusionQuery) -> EngineResult<Proof> {
        record::inclusion(query)
    }

    async fn prove_consistency(&self, query: ConsistencyQuery) -> EngineResult<Proof> {
        record::consistency(query)
    }

    async fn san_sessions(&self) -> EngineResult<SanSessions> {
        Ok(san::sessions())
    }

    async fn login_san(&self) -> EngineResult<SanSessions> {
        Ok(san::sessions())
    }

    async fn discover_portal(&self, request: DiscoveryRequest) -> EngineResult<Discovered> {
        san::discover(&request)
    }

    async fn san_luns(&self) -> EngineResult<SanLuns> {
        Ok(san::luns())
    }

    async fn acknowledge_lun(
        &self,
        name: NaaName,
        request: AcknowledgementRequest,
    ) -> EngineResult<SanLun> {
        san::acknowledge(&name, request)
    }

    async fn san_paths(&self) -> EngineResult<SanPaths> {
        Ok(san::paths())
    }

    async fn fc_ports(&self) -> EngineResult<FcPorts> {
        Ok(san::fc_ports())
    }

    async fn test_lun(&self, name: NaaName, request: LunTestRequest) -> EngineResult<LunTest> {
        san::test(&name, request)
    }

    async fn read_lun(&self, name: NaaName, query: LunBytesQuery) -> EngineResult<Bytes> {
        san::read(&name, query)
    }

    async fn disk_capacity(&self, id: RecoveryPointId, disk: u32) -> EngineResult<u64> {
        self.check_disk(id, disk)?;
        Ok(disks::DISKS[disk as usize].capacity)
    }

    async fn read_disk(
        &self,
        id: RecoveryPointId,
        disk: u32,
        range: DiskRange,
    ) -> EngineResult<Chunks> {
        self.check_disk(id, disk)?;
        Ok(disks::stream(disk, range))
    }

    async fn export_disk(&self, id: RecoveryPointId, disk: u32) -> EngineResult<Chunks> {
        self.check_disk(id, disk)?;
        Ok(disks::exported(disk))
    }

    async fn data_ranges(
        &self,
        id: RecoveryPointId,
        disk: u32,
        query: DataRangesQuery,
    ) -> EngineResult<DataRanges> {
        self.check_disk(id, disk)?;
        Ok(disks::data_ranges(disk, query))
    }

    async fn file(&self, id: RecoveryPointId, name: String) -> EngineResult<Blob> {
        self.find(id)?;
        if name != points::VMX_NAME {
            return Err(EngineError::new(
                ErrorKind::NotFound,
                "file-unknown",
                "The recovery point has no such file",
                format!("Recovery point {id} has no file '{name}'."),
            )
            .next_step("Take the name from 'holdfast point show'."));
        }
        let (sender, chunks) = mpsc::channel(1);
        sender.try_send(Ok(Bytes::from_static(points::VMX))).unwrap();
        Ok(Blob { length: points::VMX.len() as u64, chunks })
    }
}
