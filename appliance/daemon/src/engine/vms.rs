//! The inventory, with the way each disk would be read now.

use super::{Appliance, from_port};
use crate::wire::hypervisor::not_covered;
use api::{Cbt, DiskTransport, Page, PageQuery, PointRef, PowerState, VmDisk, VmSummary, text};
use console::{EngineError, EngineResult};
use jobs::locate::DatastorePath;
use model::{ErrorKind, NaaName, VmUuid};
use std::collections::{HashMap, HashSet};
use vsphere::{Datastore, Disk, Vm};

/// What decides whether a disk has a SAN path.
struct Paths {
    datastores: Vec<Datastore>,
    luns: HashSet<NaaName>,
    san_error: Option<String>,
}

pub(super) async fn list(
    appliance: &Appliance,
    query: &PageQuery,
) -> EngineResult<Page<VmSummary>> {
    let (about, vms) = appliance.vcenter.all_vms().await.map_err(|e| from_port(&e))?;
    let datastores = appliance.vcenter.all_datastores().await.map_err(|e| from_port(&e))?;
    let looked = appliance.fabric.look().await;
    let san_error = looked.as_ref().err().map(|error| model::chain(error));
    let luns = looked.unwrap_or_default().into_iter().flat_map(|lun| lun.names).collect();
    let paths = Paths { datastores, luns, san_error };
    // Oldest first, so that the newest of a VM stays.
    let points: HashMap<VmUuid, PointRef> = appliance
        .repository
        .points()
        .into_iter()
        .map(|p| (p.vm.uuid, PointRef { id: p.id, created: text::wall(p.started) }))
        .collect();
    let summaries = vms.into_iter().filter_map(|vm| {
        summary(&points, about.instance_uuid.as_deref().unwrap_or_default(), &paths, vm)
    });
    Ok(Page::cut(summaries, query))
}

/// A VM without an instance UUID cannot be told from others, so it is not listed.
fn summary(
    points: &HashMap<VmUuid, PointRef>,
    server: &str,
    paths: &Paths,
    vm: Vm,
) -> Option<VmSummary> {
    let uuid = vm.instance_uuid?;
    let last_point = points.get(&uuid).cloned();
    Some(VmSummary {
        uuid,
        name: vm.name,
        server_uuid: server.into(),
        power_state: match vm.power_state {
            vsphere::PowerState::On => PowerState::PoweredOn,
            vsphere::PowerState::Suspended => PowerState::Suspended,
            vsphere::PowerState::Off => PowerState::PoweredOff,
            vsphere::PowerState::Unknown => PowerState::Unknown,
        },
        cbt: Cbt { supported: vm.cbt_supported, enabled: vm.cbt_enabled },
        disks: vm.disks.into_iter().map(|disk| disk_view(paths, disk)).collect(),
        last_point,
    })
}

fn disk_view(paths: &Paths, disk: Disk) -> VmDisk {
    let datastore =
        DatastorePath::parse(&disk.file_name).map_or_else(String::new, |path| path.datastore);
    let (transport, reason) = match no_san_path(paths, &disk, &datastore) {
        None => (DiskTransport::San, None),
        reason => (DiskTransport::None, reason),
    };
    VmDisk {
        key: disk.key,
        label: disk.label,
        capacity_bytes: disk.capacity,
        path: disk.file_name,
        datastore,
        transport,
        reason,
    }
}

fn no_san_path(paths: &Paths, disk: &Disk, datastore: &str) -> Option<String> {
    if let Some(reason) = not_covered(disk) {
        return Some(reason);
    }
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    if disk.parents.iter().any(|parent| folder(parent) != folder(&disk.file_name)) {
        return Some("it is a delta over a disk in another folder (a linked clone)".into());
    }
    let Some(view) = paths.datastores.iter().find(|view| view.name == datastore) else {
        return Some(format!("vCenter lists no datastore '{datastore}'"));
    };
    let Some(vmfs) = &view.vmfs else {
        return Some(format!("datastore type {} has no SAN path", view.kind));
    };
    if let Some(error) = &paths.san_error {
        return Some(format!("the SAN cannot be reached: {error}"));
    }
    let missing = vmfs.extents.iter().find(|extent| {
        extent.disk_name.parse().map_or(true, |name: NaaName| !paths.luns.contains(&name))
    })?;
    Some(format!("LUN {} is not presented to this box", missing.disk_name))
}

/// The VM that a user names by name or instance UUID.
pub(super) async fn resolve(
    appliance: &Appliance,
    names: &[String],
) -> EngineResult<Vec<(VmUuid, String)>> {
    let live = appliance.vcenter.inventory.live(|tree| {
        let vm = |(_, vm): (_, &vsphere::Object)| {
            Some((VmUuid(vm.text("config.instanceUuid")?.into()), vm.text("name")?.to_owned()))
        };
        tree.vms().filter_map(vm).collect::<Vec<_>>()
    });
    let picked = live.map(|known| names.iter().map(|name| pick(&known, name)).collect());
    if let Some(Ok(found)) = picked {
        return Ok(found);
    }
    // What the inventory does not know may have come a moment ago.
    let (_, vms) = appliance.vcenter.all_vms().await.map_err(|e| from_port(&e))?;
    let known: Vec<(VmUuid, String)> =
        vms.into_iter().filter_map(|vm| Some((vm.instance_uuid?, vm.name))).collect();
    names.iter().map(|name| pick(&known, name)).collect()
}

fn pick(known: &[(VmUuid, String)], wanted: &str) -> EngineResult<(VmUuid, String)> {
    if let Some(vm) = known.iter().find(|(uuid, _)| uuid.0 == wanted) {
        return Ok(vm.clone());
    }
    let mut same = known.iter().filter(|(_, name)| name == wanted);
    match (same.next(), same.next()) {
        (Some(vm), None) => Ok(vm.clone()),
        (Some(_), Some(_)) => Err(EngineError::new(
            ErrorKind::Refused,
            "vm-ambiguous",
            "The name is not unique",
            format!("Several VMs are called '{wanted}'."),
        )
        .next_step("Give the instance UUID instead; 'holdfast vm list' shows it.")),
        (None, _) => Err(EngineError::new(
            ErrorKind::NotFound,
            "vm-unknown",
            "There is no such VM",
            format!("vCenter lists no VM called '{wanted}'."),
        )
        .next_step("'holdfast vm list' shows the names and instance UUIDs.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_named_by_uuid_or_by_a_unique_name() {
        let vm = |uuid: &str, name: &str| (VmUuid(uuid.into()), name.to_owned());
        let known = [vm("50-1", "web01"), vm("50-2", "db01"), vm("50-3", "db01")];
        assert_eq!(pick(&known, "web01").unwrap().0, VmUuid("50-1".into()));
        assert_eq!(pick(&known, "50-3").unwrap().0, VmUuid("50-3".into()));
        assert_eq!(pick(&known, "db01").unwrap_err().code, "vm-ambiguous");
        assert_eq!(pick(&known, "web02").unwrap_err().code, "vm-unknown");
    }
}
