//! What a job needs from the outside, as traits: the drivers of L2 stand behind them.

use crate::crosscheck::Rotation;
use api::Portrait;
use block::ReadAt;
use model::{
    ChangeId, ChangedArea, Consistency, DiskIdentity, DiskRange, ErrorKind, Exclusion, NaaName,
    ReadMode, RecoveryPointId, RunId, Transport, VmIdentity, VmUuid, WallTime,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Any error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A future that may move between threads; used where a trait must be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A driver could not do what a job asked for.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct PortError {
    /// What can be done about it.
    pub kind: ErrorKind,
    /// What was tried, as a user would say it.
    pub operation: String,
    /// The driver's own error.
    pub source: BoxError,
}

/// A VM as the hypervisor describes it now.
#[derive(Clone, Debug)]
pub struct VmView {
    /// The hypervisor's handle (a managed object reference); opaque.
    pub reference: String,
    /// Who it is.
    pub identity: VmIdentity,
    /// Templates have no runs.
    pub template: bool,
    /// The guest was shut down; false when it runs, is suspended, or nobody knows.
    pub powered_off: bool,
    /// Its place in a fault-tolerant pair; `None`: it is in none.
    pub fault_tolerance: Option<FaultTolerance>,
    /// VMware Tools run: the guest can be brought to rest.
    pub tools_running: bool,
    /// Change tracking can be switched on.
    pub cbt_supported: bool,
    /// Change tracking is on.
    pub cbt_enabled: bool,
    /// A previous snapshot was not merged; the VM must be consolidated first.
    pub consolidation_needed: bool,
    /// Names of the snapshots it has now.
    pub snapshots: Vec<String>,
    /// `[datastore] folder/name.vmx`.
    pub vmx_path: String,
    /// Its virtual disks.
    pub disks: Vec<DiskView>,
    /// What the hypervisor could not say about it; such a VM is not backed up as if it were whole.
    pub problems: Vec<String>,
}

/// A VM's place in a fault-tolerant pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultTolerance {
    /// The one that runs; the others follow it.
    pub primary: bool,
    /// A secondary whose primary is gone.
    pub orphaned: bool,
    /// As the hypervisor calls it.
    pub state: String,
}

/// A virtual disk as the hypervisor describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskView {
    /// Who it is, and its change id when the view is that of a snapshot.
    pub identity: DiskIdentity,
    /// Such as 'Hard disk 1'.
    pub label: String,
    /// The snapshot does not cover it (independent, physical RDM, ...): the reason.
    pub not_covered: Option<String>,
    /// Paths of the disks that this one is a delta over, nearest first.
    pub parents: Vec<String>,
}

/// A datastore and the LUNs it lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatastoreView {
    /// Its name, as it stands in disk paths.
    pub name: String,
    /// Type, such as `VMFS` or `NFS`.
    pub kind: String,
    /// Bytes; 0 when unknown.
    pub capacity: u64,
    /// Bytes that are free.
    pub free: u64,
    /// What is known of its VMFS volume; `None`: no SAN path.
    pub vmfs: Option<VmfsView>,
}

/// The volume of a datastore as the hypervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmfsView {
    /// The file system's UUID in its text form.
    pub uuid: String,
    /// The LUNs, in the volume's order.
    pub luns: Vec<LunView>,
}

/// A LUN of a volume as the hypervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunView {
    /// Its name, such as `naa.…`.
    pub name: String,
    /// Bytes, as the hosts see it; `None`: no host lists it.
    pub capacity: Option<u64>,
}

/// What it takes to build a VM anew, beside its disks and files.
#[derive(Clone, Debug, Default)]
pub struct VmPortrait {
    /// The VM in its inventory, and what could not be read of that.
    pub portrait: Portrait,
    /// Its whole configuration at the snapshot, as the hypervisor writes it.
    pub configuration: String,
}

/// From when on changes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Everything that is allocated.
    Allocated,
    /// Changes after this id.
    Change(ChangeId),
}

/// The hypervisor's answer about changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// The areas, ascending, checked, complete.
    Areas(Vec<ChangedArea>),
    /// Change tracking cannot answer; the reason is for people. The next read must be a full one.
    Unusable(String),
}

/// What became of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there, under this handle.
    Snapshot(String),
    /// The guest could not be brought to rest, so it is not; the reason is for people.
    NotQuiesced(String),
}

