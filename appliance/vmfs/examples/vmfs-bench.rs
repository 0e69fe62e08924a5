//! How fast block maps and folders are read; the bench program of the system calls it.
//!
//! ```text
//! vmfs-bench make FOLDER      makes a volume, FOLDER/bench.img, with what the others ask for
//! vmfs-bench map IMAGE PATH   maps every block of a file, twice over: checks, then parts
//! vmfs-bench ls IMAGE PATH    opens the volume and lists a folder
//! ```
//! The last two print a JSON object. Each is a process of its own, so that memory is that of
//! reading alone.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a measuring tool, not a part of the product

use block::ReadAt;
use fakes::vmfs::{Layout, Provisioning, VolumeSpec};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vmfs::Volume;

const USAGE: &str = "usage: vmfs-bench make FOLDER | map IMAGE PATH | ls IMAGE PATH";
const TIB: u64 = 1 << 40;
const NAMES: usize = 10_000;
const DISK: &str = "full-flat.vmdk";
const FOLDER: &str = "many";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", folder] => make(Path::new(folder)),
        ["map", image, path] => println!("{}", map(image, path)),
        ["ls", image, path] => println!("{}", list(image, path)),
        _ => panic!("{USAGE}"),
    }
}

/// A volume with a disk of 1 TiB of which every block exists, in short runs, and a full folder.
fn make(folder: &Path) {
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
