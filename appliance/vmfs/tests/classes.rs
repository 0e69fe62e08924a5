//! Every address class, of both versions, on one LUN and on several: what our formatter wrote is
//! what we read, and what dissect.vmfs reads.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use common::{dissect_tree, image_paths, open, our_tree, pattern, raw_image, read, sha256};
use fakes::vmfs::{Layout, Mark, Provisioning, Version, Volume as Formatted, VolumeSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vmfs::{Mapped, Reason, Target};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Larger files are compared at some places only.
const HASH_MAX: u64 = 450 * MIB;

/// Version, number of LUNs, how blocks follow one another.
const CASES: [(Version, usize, Layout); 4] = [
    (Version::Vmfs5, 1, Layout::Contiguous),
    (Version::Vmfs5, 2, Layout::Fragmented),
    (Version::Vmfs6, 1, Layout::Contiguous),
    (Version::Vmfs6, 3, Layout::Fragmented),
];

/// Lengths of small files: both sides of every limit of both versions.
const SMALL: [usize; 11] = [0, 1, 1024, 1025, 3584, 3585, 8192, 8193, 65_536, 65_537, 3_000_001];

/// Name, length, places with data, provisioning. Large blocks come first: they need 512 MiB in
/// one piece.
type Disk = (&'static str, u64, &'static [(u64, usize)], Provisioning);
const LARGE: [Disk; 2] = [
    ("large", 515 * MIB, &[(0, 700), (300 * MIB, 5000), (514 * MIB, 9)], Provisioning::LargeThick),
    (
        "large-lazy",
        1025 * MIB,
        &[(MIB, 700), (513 * MIB - 5, 10), (1024 * MIB, 1)],
        Provisioning::LargeLazyThick,
    ),
];
const DISKS: [Disk; 7] = [
    ("direct", 200 * MIB, &[(5 * MIB - 100, 200), (199 * MIB, 5000)], Provisioning::Thin),
    ("one-level", 3 * GIB, &[(0, 512), (GIB + 77, 4096), (3 * GIB - 512, 512)], Provisioning::Thin),
    ("thick", 400 * MIB, &[(MIB, 5000), (399 * MIB, 1000)], Provisioning::Thick),
    ("lazy", 330 * MIB, &[(7 * MIB, 100)], Provisioning::LazyThick),
    ("none", 500 * MIB, &[], Provisioning::Thin),
    ("odd", 10 * MIB + 512, &[(10 * MIB, 512)], Provisioning::Thin),
    ("two-levels", 10 * TIB, &[(3 * TIB, 4096), (10 * TIB - 512, 512)], Provisioning::Thin),
];

/// A volume with all of it: its images, and the raw disks by name.
struct Made {
    images: Vec<PathBuf>,
    raws: BTreeMap<&'static str, PathBuf>,
}

fn make(folder: &Path, (version, luns, layout): (Version, usize, Layout)) -> Made {
    let images = image_paths(folder, luns);
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let spec = VolumeSpec { version, layout, uuid_seed: 5, ..VolumeSpec::new(4 * GIB, "classes") };
    let mut volume = spec.create_on(&paths).unwrap();
    volume.add_dir("vm").unwrap();
    volume.add_dir("small").unwrap();
    let large: &[Disk] = if version == Version::Vmfs6 { &LARGE } else { &[] };
    let mut raws = BTreeMap::new();
    for (name, length, data, provisioning) in large.iter().chain(&DISKS) {
        let raw = raw_image(folder, &format!("{name}.raw"), *length, data);
        volume.add_disk_from_raw(&format!("vm/{name}"), &raw, *provisioning).unwrap();
        raws.insert(*name, raw);
    }
    for length in SMALL {
        volume.add_file(&format!("small/{length}"), &pattern(length, length as u64)).unwrap();
    }
    volume.add_symlink("vm/link", "/vmfs/volumes/classes/small/0").unwrap();
    volume.add_symlink("vm/long-link", &"x/".repeat(2000)).unwrap();
    volume.add_raw_device("vm/rdm-rdm.vmdk", b"QM00015             QEMU H", 6 * TIB).unwrap();
    volume.flush().unwrap();
    Made { images, raws }
}

/// Places of a disk that are compared: its data, what lies around it, both ends.
fn places(length: u64) -> Vec<u64> {
    let all = [0, 4 * MIB, 199 * MIB, 299 * MIB, 511 * MIB, GIB, 3 * TIB, length];
    let mut starts: Vec<u64> =
        all.iter().map(|at| (*at).min(length - length.min(3 * MIB))).collect();
    starts.dedup();
    starts
}

#[test]
fn every_class_is_read_as_it_was_written() {
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), case);
        let luns = common::devices(&made.images);
        let volume = open(&made.images);
        assert_eq!(volume.info().devices.len(), case.1);
        for (name, raw) in &made.raws {
            let (path, raw) = (format!("vm/{name}"), File::open(raw).unwrap());
            let file = volume.open_file(&path).unwrap();
            let length = raw.metadata().unwrap().len();
            assert_eq!(file.length(), length, "{case:?} {path}");
            file.verify().unwrap_or_else(|error| panic!("{case:?} {path}: {error}"));
            let large = file.in_large_block(0).unwrap();
            assert_eq!(large, name.starts_with("large"), "{case:?} {path}");
            assert!(!file.in_large_block(length - 1).unwrap(), "no whole one: {case:?} {path}");
            for start in places(length) {
                let part = (4 * MIB).min(length - start);
                let mut truth = vec![0; usize::try_from(part).unwrap()];
                raw.read_exact_at(&mut truth, start).unwrap();
                assert!(read(&luns, &volume, &path, start, part) == truth, "{path} at {start}");
            }
            file.recheck().unwrap();
        }
        for length in SMALL {
            let file = volume.open_file(&format!("small/{length}")).unwrap();
            assert_eq!(file.read_small(4 << 20).unwrap(), pattern(length, length as u64));
        }
        assert_eq!(volume.read_link("vm/link").unwrap(), "/vmfs/volumes/classes/small/0");
        assert_eq!(volume.read_link("vm/long-link").unwrap(), "x/".repeat(2000));
        let id = volume.raw_device_id("vm/rdm-rdm.vmdk").unwrap();
        assert_eq!(id, (1, b"QM00015             QEMU H".to_vec()));
        let report = volume.check().unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let files = (made.raws.len() + SMALL.len()) as u64;
        assert_eq!((report.directories, report.files, report.others), (3, files, 3), "{case:?}");
        volume.check_unchanged().unwrap();
    }
}

