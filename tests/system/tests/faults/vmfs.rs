//! `holdfast vmfs` on a LUN behind tgtd, read through the appliance: what lies there is what the
//! guest saw, nothing is written, and a LUN that is not the one named is not read.

use crate::site::{Site, VM, flip};
use lab::datastore::{LABEL, NAA};
use lab::tgt::LunSpec;
use serde_json::{Value, json};
use std::process::Output;

struct OnLun<'a>(&'a Site);

impl OnLun<'_> {
    fn output(&self, words: &[&str]) -> Output {
        let lun = format!("naa.{NAA}");
        let arguments = [&["vmfs", words[0], "--lun", &lun], &words[1..]].concat();
        self.0.daemon.cli().unwrap().output(&arguments).unwrap()
    }

    fn json(&self, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.output(&[words, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = serde_json::from_str(&told)
            .unwrap_or_else(|e| panic!("{e}: {told}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), json)
    }
}

#[test]
fn a_volume_on_a_lun_is_listed_checked_and_read() {
    let site = Site::new();
    let on = OnLun(&site);
    let before = std::fs::read(&site.lab.datastore.image).unwrap();
    let (status, info) = on.json(&["info"]);
    assert_eq!((status, &info["label"]), (Some(0), &json!(LABEL)));
    assert_eq!(info["uuid"], site.lab.datastore.facts.vmfs_uuid.as_str());
    assert_eq!(info["devices"][0]["name"], format!("naa.{NAA}"));
    let disk = site.lab.disk(VM, 0).unwrap();
    let (_, listed) = on.json(&["ls", VM]);
    let flat = format!("/{}", disk.flat);
    let is_flat = |entry: &&Value| flat.ends_with(&format!("/{}", entry["name"].as_str().unwrap()));
    let entry = listed["entries"].as_array().unwrap().iter().find(is_flat).unwrap();
    assert_eq!(entry["length"], disk.capacity);
    let cat = on.output(&["cat", &disk.flat]);
    assert!(cat.status.success(), "{}", String::from_utf8_lossy(&cat.stderr));
    assert!(cat.stdout == std::fs::read(&disk.truth).unwrap(), "not what the guest saw");
    let (status, map) = on.json(&["map", &disk.flat]);
    let part = map["parts"].as_array().unwrap().iter().find(|part| part["kind"] == "lun").unwrap();
    let number = |key: &str| usize::try_from(part[key].as_u64().unwrap()).unwrap();
    assert_eq!(status, Some(0));
    assert!(before[number("at")..][..4096] == cat.stdout[number("offset")..][..4096]);
    let (status, checked) = on.json(&["check"]);
    assert_eq!((status, &checked["problems"]), (Some(0), &json!([])));
    assert!(std::fs::read(&site.lab.datastore.image).unwrap() == before, "the LUN was written");
}

#[test]
fn a_lun_is_asked_who_it_is_before_it_is_read() {
    let site = Site::new();
    let on = OnLun(&site);
    let arguments = ["--json", "vmfs", "info", "--lun", "naa.600000000000000000000000000000ff"];
    let output = site.daemon.cli().unwrap().output(&arguments).unwrap();
    let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &problem["kind"]), (Some(1), &json!("not-found")));
    // Damage on the LUN is found; so is its absence.
    assert_eq!(on.json(&["check"]).0, Some(0));
    let (_, stat) = on.json(&["stat", &site.lab.disk(VM, 0).unwrap().flat]);
    let descriptor = stat["descriptor_offset"].as_u64().unwrap();
    let base = site.lab.datastore.facts.partition_offset + 0x110_0000;
    flip(&site.lab.datastore.image, base + descriptor + 4096, 0).unwrap();
    let (status, checked) = on.json(&["check"]);
    let problem = checked["problems"][0]["path"].as_str().unwrap().to_owned();
    assert_eq!((status, problem), (Some(1), site.lab.disk(VM, 0).unwrap().flat.clone()));
    let spec: LunSpec = site.lab.tgt.spec().luns[0].clone();
    site.lab.tgt.unmap(1).unwrap();
    let (status, problem) = on.json(&["info"]);
    assert_eq!(status, Some(1));
    assert!(problem["detail"].as_str().unwrap().contains(NAA), "{problem}");
    site.lab.tgt.map(&spec).unwrap();
    let (status, told) = on.json(&["info"]);
    assert_eq!(status, Some(0), "{told}");
}
