//! The appliance as the console sees it. Each endpoint has its room; this file joins them.

mod care;
mod disks;
mod export;
mod inventory;
mod locks;
mod points;
mod record;
mod restores;
mod runs;
mod san;
mod status;
mod vms;
mod volumes;

use crate::acknowledged::Acknowledged;
use crate::config::Config;
use crate::maintenance::Maintenance;
use crate::watch::Watch;
use crate::wire::fabric::Sessions;
use crate::wire::hypervisor::Vcenter;
pub(crate) use restores::Restoring;

use api::{
    AcknowledgementRequest, ConsistencyQuery, DataRanges, DataRangesQuery, DeletionPreview,
    Discovered, DiscoveryRequest, ExpiryPreview, FcPorts, Forecast, ForecastQuery, HoldRequest,
    InclusionQuery, InventoryObject, KeyEpoch, Leaves, LeavesQuery, LedgerHead, LockExtension,
    LockTightening, LunBytesQuery, LunTest, LunTestRequest, MaintenanceRequest, MaintenanceRun,
    Page, PageQuery, PointDetail, PointQuery, PointSummary, Proof, Protection, RestoreRequest, Run,
    RunRequest, RunsStarted, SanLun, SanLuns, SanPaths, SanSessions, SnapshotView, Status,
    VmSummary, VolumeRequest, Volumes,
};
use bytes::Bytes;
use console::{Blob, Chunks, Engine, EngineError, EngineResult};
use jobs::ports::PortError;
use jobs::{Entry, Journal, Registry, Verdicts};
use model::{DiskRange, ErrorKind, NaaName, RecoveryPointId, RunId};
use repository::{Repository, StoreError};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Sender;
use warden::WardenError;

/// The parts, wired.
pub(crate) struct Appliance {
    pub(crate) config: Config,
    pub(crate) repository: Repository,
    pub(crate) vcenter: Arc<Vcenter>,
    pub(crate) fabric: Arc<Sessions>,
    /// Who accepted that LUNs are presented writable.
    pub(crate) acknowledged: Acknowledged,
    pub(crate) journal: Arc<Journal>,
    /// What was compared with the network path.
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) registry: Registry,
    pub(crate) backups: Sender<Arc<Entry>>,
    pub(crate) verifies: Sender<Arc<Entry>>,
    pub(crate) restores: Sender<Restoring>,
    /// Held by a backup while it runs, and by a sweep while it sweeps.
    pub(crate) turn: Mutex<()>,
    /// Held by a restore while it runs, and by the sweep of what is left of restores.
    pub(crate) restoring: Mutex<()>,
    /// What the start found and a person should know.
    pub(crate) findings: Vec<String>,
    /// What is known of the warden.
    pub(crate) warden: Watch,
    /// Care of the repository: what was asked for, what was done.
    pub(crate) maintenance: Maintenance,
}

impl Engine for Appliance {
    async fn status(&self) -> EngineResult<Status> {
        tokio::task::block_in_place(|| status::status(self))
    }

    async fn vms(&self, query: PageQuery) -> EngineResult<Page<VmSummary>> {
        vms::list(self, &query).await
    }

    async fn inventory(&self, query: PageQuery) -> EngineResult<Page<InventoryObject>> {
        inventory::objects(self, &query)
    }

    async fn snapshots(&self, query: PageQuery) -> EngineResult<Page<SnapshotView>> {
        inventory::snapshots(self, &query).await
    }

    async fn start_runs(&self, request: RunRequest) -> EngineResult<RunsStarted> {
        runs::start(self, request).await
    }

    async fn runs(&self, query: PageQuery) -> EngineResult<Page<Run>> {
        Ok(runs::list(self, &query))
    }

    async fn run(&self, id: RunId) -> EngineResult<Run> {
        runs::one(self, id)
    }

    async fn points(&self, query: PointQuery) -> EngineResult<Page<PointSummary>> {
        tokio::task::block_in_place(|| points::list(self, &query))
    }

    async fn point(&self, id: RecoveryPointId) -> EngineResult<PointDetail> {
        tokio::task::block_in_place(|| points::detail(self, id))
    }

