//! From the endpoint table to the engine: one line for each endpoint.

use crate::answer::{self, Failure, finish, method_not_allowed, not_found};
use crate::call::{BodyLimits, Call};
use crate::engine::{Engine, EngineResult};
use crate::secret::Secret;
use crate::{assets, auth, stream};
use api::endpoint::{
    AcknowledgeLun, AddVolume, CancelRun, DeletePoint, DiscoverPortal, ExportDisk, ExtendLock,
    GetDataRanges, GetDisk, GetFile, GetForecast, GetLedgerHead, GetMaintenance, GetPoint, GetRun,
    GetStatus, HoldPoint, ListFcPorts, ListInventory, ListLeaves, ListPoints, ListRuns,
    ListSanLuns, ListSanPaths, ListSanSessions, ListSnapshots, ListVms, ListVolumes, LoginSan,
    PreviewDeletion, PreviewExpiry, ProveConsistency, ProveInclusion, ReadLun, RestorePoint,
    RotateKey, StartMaintenance, StartRuns, TestLun, TightenLock, VerifyPoint,
};
use api::{Endpoint, EndpointInfo, Method, Nothing, Problem};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Everything the server answers.
pub(crate) fn router<E: Engine>(engine: Arc<E>, secret: Secret, limits: BodyLimits) -> Router {
    endpoints::<E>(limits)
        .router
        .merge(assets::router())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(secret, auth::require_token))
        .layer(from_fn(finish))
        .with_state(engine)
}

/// The table of `api`, with what each row does.
fn endpoints<E: Engine>(limits: BodyLimits) -> Routes<E> {
    let routes = Routes::new(limits);
    san(routes)
        .json(GetStatus, |engine: Arc<E>, _| async move { Ok(engine.status().await?) })
        .json(ListVms, |engine: Arc<E>, call| async move { Ok(engine.vms(call.query).await?) })
        .json(ListInventory, |engine: Arc<E>, call| async move {
            Ok(engine.inventory(call.query).await?)
        })
        .json(ListSnapshots, |engine: Arc<E>, call| async move {
            Ok(engine.snapshots(call.query).await?)
        })
        .json(StartRuns, |engine: Arc<E>, call| async move {
            Ok(engine.start_runs(not_empty(call.request)?).await?)
        })
        .json(ListRuns, |engine: Arc<E>, call| async move { Ok(engine.runs(call.query).await?) })
        .json(GetRun, |engine: Arc<E>, call| async move {
            Ok(engine.run(call.parameter("run")?).await?)
        })
        .json(
            ListPoints,
            |engine: Arc<E>, call| async move { Ok(engine.points(call.query).await?) },
        )
        .json(GetPoint, |engine: Arc<E>, call| async move {
            Ok(engine.point(call.parameter("point")?).await?)
        })
        .json(VerifyPoint, |engine: Arc<E>, call| async move {
            Ok(engine.verify_point(call.parameter("point")?).await?)
        })
        .json(RestorePoint, |engine: Arc<E>, call| async move {
            Ok(engine.restore_point(call.parameter("point")?, call.request).await?)
        })
        .json(CancelRun, |engine: Arc<E>, call| async move {
            Ok(engine.cancel_run(call.parameter("run")?).await?)
        })
        .json(DeletePoint, |engine: Arc<E>, call| async move {
            let deleted: EngineResult<()> = engine.delete_point(call.parameter("point")?).await;
            Ok(deleted.map(|()| Nothing {})?)
        })
        .json(PreviewDeletion, |engine: Arc<E>, call| async move {
            Ok(engine.preview_deletion(call.parameter("point")?).await?)
        })
        .json(ExtendLock, |engine: Arc<E>, call| async move {
            Ok(engine.extend_lock(call.parameter("point")?, call.request).await?)
        })
        .json(TightenLock, |engine: Arc<E>, call| async move {
            Ok(engine.tighten_lock(call.parameter("point")?, call.request).await?)
        })
        .json(HoldPoint, |engine: Arc<E>, call| async move {
            Ok(engine.hold_point(call.parameter("point")?, call.request).await?)
        })
        .json(StartMaintenance, |engine: Arc<E>, call| async move {
            Ok(engine.start_maintenance(call.request).await?)
        })
        .json(GetMaintenance, |engine: Arc<E>, call| async move {
            Ok(engine.maintenance(call.parameter("number")?).await?)
        })
        .json(PreviewExpiry, |engine: Arc<E>, _| async move { Ok(engine.preview_expiry().await?) })
        .json(
            GetForecast,
            |engine: Arc<E>, call| async move { Ok(engine.forecast(call.query).await?) },
        )
        .json(ListVolumes, |engine: Arc<E>, _| async move { Ok(engine.volumes().await?) })
        .json(AddVolume, |engine: Arc<E>, call| async move {
            Ok(engine.add_volume(call.request).await?)
        })
        .json(RotateKey, |engine: Arc<E>, _| async move { Ok(engine.rotate_key().await?) })
        .json(GetLedgerHead, |engine: Arc<E>, _| async move { Ok(engine.ledger_head().await?) })
        .json(
            ListLeaves,
            |engine: Arc<E>, call| async move { Ok(engine.leaves(call.query).await?) },
        )
        .json(ProveInclusion, |engine: Arc<E>, call| async move {
            Ok(engine.prove_inclusion(call.query).await?)
        })
        .json(ProveConsistency, |engine: Arc<E>, call| async move {
            Ok(engine.prove_consistency(call.query).await?)
        })
        .json(GetDataRanges, |engine: Arc<E>, call| async move {
            let (point, disk) = (call.parameter("point")?, call.parameter("disk")?);
            Ok(engine.data_ranges(point, disk, call.query).await?)
        })
        .raw(GetDisk, stream::disk)
        .raw(ExportDisk, stream::vmdk)
        .raw(GetFile, stream::file)
}

