//! The wrong peer, the wrong LUN: refused before a byte is taken for data.

use crate::site::{Site, VM, ended_well, flip};
use api::{RunResult, SanLun, SanLuns, Status};
use lab::tgt::LunSpec;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_wrong_password_is_refused_and_never_told() {
    let mut site = Site::new();
    let file = site.daemon.config.vcenter.password_file.clone();
    site.daemon.stop().unwrap();
    std::fs::write(&file, "wrong-Passw0rd!").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    site.daemon.start_again().unwrap();
    let output = site.daemon.cli().unwrap().output(&["--json", "backup", "run", VM]).unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("InvalidLogin") || told.contains("password"), "{told}");
    let all = told + &site.daemon.log();
    assert!(!all.contains("wrong-Passw0rd!"), "{all}");
    assert!(site.points().is_empty());
}

#[test]
fn a_wrong_certificate_is_refused_and_the_one_seen_is_shown() {
    let site = Site::with(|config| {
        config.vcenter.thumbprint = vec!["AB"; 32].join(":");
    });
    let output = site.daemon.cli().unwrap().output(&["--json", "backup", "run", VM]).unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains(site.lab.vcenter.thumbprint()), "{told}");
    assert!(site.points().is_empty());
}

#[test]
fn a_lun_that_is_not_presented_is_named_with_what_is_there() {
    let site = Site::new();
    site.lab.tgt.unmap(1).unwrap();
    let run = site.backup();
    site.failed_cleanly(&run, &["naa.624a9370cdef0123456789abcdef0123"]);
    // Presented again, it works without a restart.
    site.lab.tgt.map(&site.lab.tgt.spec().luns[0].clone()).unwrap();
    site.backup_and_compare("presented again");
}

#[test]
fn another_lun_than_the_one_vcenter_names_is_not_read() {
    let site = Site::new();
    let lie = serde_json::json!({ "extent_naa": "naa.600000000000000000000000000000ff" });
    identity(&site, &lie);
    let run = site.backup();
    site.failed_cleanly(&run, &["naa.600000000000000000000000000000ff"]);
    identity(&site, &serde_json::json!({}));
    site.backup_and_compare("the truth again");
}

/// The SAN does not have the LUN: refused, or read over the network where that is allowed; and
/// what comes over the network is not believed unless it is proven.
#[test]
fn without_the_san_a_disk_comes_over_the_network_where_that_is_allowed() {
    let compare = [("compare_with_network".to_owned(), true)];
    let site = Site::with(|config| config.backup = Some(compare.into()));
    // On the SAN the comparison with the network path has its first verdict.
    let first = site.backup_and_compare("san");
    let record = recorded(&site, &first);
    assert_eq!(record["disks"][0]["transport"], "san", "{record}");
    assert_eq!(record["disks"][0]["compared"]["verdict"], "equal", "{record}");

    site.lab.tgt.unmap(1).unwrap();
    let naa = "naa.624a9370cdef0123456789abcdef0123";
    site.failed_cleanly(&site.backup_with(&["--transport", "san-only"]), &[naa]);
    let by_network = |name: &str| {
        let truth = site.lab.keep_truth(VM, 0, name).unwrap();
        let run = site.backup_with(&["--transport", "prefer-san"]);
        assert!(ended_well(&run), "{name}: {run:#?}");
        site.restore_and_compare(&run, &truth);
        let record = recorded(&site, &run);
        let disk = &record["disks"][0];
        assert_eq!(disk["transport"], "network", "{record}");
        assert!(disk.to_string().contains(naa), "the reason: {record}");
        let Some(RunResult::Backup(result)) = run.result else { panic!("{run:#?}") };
        result.stored_bytes
    };
    let stored = by_network("network");
    // The guest writes; what did not change is not stored again.
    site.lab.write(VM, 0, 30 << 20, &[0x5a; 9000]).unwrap();
    let again = by_network("network again");
    assert!(stored < 2 << 20 && again < 2 << 20, "{stored} and {again} bytes were stored");

    for order in [r#"{"flip": 70000}"#, r#"{"cut_after": 200000}"#, r#"{"thumbprint": true}"#] {
        site.lab.vcenter.control().post("/exports", &[], order.as_bytes()).unwrap();
        let run = site.backup_with(&["--transport", "network"]);
        site.failed_cleanly(&run, &["network"]);
    }
    assert_eq!(site.points().len(), 3);
}

