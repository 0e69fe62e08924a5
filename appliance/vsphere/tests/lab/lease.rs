//! Leases: what they give, and that they end whatever happens.

use crate::site::{self, Site, told};
use model::ErrorKind;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use vsphere::{Client, Lease, MoRef, VsphereError};

/// A site whose disk has a truth, and a snapshot of its VM.
async fn site(test: &str) -> Option<(Site, Client, MoRef)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let truth: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 700).to_le_bytes()[0]).collect();
    std::fs::write(file.path(), &truth).unwrap();
    file.as_file().set_len(site::CAPACITY).unwrap();
    let (_, path) = file.keep().unwrap();
    let with_truth = |config: &mut Value| config["vms"][0]["disks"][0]["truth"] = json!(path);
    let site = site::start_with(test, with_truth)?;
    let client = site.client().await;
    let vm = site::the_vm(&client).await;
    let snapshot = client.create_snapshot(&vm.moref, "holdfast-1", "", false).await.unwrap();
    Some((site, client, snapshot))
}

/// All bytes of the first disk.
async fn fetch(lease: &Lease) -> Result<Vec<u8>, VsphereError> {
    let mut download = lease.download(&lease.info().devices[0]).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Waits until the lab has heard `method` so often.
async fn heard(site: &Site, method: &str, times: u64) {
    let began = Instant::now();
    while site.calls(method) < times {
        assert!(began.elapsed() < Duration::from_secs(20), "{method} was not heard");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_lease_gives_the_bytes_of_a_disk_and_is_completed() {
    let test = "a_lease_gives_the_bytes_of_a_disk_and_is_completed";
    let Some((site, client, snapshot)) = site(test).await else { return };
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    let info = lease.info();
    assert_eq!((info.devices.len(), info.total_capacity), (1, site::CAPACITY));
    assert!(info.devices[0].key.ends_with("/ParaVirtualSCSIController0:0"));
    assert!(info.devices[0].pin.is_some());
    let bytes = fetch(&lease).await.unwrap();
    assert_eq!(&bytes[..4], b"KDMV");
    let manifest = lease.manifest().await.unwrap();
    assert_eq!(manifest[0].key, info.devices[0].key);
    assert_eq!(manifest[0].size, bytes.len() as u64);
    let again = fetch(&lease).await.unwrap();
    assert!(again == bytes);
    // What the guest writes now belongs to no snapshot of before.
    site.guest_writes(4096, 70_000);
    assert!(fetch(&lease).await.unwrap() == bytes);
    lease.complete().await.unwrap();
    assert_eq!(site.calls("HttpNfcLeaseComplete"), 1);
    assert_eq!(site.calls("HttpNfcLeaseAbort"), 0);
}

#[tokio::test]
async fn a_lease_is_given_back_whatever_happens() {
    let test = "a_lease_is_given_back_whatever_happens";
    let Some((site, client, snapshot)) = site(test).await else { return };
    client.export_snapshot(&snapshot).await.unwrap().abort("a test").await.unwrap();
    heard(&site, "HttpNfcLeaseAbort", 1).await;
    drop(client.export_snapshot(&snapshot).await.unwrap());
    heard(&site, "HttpNfcLeaseAbort", 2).await;
    // The one who asks goes away while the server still thinks about it.
    site.fault(&json!({"method": "ExportSnapshot", "delay_ms": 300}));
    let asked = client.export_snapshot(&snapshot);
    assert!(tokio::time::timeout(Duration::from_millis(100), asked).await.is_err());
    heard(&site, "HttpNfcLeaseAbort", 3).await;
    // A running VM is not exported without a snapshot.
    let vm = site::the_vm(&client).await;
    let error = client.export_vm(&vm.moref).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", told(&error));
    assert_eq!(site.calls("HttpNfcLeaseComplete"), 0);
}

#[tokio::test]
async fn a_lease_that_the_server_breaks_off_says_why() {
    let test = "a_lease_that_the_server_breaks_off_says_why";
    let Some((site, client, snapshot)) = site(test).await else { return };
    site.order("/exports", br#"{"lease_error": true}"#);
    let error = client.export_snapshot(&snapshot).await.unwrap_err();
    assert!(matches!(error, VsphereError::LeaseFailed { .. }), "{}", told(&error));
    heard(&site, "HttpNfcLeaseAbort", 1).await;

    // Signs of life that do not arrive: the server ends it, and completing it is an error.
    site.order("/exports", br#"{"timeout_s": 1}"#);
    let refused = json!({"method": "HttpNfcLeaseProgress", "delay_ms": 1500, "count": -1});
    site.fault(&refused);
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    let began = Instant::now();
    while lease.check().await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = lease.complete().await.unwrap_err();
    assert!(told(&error).contains("Timedout"), "{}", told(&error));
    heard(&site, "HttpNfcLeaseAbort", 2).await;
    site.order("/faults/clear", b"");

    // With them it lives on for longer than its timeout.
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    lease.progress(50);
    heard(&site, "HttpNfcLeaseProgress", site.calls("HttpNfcLeaseProgress") + 5).await;
    lease.check().await.unwrap();
    lease.complete().await.unwrap();
}

#[tokio::test]
async fn only_the_host_that_the_lease_names_is_believed() {
    let test = "only_the_host_that_the_lease_names_is_believed";
    let Some((site, client, snapshot)) = site(test).await else { return };
    site.order("/exports", br#"{"thumbprint": true}"#);
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    let error = fetch(&lease).await.map(|bytes| bytes.len()).unwrap_err();
    assert!(matches!(error, VsphereError::OtherHost { .. }), "{}", told(&error));
    assert_eq!(error.kind(), ErrorKind::Refused);
    // Where none is named, the certificate is the server's own.
    site.order("/exports", br#"{"no_thumbprint": true}"#);
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    assert!(lease.info().devices[0].pin.is_none());
    assert_eq!(&fetch(&lease).await.unwrap()[..4], b"KDMV");
    // A connection that is cut is an error, and no end.
    site.order("/exports", br#"{"cut_after": 70000}"#);
    let lease = client.export_snapshot(&snapshot).await.unwrap();
    let error = fetch(&lease).await.map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{}", told(&error));
}
