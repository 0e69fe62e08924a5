//! The decoders against answers in the style of vCenter and of the simulator.

use super::*;
use crate::wire::{Answer, MoRef, ObjectContent, decode_page, open};
use model::{ChangeId, VmUuid};

/// Decodes all objects of a recorded-style answer.
fn objects<T>(text: &str, decode: impl Fn(&ObjectContent<'_>) -> T) -> Vec<T> {
    let Ok(Answer::Returned(response)) = open("RetrievePropertiesEx", text.as_bytes()) else {
        panic!("not an answer")
    };
    let page = decode_page(&response).unwrap().unwrap_or_else(|fault| panic!("{fault}"));
    page.objects.iter().map(decode).collect()
}

fn vms() -> Vec<Vm> {
    objects(include_str!("../../fixtures/vms.xml"), decode_vm)
}

#[test]
fn a_vm_is_read_whole() {
    let vm = vms().remove(0);
    assert_eq!(
        (vm.name.as_str(), &vm.moref),
        ("web01 <prod>", &MoRef::new("VirtualMachine", "vm-1001"))
    );
    assert_eq!(vm.uuid.as_deref(), Some("422b6f71"));
    assert_eq!(vm.instance_uuid, Some(VmUuid("50 2b 6f 71-aa".into())));
    assert_eq!(vm.hardware_version, Some(19));
    assert_eq!(vm.power_state, PowerState::On);
    assert_eq!(vm.vmx_path.as_deref(), Some("[san-01] web01/web01.vmx"));
    assert_eq!(vm.datastores, [MoRef::new("Datastore", "datastore-11")]);
    assert!(vm.cbt_supported && vm.cbt_enabled && vm.tools_running && vm.connected);
    assert!(!vm.template && !vm.consolidation_needed);
}

#[test]
fn a_disk_names_its_chain_and_its_cursor() {
    let disk = vms().remove(0).disks.remove(0);
    assert_eq!((disk.key, disk.label.as_str(), disk.capacity), (2000, "Hard disk 1", 40 << 30));
    assert_eq!(disk.file_name, "[san-01] web01/web01-000002.vmdk");
    assert_eq!(disk.parents, ["[san-01] web01/web01-000001.vmdk", "[san-01] web01/web01.vmdk"]);
    assert_eq!(disk.base_file(), "[san-01] web01/web01.vmdk");
    let id = "52 3f 12 00 8a 4e 5b 1c-aa 01 7e 22 10 5d c3 9f/14";
    assert_eq!(disk.change_id, Some(ChangeId(id.into())));
    assert_eq!((disk.mode, disk.backing_kind), (DiskMode::Persistent, BackingKind::Flat));
    assert!(disk.thin && !disk.shared);
    assert_eq!(disk.datastore, Some(MoRef::new("Datastore", "datastore-11")));
}

#[test]
fn an_odd_disk_is_kept_as_far_as_it_is_known() {
    let disk = vms().remove(0).disks.remove(1);
    assert_eq!(disk.backing_kind, BackingKind::RawMapping { physical: true });
    assert_eq!((&disk.mode, disk.capacity), (&DiskMode::IndependentPersistent, 1 << 20));
    assert!(disk.shared && disk.change_id.is_none() && disk.parents.is_empty());
    assert_eq!(disk.base_file(), "[san-01] web01/rdm.vmdk");
}

#[test]
fn a_disk_without_capacity_is_a_problem_of_its_vm() {
    let vm = vms().remove(0);
    assert_eq!(vm.disks.len(), 2);
    assert_eq!(vm.problems.len(), 1);
    assert!(vm.problems[0].contains("disk 2002") && vm.problems[0].contains("capacity"), "{vm:?}");
}

#[test]
fn fault_tolerance_and_encryption_are_known_where_they_are() {
    let plain = vms().remove(0);
    assert!(plain.fault_tolerance.is_none() && !plain.encrypted && !plain.disks[0].encrypted);
    let more = "<propSet><name>config.ftInfo</name>\
        <val xsi:type=\"FaultToleranceSecondaryConfigInfo\">\
        <role>2</role><instanceUuids>50 2b</instanceUuids><configPaths>x</configPaths>\
        <orphaned>true</orphaned></val></propSet><propSet><name>config.keyId</name>\
        <val xsi:type=\"CryptoKeyId\"><keyId>k</keyId></val></propSet><propSet>";
    let text = include_str!("../../fixtures/vms.xml").replacen("<propSet>", more, 1).replacen(
        "<diskMode>",
        "<keyId><keyId>k</keyId></keyId><diskMode>",
        1,
    );
    let vm = objects(&text, decode_vm).remove(0);
    let pair = vm.fault_tolerance.expect("a pair");
    assert_eq!((pair.role, pair.orphaned), (2, true));
    assert!(vm.encrypted && vm.disks[0].encrypted && !vm.disks[1].encrypted);
    assert_eq!(vm.problems, plain.problems);
}

#[test]
fn snapshots_are_found_wherever_they_hang() {
    let vm = vms().remove(0);
    assert_eq!(vm.snapshots.len(), 1);
    let found = SnapshotNode::find_all(&vm.snapshots, "holdfast 7");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].moref, MoRef::new("VirtualMachineSnapshot", "snapshot-22"));
    assert!(SnapshotNode::find_all(&vm.snapshots, "holdfast").is_empty());
}

