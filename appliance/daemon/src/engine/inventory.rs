//! The inventory as a tree, and the snapshots in it.

use super::{Appliance, from_port};
use crate::clock;
use api::{
    InventoryKind, InventoryObject, Page, PageQuery, PowerState, SnapshotOwner, SnapshotView,
};
use console::{EngineError, EngineResult};
use jiff::Timestamp;
use jobs::Intent;
use model::{ErrorKind, VmUuid};
use vsphere::{Layout, MoRef, Object, SnapshotNode};

/// VMs whose files are asked for in one answer; those of the others are shown without sizes.
const LAYOUTS_MAX: usize = 200;

pub(super) fn objects(
    appliance: &Appliance,
    query: &PageQuery,
) -> EngineResult<Page<InventoryObject>> {
    let live = &appliance.vcenter.inventory;
    let objects = live.read(|tree| tree.iter().map(|(id, o)| object(id, o)).collect::<Vec<_>>());
    let objects = objects.ok_or_else(|| {
        let why = live.status().error.unwrap_or_else(|| "it is being listed".into());
        let detail = format!("Nothing is known of the inventory so far: {why}.");
        EngineError::new(ErrorKind::Retryable, "inventory-unknown", "No inventory yet", detail)
            .next_step("Try again in a moment; 'holdfast status' shows the connection.")
    })?;
    Ok(Page::cut(objects, query))
}

fn object(id: &MoRef, object: &Object) -> InventoryObject {
    let is_vm = id.kind() == "VirtualMachine";
    let kind = match id.kind() {
        "Datacenter" => InventoryKind::Datacenter,
        "Folder" => InventoryKind::Folder,
        "ClusterComputeResource" => InventoryKind::Cluster,
        "ComputeResource" => InventoryKind::ComputeResource,
        "HostSystem" => InventoryKind::Host,
        "ResourcePool" => InventoryKind::ResourcePool,
        "VirtualApp" => InventoryKind::VApp,
        "VirtualMachine" if object.flag("config.template") == Some(true) => InventoryKind::Template,
        "VirtualMachine" => InventoryKind::Vm,
        "StoragePod" => InventoryKind::DatastoreCluster,
        "Datastore" => InventoryKind::Datastore,
        "Network" | "DistributedVirtualPortgroup" | "OpaqueNetwork" => InventoryKind::Network,
        _ => InventoryKind::Other,
    };
    let named = |path: &str| object.reference(path).map(ToString::to_string);
    InventoryObject {
        id: id.to_string(),
        kind,
        name: object.name().unwrap_or_else(|| id.value().to_owned()),
        parent: object.parent().map(ToString::to_string),
        uuid: object.text("config.instanceUuid").map(|uuid| VmUuid(uuid.to_owned())),
        power_state: is_vm.then(|| power(object.text("runtime.powerState"))),
        host: named("runtime.host"),
        resource_pool: named("resourcePool"),
        snapshots: count(object.snapshots()),
        datastore_type: object.text("summary.type").map(str::to_owned),
        remarks: remarks(object),
    }
}

fn power(text: Option<&str>) -> PowerState {
    match text {
        Some("poweredOn") => PowerState::PoweredOn,
        Some("poweredOff") => PowerState::PoweredOff,
        Some("suspended") => PowerState::Suspended,
        _ => PowerState::Unknown,
    }
}

fn count(nodes: &[SnapshotNode]) -> u64 {
    nodes.iter().map(|node| 1 + count(&node.children)).sum()
}

fn remarks(object: &Object) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(state) = object.text("runtime.connectionState").filter(|s| *s != "connected") {
        remarks.push(state.to_owned());
    }
    let mut remark = |path: &str, when: bool, text: &str| {
        if object.flag(path) == Some(when) {
            remarks.push(text.to_owned());
        }
    };
    remark("runtime.inMaintenanceMode", true, "in maintenance mode");
    remark("runtime.consolidationNeeded", true, "consolidation needed");
    remark("summary.accessible", false, "not accessible");
    remarks.extend(object.unreadable().map(|(path, _)| format!("'{path}' is not understood")));
    remarks
}

/// A VM that has snapshots.
struct Snapshotted {
    vm: MoRef,
    name: String,
    uuid: Option<VmUuid>,
    roots: Vec<SnapshotNode>,
}

