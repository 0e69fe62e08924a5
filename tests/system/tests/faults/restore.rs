//! A recovery point as a VM again, in the lab's vCenter: byte for byte, beside and in place, and
//! what can go wrong.

use crate::site::{Site, VM, ended_well, wait};
use api::{Run, RunResult, RunState};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use system::images::compare;

/// A VM as the lab's vCenter shows it.
#[derive(Debug, Deserialize)]
struct Made {
    name: String,
    #[serde(rename = "ref")]
    reference: String,
    instance_uuid: String,
    powered_on: bool,
    macs: Vec<String>,
    connected: bool,
    nvram: PathBuf,
    disks: Vec<MadeDisk>,
}

#[derive(Debug, Deserialize)]
struct MadeDisk {
    flat: PathBuf,
}

fn made(site: &Site) -> Vec<Made> {
    serde_json::from_slice(&site.lab.vcenter.control().get("/made").unwrap()).unwrap()
}

fn one(site: &Site, name: &str) -> Made {
    let mut found: Vec<Made> = made(site).into_iter().filter(|vm| vm.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:?}", made(site));
    found.remove(0)
}

fn order(site: &Site, path: &str, body: &serde_json::Value) {
    site.lab.vcenter.control().post(path, &[], &serde_json::to_vec(body).unwrap()).unwrap();
}

fn restore(site: &Site, point: &str, options: &[&str]) -> Run {
    let arguments = [&["--json", "vm", "restore", point], options].concat();
    let output = site.daemon.cli().unwrap().output(&arguments).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let text = String::from_utf8_lossy(&output.stdout);
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

fn is_equal(made: &Made, truth: &Path) {
    let compared = compare(truth, &made.disks[0].flat).unwrap();
    assert!(compared.is_equal(), "{compared:?}");
}

fn failed(run: &Run, words: &[&str]) {
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    let problem = run.error.as_ref().expect("a failed run says why");
    for word in words {
        assert!(problem.detail.contains(word), "'{word}' is not in: {}", problem.detail);
    }
    assert!(!problem.next_step.is_empty());
}

#[test]
fn a_point_becomes_a_vm_again_beside_the_old_one_and_in_its_place() {
    let mut site = Site::new();
    let truth = site.lab.keep_truth(VM, 0, "then").unwrap();
    let backup = site.backup();
    assert!(ended_well(&backup), "{backup:#?}");
    let point = backup.point.unwrap().to_string();
    site.lab.write(VM, 0, 8 << 20, &[0xAB; 4096]).unwrap();
    let original = one(&site, VM);

    beside(&site, &point, &truth, &original);
    what_fails_leaves_nothing(&site, &point);
    interrupted(&mut site, &point, &truth);
    in_place(&site, &point, &truth, &original);
}

fn beside(site: &Site, point: &str, truth: &Path, original: &Made) {
    let run = restore(site, point, &["--name", "copy"]);
    assert!(run.warnings.iter().all(|warning| warning.starts_with("tag ")), "{run:#?}");
    let Some(RunResult::Restore(result)) = &run.result else { panic!("{run:#?}") };
    assert!(result.disks[0].verified.is_some() && result.disks[0].sent_bytes > 0, "{result:?}");
    let copy = one(site, "copy");
    is_equal(&copy, truth);
    assert_eq!(result.restored, ["NVRAM", "custom attribute 'owner'"]);
    assert!(!copy.powered_on && !copy.connected, "{copy:?}");
    assert_ne!(copy.instance_uuid, original.instance_uuid);
    assert_ne!(copy.macs, original.macs);
    let vm = site.lab.vm(VM).unwrap();
    assert_eq!(std::fs::read(&copy.nvram).unwrap(), lab::virtual_machine::nvram(vm));
    failed(&restore(site, point, &["--name", "copy"]), &["'copy' already"]);
    failed(&restore(site, point, &["--name", "x", "--datastore", "no"]), &["'no'", "--datastore"]);
}

fn what_fails_leaves_nothing(site: &Site, point: &str) {
    let before = made(site).len();
    for wrong in [
        serde_json::json!({ "lease_error": true }),
        serde_json::json!({ "cut_after": 100_000 }),
        serde_json::json!({ "full_after": 100_000 }),
    ] {
        order(site, "/imports", &wrong);
        failed(&restore(site, point, &["--name", "second"]), &[]);
        assert_eq!(made(site).len(), before, "{wrong}: {:?}", made(site));
    }
    // One byte that the storage got wrong is found; the VM is kept for whoever wants to look.
    order(site, "/imports", &serde_json::json!({ "flip": 5_000_001 }));
    let run = restore(site, point, &["--name", "second", "--power-on"]);
    failed(&run, &["byte 5000000", "holdfast-restore-"]);
    let left = format!("holdfast-restore-{}", run.id);
    assert!(!one(site, &left).powered_on);
    assert!(made(site).iter().all(|vm| vm.name != "second"));
}

/// The daemon dies when the VM is whole and waits for its name.
fn interrupted(site: &mut Site, point: &str, truth: &Path) {
    let slow =
        serde_json::json!({ "method": "Rename_Task", "delay_ms": 2000, "drop_connection": true });
    site.lab.vcenter.fault(&slow).unwrap();
    let calls = |site: &Site| site.lab.vcenter.state().unwrap()["calls"]["Rename_Task"].as_u64();
    let before = calls(site);
    let run = restore(site, point, &["--name", "third", "--no-wait"]);
    wait("the VM is to get its name", || calls(site) > before);
    site.daemon.kill().unwrap();
    site.daemon.start_again().unwrap();
    wait("the VM has its name", || made(site).iter().any(|vm| vm.name == "third"));
    is_equal(&one(site, "third"), truth);
    let id = run.id.to_string();
    let shown: Run = site.daemon.cli().unwrap().json(&["run", "show", &id]).unwrap();
    failed(&shown, &["third"]);
}

fn in_place(site: &Site, point: &str, truth: &Path, original: &Made) {
    let replace = ["--replace", "--confirm", VM];
    failed(&restore(site, point, &replace), &["not powered off"]);
    let query = [("vm", VM), ("on", "false")];
    site.lab.vcenter.control().post("/power", &query, &[]).unwrap();
    failed(&restore(site, point, &["--replace", "--confirm", "web"]), &["not typed"]);
    assert_eq!(one(site, VM).reference, original.reference, "it is still the old one");

    let run = restore(site, point, &replace);
    assert!(matches!(run.state, RunState::Succeeded | RunState::Warning), "{run:#?}");
    let new = one(site, VM);
    assert_ne!(new.reference, original.reference);
    assert_eq!((&new.instance_uuid, &new.macs), (&original.instance_uuid, &original.macs));
    is_equal(&new, truth);
    assert!(made(site).iter().all(|vm| !vm.name.starts_with("holdfast-replaced")));
    assert!(made(site).iter().all(|vm| vm.reference != original.reference), "the old one is gone");
}
