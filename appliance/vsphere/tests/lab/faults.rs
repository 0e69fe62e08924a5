//! A fault, a broken connection or silence in each call.

use crate::site::{CAPACITY, DISK, Site, start, the_vm, told};
use model::ErrorKind;
use serde_json::json;
use std::time::Duration;
use vsphere::{ChangedSince, Client, Config, MoRef, VsphereError};

/// One operation of a kind, on a VM that has a snapshot.
#[derive(Clone, Copy, Debug)]
enum Operation {
    List,
    Datastores,
    Luns,
    EnableCbt,
    Create,
    Disks,
    Areas,
    Remove,
    Consolidate,
}

async fn run(
    operation: Operation,
    client: &Client,
    vm: &MoRef,
    snapshot: &MoRef,
) -> Result<(), VsphereError> {
    match operation {
        Operation::List => client.vms().await.map(drop),
        Operation::Datastores => client.datastores().await.map(drop),
        Operation::Luns => client.scsi_luns().await.map(drop),
        Operation::EnableCbt => client.enable_cbt(vm).await,
        Operation::Create => client.create_snapshot(vm, "t", "", false).await.map(drop),
        Operation::Disks => client.snapshot_disks(snapshot).await.map(drop),
        Operation::Areas => {
            let all = &ChangedSince::All;
            client.changed_areas(vm, snapshot, DISK, CAPACITY, all).await.map(drop)
        }
        Operation::Remove => client.remove_snapshot(snapshot).await,
        Operation::Consolidate => client.consolidate(vm).await,
    }
}

/// Every method that an operation needs. Cleaning up (DestroyView, DestroyPropertyCollector) is
/// not among them: its faults must not matter.
const CALLS: [(&str, Operation); 16] = [
    ("CreateContainerView", Operation::List),
    ("RetrievePropertiesEx", Operation::List),
    ("RetrievePropertiesEx", Operation::Datastores),
    ("CreateContainerView", Operation::Luns),
    ("RetrievePropertiesEx", Operation::EnableCbt),
    ("ReconfigVM_Task", Operation::EnableCbt),
    ("CreatePropertyCollector", Operation::EnableCbt),
    ("CreateSnapshot_Task", Operation::Create),
    ("CreatePropertyCollector", Operation::Create),
    ("CreateFilter", Operation::Create),
    ("WaitForUpdatesEx", Operation::Create),
    ("RetrievePropertiesEx", Operation::Create),
    ("RetrievePropertiesEx", Operation::Disks),
    ("QueryChangedDiskAreas", Operation::Areas),
    ("RemoveSnapshot_Task", Operation::Remove),
    ("ConsolidateVMDisks_Task", Operation::Consolidate),
];

async fn with_snapshot(site: &Site) -> (Client, MoRef, MoRef) {
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let snapshot = client.create_snapshot(&vm, "s", "", false).await.unwrap();
    (client, vm, snapshot)
}

