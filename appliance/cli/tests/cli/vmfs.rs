//! `holdfast vmfs` on images: volumes that ESXi made, volumes of the formatter over several
//! LUNs, and damaged ones. On a LUN of the SAN: `tests/system/tests/faults/vmfs.rs`.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

use crate::tool::{Ran, Tool, text};
use crate::volumes::{esxi, image_paths, pattern, raw_image, sha256};
use fakes::vmfs::{Layout, Mark, Provisioning, VolumeSpec};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The command on images; it has neither server nor token.
struct OnImages {
    tool: Tool,
    images: Vec<PathBuf>,
}

impl OnImages {
    fn new(images: Vec<PathBuf>) -> Self {
        Self { tool: Tool::new("127.0.0.1:9".parse().unwrap()), images }
    }

    fn args<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let images = self.images.iter().flat_map(|image| ["--image", text(image)]);
        ["vmfs", words[0]].into_iter().chain(images).chain(words[1..].iter().copied()).collect()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.tool.command(&self.args(words));
        command.env_remove("HOLDFAST_TOKEN_FILE");
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.command(words).output().unwrap().into()
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let ran = self.run(&[words, &["--json"]].concat());
        assert_eq!(ran.err, "", "with --json nothing goes to standard error");
        (ran.status, serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.out)))
    }
}

#[test]
fn what_esxi_wrote_is_listed_shown_and_read() {
    for (name, normal_at) in [("vmfs5", 0x5FD0_0000_u64), ("vmfs6", 0x3630_0000)] {
        let Some(images) = esxi("holdfast vmfs", &[name]) else { return };
        let on = OnImages::new(images);
        let (status, info) = on.json(&["info"]);
        assert_eq!((status, &info["label"], &info["local"]), (0, &json!(name), &json!(false)));
        let (_, root) = on.json(&["ls"]);
        let names: Vec<_> = root["entries"].as_array().unwrap().iter().collect();
        let of = |name: &str| *names.iter().find(|entry| entry["name"] == name).unwrap();
        assert_eq!((&of("small")["type"], &of("small")["length"]), (&json!("file"), &json!(5)));
        assert_eq!(of("symlink")["target"], format!("/vmfs/volumes/{name}/small"));
        let (_, folder) = on.json(&["ls", "/directory"]);
        assert_eq!(folder["entries"].as_array().unwrap().len(), 100);
        assert!(on.run(&["ls", "collision"]).out.contains("Kusjes van SRT 😘"));

        let (_, rdm) = on.json(&["stat", "rdm-rdm.vmdk"]);
        assert_eq!(
            (&rdm["type"], &rdm["raw_device"]["id_text"]),
            (&json!("rdm"), &json!("QM00015             QEMU H"))
        );
        assert!(on.run(&["stat", "symlink"]).out.contains("leads to     /vmfs/volumes"));
        assert_eq!(on.run(&["cat", "directory/file7"]).out, "File 7\n");
        let (_, bigger) = on.json(&["cat", "bigger"]);
        let hash = "ec5223559dc61ecef215c97e5b6c1a0fad4cab8530aed3de1608c6cd47892ef9";
        assert_eq!((&bigger["sha256"], &bigger["length"]), (&json!(hash), &json!(128 * MIB)));

        let (_, map) = on.json(&["map", "normal-flat.vmdk"]);
        let at = 0x110_0000 + normal_at;
        let data = json!({"offset": 42 * GIB, "length": MIB, "kind": "lun", "device": 0, "at": at});
        let parts = map["parts"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[1]), (3, &data), "{name}");
        assert_eq!((&map["lun_bytes"], &map["error"]), (&json!(MIB), &Value::Null));
        let shown = on.run(&["map", "normal-flat.vmdk"]).out;
        assert!(shown.contains(&format!(" at {at}\n")) && shown.contains("hole\n"), "{shown}");
        let checked = on.run(&["check"]);
        assert_eq!(checked.status, 0, "{}", checked.out);
        assert!(checked.out.ends_with("Everything holds.\n"));
    }
}

