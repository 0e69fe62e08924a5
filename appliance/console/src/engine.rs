//! What the console needs from the rest of the appliance: one method for each endpoint.

use api::{
    AcknowledgementRequest, ConsistencyQuery, DataRanges, DataRangesQuery, DeletionPreview,
    Discovered, DiscoveryRequest, ExpiryPreview, FcPorts, Forecast, ForecastQuery, HoldRequest,
    InclusionQuery, InventoryObject, KeyEpoch, Leaves, LeavesQuery, LedgerHead, LockExtension,
    LockTightening, LockView, LunBytesQuery, LunTest, LunTestRequest, MaintenanceRequest,
    MaintenanceRun, Page, PageQuery, PointDetail, PointQuery, PointSummary, Problem, Proof,
    Protection, RestoreRequest, Run, RunRequest, RunsStarted, SanLun, SanLuns, SanPaths,
    SanSessions, SnapshotView, Status, VmSummary, VolumeRequest, Volumes,
};
use bytes::Bytes;
use model::{DiskRange, ErrorKind, NaaName, RecoveryPointId, RunId};
use std::future::Future;
use tokio::sync::mpsc;

/// Result of an engine's method.
pub type EngineResult<T> = Result<T, EngineError>;

/// The appliance as the console sees it. Implemented by the daemon (`async fn` will do).
///
/// The console has parsed the request before it calls: ids are well-formed, a range lies within
/// its disk. Whether the thing exists is the engine's to say ([`ErrorKind::NotFound`]).
pub trait Engine: Send + Sync + 'static {
    /// How the appliance fares. Answers at once, from what is known.
    fn status(&self) -> impl Future<Output = EngineResult<Status>> + Send;

    /// The VMs of the inventory. [`Page::cut`] makes the page.
    fn vms(&self, query: PageQuery) -> impl Future<Output = EngineResult<Page<VmSummary>>> + Send;

    /// The inventory as it is known now. [`Page::cut`] makes the page.
    fn inventory(
        &self,
        query: PageQuery,
    ) -> impl Future<Output = EngineResult<Page<InventoryObject>>> + Send;

    /// The snapshots of all VMs.
    fn snapshots(
        &self,
        query: PageQuery,
    ) -> impl Future<Output = EngineResult<Page<SnapshotView>>> + Send;

    /// Starts one backup run for each of the VMs, or none at all.
    fn start_runs(
        &self,
        request: RunRequest,
    ) -> impl Future<Output = EngineResult<RunsStarted>> + Send;

    /// The runs.
    fn runs(&self, query: PageQuery) -> impl Future<Output = EngineResult<Page<Run>>> + Send;

    /// One run.
    fn run(&self, id: RunId) -> impl Future<Output = EngineResult<Run>> + Send;

    /// The recovery points.
    fn points(
        &self,
        query: PointQuery,
    ) -> impl Future<Output = EngineResult<Page<PointSummary>>> + Send;

    /// One recovery point.
    fn point(&self, id: RecoveryPointId) -> impl Future<Output = EngineResult<PointDetail>> + Send;

    /// Starts a verify run.
    fn verify_point(&self, id: RecoveryPointId) -> impl Future<Output = EngineResult<Run>> + Send;

    /// Starts a run that makes a VM of a recovery point.
    fn restore_point(
        &self,
        id: RecoveryPointId,
        request: RestoreRequest,
    ) -> impl Future<Output = EngineResult<Run>> + Send;

    /// Asks a run to stop.
    fn cancel_run(&self, id: RunId) -> impl Future<Output = EngineResult<Run>> + Send;

    /// Deletes a recovery point. A lock that says no is [`EngineError::locked`].
    fn delete_point(&self, id: RecoveryPointId) -> impl Future<Output = EngineResult<()>> + Send;

    /// What deleting a recovery point would give back now.
    fn preview_deletion(
        &self,
        id: RecoveryPointId,
    ) -> impl Future<Output = EngineResult<DeletionPreview>> + Send;

    /// Lets a lock end later.
    fn extend_lock(
        &self,
        id: RecoveryPointId,
        request: LockExtension,
    ) -> impl Future<Output = EngineResult<Protection>> + Send;

    /// Turns a governance lock into a compliance lock.
    fn tighten_lock(
        &self,
        id: RecoveryPointId,
        request: LockTightening,
    ) -> impl Future<Output = EngineResult<Protection>> + Send;

    /// Begins a legal hold.
    fn hold_point(
        &self,
        id: RecoveryPointId,
        request: HoldRequest,
    ) -> impl Future<Output = EngineResult<Protection>> + Send;

    /// Queues a task of maintenance.
    fn start_maintenance(
        &self,
        request: MaintenanceRequest,
    ) -> impl Future<Output = EngineResult<MaintenanceRun>> + Send;

    /// One task of maintenance, by its number.
    fn maintenance(&self, number: u64)
    -> impl Future<Output = EngineResult<MaintenanceRun>> + Send;

    /// What an expiry by the configured rules would do now.
    fn preview_expiry(&self) -> impl Future<Output = EngineResult<ExpiryPreview>> + Send;

    /// When the repository is full.
    fn forecast(&self, query: ForecastQuery)
    -> impl Future<Output = EngineResult<Forecast>> + Send;

    /// The disks and arrays of the repository.
    fn volumes(&self) -> impl Future<Output = EngineResult<Volumes>> + Send;

    /// Takes a disk into the repository.
    fn add_volume(
        &self,
        request: VolumeRequest,
    ) -> impl Future<Output = EngineResult<Volumes>> + Send;

    /// Makes the next data key.
    fn rotate_key(&self) -> impl Future<Output = EngineResult<KeyEpoch>> + Send;

    /// The signed head of the ledger.
    fn ledger_head(&self) -> impl Future<Output = EngineResult<LedgerHead>> + Send;

    /// Leaves of the ledger.
    fn leaves(&self, query: LeavesQuery) -> impl Future<Output = EngineResult<Leaves>> + Send;

    /// The proof that a leaf is in the ledger.
    fn prove_inclusion(
        &self,
        query: InclusionQuery,
    ) -> impl Future<Output = EngineResult<Proof>> + Send;

    /// The proof that the ledger goes on from an older state of itself.
    fn prove_consistency(
        &self,
        query: ConsistencyQuery,
    ) -> impl Future<Output = EngineResult<Proof>> + Send;

    /// The sessions with the SAN.
    fn san_sessions(&self) -> impl Future<Output = EngineResult<SanSessions>> + Send;

    /// Logs in where there is no session, and takes the inventory again.
    fn login_san(&self) -> impl Future<Output = EngineResult<SanSessions>> + Send;

    /// Asks a portal for its targets.
    fn discover_portal(
        &self,
        request: DiscoveryRequest,
    ) -> impl Future<Output = EngineResult<Discovered>> + Send;

    /// The LUNs within reach.
    fn san_luns(&self) -> impl Future<Output = EngineResult<SanLuns>> + Send;

    /// Puts on record who accepts that a LUN is presented writable.
    fn acknowledge_lun(
        &self,
        name: NaaName,
        request: AcknowledgementRequest,
    ) -> impl Future<Output = EngineResult<SanLun>> + Send;

    /// The paths of all LUNs.
    fn san_paths(&self) -> impl Future<Output = EngineResult<SanPaths>> + Send;

    /// The Fibre Channel ports of this box.
    fn fc_ports(&self) -> impl Future<Output = EngineResult<FcPorts>> + Send;

    /// Measures how a LUN reads; takes as long as the request says.
    fn test_lun(
        &self,
        name: NaaName,
        request: LunTestRequest,
    ) -> impl Future<Output = EngineResult<LunTest>> + Send;

    /// Bytes of a LUN, exactly as many as asked for.
    fn read_lun(
        &self,
        name: NaaName,
        query: LunBytesQuery,
    ) -> impl Future<Output = EngineResult<Bytes>> + Send;

    /// Length of a disk's image in bytes. `disk` is [`api::PointDisk::index`].
    fn disk_capacity(
        &self,
        id: RecoveryPointId,
        disk: u32,
    ) -> impl Future<Output = EngineResult<u64>> + Send;

    /// The bytes of a range of a disk, which is not empty and lies within its capacity.
    fn read_disk(
        &self,
        id: RecoveryPointId,
        disk: u32,
        range: DiskRange,
    ) -> impl Future<Output = EngineResult<Chunks>> + Send;

    /// A disk as a streamOptimized VMDK. Its end is an empty piece.
    fn export_disk(
        &self,
        id: RecoveryPointId,
        disk: u32,
    ) -> impl Future<Output = EngineResult<Chunks>> + Send;

    /// Where a disk has data.
    fn data_ranges(
        &self,
        id: RecoveryPointId,
        disk: u32,
        query: DataRangesQuery,
    ) -> impl Future<Output = EngineResult<DataRanges>> + Send;

    /// A small file of a recovery point.
    fn file(
        &self,
        id: RecoveryPointId,
        name: String,
    ) -> impl Future<Output = EngineResult<Blob>> + Send;
}