#[test]
fn an_inaccessible_vm_is_listed_with_its_problems() {
    let vm = vms().remove(1);
    assert_eq!(vm.name, "/vmfs/volumes/5d3f/lost.vmx");
    assert_eq!((vm.power_state, vm.connected), (PowerState::Unknown, false));
    assert_eq!((vm.instance_uuid, vm.disks.len()), (None, 0));
    let problems = vm.problems.join("\n");
    for wanted in ["guest.toolsRunningStatus", "SystemError", "devices", "instanceUuid"] {
        assert!(problems.contains(wanted), "{problems}");
    }
}

#[test]
fn datastores_name_their_luns_or_have_no_direct_path() {
    let stores = objects(include_str!("../../fixtures/datastores.xml"), decode_datastore);
    let first = &stores[0];
    assert_eq!((first.name.as_str(), first.kind.as_str()), ("san-01", "VMFS"));
    assert_eq!(
        (first.capacity, first.free, first.accessible),
        (1_099_243_192_320, 549_621_596_160, true)
    );
    let vmfs = first.vmfs.as_ref().unwrap();
    assert_eq!(vmfs.uuid, "5d3f2a1c-8a6b9c0d-1e2f-001122334455");
    assert_eq!((vmfs.name.as_str(), vmfs.major, vmfs.version.as_str()), ("san-01", 6, "6.82"));
    assert_eq!(vmfs.extents.len(), 2);
    assert_eq!(vmfs.extents[1].disk_name, "naa.624a9370cdef0123456789abcdef0124");
    assert_eq!(vmfs.extents[1].partition, 1);
    assert_eq!((stores[1].name.as_str(), &stores[1].vmfs), ("datastore-12", &None));
    assert!(stores[1].problems[0].contains("VMFS volume"), "{:?}", stores[1]);
    assert_eq!((stores[2].name.as_str(), &stores[2].vmfs), ("nfs", &None));
    assert!(first.problems.is_empty() && stores[2].problems.is_empty());
}

#[test]
fn only_disks_with_a_size_are_luns() {
    let luns = objects(include_str!("../../fixtures/hosts.xml"), decode_luns).concat();
    assert_eq!(luns.len(), 1, "{luns:?}");
    assert_eq!(luns[0].canonical_name, "naa.624a9370cdef0123456789abcdef0123");
    assert_eq!((luns[0].capacity, luns[0].host_name.as_str()), (1 << 40, "esx1.example"));
}