/// The rows of the SAN.
fn san<E: Engine>(routes: Routes<E>) -> Routes<E> {
    routes
        .json(ListSanSessions, |engine: Arc<E>, _| async move { Ok(engine.san_sessions().await?) })
        .json(LoginSan, |engine: Arc<E>, _| async move { Ok(engine.login_san().await?) })
        .json(DiscoverPortal, |engine: Arc<E>, call| async move {
            Ok(engine.discover_portal(call.request).await?)
        })
        .json(ListSanLuns, |engine: Arc<E>, _| async move { Ok(engine.san_luns().await?) })
        .json(AcknowledgeLun, |engine: Arc<E>, call| async move {
            let name = call.parameter("naa")?;
            Ok(engine.acknowledge_lun(name, call.request).await?)
        })
        .json(ListSanPaths, |engine: Arc<E>, _| async move { Ok(engine.san_paths().await?) })
        .json(ListFcPorts, |engine: Arc<E>, _| async move { Ok(engine.fc_ports().await?) })
        .json(TestLun, |engine: Arc<E>, call| async move {
            let name = call.parameter("naa")?;
            Ok(engine.test_lun(name, call.request).await?)
        })
        .raw(ReadLun, stream::lun)
}

fn not_empty(request: api::RunRequest) -> Result<api::RunRequest, Failure> {
    if !request.vms.is_empty() || request.configuration {
        return Ok(request);
    }
    let problem = Problem::of_request(400, "bad-body", "The body is not understood")
        .detail("vms: the list is empty")
        .next_step("Name at least one VM.");
    Err(Problem { field: Some("vms".into()), ..problem }.into())
}

struct Routes<E> {
    router: Router<Arc<E>>,
    limits: BodyLimits,
    /// The rows served, so that a test can compare them with the table.
    rows: Vec<EndpointInfo>,
}

impl<E: Engine> Routes<E> {
    fn new(limits: BodyLimits) -> Self {
        Self { router: Router::new(), limits, rows: Vec::new() }
    }

    /// An endpoint that answers with JSON of the table's type.
    fn json<P, F, R>(self, endpoint: P, run: F) -> Self
    where
        P: Endpoint<Query: DeserializeOwned + Send, Request: DeserializeOwned + Send>
            + Send
            + 'static,
        P::Response: Serialize + Send + 'static,
        F: Fn(Arc<E>, Call<P>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<P::Response, Failure>> + Send + 'static,
    {
        self.raw(endpoint, move |engine, call| {
            let answer = run(engine, call);
            async move { answer.await.map(|value| success::<P>(&value)) }
        })
    }

    /// An endpoint that makes its response itself.
    fn raw<P, F, R>(mut self, _: P, run: F) -> Self
    where
        P: Endpoint<Query: DeserializeOwned + Send, Request: DeserializeOwned + Send>
            + Send
            + 'static,
        F: Fn(Arc<E>, Call<P>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        let limits = self.limits;
        let handler = move |State(engine): State<Arc<E>>, request: Request| async move {
            let call = Call::<P>::parse(request, limits).await?;
            in_a_task(P::INFO.method, run(engine, call)).await
        };
        self.router = self.router.route(P::INFO.path, on(filter(P::INFO.method), handler));
        self.rows.push(P::INFO);
        self
    }
}

fn success<P: Endpoint<Response: Serialize>>(value: &P::Response) -> Response {
    if P::INFO.success == StatusCode::NO_CONTENT.as_u16() {
        return StatusCode::NO_CONTENT.into_response();
    }
    answer::json(P::INFO.success, value)
}

/// A call that changes something is done to its end even when the client leaves half-way; a
/// read is dropped then. A panic of the engine is an answer, not a closed connection.
async fn in_a_task<R>(method: Method, work: R) -> Result<Response, Failure>
where
    R: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    let outcome = if method == Method::Get {
        let mut dropped_with_us = JoinSet::new();
        dropped_with_us.spawn(work);
        dropped_with_us.join_next().await
    } else {
        Some(tokio::spawn(work).await)
    };
    outcome
        .and_then(|ended| ended.map_err(|e| tracing::error!(%e, "not answered")).ok())
        .unwrap_or_else(|| {
            Err(Problem::of_request(500, "internal", "The appliance made a mistake")
                .detail("The request could not be answered because of a defect of the appliance.")
                .next_step("Look at the appliance's log and report the defect.")
                .into())
        })
}