    async fn verify_point(&self, id: RecoveryPointId) -> EngineResult<Run> {
        runs::verify(self, id)
    }

    async fn restore_point(
        &self,
        id: RecoveryPointId,
        request: RestoreRequest,
    ) -> EngineResult<Run> {
        restores::start(self, id, request).await
    }

    async fn cancel_run(&self, id: RunId) -> EngineResult<Run> {
        restores::cancel(self, id)
    }

    async fn delete_point(&self, id: RecoveryPointId) -> EngineResult<()> {
        self.find_point(id)?;
        let repository = self.repository.clone();
        blocking(move || points::delete(&repository, id)).await
    }

    async fn preview_deletion(&self, id: RecoveryPointId) -> EngineResult<DeletionPreview> {
        self.find_point(id)?;
        let repository = self.repository.clone();
        blocking(move || locks::preview(&repository, id)).await
    }

    async fn extend_lock(
        &self,
        id: RecoveryPointId,
        request: LockExtension,
    ) -> EngineResult<Protection> {
        self.find_point(id)?;
        let repository = self.repository.clone();
        blocking(move || locks::extend(&repository, id, request.until)).await
    }

    async fn tighten_lock(
        &self,
        id: RecoveryPointId,
        request: LockTightening,
    ) -> EngineResult<Protection> {
        self.find_point(id)?;
        let repository = self.repository.clone();
        blocking(move || locks::tighten(&repository, id, request.until)).await
    }

    async fn hold_point(
        &self,
        id: RecoveryPointId,
        request: HoldRequest,
    ) -> EngineResult<Protection> {
        self.find_point(id)?;
        let repository = self.repository.clone();
        blocking(move || locks::hold(&repository, id, &request.matter)).await
    }

    async fn start_maintenance(&self, request: MaintenanceRequest) -> EngineResult<MaintenanceRun> {
        care::start(self, request)
    }

    async fn maintenance(&self, number: u64) -> EngineResult<MaintenanceRun> {
        care::task(self, number)
    }

    async fn preview_expiry(&self) -> EngineResult<ExpiryPreview> {
        tokio::task::block_in_place(|| care::preview(self))
    }

    async fn forecast(&self, query: ForecastQuery) -> EngineResult<Forecast> {
        let repository = self.repository.clone();
        blocking(move || care::forecast(&repository, query)).await
    }

    async fn volumes(&self) -> EngineResult<Volumes> {
        let repository = self.repository.clone();
        blocking(move || Ok(volumes::list(&repository))).await
    }

    async fn add_volume(&self, request: VolumeRequest) -> EngineResult<Volumes> {
        let repository = self.repository.clone();
        blocking(move || volumes::add(&repository, request)).await
    }

    async fn rotate_key(&self) -> EngineResult<KeyEpoch> {
        let repository = self.repository.clone();
        blocking(move || volumes::rotate_key(&repository)).await
    }

    async fn ledger_head(&self) -> EngineResult<LedgerHead> {
        let repository = self.repository.clone();
        blocking(move || record::head(&repository)).await
    }

    async fn leaves(&self, query: LeavesQuery) -> EngineResult<Leaves> {
        let repository = self.repository.clone();
        blocking(move || record::leaves(&repository, query)).await
    }

    async fn prove_inclusion(&self, query: InclusionQuery) -> EngineResult<Proof> {
        let repository = self.repository.clone();
        blocking(move || record::inclusion(&repository, query)).await
    }

    async fn prove_consistency(&self, query: ConsistencyQuery) -> EngineResult<Proof> {
        let repository = self.repository.clone();
        blocking(move || record::consistency(&repository, query)).await
    }

    async fn san_sessions(&self) -> EngineResult<SanSessions> {
        san::sessions(self).await
    }

    async fn login_san(&self) -> EngineResult<SanSessions> {
        san::login(self).await
    }

    async fn discover_portal(&self, request: DiscoveryRequest) -> EngineResult<Discovered> {
        san::discover(self, request).await
    }

    async fn san_luns(&self) -> EngineResult<SanLuns> {
        san::luns(self).await
    }

