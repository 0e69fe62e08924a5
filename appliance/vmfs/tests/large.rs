//! The largest that VMFS can be: volumes of 64 TiB and files of 62 TiB. The images are sparse.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use common::{dissect_tree, image_paths, open, our_tree, pattern, read, sha256};
use fakes::vmfs::{Layout, Version, VolumeSpec};
use std::path::{Path, PathBuf};
use vmfs::Target;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// Five LUNs of as many units of 256 MiB make 64 TiB less 1 GiB.
const LUNS: usize = 5;
const UNITS: u64 = 52_428;
/// Room for the partition tables and the LVM.
const OVERHEAD: u64 = 64 * MIB;
const LENGTH: u64 = 62 * TIB;

/// Where the file has data: first and last bytes, across pointer blocks and units, far apart.
fn places() -> Vec<(u64, usize)> {
    let per_pointer_block = 8192 * MIB;
    vec![
        (0, 4096),
        (per_pointer_block - 300, 600),
        (TIB - MIB, 2 << 20),
        (31 * TIB + 12_345, 99),
        (61 * TIB, 1),
        (LENGTH - 512, 512),
    ]
}

fn make(folder: &Path, version: Version) -> Vec<PathBuf> {
    let images = image_paths(folder, LUNS);
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let size = UNITS * 256 * MIB + OVERHEAD;
    let layout = Layout::Fragmented;
    let spec = VolumeSpec { version, layout, uuid_seed: 64, ..VolumeSpec::new(size, "large") };
    let mut volume = spec.create_on(&paths).unwrap();
    volume.add_dir("vm").unwrap();
    volume.add_empty_disk("vm/giant", LENGTH).unwrap();
    volume.add_empty_disk("vm/empty", LENGTH).unwrap();
    volume.flush().unwrap();
    for (at, bytes) in places() {
        volume.write("vm/giant", at, &pattern(bytes, at)).unwrap();
    }
    images
}

fn a_file_of_62_tib_on_a_volume_of_64_tib(version: Version, test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let images = make(folder.path(), version);
    let luns = common::devices(&images);
    let volume = open(&images);
    assert_eq!(volume.info().size, LUNS as u64 * UNITS * 256 * MIB);
    let file = volume.open_file("vm/giant").unwrap();
    file.verify().unwrap();
    let mut asked = Vec::new();
    let mut truth = Vec::new();
    let mut blocks = std::collections::BTreeSet::new();
    for (at, bytes) in places() {
        let expected = pattern(bytes, at);
        let found = read(&luns, &volume, "vm/giant", at, bytes as u64);
        assert!(found == expected, "{version:?} at {at}");
        blocks.extend(at / MIB..=(at + bytes as u64 - 1) / MIB);
        asked.push(format!("vm/giant:{at}:{bytes}"));
        truth.push(sha256(&expected));
    }
    let mut mapped = Vec::new();
    let mut devices = std::collections::BTreeSet::new();
    for part in file.allocated() {
        let part = part.unwrap();
        let Target::Lun(extent) = part.to else { panic!("{part:?}") };
        devices.insert(extent.device);
        mapped.extend(part.file_offset / MIB..(part.file_offset + part.length) / MIB);
    }
    assert_eq!(mapped, blocks.into_iter().collect::<Vec<_>>(), "only what was written has blocks");
    assert!(devices.len() > 1, "the blocks are scattered over the LUNs");
    let empty = volume.open_file("vm/empty").unwrap();
    let all: Vec<_> = empty.parts(0, LENGTH).unwrap().map(|part| part.unwrap().to).collect();
    assert_eq!(all, [Target::Hole]);
    volume.check().unwrap();
    let Some((tree, ranges)) = dissect_tree(test, &images, 0, &asked) else { return };
    assert_eq!(our_tree(&images, 0), tree);
    assert_eq!(ranges, truth, "{version:?}");
}

#[test]
fn vmfs_5() {
    a_file_of_62_tib_on_a_volume_of_64_tib(Version::Vmfs5, "large_vmfs_5");
}

#[test]
fn vmfs_6() {
    a_file_of_62_tib_on_a_volume_of_64_tib(Version::Vmfs6, "large_vmfs_6");
}