#[test]
fn extents_come_in_any_order_and_all_of_them() {
    let Some(images) = esxi("holdfast vmfs", &["vmfs6-span-1", "vmfs6-span-0"]) else { return };
    let on = OnImages::new(images.clone());
    let (status, info) = on.json(&["info"]);
    assert_eq!((status, info["devices"].as_array().unwrap().len()), (0, 2));
    assert_eq!(on.json(&["check"]).1["problems"], json!([]));
    let (status, problem) = OnImages::new(images[..1].to_vec()).json(&["info"]);
    assert_eq!((status, &problem["kind"]), (1, &json!("refused")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the volume has 2 of them, 1 given"), "{detail}");
    let Some(bare) = esxi("holdfast vmfs", &["vmfs6d"]) else { return };
    let on = OnImages::new(bare);
    assert_eq!(on.run(&["info"]).status, 1);
    assert_eq!(on.json(&["info", "--bare"]).1["lvm_uuid"], Value::Null);
}

/// A volume over three LUNs, with disks of one and two levels of pointers and a small file.
fn spanned(folder: &TempDir) -> OnImages {
    let images = image_paths(folder.path(), 3);
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let spec = VolumeSpec { layout: Layout::Fragmented, ..VolumeSpec::new(GIB, "spanned") };
    let mut volume = spec.create_on(&paths).unwrap();
    volume.add_dir("vm").unwrap();
    let data = [(0, 3 * 1_048_576), (777 * MIB, 40_000_000), (GIB - 512, 512)];
    let raw = raw_image(folder.path(), "raw", GIB, &data);
    volume.add_disk_from_raw("vm/disk-flat.vmdk", &raw, Provisioning::Thin).unwrap();
    volume.add_empty_disk("vm/huge-flat.vmdk", 40 * TIB).unwrap();
    volume.write("vm/huge-flat.vmdk", 39 * TIB, b"far away").unwrap();
    volume.add_file("vm/a.vmx", &pattern(900, 3)).unwrap();
    volume.flush().unwrap();
    OnImages::new(images)
}

#[test]
fn a_disk_over_several_luns_is_mapped_and_read_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let on = spanned(&folder);
    let truth = std::fs::read(folder.path().join("raw")).unwrap();
    assert_eq!(on.json(&["cat", "vm/disk-flat.vmdk"]).1["sha256"], sha256(&truth));
    // 1 GiB goes through a process that may have 128 MiB.
    let mut limited = Command::new("sh");
    let words = on.args(&["cat", "vm/disk-flat.vmdk"]);
    limited.args(["-c", "ulimit -v 131072; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_holdfast")]);
    let output = limited.args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == truth, "the bytes differ");

    let (_, map) = on.json(&["map", "vm/disk-flat.vmdk"]);
    let parts = map["parts"].as_array().unwrap();
    let number = |part: &Value, key: &str| part[key].as_u64().unwrap();
    let mut end = 0;
    for part in parts {
        assert_eq!(number(part, "offset"), end, "no gap");
        end += number(part, "length");
        if part["kind"] == "lun" {
            let device = usize::try_from(number(part, "device")).unwrap();
            let image = File::open(map["devices"][device].as_str().unwrap()).unwrap();
            let mut bytes = [0; 512];
            image.read_exact_at(&mut bytes, number(part, "at")).unwrap();
            let offset = usize::try_from(number(part, "offset")).unwrap();
            assert_eq!(bytes, truth[offset..offset + 512], "at {offset}");
        }
    }
    assert_eq!(end, GIB);
    let devices: std::collections::BTreeSet<u64> =
        parts.iter().filter_map(|part| part["device"].as_u64()).collect();
    assert_eq!(devices.len(), 3, "the disk lies on all LUNs");
    let (_, huge) = on.json(&["map", "vm/huge-flat.vmdk"]);
    assert_eq!((&huge["lun_bytes"], &huge["hole_bytes"]), (&json!(MIB), &json!(40 * TIB - MIB)));
    assert_eq!(on.json(&["map", "vm/a.vmx"]).1["resident_bytes"], 900);
}

#[test]
fn what_is_not_understood_is_shown_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let on = spanned(&folder);
    let paths: Vec<&Path> = on.images.iter().map(PathBuf::as_path).collect();
    let mut volume = fakes::vmfs::Volume::open_on(&paths).unwrap();
    volume.mark("vm/disk-flat.vmdk", 780 * MIB, Mark::CopyOnWrite).unwrap();
    volume.flush().unwrap();
    let (status, map) = on.json(&["map", "vm/disk-flat.vmdk"]);
    assert_eq!((status, &map["unknown_bytes"]), (0, &json!(MIB)));
    let unknown = map["parts"].as_array().unwrap().iter().find(|part| part["kind"] == "unknown");
    assert_eq!(unknown.unwrap()["offset"], 780 * MIB);
    assert!(on.run(&["map", "vm/disk-flat.vmdk"]).out.contains("UNKNOWN: its block is marked"));
    let output = on.command(&["cat", "vm/disk-flat.vmdk"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "nothing is written");
    assert!(
        said.contains(&format!("the content at offset {} cannot be read", 780 * MIB)),
        "{said}"
    );
    let (_, checked) = on.json(&["check"]);
    assert_eq!((&checked["unknown_blocks"], &checked["problems"]), (&json!(1), &json!([])));
}

