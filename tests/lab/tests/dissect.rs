//! What the lab puts on its LUN is a VMFS volume, as judged by a reader that no one here wrote:
//! so the formatter and the appliance cannot agree on a mistake.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod common;

use common::MIB;
use lab::Lab;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// SHA-256 of every regular file on the volume, by path.
fn hashes(python: &Path, image: &Path) -> BTreeMap<String, String> {
    let script = lab::place::repository_root().join("appliance/vmfs/tests/dissect_check.py");
    let said = lab::process::run(Command::new(python).arg(script).arg(image)).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    let files = said["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    files
        .filter(|file| file["type"] == "file")
        .map(|file| (text(&file["path"]), text(&file["sha256"])))
        .collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn another_reader_sees_the_disks_as_the_guests_do() {
    let Some(venv) = std::env::var_os("HOLDFAST_VENV").map(PathBuf::from) else {
        println!(
            "SKIPPED: another_reader_sees_the_disks_as_the_guests_do: HOLDFAST_VENV names no \
             Python environment with dissect.vmfs; `make test` makes one"
        );
        return;
    };
    let python = venv.join("bin/python");
    let lab = Lab::start(&common::small_site()).unwrap();
    let vm = lab.vm("web01").unwrap();
    let compare = |when: &str| {
        let found = hashes(&python, &lab.datastore.image);
        for disk in &vm.disks {
            let truth = hash(&std::fs::read(&disk.truth).unwrap());
            assert_eq!(found.get(&disk.flat), Some(&truth), "{when}: {}", disk.flat);
        }
        found
    };
    let found = compare("as made");
    let vmx = lab::virtual_machine::vmx(vm);
    assert_eq!(found.get("web01/web01.vmx"), Some(&hash(vmx.as_bytes())));
    let nvram = lab::virtual_machine::nvram(vm);
    assert_eq!(found.get("web01/web01.nvram"), Some(&hash(&nvram)));
    let descriptor = lab::virtual_machine::descriptor(&vm.disks[0]);
    assert_eq!(found.get("web01/web01.vmdk"), Some(&hash(descriptor.as_bytes())));
    // Into holes, across blocks, and over data.
    lab.write("web01", 0, 88 * MIB - 5000, &vec![0x5A; 3 << 20]).unwrap();
    lab.write("web01", 0, 2 * MIB + 77, &[0xC3; 10_000]).unwrap();
    lab.write("web01", 1, 33 * MIB - 1, &[0x11; 2]).unwrap();
    compare("after guest writes");
}
