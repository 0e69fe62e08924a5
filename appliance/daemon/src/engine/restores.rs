//! Restores into the vCenter: from a request to an order in the queue. And stopping runs.

use super::{Appliance, disks, from_store};
use crate::wire::stored::Stored;
use api::{Portrait, RestoreRequest, Run, RunKind, VmRef};
use console::{EngineError, EngineResult};
use jobs::restore::ports::{Order, OrderedDisk};
use jobs::{Entry, Settings};
use model::{ErrorKind, RecoveryPointId, RunId};
use repository::Repository;
use std::sync::Arc;

/// A run with its order.
pub(crate) type Restoring = (Arc<Entry>, Order);

pub(super) async fn start(
    appliance: &Appliance,
    id: RecoveryPointId,
    request: RestoreRequest,
) -> EngineResult<Run> {
    appliance.find_point(id)?;
    let permit = appliance.restores.try_reserve().map_err(|_| busy())?;
    let run = RunId(super::random()?);
    let repository = appliance.repository.clone();
    let order = super::blocking(move || order(&repository, id, run, request)).await?;
    let vm = VmRef { uuid: order.vm.uuid.clone(), name: order.vm.name.clone() };
    let added = appliance.registry.add(run, RunKind::Restore, vm, Some(id), Settings::default());
    let entry = added.map_err(|_| busy())?;
    let view = entry.view();
    permit.send((entry, order));
    Ok(view)
}

fn order(
    repository: &Repository,
    id: RecoveryPointId,
    run: RunId,
    request: RestoreRequest,
) -> EngineResult<Order> {
    let manifest = repository.point(id).map_err(|error| from_store(&error))?;
    let configuration = match repository.file(id, Portrait::CONFIGURATION) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_configuration(id)),
        Err(error) => return Err(from_store(&error)),
    };
    let portrait = repository.file(id, Portrait::FILE).map_err(|error| from_store(&error))?;
    let portrait = serde_json::from_slice(&portrait).map_err(|_| no_configuration(id))?;
    let nvram = manifest.files.iter().find(|file| file.name.ends_with(".nvram"));
    let nvram = nvram.map(|file| repository.file(id, &file.name)).transpose();
    let nvram = nvram.map_err(|error| from_store(&error))?;
    let mut ordered = Vec::new();
    for (index, disk) in (0..).zip(&manifest.disks) {
        let bytes = Arc::new(Stored(disks::open(repository, id, index)?));
        ordered.push(OrderedDisk { index, key: disk.identity.key, bytes });
    }
    let vm = repository.summary(id).map_err(|error| from_store(&error))?.vm;
    Ok(Order { run, point: id, vm, request, configuration, portrait, nvram, disks: ordered })
}

pub(super) fn cancel(appliance: &Appliance, id: RunId) -> EngineResult<Run> {
    let view = super::runs::one(appliance, id)?;
    if let Some(entry) = appliance.registry.find(id) {
        entry.progress.cancel();
        return Ok(entry.view());
    }
    Ok(view)
}

fn no_configuration(id: RecoveryPointId) -> EngineError {
    let detail = format!("Recovery point {id} holds no configuration of the VM.");
    EngineError::new(ErrorKind::Unsupported, "no-configuration", "The VM is not described", detail)
        .next_step("Restore its disks ('holdfast point restore') and make the VM by hand.")
}

fn busy() -> EngineError {
    let detail = "Too many restores wait already.";
    EngineError::new(ErrorKind::Busy, "queue-full", "The run cannot be queued", detail)
        .next_step("Try again when some runs have ended.")
}
