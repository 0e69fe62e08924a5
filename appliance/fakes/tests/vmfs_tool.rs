//! The command line that the lab's vCenter and the tests call.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const MIB: u64 = 1 << 20;

fn tool(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = start(arguments);
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vmfs-tool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A volume with a thin disk that has data in its third MiB; returns image path and `info`.
fn create(folder: &Path) -> (String, Value) {
    let raw = folder.join("raw.img");
    let file = std::fs::File::create(&raw).unwrap();
    file.set_len(64 * MIB).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 2 * MIB + 5).unwrap();
    let spec = json!({
        "size": 1024 * MIB,
        "label": "tool",
        "uuid_seed": 3,
        "folders": ["a/b"],
        "files": [{"path": "vm/vm.vmx", "text": "x = \"1\"\n"}],
        "disks": [{"path": "vm/vm-flat.vmdk", "raw": raw, "thin": true}],
    });
    let spec_path = folder.join("spec.json");
    std::fs::write(&spec_path, spec.to_string()).unwrap();
    let image = folder.join("lun.img").to_str().unwrap().to_owned();
    let output = tool(&["create", "--image", &image, "--spec", spec_path.to_str().unwrap()], b"");
    let info = json_of(&output);
    (image, info)
}

fn map(image: &str) -> Value {
    json_of(&tool(&["map", "--image", image, "--path", "vm/vm-flat.vmdk"], b""))
}

#[test]
fn a_volume_is_made_described_and_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let (image, created) = create(folder.path());
    let info = json_of(&tool(&["info", "--image", &image], b""));
    assert_eq!(info, created);
    assert_eq!((&info["label"], &info["partition_offset"]), (&json!("tool"), &json!(MIB)));
    assert_eq!(info["lun_bytes"], json!(1024 * MIB));
    assert_eq!(info["vmfs_uuid"].as_str().unwrap().len(), 35);
    assert_eq!(map(&image), json!([{"offset": 2 * MIB, "length": MIB}]));
}

#[test]
fn guest_writes_allocate_and_wait_for_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let (image, _) = create(folder.path());
    let offsets = [0, MIB - 1, 10 * MIB, 20 * MIB, 64 * MIB - 2].map(|offset| offset.to_string());
    let mut writers: Vec<Child> = offsets
        .iter()
        .map(|at| start(&["write", "--image", &image, "--path", "vm/vm-flat.vmdk", "--offset", at]))
        .collect();
    for writer in &mut writers {
        writer.stdin.take().unwrap().write_all(b"!!").unwrap();
    }
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(
        map(&image),
        json!([
            {"offset": 0, "length": 3 * MIB},
            {"offset": 10 * MIB, "length": MIB},
            {"offset": 20 * MIB, "length": MIB},
            {"offset": 63 * MIB, "length": MIB},
        ])
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (image, _) = create(folder.path());
    let end = (64 * MIB).to_string();
    for (arguments, says) in [
        (vec!["write", "--path", "vm/vm-flat.vmdk", "--offset", &end], "67108864 bytes long"),
        (vec!["write", "--path", "vm/none.vmdk", "--offset", "0"], "does not exist"),
        (vec!["map", "--path", "vm"], "not a file"),
    ] {
        let output = tool(&[&arguments[..1], &["--image", &image], &arguments[1..]].concat(), b"!");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(says), "{error}");
    }
}