/// The record of the run, from its point.
fn recorded(site: &Site, run: &api::Run) -> serde_json::Value {
    let file = site.lab.directory().join("record.json");
    let (point, file_name) = (run.point.unwrap().to_string(), file.to_str().unwrap());
    let arguments =
        ["point", "file", &point, "holdfast-run.json", "--output", file_name, "--force"];
    let output = site.daemon.cli().unwrap().output(&arguments).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_copy_of_the_datastore_is_not_read() {
    let site = Site::new();
    let lie = serde_json::json!({ "vmfs_uuid": "01234567-89abcdef-0123-456789abcdef" });
    identity(&site, &lie);
    let run = site.backup();
    let uuid = site.lab.datastore.facts.vmfs_uuid.clone();
    site.failed_cleanly(&run, &["01234567-89abcdef-0123-456789abcdef", &uuid, "copy"]);
}

#[test]
fn a_lun_that_is_exchanged_for_another_one_is_noticed() {
    let site = Site::new();
    site.backup_and_compare("before");
    // The same name now stands for other bytes: the volume's own UUID differs.
    let other = site.lab.directory().join("other.img");
    lab::place::copy_sparse(&site.lab.datastore.image, &other).unwrap();
    flip(&other, site.lab.datastore.facts.partition_offset + 0x110_0000 + 0x20_0009, 3).unwrap();
    let spec = site.lab.tgt.spec().luns[0].clone();
    site.lab.tgt.unmap(1).unwrap();
    site.lab.tgt.map(&LunSpec { image: other, ..spec }).unwrap();
    let run = site.backup();
    site.failed_cleanly(&run, &["san01-vmfs"]);
    assert_eq!(site.points().len(), 1);
}

#[test]
fn a_writable_lun_is_accepted_on_record_until_it_is_presented_read_only() {
    let mut site = Site::new();
    let lun = |site: &Site| -> SanLun {
        let cli = site.daemon.cli().unwrap();
        let _sessions = cli.output(&["san", "login"]).unwrap(); // looks at the LUNs anew
        let status: Status = cli.json(&["status"]).unwrap();
        let luns: SanLuns = cli.json(&["san", "luns"]).unwrap();
        assert_eq!(status.san.luns[0].acknowledged, luns.luns[0].acknowledged);
        luns.luns[0].clone()
    };
    let accept = |site: &Site| {
        let name = format!("naa.{}", lab::datastore::NAA);
        let order = ["san", "acknowledge", &name, "--by", "J. Doe", "--note", "no read-only maps"];
        site.daemon.cli().unwrap().output(&order).unwrap()
    };
    let writable = lun(&site);
    assert!(writable.acknowledged.is_none() && !writable.advice.is_empty(), "{writable:?}");
    assert!(accept(&site).status.success());
    site.daemon.stop().unwrap();
    site.daemon.start_again().unwrap();
    let accepted = lun(&site);
    let by = accepted.acknowledged.as_ref().map(|one| (one.by.as_str(), one.note.as_str()));
    assert_eq!((by, accepted.advice.as_str()), (Some(("J. Doe", "no read-only maps")), ""));
    let status = site.daemon.cli().unwrap().output(&["status"]).unwrap().stdout;
    let status = String::from_utf8_lossy(&status).into_owned();
    assert!(status.contains("accepted by J. Doe") && !status.contains("WRITABLE"), "{status}");

    site.lab.tgt.present(1, true).unwrap();
    let protected = lun(&site);
    assert_eq!((protected.write_protected, protected.acknowledged), (Some(true), None));
    let refused = accept(&site);
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));

    site.lab.tgt.present(1, false).unwrap();
    let writable = lun(&site);
    assert_eq!((writable.write_protected, writable.acknowledged), (Some(false), None));
    assert!(!writable.advice.is_empty(), "it has to be accepted anew");
}

fn identity(site: &Site, lie: &serde_json::Value) {
    let order = serde_json::to_vec(lie).unwrap();
    site.lab.vcenter.control().post("/identity", &[], &order).unwrap();
}
