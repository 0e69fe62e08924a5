use super::*;
use crate::kernel::fixture::Fixture;
use crate::kernel::ring::{Read, Ring};
use crate::memory;
use bytes::BytesMut;
use proptest::prelude::*;
use scsi::disk;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use tempfile::TempDir;

const SIZE: usize = 6 << 20;

/// A block device of the kernel's over a file: no SCSI behind it, but a real block layer.
struct Loop {
    name: String,
    content: Vec<u8>,
    _folder: TempDir,
}

impl Loop {
    fn new(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        let content: Vec<u8> = (0..SIZE / 8)
            .flat_map(|number| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        std::fs::write(&file, &content).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let made = match made {
            Ok(made) if made.status.success() => made,
            other => {
                println!("SKIPPED: {test}: no loop device: {other:?}");
                return None;
            }
        };
        let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Some(Self { name, content, _folder: folder })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/dev").join(&self.name)
    }

    fn open(&self) -> Result<Direct, KernelError> {
        Direct::open(&Tree::system(), Path::new("/sys"), &self.name)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // The kernel keeps the read-only mark for whoever gets this loop device next.
        let cleared = Command::new("blockdev").arg("--setrw").arg(self.path()).status();
        assert!(cleared.is_ok_and(|status| status.success()) || std::thread::panicking());
        let detached = Command::new("losetup").arg("-d").arg(self.path()).status();
        assert!(detached.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

type Ended = (u64, BytesMut, io::Result<usize>);

fn ended(
    (offset, sender): (u64, mpsc::Sender<Ended>),
    buffer: BytesMut,
    result: io::Result<usize>,
) {
    sender.send((offset, buffer, result)).unwrap();
}

#[test]
fn a_whole_disk_by_direct_reads_through_the_ring() {
    let Some(disk) = Loop::new("a_whole_disk_by_direct_reads") else { return };
    let direct = disk.open().unwrap();
    let Ok(ring) = Ring::start(ended) else {
        println!("SKIPPED: a_whole_disk_by_direct_reads: no io_uring here");
        return;
    };
    let (sender, ends) = mpsc::channel();
    let step = 192 * 1024;
    for offset in (0..SIZE).step_by(step) {
        let length = step.min(SIZE - offset);
        let (buffer, offset) = (memory::aligned(length), offset as u64);
        let (file, ticket) = (Arc::clone(&direct.node), (offset, sender.clone()));
        ring.read(Read { file, offset, buffer, ticket }).unwrap();
    }
    drop(sender);
    let mut seen = 0;
    for (offset, buffer, result) in ends {
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(result.unwrap(), buffer.len());
        assert!(buffer == disk.content[offset..offset + buffer.len()], "bytes at {offset}");
        seen += buffer.len();
    }
    assert_eq!(seen, SIZE);
}

#[test]
fn any_memory_that_the_mask_allows_can_be_read_into() {
    let Some(disk) = Loop::new("any_memory_that_the_mask_allows") else { return };
    let direct = disk.open().unwrap();
    let mut memory = memory::aligned(16 * 1024);
    let begin = direct.mask + 1;
    for at in (begin..8 * begin.min(1024)).step_by(begin) {
        let part = &mut memory[at..at + 4096];
        assert_eq!(rustix::io::pread(&direct.node, part, 4096), Ok(4096), "{at}");
        assert!(memory[at..at + 4096] == disk.content[4096..8192]);
    }
}

#[test]
fn a_node_that_was_opened_cannot_be_written_to_by_anyone() {
    let Some(disk) = Loop::new("a_node_that_was_opened") else { return };
    let direct = disk.open().unwrap();
    assert_eq!(rustix::io::write(&direct.node, &[0; 512]), Err(Errno::BADF));
    let other = std::fs::OpenOptions::new().write(true).open(disk.path());
    let result = other.and_then(|other| other.write_at(&[0; 512], 0));
    assert!(result.is_err(), "read-only for the whole box: {result:?}");
}

#[test]
fn a_disk_that_somebody_uses_is_not_taken() {
    let Some(disk) = Loop::new("a_disk_that_somebody_uses") else { return };
    let exclusive = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let user = rustix::fs::open(disk.path(), exclusive, Mode::empty()).unwrap();
    let error = disk.open().unwrap_err();
    assert!(
        matches!(&error, KernelError::NotCandidate { refusal: Refusal::Claimed, .. }),
        "{error}"
    );
    drop(user);
    disk.open().unwrap();
}

#[test]
fn a_node_of_another_device_is_noticed() {
    let fixture = Fixture::new();
    fixture.set("block/null/dev", "8:0");
    let tree = Tree { dev: "/dev".into(), ..fixture.tree() };
    let error = Direct::open(&tree, &tree.sys, "null").unwrap_err();
    assert!(matches!(error, KernelError::WrongNode { .. }), "{error}");
    let error = Direct::open(&fixture.tree(), &tree.sys, "null").unwrap_err();
    assert!(matches!(error, KernelError::Node { .. }), "{error}");
}

#[test]
fn what_a_device_needs_of_memory() {
    let fixture = Fixture::new();
    let queue = fixture.path("queue");
    for (told, block_size, wanted) in
        [("3", 512, 3), ("511", 512, 511), ("0", 512, 0), ("6", 512, 511), ("-1", 4096, 4095)]
    {
        fixture.set("queue/dma_alignment", told);
        assert_eq!(mask(&queue, block_size), wanted, "{told}");
    }
    fixture.remove("queue/dma_alignment");
    assert_eq!(mask(&queue, 512), 511, "Linux before 6.1");
}

fn direct(block_size: u32) -> Direct {
    let node = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    Direct { node, block_size, mask: 3 }
}

proptest! {
    #[test]
    fn a_read_of_blocks_has_its_place(lba in 0..1_u64 << 50, blocks in 1_u32..8192) {
        for block_size in [512, 4096] {
            let cdb = disk::read_16(lba, blocks, block_size).unwrap();
            prop_assert_eq!(direct(block_size).range(&cdb), Some(lba * u64::from(block_size)));
            let other = 512 + 4096 - block_size;
            prop_assert_eq!(direct(other).range(&cdb), None, "blocks of another size");
        }
    }
}

#[test]
fn whatever_is_not_a_read_has_none() {
    let direct = direct(512);
    let others = [
        disk::test_unit_ready(),
        disk::inquiry(),
        disk::inquiry_vpd(0x83),
        disk::read_capacity_16(),
        disk::report_luns(256),
        disk::read_16(7, 0, 512).unwrap(),
        disk::read_16(u64::MAX, 1, 512).unwrap(),
    ];
    assert!(others.iter().all(|cdb| direct.range(cdb).is_none()));
}

/// As the daemon meets it, which has no right to protect it itself.
#[test]
fn a_disk_that_root_protected_is_opened_as_it_is() {
    let Some(disk) = Loop::new("a_disk_that_root_protected") else { return };
    let tree = Tree::system();
    protect(&tree, &disk.name).unwrap();
    let told = text(Path::new("/sys/block").join(&disk.name).as_path(), "ro");
    assert_eq!(told.as_deref(), Some("1"));
    disk.open().unwrap();
    assert_eq!(protect(&tree, "no such node"), Err(Errno::NOENT));
}