#[test]
fn dissect_reads_every_class_the_same() {
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), case);
        let mut asked = Vec::new();
        let mut truth = Vec::new();
        for (name, raw) in &made.raws {
            let raw = File::open(raw).unwrap();
            let length = raw.metadata().unwrap().len();
            for start in places(length).into_iter().filter(|_| length > HASH_MAX) {
                let part = MIB.min(length - start);
                let mut bytes = vec![0; usize::try_from(part).unwrap()];
                raw.read_exact_at(&mut bytes, start).unwrap();
                asked.push(format!("vm/{name}:{start}:{part}"));
                truth.push(sha256(&bytes));
            }
        }
        let test = "dissect_reads_every_class";
        let Some((tree, ranges)) = dissect_tree(test, &made.images, HASH_MAX, &asked) else {
            return;
        };
        assert_eq!(our_tree(&made.images, HASH_MAX), tree, "{case:?}");
        for (asked, (found, truth)) in asked.iter().zip(ranges.iter().zip(&truth)) {
            assert_eq!(found, truth, "{case:?} {asked}");
        }
    }
}

/// Data on the LUN, zeros by a mark, and holes, as (where they end, what they are).
fn kinds(volume: &vmfs::Volume, path: &str) -> Vec<(u64, Option<bool>)> {
    let file = volume.open_file(path).unwrap();
    let mut kinds: Vec<(u64, Option<bool>)> = Vec::new();
    for part in file.map(0, file.length()).unwrap() {
        let kind = match part.to {
            Target::Lun(_) => Some(true),
            Target::Zero => Some(false),
            Target::Hole => None,
            other => panic!("{path}: {other:?}"),
        };
        let end = part.file_offset + part.length;
        match kinds.last_mut() {
            Some(last) if last.1 == kind => last.0 = end,
            _ => kinds.push((end, kind)),
        }
    }
    kinds
}

#[test]
fn marks_on_blocks_are_zeros_or_unknown_and_holes_are_holes() {
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), case);
        let volume = open(&made.images);
        let (data, zero, hole) = (Some(true), Some(false), None);
        assert_eq!(
            kinds(&volume, "vm/lazy"),
            [(7 * MIB, zero), (8 * MIB, data), (330 * MIB, zero)]
        );
        assert_eq!(kinds(&volume, "vm/thick"), [(400 * MIB, data)]);
        assert_eq!(kinds(&volume, "vm/none"), [(500 * MIB, hole)]);
        assert_eq!(kinds(&volume, "vm/odd"), [(10 * MIB, hole), (10 * MIB + 512, data)]);
        assert_eq!(
            kinds(&volume, "vm/one-level"),
            [(MIB, data), (GIB, hole), (GIB + MIB, data), (3 * GIB - MIB, hole), (3 * GIB, data)]
        );
        if case.0 == Version::Vmfs6 {
            assert_eq!(kinds(&volume, "vm/large"), [(515 * MIB, data)]);
            let (end, data, zero) = (1025 * MIB, Some(true), Some(false));
            assert_eq!(
                kinds(&volume, "vm/large-lazy"),
                [
                    (MIB, zero),
                    (2 * MIB, data),
                    (512 * MIB, zero),
                    (514 * MIB, data),
                    (1024 * MIB, zero),
                    (end, data)
                ]
            );
        }
    }
}

