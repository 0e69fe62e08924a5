//! L1: what goes over the wire between the console, the command line and the appliance.
//!
//! What this is: the request and response types, and the one table of endpoints ([`ENDPOINTS`])
//! from which the server builds its routes and the client its calls, so that neither can know a
//! path or a type that the other does not. What it is not: a server, a client, a decision. No
//! clock: every time is a value that came from the appliance.
//!
//! | module | content |
//! |---|---|
//! | [`endpoint`] | method, path, types and success status of every call |
//! | [`inventory`] | the tree of everything, the snapshots in it |
//! | [`vm`] | virtual machines and how their disks would be read |
//! | [`restore`] | restores into the vCenter |
//! | [`run`] | runs, their progress and results |
//! | [`point`] | recovery points, their disks, locks and files |
//! | [`maintenance`] | scrub, expiry, compaction, the forecast |
//! | [`volume`] | the repository's disks, its data keys |
//! | [`ledger`] | the record: head, leaves, proofs |
//! | [`san`] | sessions, LUNs, paths, discovery, the test of a LUN |
//! | [`status`] | how the appliance fares |
//! | [`problem`] | RFC 9457 problem details |
//! | [`page`] | lists, a page at a time |
//! | [`text`] | times and ids as text |
//!
//! Rules of the wire: JSON; names are `snake_case` with the unit last; every size is a number of
//! bytes; every time is RFC 3339 in UTC; ids are lower-case hex. Requests refuse unknown fields,
//! responses may gain fields at any time, so a client ignores those it does not know.

pub mod endpoint;
pub mod inventory;
pub mod ledger;
pub mod maintenance;
pub mod page;
pub mod point;
pub mod portrait;
pub mod problem;
pub mod restore;
pub mod run;
pub mod san;
pub mod status;
pub mod text;
pub mod vm;
pub mod volume;

pub use endpoint::{ENDPOINTS, Endpoint, EndpointInfo, Method, Nothing, Raw};
pub use inventory::{InventoryKind, InventoryObject, InventoryStatus, SnapshotOwner, SnapshotView};
pub use ledger::{
    ConsistencyQuery, InclusionQuery, LeafView, Leaves, LeavesQuery, LedgerHead, Proof,
};
pub use maintenance::{
    CompactResult, ExpireResult, ExpiryPoint, ExpiryPreview, Forecast, ForecastQuery, Freed,
    MaintenanceRequest, MaintenanceResult, MaintenanceRun, MaintenanceTask, QuarantinedSegment,
    RepairedSegment, ScrubResult,
};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, Listed, Page, PageQuery};
pub use point::{
    DataRanges, DataRangesQuery, DeletionPreview, DiskStats, HoldRequest, LockExtension,
    LockTightening, LockView, NotContained, PointDetail, PointDisk, PointFile, PointMode,
    PointQuery, PointRef, PointSummary, Protection, Verification,
};
pub use portrait::{Portrait, PortraitAttribute, PortraitNic, PortraitTag};
pub use problem::{Problem, problem_type, status_of};
pub use restore::{RestoreRequest, RestoreResult, RestoredDisk};
pub use run::{
    BackupResult, Damage, Exclude, ExcludeKind, Progress, Quiesce, Run, RunKind, RunRequest,
    RunResult, RunState, RunStep, RunsStarted, StepState, TransportPolicy, VerifyResult,
};
pub use san::{
    Acknowledgement, AcknowledgementRequest, Discovered, DiscoveredPlace, DiscoveryRequest,
    FcPortView, FcPorts, FcRemotePort, LUN_BYTES_MAX, LunBytesQuery, LunTest, LunTestRequest,
    PRESENT_READ_ONLY, SanLun, SanLuns, SanPath, SanPathState, SanPaths, SanProblem, SanSession,
    SanSessions,
};
pub use status::{
    CareStatus, Health, LunStatus, Reason, RepositoryStatus, SanStatus, ScrubStatus, Status,
    VcenterStatus, WardenStatus,
};
pub use vm::{Cbt, DiskTransport, PowerState, VmDisk, VmRef, VmSummary};
pub use volume::{KeyEpoch, Volume, VolumeRequest, VolumeState, Volumes};
