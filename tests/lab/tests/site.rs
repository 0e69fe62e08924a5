//! A whole site comes up, its parts agree with one another, and it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod common;

use common::{MIB, small_site};
use lab::Lab;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Reads a file of the volume through the formatter's own map, straight from the LUN's image.
fn mapped_bytes(lab: &Lab, path: &str) -> u64 {
    let mut tool = Command::new(lab::place::built("vmfs-tool").unwrap());
    tool.args(["map", "--path", path, "--image"]).arg(&lab.datastore.image);
    let areas: Vec<serde_json::Value> =
        serde_json::from_slice(&lab::process::run(&mut tool).unwrap()).unwrap();
    areas.iter().map(|area| area["length"].as_u64().unwrap()).sum()
}

fn byte_at(path: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    std::fs::File::open(path).unwrap().read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

#[test]
fn a_site_comes_up_takes_guest_writes_and_leaves_nothing() {
    let lab = Lab::start(&small_site()).unwrap();
    let place = lab.directory().to_owned();

    let flat = &lab.disk("web01", 0).unwrap().flat;
    let before = mapped_bytes(&lab, flat);
    assert!(before > 12 * MIB && before < 96 * MIB, "{before} bytes mapped of a thin disk");

    let kept = lab.keep_truth("web01", 0, "before").unwrap();
    // Into a hole: a thin disk grows by the blocks that were missing.
    let hole = 90 * MIB + 4096;
    assert_eq!(byte_at(&kept, hole), 0);
    lab.write("web01", 0, hole, &[0xA5; 8192]).unwrap();
    assert_eq!(mapped_bytes(&lab, flat), before + MIB);
    assert_eq!(byte_at(&lab.disk("web01", 0).unwrap().truth, hole + 8191), 0xA5);
    assert_eq!(byte_at(&kept, hole), 0);

    let inquiry = lab::place::program("iscsi-inq", "libiscsi-bin").unwrap();
    lab::process::run(Command::new(inquiry).arg(lab.tgt.libiscsi_url(1))).unwrap();
    assert!(lab.vcenter.thumbprint().split(':').count() == 32, "{}", lab.vcenter.thumbprint());
    let state = lab.vcenter.state().unwrap();
    assert_eq!(state["vms"].as_array().map(Vec::len), Some(1), "{state}");

    drop(lab);
    assert!(!place.exists());
}
