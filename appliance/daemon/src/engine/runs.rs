//! Starting and listing runs.

use super::{Appliance, from_port, vms};
use crate::wire::configuration;
use api::{Page, PageQuery, Run, RunKind, RunRequest, RunsStarted, VmRef};
use console::{EngineError, EngineResult};
use jobs::{Entry, Settings};
use model::{ErrorKind, RecoveryPointId, RunId};
use std::sync::Arc;

/// One run for each VM, or none at all when one of them is unknown.
pub(super) async fn start(appliance: &Appliance, request: RunRequest) -> EngineResult<RunsStarted> {
    if request.vms.is_empty() && !request.configuration {
        return Err(EngineError::new(
            ErrorKind::Refused,
            "no-vms",
            "No VM is named",
            "The request names no VM.",
        )
        .next_step("Name at least one VM."));
    }
    let settings = settings(appliance, &request)?;
    let mut vms = match request.vms.is_empty() {
        true => Vec::new(),
        false => vms::resolve(appliance, &request.vms).await?,
    };
    if request.configuration {
        let all = configuration::all(&appliance.vcenter).await.map_err(|e| from_port(&e))?;
        vms.extend(all.into_iter().map(|identity| (identity.uuid, identity.name)));
    }
    let permits = appliance.backups.try_reserve_many(vms.len()).map_err(|error| busy(&error))?;
    let mut runs = Vec::new();
    for ((uuid, name), permit) in vms.into_iter().zip(permits) {
        let vm = VmRef { uuid, name };
        let entry = add(appliance, RunKind::Backup, vm, None, settings)?;
        runs.push(entry.view());
        permit.send(entry);
    }
    Ok(RunsStarted { runs })
}

fn settings(appliance: &Appliance, request: &RunRequest) -> EngineResult<Settings> {
    let usual = appliance.config.backup.cross_check_percent;
    let cross_check_percent = request.cross_check_percent.unwrap_or(usual);
    if cross_check_percent > 100 {
        let detail = format!("{cross_check_percent} percent of a disk cannot be compared.");
        let title = "The share is more than the whole";
        return Err(EngineError::new(ErrorKind::Refused, "bad-share", title, detail)
            .next_step("Give a share between 0 and 100 percent."));
    }
    let min_free_percent = appliance.config.backup.min_free_percent;
    let quiesce = request.quiesce.unwrap_or(appliance.config.backup.quiesce);
    let backup = &appliance.config.backup;
    Ok(Settings {
        full: request.full,
        quiesce,
        transport: request.transport.unwrap_or(backup.transport),
        compare: backup.compare_with_network,
        exclude: request.exclude.unwrap_or(backup.exclude),
        cross_check_percent,
        min_free_percent,
        consolidate: backup.consolidate,
        limits: backup.limits(),
        ..Settings::default()
    })
}

pub(super) fn verify(appliance: &Appliance, id: RecoveryPointId) -> EngineResult<Run> {
    let vm = appliance.find_point(id)?.vm;
    let vm = VmRef { uuid: vm.uuid, name: vm.name };
    let permit = appliance.verifies.try_reserve().map_err(|error| busy(&error))?;
    let entry = add(appliance, RunKind::Verify, vm, Some(id), Settings::default())?;
    let view = entry.view();
    permit.send(entry);
    Ok(view)
}

pub(super) fn list(appliance: &Appliance, query: &PageQuery) -> Page<Run> {
    Page::cut(appliance.registry.list(), query)
}

pub(super) fn one(appliance: &Appliance, id: RunId) -> EngineResult<Run> {
    let entry = appliance.registry.find(id).ok_or_else(|| {
        EngineError::new(
            ErrorKind::NotFound,
            "run-unknown",
            "There is no such run",
            format!("No run {id} is known since the daemon was started."),
        )
    })?;
    Ok(entry.view())
}

fn add(
    appliance: &Appliance,
    kind: RunKind,
    vm: VmRef,
    point: Option<RecoveryPointId>,
    settings: Settings,
) -> EngineResult<Arc<Entry>> {
    let id = RunId(super::random()?);
    appliance.registry.add(id, kind, vm, point, settings).map_err(|error| busy(&error))
}

fn busy(reason: &dyn std::fmt::Display) -> EngineError {
    let detail = reason.to_string();
    EngineError::new(ErrorKind::Busy, "queue-full", "The run cannot be queued", detail)
        .next_step("Try again when some runs have ended.")
}
