//! Volumes made by our own formatter: every way of allocating, read back by us and by
//! dissect.vmfs, so that reader and formatter cannot agree on a mistake.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::ReadAt;
use common::{devices, dissect_tree, open, our_tree, pattern, raw_image, read, sha256};
use fakes::vmfs::{Layout, Provisioning, Volume as Formatted, VolumeSpec};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vmfs::{Target, VmfsError, Volume};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn spec(size: u64, layout: Layout) -> VolumeSpec {
    VolumeSpec { layout, uuid_seed: 42, ..VolumeSpec::new(size, "formatted") }
}

/// A volume with one of everything; returns its image and the raw disks.
fn one_of_everything(folder: &Path, layout: Layout) -> (PathBuf, Vec<(String, PathBuf)>) {
    let image = folder.join("lun.img");
    let mut volume = spec(2 * GIB, layout).create(&image).unwrap();
    volume.add_dir("web01").unwrap();
    volume.add_dir("web01/deep").unwrap();
    volume.add_dir("empty").unwrap();
    for (name, length) in [
        ("web01/nothing", 0),
        ("web01/web01.vmx", 3584),
        ("web01/web01.nvram", 3585),
        ("web01/sub-block", 65_536),
        ("web01/blocks", 65_537),
        ("web01/deep/vmware.log", 3_000_001),
    ] {
        volume.add_file(name, &pattern(length, length as u64)).unwrap();
    }
    let edge = usize::try_from(2 * MIB).unwrap();
    let disks = [
        ("thin", 300 * MIB, vec![(5 * MIB - 100, 200), (200 * MIB, edge)], Provisioning::Thin),
        (
            "sparse",
            3 * GIB,
            vec![(0, 512), (GIB + 77, 4096), (3 * GIB - 512, 512)],
            Provisioning::Thin,
        ),
        ("thick", 400 * MIB, vec![(MIB, 5000), (399 * MIB, 1000)], Provisioning::Thick),
        ("lazy", 330 * MIB, vec![(7 * MIB, 100)], Provisioning::LazyThick),
        ("none", 500 * MIB, vec![], Provisioning::Thin),
        ("odd", 10 * MIB + 512, vec![(10 * MIB, 512)], Provisioning::Thin),
        // Two pointer levels, and slots that are empty before used ones.
        ("huge", 10 << 40, vec![(3 << 40, 4096), ((10 << 40) - 512, 512)], Provisioning::Thin),
    ];
    let mut raws = Vec::new();
    for (name, length, data, provisioning) in disks {
        let raw = raw_image(folder, &format!("{name}.raw"), length, &data);
        let path = format!("web01/{name}-flat.vmdk");
        volume.add_disk_from_raw(&path, &raw, provisioning).unwrap();
        raws.push((path, raw));
    }
    volume.flush().unwrap();
    (image, raws)
}

/// Compares every disk with its raw image, at the places that have data and around them.
fn compare_disks(images: &[PathBuf], raws: &[(String, PathBuf)]) {
    let luns = devices(images);
    let volume = open(images);
    for (path, raw) in raws {
        let raw = File::open(raw).unwrap();
        let length = raw.size();
        let file = volume.open_file(path).unwrap();
        assert_eq!(file.length(), length, "{path}");
        file.verify().unwrap_or_else(|error| panic!("{path}: {error}"));
        let starts = [0, 4 * MIB, 199 * MIB, GIB, 3 << 40, length.saturating_sub(3 * MIB)];
        for start in starts.into_iter().filter(|start| *start < length) {
            let part = (4 * MIB).min(length - start);
            let truth = raw.read_vec(start, usize::try_from(part).unwrap()).unwrap();
            assert!(read(&luns, &volume, path, start, part) == truth, "{path} at {start}");
        }
    }
}

#[test]
fn what_was_put_in_comes_out() {
    for layout in [Layout::Contiguous, Layout::Fragmented] {
        let folder = tempfile::tempdir().unwrap();
        let (image, raws) = one_of_everything(folder.path(), layout);
        compare_disks(std::slice::from_ref(&image), &raws);
        let volume = open(&[image]);
        let report = volume.check().unwrap();
        assert_eq!((report.directories, report.files), (4, 13));
        for length in [0usize, 3584, 3585, 65_536, 65_537] {
            let name = ["nothing", "web01.vmx", "web01.nvram", "sub-block", "blocks"]
                [[0, 3584, 3585, 65_536, 65_537].iter().position(|n| *n == length).unwrap()];
            let file = volume.open_file(&format!("web01/{name}")).unwrap();
            assert_eq!(file.read_small(100_000).unwrap(), pattern(length, length as u64), "{name}");
        }
    }
}

