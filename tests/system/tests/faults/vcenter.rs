//! vCenter fails in each call; change tracking is reset.

use crate::site::{Site, VM, ended_well, wait};
use api::{Run, RunResult, RunState};
use model::Consistency;

/// Every call of a run, with a fault that such a call can answer.
const CALLS: &[(&str, &str, bool)] = &[
    ("RetrievePropertiesEx", "RuntimeFault", false),
    ("CreateContainerView", "RuntimeFault", false),
    ("ReconfigVM_Task", "TaskInProgress", false),
    ("ReconfigVM_Task", "GenericVmConfigFault", true),
    ("CreateSnapshot_Task", "FileLocked", false),
    ("CreateSnapshot_Task", "SnapshotFault", true),
    ("WaitForUpdatesEx", "RuntimeFault", false),
    ("CreateFilter", "RuntimeFault", false),
    ("QueryChangedDiskAreas", "RuntimeFault", false),
];

#[test]
fn a_fault_in_any_call_leaves_nothing_and_is_told() {
    for (method, fault, task) in CALLS {
        let site = Site::new();
        followed(&site); // so that the fault does not hit the first listing of the inventory
        let order = serde_json::json!({ "method": method, "fault": fault, "task": task });
        site.lab.vcenter.fault(&order).unwrap();
        let output = site.daemon.cli().unwrap().output(&["--json", "backup", "run", VM]).unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success(), "{method}: the fault was swallowed: {told}");
        assert!(told.contains(fault), "{method}: '{fault}' is not in {told}");
        site.wait_for_no_snapshot();
        assert!(site.points().is_empty(), "{method}");
        site.backup_and_compare(method);
    }
}

