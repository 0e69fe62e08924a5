//! Changed areas: paging, other epochs, and a server that lies.

use crate::site::{ALLOCATED, CAPACITY, DISK, Site, start, the_vm, told, vm_in_query};
use model::{ChangeId, ChangedArea, ErrorKind};
use serde_json::{Value, json};
use vsphere::{AreasError, ChangedSince, Client, MoRef, VsphereError};

/// A VM with change tracking on, and a snapshot of it.
async fn tracked(site: &Site) -> (Client, MoRef, MoRef) {
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    client.enable_cbt(&vm).await.unwrap();
    let snapshot = client.create_snapshot(&vm, "s", "", false).await.unwrap();
    (client, vm, snapshot)
}

#[tokio::test]
async fn one_area_in_each_answer() {
    let Some(site) = start("one_area_in_each_answer") else { return };
    let (client, vm, snapshot) = tracked(&site).await;
    site.order("/cbt/page?areas=1", &[]);
    let all = client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &ChangedSince::All).await;
    let wanted: Vec<_> =
        ALLOCATED.iter().map(|&(offset, length)| ChangedArea { offset, length }).collect();
    assert_eq!(all.unwrap(), wanted);
    assert_eq!(site.calls("QueryChangedDiskAreas"), 3);
}

#[tokio::test]
async fn another_epoch_means_a_full_read() {
    let Some(site) = start("another_epoch_means_a_full_read") else { return };
    let (client, vm, snapshot) = tracked(&site).await;
    let disk = client.snapshot_disks(&snapshot).await.unwrap().remove(0);
    let own = disk.change_id.unwrap();
    site.order(&format!("/cbt/reset?vm={}&disk={DISK}", vm_in_query()), &[]);
    for id in [own, ChangeId("52 de ad be ef/1".into())] {
        let since = ChangedSince::Id(id.clone());
        let error = client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &since).await.unwrap_err();
        assert!(matches!(error, VsphereError::TrackingUnusable { .. }), "{}", told(&error));
        assert!(error.means_full_read());
        let text = told(&error);
        for wanted in ["read in full", "FileFault", &id.0] {
            assert!(text.contains(wanted), "{text}");
        }
    }
}

#[tokio::test]
async fn without_tracking_there_is_no_list() {
    let Some(site) = start("without_tracking_there_is_no_list") else { return };
    let client = site.client().await;
    let vm = the_vm(&client).await.moref;
    let snapshot = client.create_snapshot(&vm, "s", "", false).await.unwrap();
    assert_eq!(client.snapshot_disks(&snapshot).await.unwrap()[0].change_id, None);
    let all = client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &ChangedSince::All).await;
    assert!(all.unwrap_err().means_full_read());
}

#[tokio::test]
async fn a_wrong_disk_is_not_taken_for_spoilt_tracking() {
    let Some(site) = start("a_wrong_disk_is_not_taken_for_spoilt_tracking") else { return };
    let (client, vm, snapshot) = tracked(&site).await;
    let error = client.changed_areas(&vm, &snapshot, 2999, CAPACITY, &ChangedSince::All).await;
    let error = error.unwrap_err();
    assert_eq!(error.fault().unwrap().type_name, "InvalidArgument", "{}", told(&error));
    assert!(!error.means_full_read());
}

#[tokio::test]
async fn each_lie_is_noticed() {
    let Some(site) = start("each_lie_is_noticed") else { return };
    let (client, vm, snapshot) = tracked(&site).await;
    let half = CAPACITY / 2;
    let lies = [
        ("from another start", json!([answer(512, half, &[])])),
        ("nothing covered", json!([answer(0, 0, &[])])),
        ("beyond the disk", json!([answer(0, CAPACITY + 1, &[])])),
        ("the first part again", json!([answer(0, half, &[]), answer(0, half, &[])])),
        ("outside its part", json!([answer(0, half, &[(half, 512)])])),
        ("longer than its part", json!([answer(0, half, &[(0, half + 512)])])),
        ("overlapping", json!([answer(0, half, &[(0, 1024), (512, 1024)])])),
        ("backwards", json!([answer(0, half, &[(4096, 512), (0, 512)])])),
        ("an empty area", json!([answer(0, half, &[(0, 0)])])),
    ];
    for (lie, script) in lies {
        let path = format!("/cbt/script?vm={}&disk={DISK}", vm_in_query());
        site.order(&path, script.to_string().as_bytes());
        let all = client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &ChangedSince::All).await;
        let error = all.expect_err(lie);
        let wrong = matches!(error, VsphereError::TrackingWrong { .. });
        assert!(wrong && error.means_full_read(), "{lie}: {}", told(&error));
        assert_eq!(error.kind(), ErrorKind::Misbehaved);
    }
    // A negative number is no answer at all.
    let script = json!([{"start_offset": 0, "length": -1, "areas": []}]).to_string();
    site.order(&format!("/cbt/script?vm={}&disk={DISK}", vm_in_query()), script.as_bytes());
    let all = client.changed_areas(&vm, &snapshot, DISK, CAPACITY, &ChangedSince::All).await;
    let error = all.unwrap_err();
    assert!(matches!(error, VsphereError::Wire { .. }), "{}", told(&error));
}

/// The client's capacity and the server's differ: the disk was resized.
#[tokio::test]
async fn another_capacity_is_noticed() {
    let Some(site) = start("another_capacity_is_noticed") else { return };
    let (client, vm, snapshot) = tracked(&site).await;
    let all = client.changed_areas(&vm, &snapshot, DISK, CAPACITY / 2, &ChangedSince::All).await;
    let error = all.unwrap_err();
    let VsphereError::TrackingWrong { source, .. } = &error else { panic!("{}", told(&error)) };
    assert!(matches!(source, AreasError::BeyondDisk { .. }), "{source}");
}

fn answer(start: u64, length: u64, areas: &[(u64, u64)]) -> Value {
    let areas: Vec<_> =
        areas.iter().map(|(offset, length)| json!({"offset": offset, "length": length})).collect();
    json!({"start_offset": start, "length": length, "areas": areas})
}
