//! Disks that other products made, fetched at test time (`samples.py`).
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::ReadAt;
use common::oracle::{dissect_digest, has_qemu, python, qemu_content, sha256};
use common::{content, open};
use fakes::vmdk::descriptor;
use lab::place::{skipped, test_cache};
use model::DiskRange;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use vmdk::{Chain, Disk, Layer, Place, VmdkError};

/// The folder with a group of samples; `None`, said loudly, when they cannot be had.
fn samples(test: &str, group: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples.py");
    let python = python(test)?;
    let output =
        Command::new(python).arg(script).arg(test_cache().unwrap()).arg(group).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Some(test_cache().unwrap().join("vmdk")),
        Some(3) => {
            skipped(test, &format!("samples cannot be downloaded: {}", words.trim())).unwrap();
            None
        }
        _ => panic!("{words}"),
    }
}

/// 512 MiB of which ESXi wrote the first 16 MiB.
const SESPARSE: u64 = 512 << 20;
const WRITTEN: u64 = 16 << 20;
const CONTENT: &str = "3afa48010241335528fe402f083fc9f3a1013a49485221443a78d9a8604e2f90";

fn sesparse(folder: &Path, parent: Option<(u32, &str)>) -> Layer {
    let line = format!("RW {} SESPARSE \"sesparse.vmdk\"", SESPARSE / 512);
    let disk = Disk::parse(descriptor("seSparse", 2, parent, &[line]).as_bytes()).unwrap();
    let file = File::open(folder.join("sesparse.vmdk")).unwrap();
    Layer::open(disk, vec![Arc::new(file)]).unwrap()
}

#[test]
fn the_sesparse_disk_of_an_esxi_host() {
    let Some(folder) = samples("the_sesparse_disk_of_an_esxi_host", "esxi") else { return };
    let layer = sesparse(&folder, None);
    let parts = layer.resolve(DiskRange { offset: 0, length: SESPARSE }).unwrap();
    let [data, rest] = &parts[..] else { panic!("{parts:?}") };
    let Place::File(extent) = data.place else { panic!("{data:?}") };
    // Grains in the order in which they were written, from the start of their area on.
    assert_eq!((extent.offset, extent.length), (12_288 * 512, WRITTEN));
    assert_eq!(rest.place, Place::Parent);
    let chain = Chain::new(vec![layer]).unwrap();
    chain.verify().unwrap();
    assert_eq!(sha256(&content(&chain)), CONTENT);
    chain.recheck().unwrap();
}

#[test]
fn the_sesparse_disk_over_a_parent() {
    let Some(folder) = samples("the_sesparse_disk_over_a_parent", "esxi") else { return };
    let size = usize::try_from(SESPARSE).unwrap();
    let line = format!("RW {} VMFS \"base-flat.vmdk\"", SESPARSE / 512);
    let base = Disk::parse(descriptor("vmfs", 1, None, &[line]).as_bytes()).unwrap();
    let base = Layer::open(base, vec![Arc::new(vec![9; size])]).unwrap();
    let chain = Chain::new(vec![sesparse(&folder, Some((1, "base.vmdk"))), base]).unwrap();
    let end = WRITTEN - 10;
    let edge = chain.read_vec(end, 20).unwrap();
    assert_eq!(edge, [[b'a'; 10], [9; 10]].concat());
}

/// A real host's back map says of each grain which entry owns it: as our reading of the tables
/// has it.
#[test]
fn the_back_map_of_the_host_agrees_with_our_reading() {
    let test = "the_back_map_of_the_host_agrees_with_our_reading";
    let Some(folder) = samples(test, "esxi") else { return };
    let layer = sesparse(&folder, None);
    let file = &layer.files()[0];
    for number in 0..WRITTEN / 4096 {
        let part = layer.resolve(DiskRange { offset: number * 4096, length: 4096 }).unwrap();
        let [Place::File(extent)] = part.iter().map(|part| part.place).collect::<Vec<_>>()[..]
        else {
            panic!("grain {number}: {part:?}")
        };
        let index = (extent.offset - 12_288 * 512) / 4096;
        let owner = file.read_vec(10_240 * 512 + index * 8, 8).unwrap();
        let owner = u64::from_le_bytes(owner.try_into().unwrap());
        assert_eq!(owner, 1 << 60 | (number & 0xFFF) << 48 | number >> 12, "grain {number}");
    }
}

#[test]
fn qemu_reads_the_sesparse_disk_as_we_do() {
    let test = "qemu_reads_the_sesparse_disk_as_we_do";
    let Some(folder) = samples(test, "esxi").filter(|_| has_qemu(test)) else { return };
    let own = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("sesparse.vmdk"), own.path().join("sesparse.vmdk")).unwrap();
    let line = format!("RW {} SESPARSE \"sesparse.vmdk\"", SESPARSE / 512);
    std::fs::write(own.path().join("d.vmdk"), descriptor("seSparse", 2, None, &[line])).unwrap();
    assert_eq!(sha256(&qemu_content(own.path(), "d.vmdk")), CONTENT);
    assert_eq!(sha256(&content(&open(own.path(), "d.vmdk").unwrap())), CONTENT);
}

#[test]
fn hosted_disks_of_other_tools() {
    let test = "hosted_disks_of_other_tools";
    let Some(folder) = samples(test, "others") else { return };
    let python = python(test).unwrap();
    for name in [
        "monolithicSparse.vmdk",
        "twoGbMaxExtentSparse.vmdk",
        "streamOptimized.vmdk",
        "streamOptimizedWithMarkers.vmdk",
        "vmfs_thick.vmdk",
    ] {
        let chain = open(&folder, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        chain.verify().unwrap();
        let bytes = content(&chain);
        let digest = (bytes.len() as u64, sha256(&bytes));
        assert_eq!(dissect_digest(&python, &folder, name), digest, "{name}");
    }
}

/// The descriptor of a delta as ESXi wrote it; its file is nowhere to be had.
#[test]
fn the_delta_descriptor_of_an_esxi_host() {
    let Some(folder) = samples("the_delta_descriptor_of_an_esxi_host", "others") else { return };
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let base = Disk::parse(&read("vmfs_thick.vmdk")).unwrap();
    let delta = Disk::parse(&read("vmfs_thick-000001.vmdk")).unwrap();
    assert_eq!(delta.parent_cid, Some(base.cid));
    assert_eq!(delta.parent_file.as_deref(), Some("vmfs_thick.vmdk"));
    assert_eq!((delta.capacity, &*delta.create_type), (base.capacity, "vmfsSparse"));
    let empty: Arc<dyn ReadAt> = Arc::new(Vec::new());
    assert!(matches!(Layer::open(delta, vec![empty]), Err(VmdkError::Damaged { .. })));
}
