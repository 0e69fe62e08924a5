//! The live inventory, against a vCenter and against a host alone.

use crate::site::{PASSWORD, Site, VM, start, start_with, the_vm};
use serde_json::json;
use std::time::Duration;
use vsphere::{FileBackup, MoRef, Replica, Tree, Watcher};

const UUID: &str = "5099f0a0-1111-2222-3333-444455556666";

/// Follows until the tree is as wanted.
async fn follow(
    watcher: &mut Watcher,
    replica: &mut Replica,
    what: &str,
    wanted: impl Fn(&Tree) -> bool,
) {
    let all = async {
        loop {
            if replica.tree().is_some_and(&wanted) {
                return;
            }
            if let Some(update) = watcher.next().await.unwrap() {
                replica.take(update).unwrap();
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), all).await;
    assert!(in_time.is_ok(), "{what} was not seen: {:#?}", replica.tree());
}

fn find<'a>(tree: &'a Tree, kind: &str, name: &str) -> Option<&'a MoRef> {
    let named = |object: &vsphere::Object| object.name().as_deref() == Some(name);
    tree.iter().find(|(at, object)| at.kind() == kind && named(object)).map(|(at, _)| at)
}

/// Names from the object up to the root.
fn way_up(tree: &Tree, from: &MoRef) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = Some(from);
    while let Some(object) = next.and_then(|at| tree.get(at)) {
        names.push(object.name().unwrap_or_default());
        next = object.parent();
    }
    names
}

/// What a listing that begins now says.
async fn fresh(site: &Site) -> Tree {
    let mut watcher = Watcher::connect(site.config()).await.unwrap();
    let mut replica = Replica::default();
    follow(&mut watcher, &mut replica, "the inventory", |_| true).await;
    watcher.stop().await.unwrap();
    replica.tree().unwrap().clone()
}

async fn changes_are_seen(site: &Site) {
    let mut watcher = Watcher::connect(site.config()).await.unwrap();
    let mut replica = Replica::default();
    follow(&mut watcher, &mut replica, "the first listing", |tree| !tree.is_empty()).await;
    let one = find(replica.tree().unwrap(), "VirtualMachine", VM).unwrap().clone();
    assert_eq!(
        replica.tree().unwrap().get(&one).unwrap().text("config.instanceUuid"),
        Some("5011f0a0-1111-2222-3333-444455556666")
    );

    site.order(&format!("/vm/add?vm=new01&uuid={UUID}"), &[]);
    follow(&mut watcher, &mut replica, "the new VM", |tree| {
        find(tree, "VirtualMachine", "new01").is_some()
    })
    .await;
    site.order("/vm/rename?vm=new01&to=new02", &[]);
    follow(&mut watcher, &mut replica, "the new name", |tree| {
        find(tree, "VirtualMachine", "new02").is_some()
    })
    .await;

    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let snapshot = client.create_snapshot(&vm, "of another", "", false).await.unwrap();
    follow(&mut watcher, &mut replica, "the snapshot", |tree| {
        tree.get(&vm).is_some_and(|vm| vm.snapshots().iter().any(|s| s.created.is_some()))
    })
    .await;
    client.remove_snapshot(&snapshot).await.unwrap();
    follow(&mut watcher, &mut replica, "the removal", |tree| {
        tree.get(&vm).is_some_and(|vm| vm.snapshots().is_empty())
    })
    .await;

    // The session is lost: what changed meanwhile is there all the same.
    site.order("/sessions/expire", &[]);
    site.order("/vm/remove?vm=new02", &[]);
    follow(&mut watcher, &mut replica, "the end of the VM", |tree| {
        find(tree, "VirtualMachine", "new02").is_none()
    })
    .await;
    assert_eq!(replica.tree().unwrap(), &fresh(site).await, "as a listing that begins now");
    watcher.stop().await.unwrap();
    client.logout().await.unwrap();
}