#[tokio::test]
async fn a_fault_in_each_call_keeps_its_type_and_message() {
    let Some(site) = start("a_fault_in_each_call_keeps_its_type_and_message") else { return };
    for (method, operation) in CALLS {
        let (client, vm, snapshot) = with_snapshot(&site).await;
        if matches!(operation, Operation::EnableCbt) {
            client.remove_snapshot(&snapshot).await.unwrap();
        }
        site.fault(
            &json!({"method": method, "fault": "NoPermission", "message": "kein Zutritt <x>"}),
        );
        let error = run(operation, &client, &vm, &snapshot).await.unwrap_err();
        let fault = error.fault().unwrap_or_else(|| panic!("{method}: {}", told(&error)));
        assert_eq!(fault.type_name, "NoPermission", "{method}");
        let text = told(&error);
        assert!(text.contains(method) && text.contains("kein Zutritt <x>"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        site.order("/faults/clear", &[]);
        for left in client.find_snapshots(&vm, "s").await.unwrap() {
            client.remove_snapshot(&left.moref).await.unwrap();
        }
        for left in client.find_snapshots(&vm, "t").await.unwrap() {
            client.remove_snapshot(&left.moref).await.unwrap();
        }
        client.logout().await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_while_connecting_is_told() {
    let Some(site) = start("a_fault_while_connecting_is_told") else { return };
    for method in ["RetrieveServiceContent", "Login"] {
        site.fault(&json!({"method": method, "fault": "SystemError"}));
        let error = Client::connect(site.config()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retryable, "{}", told(&error));
    }
}

#[tokio::test]
async fn faults_of_cleaning_up_do_not_matter() {
    let Some(site) = start("faults_of_cleaning_up_do_not_matter") else { return };
    let (client, vm, _) = with_snapshot(&site).await;
    for method in ["DestroyView", "DestroyPropertyCollector"] {
        site.fault(&json!({"method": method, "fault": "SystemError", "count": -1}));
    }
    assert_eq!(client.vms().await.unwrap().len(), 1);
    client.create_snapshot(&vm, "t", "", false).await.unwrap();
}

#[tokio::test]
async fn a_task_that_fails_tells_the_fault_of_the_task() {
    let Some(site) = start("a_task_that_fails_tells_the_fault_of_the_task") else { return };
    let (client, vm, snapshot) = with_snapshot(&site).await;
    let cases = [
        ("CreateSnapshot_Task", Operation::Create, "ApplicationQuiesceFault", ErrorKind::Refused),
        ("CreateSnapshot_Task", Operation::Create, "TaskInProgress", ErrorKind::Busy),
        ("CreateSnapshot_Task", Operation::Create, "NoDiskSpace", ErrorKind::Full),
        ("RemoveSnapshot_Task", Operation::Remove, "FileLocked", ErrorKind::Busy),
        ("RemoveSnapshot_Task", Operation::Remove, "RequestCanceled", ErrorKind::Cancelled),
        ("ConsolidateVMDisks_Task", Operation::Consolidate, "FileLocked", ErrorKind::Busy),
    ];
    for (method, operation, fault, kind) in cases {
        site.fault(&json!({"method": method, "fault": fault, "task": true}));
        let error = run(operation, &client, &vm, &snapshot).await.unwrap_err();
        assert!(matches!(error, VsphereError::TaskFailed { .. }), "{}", told(&error));
        assert_eq!((error.fault().unwrap().type_name.as_str(), error.kind()), (fault, kind));
    }
}

#[tokio::test]
async fn a_fault_type_that_nobody_knows_is_kept() {
    let Some(site) = start("a_fault_type_that_nobody_knows_is_kept") else { return };
    let client = site.client().await;
    site.fault(&json!({"method": "CreateContainerView", "fault": "FromTheFuture"}));
    let error = client.vms().await.unwrap_err();
    assert_eq!(error.fault().unwrap().type_name, "FromTheFuture");
}

#[tokio::test]
async fn a_connection_that_drops_once_is_bridged_by_reading_calls() {
    let Some(site) = start("a_connection_that_drops_once_is_bridged_by_reading_calls") else {
        return;
    };
    let (client, vm, snapshot) = with_snapshot(&site).await;
    for method in ["RetrievePropertiesEx", "QueryChangedDiskAreas"] {
        site.fault(&json!({"method": method, "drop_connection": true}));
    }
    client.vms().await.unwrap();
    let error = run(Operation::Areas, &client, &vm, &snapshot).await.unwrap_err();
    assert!(error.means_full_read(), "tracking is off, so this is its answer: {}", told(&error));
    assert_eq!(site.calls("QueryChangedDiskAreas"), 2);
}

#[tokio::test]
async fn a_connection_that_keeps_dropping_can_be_tried_again() {
    let Some(site) = start("a_connection_that_keeps_dropping_can_be_tried_again") else { return };
    let (client, vm, snapshot) = with_snapshot(&site).await;
    for operation in [Operation::List, Operation::Disks, Operation::Areas, Operation::Luns] {
        site.fault(&json!({"method": "*", "drop_connection": true, "count": -1}));
        let error = run(operation, &client, &vm, &snapshot).await.unwrap_err();
        assert!(matches!(error, VsphereError::Broken { .. }), "{operation:?}: {}", told(&error));
        assert_eq!(error.kind(), ErrorKind::Retryable);
        site.order("/faults/clear", &[]);
    }
}

#[tokio::test]
async fn a_call_that_changes_something_is_sent_once() {
    let Some(site) = start("a_call_that_changes_something_is_sent_once") else { return };
    let (client, vm, snapshot) = with_snapshot(&site).await;
    let cases = [
        ("CreateSnapshot_Task", Operation::Create),
        ("RemoveSnapshot_Task", Operation::Remove),
        ("ConsolidateVMDisks_Task", Operation::Consolidate),
    ];
    for (method, operation) in cases {
        let before = site.calls(method);
        site.fault(&json!({"method": method, "drop_connection": true}));
        let error = run(operation, &client, &vm, &snapshot).await.unwrap_err();
        assert!(matches!(error, VsphereError::Broken { .. }), "{}", told(&error));
        assert!(told(&error).contains("is not known"));
        assert_eq!(site.calls(method), before + 1, "{method}");
    }
}

#[tokio::test]
async fn a_snapshot_whose_answer_was_lost_is_found_by_its_name() {
    let Some(site) = start("a_snapshot_whose_answer_was_lost_is_found_by_its_name") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    site.fault(&json!({"method": "CreateSnapshot_Task", "drop_answer": true}));
    let error = client.create_snapshot(&vm, "lost", "", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{}", told(&error));
    let mut found = client.find_snapshots(&vm, "lost").await.unwrap();
    for _ in 0..500 {
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // the task runs on in the server
        found = client.find_snapshots(&vm, "lost").await.unwrap();
    }
    client.remove_snapshot(&found[0].moref).await.unwrap();
}

#[tokio::test]
async fn a_wait_survives_broken_connections() {
    let Some(site) = start("a_wait_survives_broken_connections") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    // Two drops: on the kept connection, and on the fresh one that replaces it.
    site.fault(&json!({"method": "WaitForUpdatesEx", "drop_connection": true, "count": 2}));
    client.create_snapshot(&vm, "s", "", false).await.unwrap();
    assert_eq!(site.calls("CreateSnapshot_Task"), 1);
    assert!(site.calls("WaitForUpdatesEx") >= 3);
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for_without_end() {
    let Some(site) = start("a_silent_server_is_not_waited_for_without_end") else { return };
    let config = Config { call_timeout: Duration::from_secs(3), ..site.config() };
    let client = Client::connect(config).await.unwrap();
    site.fault(&json!({"method": "CreateContainerView", "delay_ms": 60_000}));
    let error = client.vms().await.unwrap_err();
    assert!(matches!(error, VsphereError::Timeout { .. }), "{}", told(&error));
    assert_eq!(error.kind(), ErrorKind::Retryable);
    client.vms().await.unwrap();
}

#[tokio::test]
async fn a_task_has_a_time_limit_of_its_own() {
    let Some(site) = start("a_task_has_a_time_limit_of_its_own") else { return };
    let config = Config { task_timeout: Duration::ZERO, ..site.config() };
    let client = Client::connect(config).await.unwrap();
    let vm = the_vm(&client).await.moref;
    let error = client.create_snapshot(&vm, "s", "", false).await.unwrap_err();
    let VsphereError::TaskTimeout { task, .. } = &error else { panic!("{}", told(&error)) };
    assert_eq!((task.kind(), error.kind()), ("Task", ErrorKind::Busy));
}