/// All snapshots, from the live inventory; without one, from a listing.
pub(super) async fn snapshots(
    appliance: &Appliance,
    query: &PageQuery,
) -> EngineResult<Page<SnapshotView>> {
    let known = appliance.vcenter.inventory.live(|tree| {
        let vm = |(vm, object): (&MoRef, &Object)| Snapshotted {
            vm: vm.clone(),
            name: object.name().unwrap_or_else(|| vm.value().to_owned()),
            uuid: object.text("config.instanceUuid").map(|uuid| VmUuid(uuid.to_owned())),
            roots: object.snapshots().to_vec(),
        };
        tree.vms().map(vm).collect::<Vec<_>>()
    });
    let vms = match known {
        Some(vms) => vms,
        None => listed(appliance).await?,
    };
    let intents = appliance.journal.pending();
    let now = clock::wall().0;
    let mut views = Vec::new();
    for (number, vm) in vms.iter().filter(|vm| !vm.roots.is_empty()).enumerate() {
        let layout = match number < LAYOUTS_MAX {
            true => appliance.vcenter.layout(&vm.vm).await.ok().flatten(),
            false => None,
        };
        let mut flat = Vec::new();
        flatten(&vm.roots, &mut flat);
        views.extend(flat.into_iter().map(|node| view(vm, node, layout.as_ref(), &intents, now)));
    }
    Ok(Page::cut(views, query))
}

async fn listed(appliance: &Appliance) -> EngineResult<Vec<Snapshotted>> {
    let (_, vms) = appliance.vcenter.all_vms().await.map_err(|error| from_port(&error))?;
    let vm = |vm: vsphere::Vm| Snapshotted {
        vm: vm.moref,
        name: vm.name,
        uuid: vm.instance_uuid,
        roots: vm.snapshots,
    };
    Ok(vms.into_iter().map(vm).collect())
}

fn flatten<'a>(nodes: &'a [SnapshotNode], into: &mut Vec<&'a SnapshotNode>) {
    for node in nodes {
        into.push(node);
        flatten(&node.children, into);
    }
}

fn view(
    vm: &Snapshotted,
    node: &SnapshotNode,
    layout: Option<&Layout>,
    intents: &[Intent],
    now: i64,
) -> SnapshotView {
    let created: Option<Timestamp> = node.created.as_deref().and_then(|text| text.parse().ok());
    let (owner, owner_detail) = owner(&node.name, &node.description, intents);
    SnapshotView {
        id: node.moref.to_string(),
        vm: vm.name.clone(),
        vm_uuid: vm.uuid.clone(),
        name: node.name.clone(),
        owner,
        owner_detail,
        created,
        age_seconds: created.map(|at| now.saturating_sub(at.as_second()).max(0)),
        delta_bytes: layout.and_then(|layout| layout.bytes_since(&node.moref)),
    }
}

/// How other products begin the names of their temporary snapshots, in lower case, as far as that
/// is publicly known. A name proves nothing, and nothing is ever done because of it.
const PRODUCTS: &[(&str, &str)] = &[
    ("veeam backup temporary snapshot", "Veeam"),
    ("veeam replica working snapshot", "Veeam"),
    ("__gx_backup__", "Commvault"),
    ("nbu_snapshot", "NetBackup"),
    ("smvi_", "NetApp"),
    ("nakivo", "NAKIVO"),
];

/// By the journal, then by the name. Only what the journal knows is ever removed.
fn owner(name: &str, description: &str, intents: &[Intent]) -> (SnapshotOwner, Option<String>) {
    if let Some(intent) = intents.iter().find(|intent| intent.snapshot == name) {
        return (SnapshotOwner::Run, Some(intent.run.to_string()));
    }
    if name.starts_with("holdfast-") && description.contains("Holdfast") {
        return (SnapshotOwner::OtherHoldfast, None);
    }
    let lower = name.to_lowercase();
    match PRODUCTS.iter().find(|(prefix, _)| lower.starts_with(prefix)) {
        Some((_, product)) => (SnapshotOwner::OtherProduct, Some((*product).to_owned())),
        None => (SnapshotOwner::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{RunId, VmIdentity, WallTime};

    #[test]
    fn a_snapshot_is_ours_by_the_journal_alone() {
        let run: RunId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let name = format!("holdfast-{run}");
        let intent = Intent {
            run,
            vm: VmIdentity {
                uuid: VmUuid("50".into()),
                name: "web01".into(),
                server_uuid: String::new(),
            },
            reference: "vm-1".into(),
            snapshot: name.clone(),
            migration_blocked: true,
            opened: WallTime(0),
        };
        let text = "temporary, of a Holdfast backup; run x";
        let judge = |name: &str, intents: &[Intent]| owner(name, text, intents).0;
        assert_eq!(judge(&name, &[intent]), SnapshotOwner::Run);
        assert_eq!(judge(&name, &[]), SnapshotOwner::OtherHoldfast);
        assert_eq!(
            owner("VEEAM BACKUP TEMPORARY SNAPSHOT", "", &[]),
            (SnapshotOwner::OtherProduct, Some("Veeam".into()))
        );
        assert_eq!(owner("holdfast-ed by hand", "", &[]).0, SnapshotOwner::Unknown);
        assert_eq!(owner("before the update", "", &[]).0, SnapshotOwner::Unknown);
    }
}