#[test]
fn check_lists_all_damage_and_hides_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let images = image_paths(folder.path(), 1);
    let mut volume = VolumeSpec::new(GIB, "damaged").create(&images[0]).unwrap();
    volume.add_dir("vm").unwrap();
    for name in ["one", "two", "three"] {
        volume.add_file(&format!("vm/{name}"), &pattern(200_000, 1)).unwrap();
    }
    volume.flush().unwrap();
    let on = OnImages::new(images);
    let base = on.json(&["info"]).1["devices"][0]["partition_offset"].as_u64().unwrap();
    for name in ["one", "three"] {
        let stat = on.json(&["stat", &format!("vm/{name}")]).1;
        let at = base + 0x110_0000 + stat["descriptor_offset"].as_u64().unwrap();
        // The descriptor's own address.
        flip(&on.images[0], at + 4096);
    }
    let (status, checked) = on.json(&["check"]);
    let problems = checked["problems"].as_array().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!((status, paths), (1, vec!["vm/one", "vm/three"]));
    assert_eq!(checked["files"], 1, "the others were looked at");
    let shown = on.run(&["check"]);
    assert_eq!(shown.status, 1);
    assert!(shown.out.contains("PROBLEM: vm/three: the file descriptor at"), "{}", shown.out);
    let (status, listed) = on.json(&["ls", "vm"]);
    let entries = listed["entries"].as_array().unwrap().iter();
    let damaged: Vec<_> = entries.map(|entry| !entry["error"].is_null()).collect();
    assert_eq!((status, damaged), (1, vec![true, true, false]), "one, three, two");
    let read_anyway = on.json(&["cat", "vm/one"]);
    assert_eq!((read_anyway.0, &read_anyway.1["kind"]), (1, &json!("corrupt")));
    assert_eq!(on.json(&["cat", "vm/two"]).1["sha256"], sha256(&pattern(200_000, 1)));
}

#[test]
fn a_map_that_breaks_off_is_still_a_document_and_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let on = spanned(&folder);
    let base = on.json(&["info"]).1["devices"][0]["partition_offset"].as_u64().unwrap();
    let stat = on.json(&["stat", "vm/huge-flat.vmdk"]).1;
    let at = base + 0x110_0000 + stat["descriptor_offset"].as_u64().unwrap();
    // The descriptor's last 320 words are its pointers; the one that leads to 39 TiB gets
    // another type. One of them covers 8192 times 8192 blocks.
    let slot = 39 * TIB / (8192 * 8192 * MIB);
    let slots = at + 8192 - 2560;
    flip(&on.images[0], slots + slot * 8);
    let (status, map) = on.json(&["map", "vm/huge-flat.vmdk"]);
    assert_eq!((status, &map["error"]["kind"]), (1, &json!("corrupt")), "{map:#}");
    let shown = on.run(&["map", "vm/huge-flat.vmdk"]);
    assert_eq!(shown.status, 1);
    assert!(shown.err.contains("mapping \"vm/huge-flat.vmdk\""), "{}", shown.err);
    assert!(!shown.out.contains("on devices"), "no sum of a part: {}", shown.out);
    let missing = on.run(&["map", "vm/nothing"]);
    assert_eq!((missing.status, missing.out.as_str()), (1, ""));
    assert!(missing.err.contains("\"vm/nothing\" does not exist"), "{}", missing.err);
}

#[test]
fn images_are_regular_files_and_something_must_be_named() {
    let on = OnImages::new(vec!["/dev/null".into()]);
    let ran = on.run(&["info"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("/dev/null is not a regular file"), "{}", ran.err);
    assert_eq!(OnImages::new(Vec::new()).run(&["info"]).status, 2);
    let both = on.run(&["info", "--lun", "naa.624a9370cdef0123456789abcdef0123"]);
    assert_eq!(both.status, 2, "{}", both.err);
}

fn flip(image: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