fn filter(method: Method) -> MethodFilter {
    match method {
        // axum gives HEAD to the handler of GET and drops the body.
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Delete => MethodFilter::DELETE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blob, Chunks, EngineError};
    use api::{
        AcknowledgementRequest, ConsistencyQuery, DataRanges, DataRangesQuery, DeletionPreview,
        Discovered, DiscoveryRequest, ENDPOINTS, ExpiryPreview, FcPorts, Forecast, ForecastQuery,
        HoldRequest, InclusionQuery, InventoryObject, KeyEpoch, Leaves, LeavesQuery, LedgerHead,
        LockExtension, LockTightening, LunBytesQuery, LunTest, LunTestRequest, MaintenanceRequest,
        MaintenanceRun, Page, PageQuery, PointDetail, PointQuery, PointSummary, Proof, Protection,
        RestoreRequest, Run, RunRequest, RunsStarted, SanLun, SanLuns, SanPaths, SanSessions,
        SnapshotView, Status, VmSummary, VolumeRequest, Volumes,
    };
    use model::{DiskRange, ErrorKind, NaaName, RecoveryPointId, RunId};

    /// Serves nothing; only its routes are looked at.
    struct Empty;

    fn nothing<T>() -> EngineResult<T> {
        Err(EngineError::new(ErrorKind::Unsupported, "empty", "Empty", "Nothing is here."))
    }

    macro_rules! empty {
        ($($name:ident($($argument:ty),*) -> $result:ty;)+) => {
            impl Engine for Empty {
                $(async fn $name(&self, $(_: $argument),*) -> EngineResult<$result> {
                    nothing()
                })+
            }
        };
    }
    empty! {
        status() -> Status;
        vms(PageQuery) -> Page<VmSummary>;
        inventory(PageQuery) -> Page<InventoryObject>;
        snapshots(PageQuery) -> Page<SnapshotView>;
        start_runs(RunRequest) -> RunsStarted;
        runs(PageQuery) -> Page<Run>;
        run(RunId) -> Run;
        points(PointQuery) -> Page<PointSummary>;
        point(RecoveryPointId) -> PointDetail;
        verify_point(RecoveryPointId) -> Run;
        restore_point(RecoveryPointId, RestoreRequest) -> Run;
        cancel_run(RunId) -> Run;
        delete_point(RecoveryPointId) -> ();
        preview_deletion(RecoveryPointId) -> DeletionPreview;
        extend_lock(RecoveryPointId, LockExtension) -> Protection;
        tighten_lock(RecoveryPointId, LockTightening) -> Protection;
        hold_point(RecoveryPointId, HoldRequest) -> Protection;
        start_maintenance(MaintenanceRequest) -> MaintenanceRun;
        maintenance(u64) -> MaintenanceRun;
        preview_expiry() -> ExpiryPreview;
        forecast(ForecastQuery) -> Forecast;
        volumes() -> Volumes;
        add_volume(VolumeRequest) -> Volumes;
        rotate_key() -> KeyEpoch;
        ledger_head() -> LedgerHead;
        leaves(LeavesQuery) -> Leaves;
        prove_inclusion(InclusionQuery) -> Proof;
        prove_consistency(ConsistencyQuery) -> Proof;
        san_sessions() -> SanSessions;
        login_san() -> SanSessions;
        discover_portal(DiscoveryRequest) -> Discovered;
        san_luns() -> SanLuns;
        acknowledge_lun(NaaName, AcknowledgementRequest) -> SanLun;
        san_paths() -> SanPaths;
        fc_ports() -> FcPorts;
        test_lun(NaaName, LunTestRequest) -> LunTest;
        read_lun(NaaName, LunBytesQuery) -> bytes::Bytes;
        disk_capacity(RecoveryPointId, u32) -> u64;
        read_disk(RecoveryPointId, u32, DiskRange) -> Chunks;
        export_disk(RecoveryPointId, u32) -> Chunks;
        data_ranges(RecoveryPointId, u32, DataRangesQuery) -> DataRanges;
        file(RecoveryPointId, String) -> Blob;
    }

    #[test]
    fn every_row_of_the_table_is_served_once() {
        let limits = BodyLimits { bytes: 1, time: std::time::Duration::from_secs(1) };
        let mut rows = endpoints::<Empty>(limits).rows;
        let mut table = ENDPOINTS.to_vec();
        rows.sort_by_key(|row| row.name);
        table.sort_by_key(|row| row.name);
        assert_eq!(rows, table);
        assert!(table.iter().all(|row| auth::is_guarded(row.path)));
    }
}
