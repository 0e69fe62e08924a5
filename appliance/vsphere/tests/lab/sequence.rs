//! The main job's calls in their order, and what the inventory says.

use crate::site::{
    ALLOCATED, CAPACITY, DISK, LUN_SECTORS, NAA, VM, VMFS_UUID, start, start_with, the_vm, told,
    vm_in_query,
};
use model::{ChangedArea, ErrorKind};
use serde_json::json;
use std::time::Duration;
use vsphere::{
    BackingKind, ChangedSince, Client, Config, DiskMode, Extent, MoRef, PowerState, Thumbprint,
    VsphereError,
};

#[tokio::test]
async fn the_inventory_tells_identity_disks_and_luns() {
    let Some(site) = start("the_inventory_tells_identity_disks_and_luns") else { return };
    let client = site.client().await;
    let about = client.about();
    assert_eq!((about.api_version.as_str(), about.api_type.as_str()), ("8.0.2.0", "VirtualCenter"));
    assert!(about.instance_uuid.is_some() && about.full_name.contains("Holdfast lab"), "{about:?}");

    let vm = the_vm(&client).await;
    assert_eq!(vm, client.vm(&vm.moref).await.unwrap());
    assert_eq!(vm.name, VM);
    assert_eq!(vm.uuid.as_deref(), Some("4211f0a0-1111-2222-3333-444455556666"));
    assert_eq!(vm.instance_uuid.as_ref().unwrap().0, "5011f0a0-1111-2222-3333-444455556666");
    assert_eq!(vm.power_state, PowerState::On);
    assert_eq!(vm.problems, Vec::<String>::new());
    assert!(vm.cbt_supported && !vm.cbt_enabled && !vm.template && vm.connected);
    assert!(vm.hardware_version.is_some_and(|version| version >= 7), "{vm:?}");

    let disk = &vm.disks[0];
    assert_eq!((vm.disks.len(), disk.key, disk.capacity), (1, DISK, CAPACITY));
    assert_eq!(disk.file_name, "[san01] web01/web01.vmdk");
    assert_eq!(disk.uuid.as_deref(), Some("6000C29a-1111-2222-3333-444455556666"));
    assert_eq!((&disk.mode, &disk.backing_kind), (&DiskMode::Persistent, &BackingKind::Flat));
    assert!(disk.thin && disk.parents.is_empty());

    let stores = client.datastores().await.unwrap();
    let store = stores.iter().find(|store| store.name == "san01").unwrap();
    assert_eq!(vm.datastores, std::slice::from_ref(&store.moref));
    assert_eq!(disk.datastore.as_ref(), Some(&store.moref));
    assert_eq!((store.kind.as_str(), store.accessible), ("VMFS", true));
    let vmfs = store.vmfs.as_ref().unwrap();
    assert_eq!((vmfs.uuid.as_str(), vmfs.major), (VMFS_UUID, 6));
    assert_eq!(vmfs.extents, [Extent { disk_name: NAA.into(), partition: 1 }]);

    let luns = client.scsi_luns().await.unwrap();
    let ours: Vec<_> = luns.iter().filter(|lun| lun.canonical_name == NAA).collect();
    assert!(!ours.is_empty(), "{luns:?}");
    assert!(ours.iter().all(|lun| lun.capacity == LUN_SECTORS * 512));
}

#[tokio::test]
async fn a_full_and_an_incremental() {
    let Some(site) = start("a_full_and_an_incremental") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    client.enable_cbt(&vm).await.unwrap();
    client.enable_cbt(&vm).await.unwrap();
    assert_eq!(site.calls("ReconfigVM_Task"), 1, "switching on twice asks once");
    assert!(client.vm(&vm).await.unwrap().cbt_enabled);

    let name = "holdfast <run & 1>";
    let first = client.create_snapshot(&vm, name, "a\nb \"c\"", true).await.unwrap();
    let found = client.find_snapshots(&vm, name).await.unwrap();
    assert_eq!((found.len(), &found[0].moref), (1, &first));
    assert_eq!(found[0].description, "a\nb \"c\"");
    assert!(client.find_snapshots(&vm, "other").await.unwrap().is_empty());
    let frozen = client.snapshot_disks(&first).await.unwrap().remove(0);
    assert_eq!(frozen.file_name, "[san01] web01/web01.vmdk");
    let since = ChangedSince::Id(frozen.change_id.clone().unwrap());
    let head = client.vm(&vm).await.unwrap().disks.remove(0);
    assert_eq!(head.base_file(), frozen.file_name, "the running VM writes to a delta above it");
    assert_eq!(head.parents.len(), 1);

    let all = client.changed_areas(&vm, &first, DISK, CAPACITY, &ChangedSince::All).await.unwrap();
    assert_eq!(all, areas(&ALLOCATED));
    site.guest_writes(100_000, 3000);
    let none = client.changed_areas(&vm, &first, DISK, CAPACITY, &since).await.unwrap();
    assert_eq!(none, [], "what is written after a snapshot does not belong to it");
    client.remove_snapshot(&first).await.unwrap();
    let again = client.remove_snapshot(&first).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Gone, "{}", told(&again));

    let second = client.create_snapshot(&vm, "holdfast 2", "", false).await.unwrap();
    let changed = client.changed_areas(&vm, &second, DISK, CAPACITY, &since).await.unwrap();
    assert_eq!(changed, areas(&[(99_840, 3584)]));
    client.remove_snapshot(&second).await.unwrap();
    client.logout().await.unwrap();
    let state = site.state();
    assert_eq!(state["sessions"], 0);
    assert_eq!(state["vms"][0]["layers"], 0, "{state}");
}