#[test]
fn a_connection_that_drops_in_any_call_leaves_nothing() {
    for method in ["CreateSnapshot_Task", "RetrievePropertiesEx", "QueryChangedDiskAreas"] {
        for how in ["drop_connection", "drop_answer"] {
            let site = Site::new();
            site.backup_and_compare("before");
            site.lab.vcenter.fault(&serde_json::json!({ "method": method, how: true })).unwrap();
            let run = site.daemon.cli().unwrap().output(&["--json", "backup", "run", VM]).unwrap();
            site.wait_for_no_snapshot();
            // A read may be repeated within the run; a snapshot that may exist must not be
            // created twice. Either way every point that there is holds what it should.
            let points = site.points().len();
            assert_eq!(points, 1 + usize::from(run.status.success()), "{method} {how}");
            site.backup_and_compare(method);
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_removed_is_a_warning_and_is_removed_later() {
    let site = Site::new();
    let order =
        serde_json::json!({ "method": "RemoveSnapshot_Task", "fault": "FileLocked", "count": 1 });
    site.lab.vcenter.fault(&order).unwrap();
    let run = site.backup();
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
    assert!(run.warnings.iter().any(|text| text.contains("could not be removed")), "{run:#?}");
    site.wait_for_no_snapshot();
    assert_eq!(site.points().len(), 1);
}

#[test]
fn a_change_id_of_another_epoch_gives_a_full_and_says_so() {
    let site = Site::new();
    site.backup_and_compare("first");
    site.lab.write(VM, 0, 3 << 20, b"changed before the reset").unwrap();
    site.lab.vcenter.reset_cbt(VM, 2000).unwrap();
    let run = site.backup_and_compare("after the reset");
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
    assert!(run.warnings.iter().any(|text| text.contains("epoch")), "{run:#?}");
    let Some(RunResult::Backup(result)) = &run.result else { unreachable!() };
    assert!(result.san_read_bytes > 24 << 20, "everything allocated was read: {result:?}");

    let next = site.backup();
    assert!(ended_well(&next) && next.warnings.is_empty(), "{next:#?}");
}

#[test]
fn areas_come_page_by_page() {
    let site = Site::new();
    site.backup_and_compare("first");
    for piece in 0..20 {
        site.lab.write(VM, 0, piece * (3 << 20) + 777, &[0x5A; 600]).unwrap();
    }
    site.lab.vcenter.page_size(1).unwrap();
    let run = site.backup_and_compare("paged");
    let Some(RunResult::Backup(result)) = &run.result else { unreachable!() };
    assert!(result.changed_areas >= 20, "{result:?}");
    assert!(run.warnings.is_empty(), "{run:#?}");
}

#[test]
fn areas_that_contradict_themselves_give_a_full_and_a_warning() {
    let site = Site::new();
    site.backup_and_compare("first");
    site.lab.write(VM, 0, 5 << 20, b"changed").unwrap();
    let lie =
        br#"[{"start_offset":0,"length":1048576,"areas":[{"offset":9000000,"length":4096}]}]"#;
    let query = [("vm", VM), ("disk", "2000")];
    site.lab.vcenter.control().post("/cbt/script", &query, lie).unwrap();
    let run = site.backup_and_compare("lied to");
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
}

/// Waits until the inventory is followed.
fn followed(site: &Site) -> api::InventoryStatus {
    let cli = site.daemon.cli().unwrap();
    let status = || cli.json::<api::Status>(&["status"]).unwrap().vcenter.inventory;
    wait("the inventory is live", || status().live);
    status()
}

#[test]
fn a_vm_of_a_host_alone_is_backed_up() {
    let site = Site::alone();
    followed(&site);
    let run = site.backup_and_compare("full");
    assert!(run.warnings.is_empty(), "{run:#?}");
    site.lab.write(VM, 0, 3 << 20, b"changed").unwrap();
    let run = site.backup_and_compare("incremental");
    let Some(RunResult::Backup(result)) = &run.result else { unreachable!() };
    assert!(result.san_read_bytes < 16 << 20, "{result:?}");
    let cli = site.daemon.cli().unwrap();
    let started: api::RunsStarted = cli.json(&["backup", "configuration"]).unwrap();
    assert_eq!(started.runs.len(), 1, "of the host; there is no vCenter");
    assert!(ended_well(&started.runs[0]), "{started:#?}");
}

#[test]
fn an_expired_session_is_made_anew() {
    let site = Site::new();
    site.backup_and_compare("first");
    site.lab.vcenter.control().post("/sessions/expire", &[], &[]).unwrap();
    let run = site.backup_and_compare("second");
    assert!(run.warnings.is_empty(), "{run:#?}");
    an_inventory_is_followed_and_used(&site);
}

/// Of the same site: changes come in by themselves, and a run does not list all VMs.
fn an_inventory_is_followed_and_used(site: &Site) {
    assert!(followed(site).objects > 10);
    let cli = site.daemon.cli().unwrap();
    let control = site.lab.vcenter.control();
    let shown = |name: &str| {
        let page: api::Page<api::InventoryObject> = cli.json(&["inventory"]).unwrap();
        page.items.into_iter().find(|object| object.name == name)
    };
    let vm = shown(VM).expect("the VM is in the inventory");
    assert_eq!(vm.uuid.unwrap().0, site.lab.datastore.vm(VM).unwrap().instance_uuid);
    let uuid = "5099f0a0-1111-2222-3333-444455556666";
    control.post("/vm/add", &[("vm", "new01"), ("uuid", uuid)], &[]).unwrap();
    wait("a new VM is seen", || shown("new01").is_some());
    control.post("/vm/remove", &[("vm", "new01")], &[]).unwrap();
    wait("its end is seen", || shown("new01").is_none());

    let views = || site.lab.vcenter.state().unwrap()["calls"]["CreateContainerView"].as_u64();
    let before = views().unwrap();
    site.backup();
    let listings = views().unwrap() - before;
    assert!(listings <= 4, "datastores and LUNs are listed, VMs are not: {listings}");
    let snapshots: api::Page<api::SnapshotView> = cli.json(&["snapshots"]).unwrap();
    assert_eq!(snapshots.items, []);
}

#[test]
fn a_change_that_tracking_keeps_back_is_found_told_and_read() {
    let site = Site::new();
    site.backup_and_compare("first");
    site.lab.write(VM, 0, 9 << 20, b"seen").unwrap();
    let incremental = site.backup_and_compare("second");
    let Some(RunResult::Backup(result)) = &incremental.result else { unreachable!() };
    assert!(result.compared_bytes > 0 && result.compared_bytes < 10 << 20, "{result:?}");

    site.lab.vcenter.keep_back(VM, 2000, 1).unwrap();
    site.lab.write(VM, 0, 8 << 20, &[0x77; 5000]).unwrap();
    let truth = site.lab.keep_truth(VM, 0, "kept back").unwrap();
    let run = site.backup_with(&["--cross-check", "100"]);
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
    assert!(run.warnings.iter().any(|text| text.contains("byte 8388608")), "{run:#?}");
    site.restore_and_compare(&run, &truth);
    let suspected: Vec<_> = site.points().iter().map(|point| point.suspected_by).collect();
    assert_eq!(suspected, [None, Some(run.id), None], "newest first: the second point alone");
    let codes = |site: &Site| -> Vec<String> {
        let status: api::Status = site.daemon.cli().unwrap().json(&["status"]).unwrap();
        status.reasons.into_iter().map(|reason| reason.code).collect()
    };
    assert!(codes(&site).contains(&"changes-kept-back".into()));

    let run = site.backup_with(&["--cross-check", "100"]);
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    assert!(!codes(&site).contains(&"changes-kept-back".into()), "every area was compared since");
    site.restore_and_compare(&run, &truth);
}

/// Methods of the VM that nobody may call now.
fn disabled(site: &Site) -> Vec<String> {
    let state = site.lab.vcenter.state().unwrap();
    let methods = state["vms"][0]["disabled_methods"].as_array().unwrap().clone();
    methods.iter().map(|method| method.as_str().unwrap().to_owned()).collect()
}

#[test]
fn migration_is_held_off_while_the_disks_are_read_and_never_longer() {
    let mut site = Site::new();
    let slow = serde_json::json!({ "method": "QueryChangedDiskAreas", "delay_ms": 1500 });
    site.lab.vcenter.fault(&slow).unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| site.backup());
        wait("there is a snapshot", || !site.snapshots().is_empty());
        assert!(disabled(&site).contains(&"RelocateVM_Task".into()));
        let run = run.join().unwrap();
        assert!(ended_well(&run) && run.warnings.is_empty(), "{run:#?}");
    });
    assert_eq!(disabled(&site), [] as [String; 0]);

    site.lab.vcenter.fault(&slow).unwrap();
    let now = ["backup", "run", VM, "--no-wait"];
    assert!(site.daemon.cli().unwrap().output(&now).unwrap().status.success());
    wait("there is a snapshot", || !site.snapshots().is_empty());
    site.daemon.kill().unwrap();
    assert!(!disabled(&site).is_empty(), "a crash leaves it");
    site.daemon.start_again().unwrap();
    wait("it is allowed again", || disabled(&site).is_empty());
    site.wait_for_no_snapshot();

    let refused = serde_json::json!({ "method": "DisableMethods", "fault": "NoPermission" });
    site.lab.vcenter.fault(&refused).unwrap();
    let run = site.backup();
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
    assert!(run.warnings[0].contains("migration"), "{run:#?}");
}

