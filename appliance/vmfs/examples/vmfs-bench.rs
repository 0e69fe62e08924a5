//! How fast block maps and folders are read, beside dissect.vmfs; prints one JSON object a line.
//!
//! ```text
//! vmfs-bench run FOLDER [PYTHON]  makes a volume in FOLDER and measures; PYTHON has dissect.vmfs
//! vmfs-bench map IMAGE PATH       maps every block of a file, twice over: checks, then parts
//! vmfs-bench ls IMAGE PATH        opens the volume and lists a folder
//! ```
//! `run` starts `map` and `ls` as processes of their own, so that memory is that of reading alone.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a measuring tool, not a part of the product

use block::ReadAt;
use fakes::vmfs::{Layout, Provisioning, VolumeSpec};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use vmfs::Volume;

const USAGE: &str = "usage: vmfs-bench run FOLDER [PYTHON] | map IMAGE PATH | ls IMAGE PATH";
const TIB: u64 = 1 << 40;
const NAMES: usize = 10_000;
const DISK: &str = "full-flat.vmdk";
const FOLDER: &str = "many";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", folder] => run(Path::new(folder), None),
        ["run", folder, python] => run(Path::new(folder), Some(python)),
        ["map", image, path] => println!("{}", map(image, path)),
        ["ls", image, path] => println!("{}", list(image, path)),
        _ => panic!("{USAGE}"),
    }
}

fn run(folder: &Path, python: Option<&str>) {
    let image = make(folder);
    let image = image.as_str();
    let ours = |command, path| {
        figures(Command::new(std::env::current_exe().unwrap()).args([command, image, path]))
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dissect_bench.py");
    let theirs = |command, path| {
        python.map(|python| figures(Command::new(python).args([script, command, image, path])))
    };
    let (map, their_map) = (ours("map", DISK), theirs("map", DISK));
    let (ls, their_ls) = (ours("ls", FOLDER), theirs("ls", FOLDER));
    for (name, ours, theirs, field, limit) in [
        ("vmfs.map_1tib.seconds", &map, &their_map, "seconds", 2.0),
        ("vmfs.map_1tib.rss_mib", &map, &their_map, "rss_mib", 64.0),
        ("vmfs.ls_10k.ms", &ls, &their_ls, "ms", 100.0),
    ] {
        let value = ours[field].as_f64().unwrap();
        let peer = theirs.as_ref().map(|figures| figures[field].clone());
        let met = value < limit;
        println!(
            "{}",
            json!({"name": name, "value": value, "limit": limit, "met": met,
            "dissect.vmfs": peer})
        );
    }
}

fn figures(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A volume with a disk of 1 TiB of which every block exists, in short runs, and a full folder.
fn make(folder: &Path) -> String {
    let image = folder.join("bench.img");
    let layout = Layout::Fragmented;
    let spec = VolumeSpec { layout, fd_groups: 6, ..VolumeSpec::new(TIB * 5 / 4, "bench") };
    let mut volume = spec.create(&image).unwrap();
    let raw = folder.join("bench.raw");
    File::create(&raw).unwrap().set_len(TIB).unwrap();
    volume.add_disk_from_raw(DISK, &raw, Provisioning::Thick).unwrap();
    volume.add_dir(FOLDER).unwrap();
    for number in 0..NAMES {
        volume.add_file(&format!("{FOLDER}/vm-{number}.vmdk"), b"x").unwrap();
    }
    volume.flush().unwrap();
    image.to_str().unwrap().to_owned()
}

fn open(image: &str) -> Volume {
    Volume::open(vec![Arc::new(File::open(image).unwrap()) as Arc<dyn ReadAt>]).unwrap()
}

fn map(image: &str, path: &str) -> Value {
    let begin = Instant::now();
    let file = open(image).open_file(path).unwrap();
    file.verify().unwrap();
    let verified = begin.elapsed().as_secs_f64();
    let parts = file.allocated().map(Result::unwrap).count();
    let seconds = begin.elapsed().as_secs_f64();
    json!({"seconds": seconds, "verify_seconds": verified, "parts": parts, "rss_mib": rss_mib()})
}

fn list(image: &str, path: &str) -> Value {
    let volume = open(image);
    let begin = Instant::now();
    let names = volume.read_dir(path).unwrap().len();
    json!({"ms": begin.elapsed().as_secs_f64() * 1000.0, "names": names, "rss_mib": rss_mib()})
}

/// The most memory that this process ever held.
fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