/// vCenter or a host.
pub trait Hypervisor: Send + Sync + 'static {
    /// The VM with this instance UUID.
    fn vm(&self, uuid: &VmUuid) -> impl Future<Output = Result<VmView, PortError>> + Send;
    /// The same VM as it is now, by its handle; an error when another has that handle now.
    fn again(&self, vm: &VmView) -> impl Future<Output = Result<VmView, PortError>> + Send;
    /// True when the hypervisor says that it has no VM with this handle any more. A VM that it
    /// merely cannot describe now is not gone.
    fn is_gone(&self, reference: &str) -> impl Future<Output = Result<bool, PortError>> + Send;
    /// Merges what a removed snapshot left over.
    fn consolidate(&self, vm: &VmView) -> impl Future<Output = Result<(), PortError>> + Send;
    /// All datastores.
    fn datastores(&self) -> impl Future<Output = Result<Vec<DatastoreView>, PortError>> + Send;
    /// Switches change tracking on; it counts from the next snapshot on.
    fn enable_cbt(&self, vm: &VmView) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Holds off migration of the VM's disks, under a name of ours. `false`: there is no such
    /// thing here, and nothing was done.
    fn block_migration(
        &self,
        vm: &VmView,
        source: &str,
    ) -> impl Future<Output = Result<bool, PortError>> + Send;
    /// Ends a block under this name; without one nothing happens.
    fn allow_migration(
        &self,
        vm: &VmView,
        source: &str,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Creates a snapshot without memory, with the guest brought to rest if `quiesce`.
    fn create_snapshot(
        &self,
        vm: &VmView,
        name: &str,
        description: &str,
        quiesce: bool,
    ) -> impl Future<Output = Result<Created, PortError>> + Send;
    /// Handles of the VM's snapshots with exactly this name.
    fn find_snapshots(
        &self,
        vm: &VmView,
        name: &str,
    ) -> impl Future<Output = Result<Vec<String>, PortError>> + Send;
    /// The disks as the snapshot's own configuration names them, with their change ids.
    fn snapshot_disks(
        &self,
        vm: &VmView,
        snapshot: &str,
    ) -> impl Future<Output = Result<Vec<DiskView>, PortError>> + Send;
    /// What the VM is beside its disks: the configuration at the snapshot, the rest as of now.
    fn portrait(
        &self,
        vm: &VmView,
        snapshot: &str,
    ) -> impl Future<Output = Result<VmPortrait, PortError>> + Send;
    /// Changed areas of one disk at the snapshot.
    fn changes(
        &self,
        vm: &VmView,
        snapshot: &str,
        disk: &DiskIdentity,
        since: &Since,
    ) -> impl Future<Output = Result<Changes, PortError>> + Send;
    /// Bytes that the guest has written since the snapshot, as far as the hypervisor says.
    fn delta_bytes(
        &self,
        _vm: &VmView,
        _snapshot: &str,
    ) -> impl Future<Output = Result<Option<u64>, PortError>> + Send {
        async { Ok(None) }
    }
    /// Removes one snapshot, never its children, and merges its disks. A snapshot that is gone
    /// already counts as removed.
    fn remove_snapshot(
        &self,
        vm: &VmView,
        snapshot: &str,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// The hypervisor's own way to the bytes of a disk, over the network and without the SAN.
pub trait NetworkPath: Send + Sync {
    /// Opens a disk as it is at the snapshot; or says why this disk has no network path now.
    fn open<'a>(
        &'a self,
        vm: &'a VmView,
        snapshot: &'a str,
        disk: &'a DiskIdentity,
    ) -> BoxFuture<'a, Result<Network, PortError>>;
}

/// What became of asking for a disk over the network.
pub enum Network {
    /// It can be read.
    Open(Box<dyn NetworkDisk>),
    /// It cannot; the reason is for people.
    None(String),
}

/// A disk that is read over the network.
pub trait NetworkDisk: Send {
    /// The bytes of a range. Ranges are asked for ascending, each once, so that a path that only
    /// knows whole disks from their beginning can serve them too.
    fn read(&mut self, range: DiskRange) -> BoxFuture<'_, Result<Vec<u8>, PortError>>;
    /// Ends the reading; an error when what was read cannot be proven to be the whole disk, as it
    /// is at the snapshot. Without this call nothing that was read counts as a backup.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), PortError>>;
}

/// One LUN of the SAN. There is no way to write to it.
pub trait SourceLun: Send + Sync {
    /// Bytes.
    fn capacity(&self) -> u64;
    /// Exactly `length` bytes from `offset` on, or an error.
    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Vec<u8>, PortError>>;
    /// Asks the LUN again who it is; an error when it is not what it was when it was found.
    fn verify(&self) -> BoxFuture<'_, Result<(), PortError>>;
    /// The same LUN for parsers; only for threads that may block.
    fn blocking(&self) -> Arc<dyn ReadAt>;
}

/// The SAN as far as it is presented to this box.
pub trait Fabric: Send + Sync + 'static {
    /// The LUN with this name, or `NotFound` with what was seen instead.
    fn lun(
        &self,
        name: &NaaName,
    ) -> impl Future<Output = Result<Arc<dyn SourceLun>, PortError>> + Send;
}