#[test]
fn dissect_reads_what_we_format() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Fragmented);
    let far = [format!("{}:{}:{}", raws[6].0, 3u64 << 40, MIB)];
    let images = [image];
    let Some((tree, ranges)) = dissect_tree("dissect_reads", &images, GIB, &far) else { return };
    assert_eq!(our_tree(&images, GIB), tree);
    for (path, raw) in raws.iter().filter(|(path, _)| tree[path].1 <= GIB) {
        let truth = sha256(&std::fs::read(raw).unwrap());
        assert_eq!(tree[path].2.as_deref(), Some(truth.as_str()), "{path}");
    }
    let raw = File::open(&raws[6].1).unwrap();
    let truth = raw.read_vec(3 << 40, usize::try_from(MIB).unwrap()).unwrap();
    assert_eq!(ranges, [sha256(&truth)]);
}

#[test]
fn guest_writes_reach_holes_and_blocks_that_were_to_be_zeroed() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Contiguous);
    let before = open(std::slice::from_ref(&image)).open_file(&raws[0].0).unwrap();
    for (path, raw) in &raws {
        let raw = File::options().write(true).open(raw).unwrap();
        let length = raw.size();
        for (offset, bytes) in [(0, 700), (5 * MIB - 10, 2_500_000), (length - 300, 300)] {
            let data = pattern(bytes, offset + 99);
            raw.write_all_at(&data, offset).unwrap();
            Formatted::open(&image).unwrap().write(path, offset, &data).unwrap();
        }
    }
    assert!(matches!(before.recheck(), Err(VmfsError::Moved { .. })), "the file has moved");
    compare_disks(std::slice::from_ref(&image), &raws);
    open(std::slice::from_ref(&image)).check().unwrap();
    let images = [image];
    let Some((tree, _)) = dissect_tree("guest_writes", &images, GIB, &[]) else { return };
    assert_eq!(our_tree(&images, GIB), tree);
}

#[test]
fn what_the_formatter_calls_allocated_is_what_the_reader_maps() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Fragmented);
    let volume = open(std::slice::from_ref(&image));
    for (path, _) in raws.iter().filter(|(path, _)| !path.contains("huge")) {
        let truth: Vec<(u64, u64)> = Formatted::open(&image)
            .unwrap()
            .allocated(path)
            .unwrap()
            .into_iter()
            .map(|range| (range.offset, range.length))
            .collect();
        let file = volume.open_file(path).unwrap();
        let mut mapped: Vec<(u64, u64)> = Vec::new();
        for part in file.map(0, file.length()).unwrap() {
            match (part.to, mapped.last_mut()) {
                (Target::Lun(_), Some(last)) if last.0 + last.1 == part.file_offset => {
                    last.1 += part.length;
                }
                (Target::Lun(_), _) => mapped.push((part.file_offset, part.length)),
                _ => {}
            }
        }
        assert_eq!(mapped, truth, "{path}");
    }
}

#[test]
fn blocks_to_be_zeroed_are_zeros_and_not_what_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Contiguous);
    let file = open(&[image]).open_file(&raws[3].0).unwrap();
    let parts = file.map(0, file.length()).unwrap();
    assert!(matches!(
        parts.iter().map(|part| part.to).collect::<Vec<_>>()[..],
        [Target::Zero, Target::Lun(_), Target::Zero]
    ));
    assert_eq!(parts[1].file_offset, 7 * MIB);
}

#[test]
fn a_folder_of_thousands_is_listed_and_searched() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lun.img");
    let mut volume =
        VolumeSpec { fd_groups: 2, ..spec(2 * GIB, Layout::Contiguous) }.create(&image).unwrap();
    volume.add_dir("many").unwrap();
    for number in 0..3000 {
        volume.add_file(&format!("many/file-{number}"), format!("{number}").as_bytes()).unwrap();
    }
    volume.flush().unwrap();
    drop(volume);
    let volume = open(std::slice::from_ref(&image));
    assert_eq!(volume.read_dir("many").unwrap().len(), 3000);
    for number in (0..3000).step_by(271) {
        let file = volume.open_file(&format!("many/file-{number}")).unwrap();
        assert_eq!(file.read_small(10).unwrap(), format!("{number}").as_bytes());
    }
    assert!(matches!(volume.open_file("many/file-3000"), Err(VmfsError::NotFound { .. })));
    let images = [image];
    let Some((tree, _)) = dissect_tree("thousands", &images, GIB, &[]) else { return };
    assert_eq!(our_tree(&images, GIB), tree);
}