#[tokio::test]
async fn the_inventory_of_a_vcenter_is_followed() {
    let Some(site) = start("the_inventory_of_a_vcenter_is_followed") else { return };
    changes_are_seen(&site).await;
    let tree = fresh(&site).await;
    let vm = find(&tree, "VirtualMachine", VM).unwrap();
    assert_eq!(way_up(&tree, vm), [VM, "vm", "DC0", "Datacenters"]);
    let object = tree.get(vm).unwrap();
    let pool = object.reference("resourcePool").unwrap();
    assert_eq!(way_up(&tree, pool), ["Resources", "DC0_C0", "host", "DC0", "Datacenters"]);
    assert_eq!(object.text("runtime.powerState"), Some("poweredOn"));
    assert!(find(&tree, "Datastore", "san01").is_some());
    assert!(find(&tree, "Network", "VM Network").is_some());
    assert_eq!(tree.iter().filter(|(at, _)| at.kind() == "HostSystem").count(), 2);
    assert!(tree.iter().all(|(_, object)| object.unreadable().next().is_none()));
}

#[tokio::test]
async fn the_inventory_of_a_host_alone_is_followed() {
    let alone = |site: &mut serde_json::Value| site["standalone"] = json!(true);
    let Some(site) = start_with("the_inventory_of_a_host_alone_is_followed", alone) else { return };
    changes_are_seen(&site).await;
    let client = site.client().await;
    assert_eq!(client.about().api_type, "HostAgent");
    let vm = the_vm(&client).await;
    let tree = fresh(&site).await;
    assert_eq!(way_up(&tree, &vm.moref), [VM, "vm", "ha-datacenter", "ha-folder-root"]);
    assert!(client.tags(&vm.moref).await.unwrap().is_empty());
    let place = client.placement(&vm.moref).await.unwrap();
    assert_eq!(place.datacenter.as_deref(), Some("ha-datacenter"));
    assert_eq!(place.datastores, ["san01"]);
    let luns = client.scsi_luns().await.unwrap();
    assert!(luns.iter().any(|lun| lun.canonical_name == crate::site::NAA));
    client.logout().await.unwrap();
}

#[tokio::test]
async fn what_is_lost_begins_anew_and_what_is_refused_is_told() {
    let Some(site) = start("what_is_lost_begins_anew_and_what_is_refused_is_told") else { return };
    let mut watcher = Watcher::connect(site.config()).await.unwrap();
    for fault in ["NotAuthenticated", "InvalidCollectorVersion"] {
        site.fault(&json!({"method": "WaitForUpdatesEx", "fault": fault}));
        assert!(watcher.next().await.unwrap().unwrap().fresh, "{fault}");
        site.order(&format!("/vm/add?vm={fault}&uuid={UUID}"), &[]);
        assert!(!watcher.next().await.unwrap().unwrap().fresh, "{fault}");
        site.fault(&json!({"method": "WaitForUpdatesEx", "fault": fault}));
        assert!(watcher.next().await.unwrap().unwrap().fresh, "{fault}");
    }
    site.fault(&json!({"method": "WaitForUpdatesEx", "fault": "RuntimeFault"}));
    let error = crate::site::told(&watcher.next().await.unwrap_err());
    assert!(error.contains("RuntimeFault") && !error.contains(PASSWORD), "{error}");
    site.fault(&json!({"method": "WaitForUpdatesEx", "drop_answer": true}));
    assert!(watcher.next().await.is_err());
    assert!(watcher.next().await.unwrap().unwrap().fresh, "a lost answer begins a new listing");
}

