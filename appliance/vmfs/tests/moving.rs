//! A disk that changes on a schedule, between reads and in the middle of one, while a file is
//! backed up: the content of before, the content of afterwards, or an error. Never a mixture.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::{ReadAt, ReadError};
use common::{pattern, raw_image};
use fakes::vmfs::{Layout, Provisioning, Version, Volume as Formatted, VolumeSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vmfs::{Target, VmfsError, Volume};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const THIN: &str = "vm/thin-flat.vmdk";
const LAZY: &str = "vm/lazy-flat.vmdk";

/// Shows one image up to a read, and another one afterwards.
struct Scheduled {
    before: Arc<File>,
    after: Arc<File>,
    reads: AtomicU64,
    /// The read in which it changes.
    at: u64,
    /// Whether that read has its first half from before and the rest from afterwards.
    torn: bool,
}

impl ReadAt for Scheduled {
    fn size(&self) -> u64 {
        ReadAt::size(self.before.as_ref())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        let old = match number.cmp(&self.at) {
            std::cmp::Ordering::Less => buffer.len(),
            std::cmp::Ordering::Equal if self.torn => buffer.len() / 2,
            _ => 0,
        };
        let (first, rest) = buffer.split_at_mut(old);
        ReadAt::read_at(self.before.as_ref(), offset, first)?;
        ReadAt::read_at(self.after.as_ref(), offset + old as u64, rest)
    }
}

/// The bytes of a disk by number of MiB; those that are all zeros are left out.
type Content = BTreeMap<u64, Vec<u8>>;

/// Reads a disk in the order that [`vmfs::File`] demands.
fn back_up(device: &Arc<dyn ReadAt>, disk: &str) -> Result<Content, VmfsError> {
    let volume = Volume::open(vec![Arc::clone(device)])?;
    let file = volume.open_file(disk)?;
    file.verify()?;
    file.recheck()?;
    let mut content = Content::new();
    for part in file.allocated() {
        let part = part?;
        let Target::Lun(extent) = part.to else { panic!("{part:?}") };
        for block in 0..part.length / MIB {
            let mut bytes = vec![0; usize::try_from(MIB).unwrap()];
            device.read_at(extent.offset + block * MIB, &mut bytes).unwrap();
            if bytes.iter().any(|byte| *byte != 0) {
                content.insert(part.file_offset / MIB + block, bytes);
            }
        }
    }
    file.recheck()?;
    volume.check_unchanged()?;
    Ok(content)
}

/// What happens, the disk that is watched, how.
type Change = (&'static str, &'static str, fn(&Path));
const CHANGES: [Change; 4] = [
    ("its blocks move, and others take the old ones", THIN, |image| {
        Formatted::open(image).unwrap().relocate(THIN).unwrap();
    }),
    ("a hole gets a block", THIN, |image| {
        Formatted::open(image).unwrap().write(THIN, 200 * MIB, &pattern(900, 4)).unwrap();
    }),
    ("a block loses its mark and gets data", LAZY, |image| {
        Formatted::open(image).unwrap().write(LAZY, 30 * MIB, &pattern(900, 5)).unwrap();
    }),
    ("other files come into the folder", THIN, |image| {
        let mut volume = Formatted::open(image).unwrap();
        for number in 0..40 {
            volume.add_file(&format!("vm/new-{number}"), &pattern(9000, number)).unwrap();
        }
        volume.flush().unwrap();
    }),
];

fn make(folder: &Path, version: Version) -> PathBuf {
    let image = folder.join("lun.img");
    let layout = Layout::Fragmented;
    let spec = VolumeSpec { version, layout, uuid_seed: 8, ..VolumeSpec::new(GIB, "moving") };
    let mut volume = spec.create(&image).unwrap();
    volume.add_dir("vm").unwrap();
    let thin = raw_image(folder, "thin.raw", 400 * MIB, &[(5 * MIB, 5000), (390 * MIB, 70)]);
    volume.add_disk_from_raw(THIN, &thin, Provisioning::Thin).unwrap();
    let lazy = raw_image(folder, "lazy.raw", 40 * MIB, &[(MIB, 3000), (29 * MIB, 200)]);
    volume.add_disk_from_raw(LAZY, &lazy, Provisioning::LazyThick).unwrap();
    volume.flush().unwrap();
    image
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--sparse=always").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn try_every_read(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let image = make(folder.path(), version);
    let before = Arc::new(File::open(&image).unwrap());
    for (name, disk, change) in CHANGES {
        let later = folder.path().join("later.img");
        copy(&image, &later);
        change(&later);
        let after = Arc::new(File::open(&later).unwrap());
        let show = |at, torn| {
            let (before, after) = (Arc::clone(&before), Arc::clone(&after));
            Arc::new(Scheduled { before, after, reads: AtomicU64::new(0), at, torn })
        };
        let still = show(u64::MAX, false);
        let old = back_up(&(Arc::clone(&still) as Arc<dyn ReadAt>), disk).unwrap();
        let new = back_up(&(show(0, false) as Arc<dyn ReadAt>), disk).unwrap();
        let reads = still.reads.load(Ordering::Relaxed);
        let mut noticed = 0;
        for at in 0..=reads {
            for torn in [false, true] {
                match back_up(&(show(at, torn) as Arc<dyn ReadAt>), disk) {
                    Ok(content) => assert!(
                        content == old || content == new,
                        "{version:?}, {name}: mixed at read {at} of {reads}, torn: {torn}"
                    ),
                    Err(error) => {
                        let retry = matches!(
                            error.kind(),
                            model::ErrorKind::Retryable | model::ErrorKind::Corrupt
                        );
                        assert!(retry, "{version:?}, {name}, read {at}: {error}");
                        noticed += 1;
                    }
                }
            }
        }
        assert!(noticed > 0, "{version:?}, {name}: {reads} reads, none in the way of the change");
    }
}

#[test]
fn vmfs_5_that_changes_in_any_read_is_noticed_or_whole() {
    try_every_read(Version::Vmfs5);
}

#[test]
fn vmfs_6_that_changes_in_any_read_is_noticed_or_whole() {
    try_every_read(Version::Vmfs6);
}