#[test]
fn a_guest_that_does_not_come_to_rest_is_told_or_the_run_fails() {
    let site = Site::new();
    let order = serde_json::json!(
        { "method": "CreateSnapshot_Task", "fault": "ApplicationQuiesceFault", "task": true });
    site.lab.vcenter.fault(&order).unwrap();
    let run = site.backup();
    assert_eq!(run.state, RunState::Warning, "{run:#?}");
    assert!(run.warnings[0].contains("ApplicationQuiesceFault"), "{run:#?}");
    site.lab.vcenter.fault(&order).unwrap();
    let run = site.backup_with(&["--quiesce", "must"]);
    site.failed_cleanly(&run, &["ApplicationQuiesceFault"]);
    let run = site.backup_with(&["--quiesce", "must"]);
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    let of = site.points().iter().map(|point| point.consistency).collect::<Vec<_>>();
    assert_eq!(of, [Consistency::Quiesced, Consistency::Crash]);
}

#[test]
fn a_point_holds_what_it_takes_to_build_the_vm_anew() {
    let site = Site::new();
    let run = site.backup_and_compare("first");
    assert!(run.warnings.is_empty(), "{run:#?}");
    let point = run.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let detail: api::PointDetail = cli.json(&["point", "show", &point]).unwrap();
    let portrait = detail.portrait.expect("a portrait");
    assert_eq!(portrait.folder, ["Production"]);
    assert_eq!(portrait.datacenter.as_deref(), Some("DC0"));
    assert_eq!(portrait.datastores, ["san01-vmfs"]);
    let attribute = portrait.custom_attributes.first().expect("an attribute");
    assert_eq!((attribute.name.as_str(), attribute.value.as_str()), ("owner", "team <web01> & co"));
    let tag = portrait.tags.first().expect("a tag");
    assert_eq!((tag.category.as_str(), tag.name.as_str()), ("tier", "gold"));
    let mac = &portrait.nics.first().expect("a network card").mac;

    let file = site.lab.directory().join("config.xml");
    let output = file.to_str().unwrap();
    let name = api::Portrait::CONFIGURATION;
    let arguments = ["point", "file", &point, name, "--output", output];
    assert!(cli.output(&arguments).unwrap().status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let instance = &site.lab.datastore.vm(VM).unwrap().instance_uuid;
    for part in [mac, instance, "<key>2000</key>", "xsi:type=\"ParaVirtualSCSIController\""] {
        assert!(text.contains(part), "'{part}' is not in the configuration");
    }
    assert!(!cli.output(&arguments).unwrap().status.success(), "it is not overwritten unasked");
    let shown = cli.output(&["point", "show", &point]).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["tier: gold", "owner = team", mac, "Production"] {
        assert!(shown.contains(part), "'{part}' is not in: {shown}");
    }
    configurations_are_points_of_files(&site);
}

/// Of the same site: vCenter and its two hosts, each a point that is listed, verified and read.
fn configurations_are_points_of_files(site: &Site) {
    followed(site);
    let cli = site.daemon.cli().unwrap();
    let started: api::RunsStarted = cli.json(&["backup", "configuration"]).unwrap();
    assert_eq!(started.runs.len(), 3);
    for run in &started.runs {
        assert!(ended_well(run) && run.warnings.is_empty(), "{run:#?}");
    }
    let points = site.points();
    let of_files: Vec<_> = points.iter().filter(|point| point.configuration).collect();
    assert_eq!((points.len(), of_files.len()), (4, 3));
    let wanted = [
        (
            "the vCenter",
            "inventory-1.json",
            site.lab.datastore.vm(VM).unwrap().instance_uuid.clone(),
        ),
        ("the vCenter", "roles.xml", "<name>Admin</name>".into()),
        ("host DC0_C0_H0", "configBundle.tgz", "packed configuration of DC0_C0_H0".into()),
    ];
    for (whose, name, part) in wanted {
        let point = of_files.iter().find(|point| point.vm.name.ends_with(whose)).unwrap();
        let (id, path) = (point.id.to_string(), site.lab.directory().join(name));
        let output = path.to_str().unwrap();
        let arguments = ["point", "file", &id, name, "--output", output];
        assert!(cli.output(&arguments).unwrap().status.success());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&part), "{name}: '{part}' is not in it");
        let verified: Run = cli.json(&["point", "verify", &id]).unwrap();
        assert_eq!(verified.state, RunState::Succeeded, "{verified:#?}");
        let shown = cli.output(&["point", "show", &id]).unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(name) && shown.contains("no disks"), "{shown}");
    }
}
