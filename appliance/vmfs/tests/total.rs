//! The fuzz entry over a corpus: every structure of formatted volumes of both versions, whole and
//! with damaged bytes, and bytes that come from nowhere.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use common::pattern;
use fakes::vmfs::{Version, VolumeSpec};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

const GIB: u64 = 1 << 30;
/// The partition, and the logical volume in it.
const PARTITION: u64 = 1 << 20;
const DATA: u64 = PARTITION + 0x110_0000;
/// Values that are put into every byte.
const DAMAGE: [u8; 6] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];

/// The structures of a volume, as (what, bytes, those that are damaged one by one).
fn corpus(version: Version) -> Vec<(&'static str, Vec<u8>, Vec<usize>)> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lun.img");
    let spec = VolumeSpec { version, ..VolumeSpec::new(GIB, "corpus") };
    let mut volume = spec.create(&image).unwrap();
    volume.add_dir("vm").unwrap();
    for number in 0..30 {
        volume.add_file(&format!("vm/file-{number}"), &pattern(100, number)).unwrap();
    }
    volume.flush().unwrap();
    let file = File::open(&image).unwrap();
    let read = |places: &[(u64, usize)]| {
        let mut bytes = Vec::new();
        for (offset, length) in places {
            let mut part = vec![0; *length];
            file.read_exact_at(&mut part, *offset).unwrap();
            bytes.append(&mut part);
        }
        bytes
    };
    let lvm = PARTITION + 0x10_0000;
    let (tables, bitmap, fdc, fd, root) = match version {
        Version::Vmfs5 => (512, 1024, 4 << 20, 2048, 5 << 20),
        Version::Vmfs6 => (4096, 4096, 7 << 20, 8192, 8 << 20),
    };
    let extents = lvm + tables + 0x8_0000;
    let first_fd = DATA + if version == Version::Vmfs5 { 0x42_0000 } else { 0x72_0000 };
    let used = |bytes: &Vec<u8>| (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    [
        ("partition table", read(&[(0, 2048)])),
        ("LVM", read(&[(lvm, 512), (lvm + tables, 512), (extents, 128), (extents + bitmap, 1024)])),
        ("header", read(&[(DATA + 0x20_0000, 512)])),
        ("descriptor of a folder", read(&[(first_fd + 16 * fd, usize::try_from(fd).unwrap())])),
        ("descriptor of a file", read(&[(first_fd + 17 * fd, usize::try_from(fd).unwrap())])),
        (
            "descriptors and their cluster",
            read(&[(DATA + fdc, 128), (DATA + fdc + 0x1_0000, 8192)]),
        ),
        ("root", read(&[(DATA + root, if version == Version::Vmfs5 { 1400 } else { 0x1_2000 })])),
    ]
    .into_iter()
    .map(|(what, bytes)| {
        let used = used(&bytes);
        (what, bytes, used)
    })
    .collect()
}

#[test]
fn the_fuzz_entry_survives_damaged_structures() {
    for version in [Version::Vmfs5, Version::Vmfs6] {
        for (what, bytes, used) in corpus(version) {
            assert!(!used.is_empty(), "{version:?}: there is no {what}");
            vmfs::fuzz(&bytes);
            // Many of the used bytes are alike: a part of them stands for all.
            for at in used.iter().step_by(used.len() / 300 + 1) {
                for value in DAMAGE {
                    let mut bytes = bytes.clone();
                    bytes[*at] = value;
                    vmfs::fuzz(&bytes);
                }
            }
            for length in [0, 1, 3, 64, 127, bytes.len() / 2, bytes.len() - 1] {
                vmfs::fuzz(&bytes[..length.min(bytes.len())]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_fuzz_entry_survives_arbitrary_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        vmfs::fuzz(&bytes);
    }
}