#[test]
fn a_block_with_a_mark_that_is_not_understood_is_unknown() {
    let (five, six) = (Version::Vmfs5, Version::Vmfs6);
    for (version, disk, mark, reason) in [
        (five, "thick", Mark::CopyOnWrite, Reason::CopyOnWrite),
        (five, "thick", Mark::UnknownBit, Reason::UnknownBits),
        (six, "thick", Mark::CopyOnWrite, Reason::CopyOnWrite),
        (six, "thick", Mark::PartlyToBeZeroed, Reason::PartlyToBeZeroed),
        (six, "thick", Mark::UnknownBit, Reason::UnknownBits),
        (six, "large", Mark::CopyOnWrite, Reason::CopyOnWrite),
        (six, "large", Mark::PartlyToBeZeroed, Reason::PartlyToBeZeroed),
        (six, "large", Mark::UnknownBit, Reason::UnknownBits),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), (version, 1, Layout::Contiguous));
        let path = format!("vm/{disk}");
        Formatted::open(&made.images[0]).unwrap().mark(&path, 30 * MIB + 1, mark).unwrap();
        let volume = open(&made.images);
        let file = volume.open_file(&path).unwrap();
        file.verify().unwrap_or_else(|error| panic!("{path} {mark:?}: {error}"));
        let unknown: Vec<_> = file
            .parts(0, file.length())
            .unwrap()
            .map(Result::unwrap)
            .filter(|part| !matches!(part.to, Target::Lun(_)))
            .collect();
        let to = Target::Unknown(reason);
        assert_eq!(unknown, [Mapped { file_offset: 30 * MIB, length: MIB, to }], "{mark:?}");
    }
}

#[test]
fn a_local_volume_is_read_like_any_other_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lun.img");
    let spec = VolumeSpec { local: true, ..VolumeSpec::new(GIB, "local") };
    let mut volume = spec.create(&image).unwrap();
    volume.add_file("log", &pattern(70_000, 1)).unwrap();
    volume.flush().unwrap();
    drop(volume);
    let images = [image];
    let volume = open(&images);
    assert!(volume.info().local);
    assert_eq!(volume.open_file("log").unwrap().read_small(1 << 20).unwrap(), pattern(70_000, 1));
    let Some((tree, _)) = dissect_tree("a_local_volume", &images, GIB, &[]) else { return };
    assert_eq!(our_tree(&images, GIB), tree);
}

#[test]
fn what_is_allocated_comes_part_by_part() {
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path(), case);
        let volume = open(&made.images);
        let paths: Vec<&Path> = made.images.iter().map(PathBuf::as_path).collect();
        for name in made.raws.keys().filter(|name| **name != "two-levels") {
            let path = format!("vm/{name}");
            let file = volume.open_file(&path).unwrap();
            let mut found: Vec<(u64, u64)> = Vec::new();
            for part in file.allocated() {
                let part = part.unwrap();
                assert!(matches!(part.to, Target::Lun(_)), "{path}");
                match found.last_mut() {
                    Some(last) if last.0 + last.1 == part.file_offset => last.1 += part.length,
                    _ => found.push((part.file_offset, part.length)),
                }
            }
            let ranges = Formatted::open_on(&paths).unwrap().allocated(&path).unwrap();
            let truth: Vec<_> = ranges.iter().map(|range| (range.offset, range.length)).collect();
            assert_eq!(found, truth, "{case:?} {path}");
        }
        let file = volume.open_file("vm/two-levels").unwrap();
        let parts: Vec<_> = file.allocated().map(|part| part.unwrap().file_offset).collect();
        assert_eq!(parts, [3 * TIB, 10 * TIB - MIB], "{case:?}");
        let resident = volume.open_file("small/1").unwrap();
        let parts: Vec<_> = resident.allocated().map(|part| part.unwrap().to).collect();
        assert_eq!(parts, [Target::Resident]);
    }
}
