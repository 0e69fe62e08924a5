//! A small inventory, and two snapshots in it.

use api::{
    InventoryKind, InventoryObject, InventoryStatus, PowerState, SnapshotOwner, SnapshotView,
};

pub fn status() -> InventoryStatus {
    InventoryStatus {
        live: true,
        since: Some("2026-06-01T08:00:00Z".parse().unwrap()),
        as_of: Some("2026-06-01T11:59:58Z".parse().unwrap()),
        objects: 6,
        error: None,
    }
}

pub fn objects() -> Vec<InventoryObject> {
    use InventoryKind::{Cluster, Datacenter, Folder, Host, ResourcePool, Vm};
    let rows = [
        ("Folder:root", Folder, "Datacenters", None),
        ("Datacenter:dc", Datacenter, "north", Some("Folder:root")),
        ("Folder:vm", Folder, "vm", Some("Datacenter:dc")),
        ("ClusterComputeResource:c", Cluster, "blue", Some("Datacenter:dc")),
        ("HostSystem:h", Host, "esx01", Some("ClusterComputeResource:c")),
        ("ResourcePool:p", ResourcePool, "Resources", Some("ClusterComputeResource:c")),
        ("VirtualMachine:1", Vm, "web01", Some("Folder:vm")),
    ];
    rows.into_iter().map(|(id, kind, name, parent)| object(id, kind, name, parent)).collect()
}

fn object(id: &str, kind: InventoryKind, name: &str, parent: Option<&str>) -> InventoryObject {
    let is_vm = kind == InventoryKind::Vm;
    InventoryObject {
        id: id.into(),
        kind,
        name: name.into(),
        parent: parent.map(Into::into),
        uuid: is_vm.then(|| super::vms::reference(0).uuid),
        power_state: is_vm.then_some(PowerState::PoweredOn),
        host: is_vm.then(|| "HostSystem:h".into()),
        resource_pool: is_vm.then(|| "ResourcePool:p".into()),
        snapshots: u64::from(is_vm),
        datastore_type: None,
        remarks: if is_vm { vec!["consolidation needed".into()] } else { Vec::new() },
    }
}

pub fn snapshots() -> Vec<SnapshotView> {
    let one = |id: &str, name: &str, owner, detail: Option<&str>| SnapshotView {
        id: id.into(),
        vm: "web01".into(),
        vm_uuid: Some(super::vms::reference(0).uuid),
        name: name.into(),
        owner,
        owner_detail: detail.map(Into::into),
        created: Some("2026-05-30T12:00:00Z".parse().unwrap()),
        age_seconds: Some(2 * 86_400),
        delta_bytes: Some(5 << 30),
    };
    vec![
        one("VirtualMachineSnapshot:1", "before the update", SnapshotOwner::Unknown, None),
        one(
            "VirtualMachineSnapshot:2",
            "VEEAM BACKUP TEMPORARY SNAPSHOT",
            SnapshotOwner::OtherProduct,
            Some("Veeam"),
        ),
    ]
}
