//! What tests of this crate, and of the command line, share: the cache, the Python of the second
//! opinion, the volumes made by ESXi, and ways to look at a volume as a whole.
#![allow(dead_code)] // each test program uses a part
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

use block::ReadAt;
use lab::place::{skipped, test_cache};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use vmfs::{FileKind, Target, Volume};

/// Packages of the private environment, when the caller brings none (`HOLDFAST_VENV`).
const PACKAGES: [&str; 3] = ["dissect.cstruct==4.7", "dissect.util==3.24", "dissect.vmfs==3.13"];

/// A Python that has dissect.vmfs; `None`, said loudly, when it cannot be had.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    if let Some(venv) = std::env::var_os("HOLDFAST_VENV") {
        return Some(Path::new(&venv).join("bin/python"));
    }
    let venv = test_cache().unwrap().join("venv");
    let python = venv.join("bin/python");
    let lock = File::create(test_cache().unwrap().join("venv.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    if venv.join("complete").exists() {
        return Some(python);
    }
    let made =
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).and_then(|()| {
            run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES))
        });
    match made {
        Ok(()) => {
            std::fs::write(venv.join("complete"), "").unwrap();
            Some(python)
        }
        Err(why) => {
            skipped(test, &format!("no Python environment with dissect.vmfs: {why}")).unwrap();
            None
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The images of a volume made by ESXi; `None`, said loudly, when they cannot be had.
pub(crate) fn esxi(test: &str, names: &[&str]) -> Option<Vec<PathBuf>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmfs/tests/esxi_volumes.py");
    let python = python(test)?;
    let output = Command::new(python).arg(script).arg(test_cache().unwrap()).output().unwrap();
    match output.status.code() {
        Some(0) => {}
        Some(3) => {
            let why = String::from_utf8_lossy(&output.stderr);
            skipped(test, &format!("volumes made by ESXi cannot be downloaded: {why}")).unwrap();
            return None;
        }
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
    let path = |name: &&str| test_cache().unwrap().join("esxi").join(format!("{name}.bin"));
    Some(names.iter().map(path).collect())
}

/// Bytes that are never zero and differ from place to place.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56).to_le_bytes()[0] | 1
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A sparse raw image with data at some places.
pub(crate) fn raw_image(folder: &Path, name: &str, length: u64, data: &[(u64, usize)]) -> PathBuf {
    let path = folder.join(name);
    let file = File::create(&path).unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in data {
        file.write_all_at(&pattern(*bytes, offset + 7), *offset).unwrap();
    }
    path
}

/// Paths of the images of a volume of `luns` LUNs.
pub(crate) fn image_paths(folder: &Path, luns: usize) -> Vec<PathBuf> {
    (0..luns).map(|lun| folder.join(format!("lun{lun}.img"))).collect()
}

/// Images as devices.
pub(crate) fn devices(images: &[PathBuf]) -> Vec<Arc<dyn ReadAt>> {
    let device = |path: &PathBuf| Arc::new(File::open(path).unwrap()) as Arc<dyn ReadAt>;
    images.iter().map(device).collect()
}

/// Opens the volume that the images make up.
pub(crate) fn open(images: &[PathBuf]) -> Volume {
    Volume::open(devices(images)).unwrap_or_else(|error| panic!("{}", model::chain(&error)))
}

/// The bytes of a range of a file, read from the LUNs as its map says.
pub(crate) fn read(
    luns: &[Arc<dyn ReadAt>],
    volume: &Volume,
    path: &str,
    offset: u64,
    length: u64,
) -> Vec<u8> {
    let file = volume.open_file(path).unwrap();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    let mut position = offset;
    for part in file.map(offset, length).unwrap() {
        assert_eq!(part.file_offset, position, "{path}: the map has a gap");
        let start = usize::try_from(position - offset).unwrap();
        let buffer = &mut bytes[start..start + usize::try_from(part.length).unwrap()];
        match part.to {
            Target::Lun(extent) => {
                assert_eq!(extent.length, part.length);
                luns[extent.device].read_at(extent.offset, buffer).unwrap();
            }
            Target::Hole | Target::Zero => {}
            Target::Resident => {
                let whole = file.read_small(1 << 20).unwrap();
                let from = usize::try_from(position).unwrap();
                buffer.copy_from_slice(&whole[from..from + buffer.len()]);
            }
            Target::Unknown(reason) => panic!("{path} at {position}: {reason}"),
        }
        position += part.length;
    }
    assert_eq!(position, offset + length, "{path}: the map ends early");
    bytes
}

/// The SHA-256 of bytes as hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Path -> (kind, length, SHA-256 of regular files up to `hash_max` bytes), system files left
/// out.
pub(crate) type Tree = BTreeMap<String, (String, u64, Option<String>)>;

/// The tree as our reader sees it.
pub(crate) fn our_tree(images: &[PathBuf], hash_max: u64) -> Tree {
    let luns = devices(images);
    let volume = open(images);
    let mut tree = Tree::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in volume.read_dir(&folder).unwrap() {
            let path = format!("{folder}{}", entry.name);
            let (kind, length, hash) = match entry.kind {
                FileKind::System => continue,
                FileKind::Directory => {
                    folders.push(format!("{path}/"));
                    ("dir", 0, None)
                }
                FileKind::Regular => {
                    let length = volume.open_file(&path).unwrap().length();
                    let hash = (length <= hash_max)
                        .then(|| sha256(&read(&luns, &volume, &path, 0, length)));
                    ("file", length, hash)
                }
                FileKind::Symlink => {
                    ("symlink", volume.read_link(&path).unwrap().len() as u64, None)
                }
                other => (other.name(), 0, None),
            };
            tree.insert(path, (kind.into(), length, hash));
        }
    }
    tree
}

/// The tree, and hashes of `ranges` (`PATH:OFFSET:LENGTH`), as dissect.vmfs sees them.
pub(crate) fn dissect_tree(
    test: &str,
    images: &[PathBuf],
    hash_max: u64,
    ranges: &[String],
) -> Option<(Tree, Vec<String>)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dissect_check.py");
    let mut command = Command::new(python(test)?);
    command.arg(script).arg("--hash-max").arg(hash_max.to_string());
    for range in ranges {
        command.arg("--range").arg(range);
    }
    let output = command.args(images).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let mut tree = Tree::new();
    for item in json["files"].as_array().unwrap() {
        let (path, kind) = (text(&item["path"]).unwrap(), text(&item["type"]).unwrap());
        let length = match kind.as_str() {
            "file" | "symlink" => item["size"].as_u64().unwrap(),
            _ => 0,
        };
        let kind = if kind == "rdm" { "raw device mapping".into() } else { kind };
        if !path.ends_with(".sf") {
            tree.insert(path, (kind, length, text(&item["sha256"])));
        }
    }
    let ranges = json["ranges"].as_array().unwrap().iter().map(|hash| text(hash).unwrap());
    Some((tree, ranges.collect()))
}