    async fn acknowledge_lun(
        &self,
        name: NaaName,
        request: AcknowledgementRequest,
    ) -> EngineResult<SanLun> {
        san::acknowledge(self, &name, request).await
    }

    async fn san_paths(&self) -> EngineResult<SanPaths> {
        san::paths(self).await
    }

    async fn fc_ports(&self) -> EngineResult<FcPorts> {
        let kernel = self.fabric.config().kernel.clone();
        blocking(move || Ok(san::fc_ports(kernel))).await
    }

    async fn test_lun(&self, name: NaaName, request: LunTestRequest) -> EngineResult<LunTest> {
        san::test(self, name, request).await
    }

    async fn read_lun(&self, name: NaaName, query: LunBytesQuery) -> EngineResult<Bytes> {
        san::read(self, name, query).await
    }

    async fn disk_capacity(&self, id: RecoveryPointId, disk: u32) -> EngineResult<u64> {
        let repository = self.repository.clone();
        blocking(move || disks::capacity(&repository, id, disk)).await
    }

    async fn read_disk(
        &self,
        id: RecoveryPointId,
        disk: u32,
        range: DiskRange,
    ) -> EngineResult<Chunks> {
        let repository = self.repository.clone();
        blocking(move || disks::stream(&repository, id, disk, range)).await
    }

    async fn export_disk(&self, id: RecoveryPointId, disk: u32) -> EngineResult<Chunks> {
        let repository = self.repository.clone();
        blocking(move || export::stream(&repository, id, disk)).await
    }

    async fn data_ranges(
        &self,
        id: RecoveryPointId,
        disk: u32,
        query: DataRangesQuery,
    ) -> EngineResult<DataRanges> {
        let repository = self.repository.clone();
        blocking(move || disks::data_ranges(&repository, id, disk, &query)).await
    }

    async fn file(&self, id: RecoveryPointId, name: String) -> EngineResult<Blob> {
        let repository = self.repository.clone();
        blocking(move || points::file(&repository, id, &name)).await
    }
}

/// Repository calls block: they run on threads that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> EngineResult<T> + Send + 'static,
) -> EngineResult<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(EngineError::new(
            ErrorKind::Retryable,
            "internal",
            "The request ended abnormally",
            error.to_string(),
        )
        .next_step("Try again; if it happens again, report it with the daemon's log."))
    })
}

/// Fresh bytes from the kernel.
pub(crate) fn random<const N: usize>() -> EngineResult<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        let detail = format!("The kernel gives no random bytes: {error}");
        EngineError::new(ErrorKind::Retryable, "internal", "No random bytes", detail)
    })?;
    Ok(bytes)
}

/// A driver's error, for the person who asked.
fn from_port(error: &PortError) -> EngineError {
    let next_step = match error.kind {
        ErrorKind::Refused => "Correct what the text names in the configuration.",
        ErrorKind::Retryable | ErrorKind::Busy => "Check the connection, then try again.",
        _ => "Look at the cause named last.",
    };
    EngineError::new(error.kind, "peer", "A peer did not answer as needed", model::chain(error))
        .next_step(next_step)
}

/// A store's error, for the person who asked.
fn from_store(error: &StoreError) -> EngineError {
    if let StoreError::Warden(error @ WardenError::Unavailable { .. }) = error {
        let title = "The warden does not answer";
        return EngineError::new(error.kind(), "warden-away", title, model::chain(error))
            .next_step("Start holdfast-warden again, then try again. Restores go on meanwhile.");
    }
    let next_step = match error.kind() {
        ErrorKind::Corrupt => "Verify the recovery point; it lists what is damaged.",
        ErrorKind::Full => "Free or add space for the repository.",
        _ => "Look at the cause named last.",
    };
    EngineError::new(
        error.kind(),
        "repository",
        "The repository did not do it",
        model::chain(error),
    )
    .next_step(next_step)
}

/// There is no recovery point with this id.
fn unknown_point(id: RecoveryPointId) -> EngineError {
    EngineError::new(
        ErrorKind::NotFound,
        "point-unknown",
        "There is no such recovery point",
        format!("The repository holds no recovery point {id}."),
    )
    .next_step("'holdfast point list' shows what there is.")
}
