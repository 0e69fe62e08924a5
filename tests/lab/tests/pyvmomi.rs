//! The lab's vCenter speaks real vSphere SOAP, as judged by a client that no one here wrote.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod common;

use lab::{Lab, PASSWORD, USER};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn another_client_drives_a_backup_cycle() {
    let Some(venv) = std::env::var_os("HOLDFAST_VENV").map(PathBuf::from) else {
        println!(
            "SKIPPED: another_client_drives_a_backup_cycle: HOLDFAST_VENV names no Python \
             environment with pyvmomi; `make test` makes one"
        );
        return;
    };
    let lab = Lab::start(&common::small_site()).unwrap();
    let script = lab::place::repository_root().join("tests/lab/pyvmomi/sequence.py");
    let vcenter = &lab.vcenter;
    let mut python = Command::new(venv.join("bin/python"));
    python.arg(script).args([vcenter.url(), USER, PASSWORD, vcenter.thumbprint()]);
    python.arg(vcenter.control_url());
    let said = String::from_utf8(lab::process::run(&mut python).unwrap()).unwrap();
    println!("{said}");
    assert!(said.ends_with("all checks hold\n"), "{said}");
    assert!(said.lines().count() > 15, "{said}");
}