#[tokio::test]
async fn hosts_pack_their_configuration_and_the_server_tells_its_own() {
    for alone in [false, true] {
        let mode = |site: &mut serde_json::Value| site["standalone"] = json!(alone);
        let test = "hosts_pack_their_configuration_and_the_server_tells_its_own";
        let Some(site) = start_with(test, mode) else { return };
        let client = site.client().await;
        let hosts = client.hosts().await.unwrap();
        assert_eq!(hosts.len(), if alone { 1 } else { 2 });
        for host in &hosts {
            let bundle = client.host_configuration(host).await.unwrap();
            let wanted = format!("packed configuration of {}\n", host.name);
            assert_eq!(String::from_utf8(bundle).unwrap(), wanted);
            assert_eq!(host.thumbprint, Some(site.thumbprint));
            assert!(host.connected && host.uuid.is_some());
        }
        let parts = client.server_configuration().await;
        let xml = |name: &str| {
            let part = parts.iter().find(|(part, _)| *part == name).unwrap();
            part.1.as_ref().unwrap().xml.clone()
        };
        assert!(xml("roles").contains("<name>Admin</name>"));
        assert!(xml("permissions").contains("<principal>"));
        assert!(xml("settings").starts_with("<?xml"));

        site.fault(&json!({"method": "BackupFirmwareConfiguration", "fault": "NoPermission"}));
        let error = client.host_configuration(&hosts[0]).await.unwrap_err();
        assert!(crate::site::told(&error).contains("NoPermission"));
        client.logout().await.unwrap();
    }
}

#[tokio::test]
async fn the_delta_of_a_snapshot_is_told_in_bytes() {
    let Some(site) = start("the_delta_of_a_snapshot_is_told_in_bytes") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let first = client.create_snapshot(&vm, "first", "", false).await.unwrap();
    site.guest_writes(1 << 20, 8192);
    let second = client.create_snapshot(&vm, "second", "", false).await.unwrap();
    site.guest_writes(5 << 20, 512);
    let layout = client.layout(&vm).await.unwrap().unwrap();
    assert_eq!(layout.bytes_since(&first), Some(8192 + 512));
    assert_eq!(layout.bytes_since(&second), Some(512));
    client.remove_snapshot(&second).await.unwrap();
    client.remove_snapshot(&first).await.unwrap();
    site.guest_writes(0, 512);
    assert_eq!(client.layout(&vm).await.unwrap().unwrap().bytes_since(&first), None);
    client.logout().await.unwrap();
}

#[tokio::test]
async fn fault_tolerance_and_encryption_are_seen() {
    let Some(site) = start("fault_tolerance_and_encryption_are_seen") else { return };
    let client = site.client().await;
    assert_eq!(the_vm(&client).await.fault_tolerance, None);
    let path = format!("/vm/traits?vm={}", crate::site::vm_in_query());
    let order = |traits: serde_json::Value| site.order(&path, traits.to_string().as_bytes());
    let secondary = json!({"role": 2, "orphaned": true, "state": "needSecondary"});
    order(json!({"fault_tolerance": secondary, "encrypted": true}));
    let vm = the_vm(&client).await;
    let pair = vm.fault_tolerance.unwrap();
    assert_eq!((pair.role, pair.orphaned, pair.state.as_str()), (2, true, "needSecondary"));
    assert!(vm.encrypted);
    order(json!({}));
    let vm = the_vm(&client).await;
    assert!(vm.fault_tolerance.is_none() && !vm.encrypted, "{vm:?}");
    client.logout().await.unwrap();
}

#[tokio::test]
async fn a_vcenter_is_told_to_make_its_own_backup() {
    let Some(site) = start("a_vcenter_is_told_to_make_its_own_backup") else { return };
    let client = site.client().await;
    let order = |location: &str| FileBackup {
        location: location.into(),
        user: "vcenter".into(),
        password: "Geheim".into(),
        parts: vec!["common".into()],
    };
    let said = client.file_backup(&order("sftp://backup.example/vc")).await.unwrap();
    assert_eq!((&said["state"], &said["progress"]), (&json!("SUCCEEDED"), &json!(100)));
    let said = client.file_backup(&order("sftp://unreachable.example/vc")).await.unwrap();
    assert_eq!(said["state"], "FAILED");
    let error = client.file_backup(&order("nowhere")).await.unwrap_err();
    crate::site::told(&error);
    client.logout().await.unwrap();
}