/// Bytes in order, from a bounded channel: its capacity times the size of a chunk is what a
/// stream may hold in memory.
///
/// The sender stops when the receiver is gone (the client has left). An `Err`, or a channel that
/// ends early, breaks the connection, so that a client never takes a part for the whole.
///
/// Where nobody knows the length before, an empty piece is the last one.
pub type Chunks = mpsc::Receiver<EngineResult<Bytes>>;

/// A whole body whose length is known before its first byte.
#[derive(Debug)]
pub struct Blob {
    /// Bytes that `chunks` will bring.
    pub length: u64,
    /// The bytes.
    pub chunks: Chunks,
}

/// Why the engine did not do it, for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct EngineError {
    /// What the caller can do; decides the HTTP status ([`api::status_of`]).
    pub kind: ErrorKind,
    /// Stable name for programs, such as `vm-unknown`; words and hyphens.
    pub code: &'static str,
    /// The kind of problem in a few words; the same for the same `code`.
    pub title: &'static str,
    /// This occurrence in a sentence, with names and figures, without secrets.
    pub detail: String,
    /// What a person can do now.
    pub next_step: String,
    /// The lock that refused.
    pub lock: Option<LockView>,
}

impl EngineError {
    /// An error without advice; add it by [`Self::next_step`].
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, code, title, detail: detail.into(), next_step: String::new(), lock: None }
    }

    /// With what a person can do now.
    #[must_use]
    pub fn next_step(self, next_step: impl Into<String>) -> Self {
        Self { next_step: next_step.into(), ..self }
    }

    /// The refusal to delete a locked recovery point.
    #[must_use]
    pub fn locked(id: RecoveryPointId, lock: LockView) -> Self {
        let (mode, until) = (lock.mode, lock.until);
        let detail = format!(
            "Recovery point {id} is locked in {mode} mode: protected at least until {until} by the \
             appliance's own clock. Nothing was deleted."
        );
        let next_step = format!("Wait until the lock has ended, at the earliest {until}.");
        let refused =
            Self::new(ErrorKind::Refused, "point-locked", "The recovery point is locked", detail);
        Self { lock: Some(lock), ..refused.next_step(next_step) }
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn problem(&self, instance: Option<String>) -> Problem {
        let problem = Problem::of_kind(self.kind, self.code, self.title)
            .detail(self.detail.clone())
            .next_step(self.next_step.clone());
        Problem { instance, lock: self.lock, ..problem }
    }
}
