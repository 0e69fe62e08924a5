//! A session that the server forgets.

use crate::site::{CAPACITY, DISK, start, start_with, the_vm, told};
use serde_json::json;
use vsphere::{ChangedSince, VsphereError};

#[tokio::test]
async fn every_operation_logs_in_again() {
    let Some(site) = start("every_operation_logs_in_again") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let mut logins = 1;
    let mut expire = || {
        assert_eq!(site.calls("Login"), logins, "one login for each lost session");
        assert_eq!(site.order("/sessions/expire", &[])["expired"], 1);
        logins += 1;
    };
    expire();
    assert_eq!(client.vms().await.unwrap().len(), 1);
    expire();
    client.vm(&vm).await.unwrap(); // a property read: NotAuthenticated comes in a missingSet
    expire();
    client.datastores().await.unwrap();
    expire();
    client.scsi_luns().await.unwrap();
    expire();
    client.enable_cbt(&vm).await.unwrap();
    expire();
    let snapshot = client.create_snapshot(&vm, "s", "", false).await.unwrap();
    expire();
    client.snapshot_disks(&snapshot).await.unwrap();
    expire();
    client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &ChangedSince::All).await.unwrap();
    expire();
    client.remove_snapshot(&snapshot).await.unwrap();
    expire();
    client.consolidate(&vm).await.unwrap();
    expire();
    client.logout().await.unwrap();
    assert_eq!(site.state()["sessions"], 0);
}

#[tokio::test]
async fn a_server_is_spoken_to_in_its_own_version() {
    for version in ["6.7.3", "7.0.3.0", "8.0.2.0", "9.0.0.0"] {
        let test = "a_server_is_spoken_to_in_its_own_version";
        let its = |site: &mut serde_json::Value| site["api_version"] = json!(version);
        let Some(site) = start_with(test, its) else { return };
        let client = site.client().await;
        assert_eq!(client.about().api_version, version);
        assert_eq!(client.vms().await.unwrap().len(), 1);
        assert_eq!(site.state()["action"], format!("\"urn:vim25/{version}\""));
        client.logout().await.unwrap();
    }
}

#[tokio::test]
async fn parallel_operations_log_in_once() {
    let Some(site) = start("parallel_operations_log_in_once") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    for round in 1..=5 {
        site.order("/sessions/expire", &[]);
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let (client, vm) = (client.clone(), vm.clone());
                tokio::spawn(async move { client.vm(&vm).await })
            })
            .collect();
        for read in reads {
            read.await.unwrap().unwrap();
        }
        assert_eq!(site.calls("Login"), 1 + round);
    }
}

#[tokio::test]
async fn a_session_lost_in_the_middle_of_an_operation() {
    let Some(site) = start("a_session_lost_in_the_middle_of_an_operation") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    for method in
        ["WaitForUpdatesEx", "CreateFilter", "RetrievePropertiesEx", "CreateSnapshot_Task"]
    {
        site.fault(&json!({"method": method, "fault": "NotAuthenticated"}));
        let before = site.calls("Login");
        let snapshot = client.create_snapshot(&vm, method, "", false).await.unwrap();
        assert_eq!(site.calls("Login"), before + 1, "{method}");
        assert_eq!(client.find_snapshots(&vm, method).await.unwrap().len(), 1, "{method}");
        client.remove_snapshot(&snapshot).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_always_says_not_authenticated_does_not_loop() {
    let Some(site) = start("a_server_that_always_says_not_authenticated_does_not_loop") else {
        return;
    };
    let client = site.client().await;
    site.fault(&json!({"method": "CreateContainerView", "fault": "NotAuthenticated", "count": -1}));
    let error = client.vms().await.unwrap_err();
    assert!(matches!(error, VsphereError::Fault { .. }), "{}", told(&error));
    assert_eq!(site.calls("CreateContainerView"), 3);
}

#[tokio::test]
async fn a_password_changed_meanwhile_is_told() {
    let Some(site) = start("a_password_changed_meanwhile_is_told") else { return };
    let client = site.client().await;
    site.order("/sessions/expire", &[]);
    site.fault(&json!({"method": "Login", "fault": "InvalidLogin"}));
    let error = client.vms().await.unwrap_err();
    assert!(matches!(error, VsphereError::Login { .. }), "{}", told(&error));
}