/// The newest committed point of a VM, as far as the next run needs it.
#[derive(Clone, Debug)]
pub struct PreviousPoint {
    /// Its id.
    pub id: RecoveryPointId,
    /// Its disks, in the point's own order.
    pub disks: Vec<DiskIdentity>,
    /// What the point does not keep of each of them, in the same order: zeros whatever was there.
    pub excluded: Vec<Vec<Exclusion>>,
    /// Where the cross-check of its chain stands; `None`: it begins anew.
    pub cross_check: Option<Rotation>,
}

/// A new point.
#[derive(Clone, Debug)]
pub struct PointDraft {
    /// Whose.
    pub vm: VmIdentity,
    /// By which run.
    pub run: RunId,
    /// State of the guest.
    pub consistency: Consistency,
    /// When the run began.
    pub started: WallTime,
}

/// A disk of a new point.
#[derive(Clone, Debug)]
pub struct DiskDraft {
    /// Which disk, with the change id of *this* point.
    pub identity: DiskIdentity,
    /// What is read of it.
    pub mode: ReadMode,
    /// How.
    pub transport: Transport,
    /// Cells that are not put come from this disk; without it they are zeros.
    pub parent: Option<(RecoveryPointId, usize)>,
    /// What is zeros in the point whatever the guest has there.
    pub excluded: Vec<Exclusion>,
}

/// What the store did with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Bytes that were put, zeros not counted.
    pub bytes_in: u64,
    /// Of these, plain bytes that the store did not have yet.
    pub new_bytes: u64,
    /// Bytes that were added to segments.
    pub bytes_stored: u64,
    /// Cells put with data.
    pub cells: u64,
    /// Cells put as zeros, or found to be zeros.
    pub zero_cells: u64,
    /// Cells equal to the previous point's or to a chunk stored before.
    pub known_cells: u64,
}

/// The repository, as a job sees it. Calls block: they belong on threads that may.
pub trait Store: Clone + Send + Sync + 'static {
    /// A point being written. Dropping it abandons the point.
    type Point: PointSink;
    /// Bytes of a grid cell.
    fn chunk_size(&self) -> u64;
    /// The newest committed point of this VM.
    fn latest(&self, vm: &VmIdentity) -> Result<Option<PreviousPoint>, PortError>;
    /// The newest points of this VM as far back as the newest that was read in full, which is
    /// not among them. What cannot be read to tell is.
    fn since_full(&self, vm: &VmIdentity) -> Result<Vec<RecoveryPointId>, PortError>;
    /// Begins a point.
    fn begin(&self, draft: PointDraft) -> Result<Self::Point, PortError>;
}

/// A point being written; its disks come one after another.
pub trait PointSink: Send + 'static {
    /// A disk being written.
    type Disk: DiskSink;
    /// Begins the next disk.
    fn disk(&mut self, draft: DiskDraft) -> Result<Self::Disk, PortError>;
    /// Attaches a small file, such as the `.vmx`.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), PortError>;
    /// Makes the point durable, visible and locked.
    fn commit(self) -> Result<RecoveryPointId, PortError>;
}

/// A disk being written.
pub trait DiskSink: Send + 'static {
    /// The bytes of a cell. Blocks while the pipeline is full.
    fn put(&self, cell: u64, bytes: Vec<u8>) -> Result<(), PortError>;
    /// The cell is zeros now.
    fn zero(&self, cell: u64) -> Result<(), PortError>;
    /// Whether the parent has the cell with these bytes; `None`: zeros. Nothing is stored.
    fn is_as_parent(&self, cell: u64, bytes: Option<&[u8]>) -> Result<bool, PortError>;
    /// Waits for all cells.
    fn finish(self) -> Result<DiskCounts, PortError>;
}