#[tokio::test]
async fn change_tracking_is_not_switched_on_above_a_snapshot() {
    let Some(site) = start("change_tracking_is_not_switched_on_above_a_snapshot") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    client.create_snapshot(&vm, "by hand", "", false).await.unwrap();
    let error = client.enable_cbt(&vm).await.unwrap_err();
    assert!(matches!(error, VsphereError::TrackingRefused { .. }), "{}", told(&error));
    assert_eq!((error.kind(), site.calls("ReconfigVM_Task")), (ErrorKind::Refused, 0));
}

#[tokio::test]
async fn a_removal_that_could_not_merge_is_consolidated_later() {
    let Some(site) = start("a_removal_that_could_not_merge_is_consolidated_later") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let snapshot = client.create_snapshot(&vm, "s", "", false).await.unwrap();
    site.guest_writes(512, 512);
    site.order(&format!("/consolidation?vm={}&locked=2", vm_in_query()), &[]);
    client.remove_snapshot(&snapshot).await.unwrap();
    assert!(client.vm(&vm).await.unwrap().consolidation_needed);
    let locked = client.consolidate(&vm).await.unwrap_err();
    assert_eq!(locked.fault().unwrap().type_name, "FileLocked", "{}", told(&locked));
    assert_eq!(locked.kind(), ErrorKind::Busy);
    client.consolidate(&vm).await.unwrap();
    assert!(!client.vm(&vm).await.unwrap().consolidation_needed);
}

#[tokio::test]
async fn what_does_not_exist_is_gone() {
    let Some(site) = start("what_does_not_exist_is_gone") else { return };
    let client = site.client().await;
    let (vm, snapshot) =
        (MoRef::new("VirtualMachine", "vm-0"), MoRef::new("VirtualMachineSnapshot", "snapshot-0"));
    let errors = [
        client.vm(&vm).await.map(drop),
        client.find_snapshots(&vm, "s").await.map(drop),
        client.snapshot_disks(&snapshot).await.map(drop),
        client.remove_snapshot(&snapshot).await,
        client.enable_cbt(&vm).await,
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone, "{}", told(&error));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_named_so() {
    let Some(site) = start("a_wrong_password_is_refused_and_named_so") else { return };
    let config = Config { password: "Geheim-but-wrong".into(), ..site.config() };
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, VsphereError::Login { .. }));
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(told(&error).contains("check user and password"), "{}", told(&error));
}

#[tokio::test]
async fn a_wrong_certificate_gets_no_password_and_is_shown() {
    let Some(site) = start("a_wrong_certificate_gets_no_password_and_is_shown") else { return };
    let wanted = Thumbprint::of(b"another certificate");
    let error = Client::connect(Config { thumbprint: wanted, ..site.config() }).await.unwrap_err();
    let VsphereError::Certificate { seen, .. } = &error else { panic!("{}", told(&error)) };
    assert_eq!((*seen, error.kind()), (site.thumbprint, ErrorKind::Refused));
    assert!(told(&error).contains(&site.thumbprint.to_string()));
    assert_eq!(site.state()["calls"], json!({}), "nothing may be sent to a stranger");
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let name = "an_old_server_is_refused";
    let Some(site) = start_with(name, |c| c["api_version"] = json!("6.0")) else { return };
    let error = Client::connect(site.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", told(&error));
    assert_eq!(site.calls("Login"), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_can_be_tried_again() {
    let Some(site) = start("a_server_that_is_not_there_can_be_tried_again") else { return };
    let config = Config { call_timeout: Duration::from_secs(5), ..site.config() };
    drop(site);
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, VsphereError::Connect { .. }), "{}", told(&error));
    assert_eq!(error.kind(), ErrorKind::Retryable);
}

fn areas(areas: &[(u64, u64)]) -> Vec<ChangedArea> {
    areas.iter().map(|&(offset, length)| ChangedArea { offset, length }).collect()
}