#[test]
fn equal_specifications_give_equal_images() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, _) = one_of_everything(a.path(), Layout::Fragmented);
    let (second, _) = one_of_everything(b.path(), Layout::Fragmented);
    let (first, second) = (File::open(first).unwrap(), File::open(second).unwrap());
    let part = usize::try_from(16 * MIB).unwrap();
    for offset in (0..first.size()).step_by(part) {
        let bytes = |file: &File| file.read_vec(offset, part).unwrap();
        assert!(bytes(&first) == bytes(&second), "at {offset:#x}");
    }
}

#[test]
fn names_and_ranges_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Contiguous);
    let volume = open(&[image]);
    assert!(matches!(volume.open_file("web01/absent"), Err(VmfsError::NotFound { .. })));
    assert!(matches!(volume.open_file("web01"), Err(VmfsError::WrongType { .. })));
    assert!(matches!(volume.open_file(".fdc.sf"), Err(VmfsError::WrongType { .. })));
    assert!(matches!(volume.read_dir("web01/web01.vmx"), Err(VmfsError::WrongType { .. })));
    assert!(matches!(volume.open_file("web01/web01.vmx/x"), Err(VmfsError::WrongType { .. })));
    let file = volume.open_file(&raws[0].0).unwrap();
    for (offset, length) in [(file.length(), 1), (0, file.length() + 1), (u64::MAX, 2)] {
        assert!(matches!(file.map(offset, length), Err(VmfsError::BeyondEnd { .. })));
    }
    assert_eq!(file.map(file.length(), 0).unwrap(), []);
    assert!(matches!(file.read_small(1000), Err(VmfsError::TooLarge { .. })));
}

/// A device whose bytes change between two reads.
struct Changing {
    before: File,
    after: File,
    changed: AtomicBool,
}

impl ReadAt for Changing {
    fn size(&self) -> u64 {
        ReadAt::size(&self.before)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), block::ReadError> {
        let changed = self.changed.load(Ordering::Relaxed);
        ReadAt::read_at(if changed { &self.after } else { &self.before }, offset, buffer)
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (image, raws) = one_of_everything(folder.path(), Layout::Contiguous);
    let copy = folder.path().join("later.img");
    assert!(
        std::process::Command::new("cp")
            .arg("--sparse=always")
            .args([&image, &copy])
            .status()
            .unwrap()
            .success()
    );
    let (path, _) = &raws[1];
    Formatted::open(&copy).unwrap().write(path, 2 * GIB, &pattern(512, 3)).unwrap();
    let device = Arc::new(Changing {
        before: File::open(&image).unwrap(),
        after: File::open(&copy).unwrap(),
        changed: AtomicBool::new(false),
    });
    let volume = Volume::open(vec![Arc::clone(&device) as Arc<dyn ReadAt>]).unwrap();
    let (moving, still) = (volume.open_file(path).unwrap(), volume.open_file(&raws[2].0).unwrap());
    for file in [&moving, &still] {
        file.verify().unwrap();
        file.recheck().unwrap();
    }
    let fingerprint = moving.fingerprint();
    device.changed.store(true, Ordering::Relaxed);
    assert!(matches!(moving.recheck(), Err(VmfsError::Moved { .. })));
    still.recheck().unwrap();
    volume.check_unchanged().unwrap();
    let again = volume.open_file(path).unwrap();
    again.verify().unwrap();
    assert_ne!(again.fingerprint(), fingerprint);
}

#[test]
fn the_partition_is_found_by_either_copy_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lun.img");
    spec(GIB, Layout::Contiguous).create(&image).unwrap().flush().unwrap();
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let found = vmfs::find_partition(&file).unwrap();
    assert_eq!((found.offset, found.length), (MIB, GIB - MIB - 33 * 512));
    let damage = |offset: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    };
    let (primary, backup) = (512 + 60, GIB - 512 + 60);
    damage(primary);
    assert_eq!(vmfs::find_partition(&file).unwrap(), found, "by the backup");
    damage(backup);
    assert!(matches!(vmfs::find_partition(&file), Err(VmfsError::NoVolume { .. })));
    damage(primary);
    assert_eq!(vmfs::find_partition(&file).unwrap(), found, "by the primary");
}
