//! streamOptimized disks that we write: read by ourselves, by qemu-img and by dissect; and those
//! that come as a stream, read once and in order.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use common::oracle::{dissect_digest, has_qemu, python, qemu, qemu_content, sha256};
use common::{Random, content, open};
use model::DiskRange;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use vmdk::{Chain, Layer, StreamReader, StreamSpec, StreamWriter, Target, VmdkError};

const GRAIN: usize = StreamWriter::<Vec<u8>>::GRAIN;

fn spec(capacity: u64) -> StreamSpec {
    StreamSpec {
        capacity,
        name: "web 01-disk1.vmdk".into(),
        cid: 0x0BAD_CAFE,
        adapter_type: "lsilogic".into(),
        level: 1,
    }
}

fn written(truth: &[u8], level: u32) -> Vec<u8> {
    let spec = StreamSpec { level, ..spec(truth.len() as u64) };
    let mut writer = StreamWriter::new(Vec::new(), spec).unwrap();
    for (number, grain) in truth.chunks(GRAIN).enumerate() {
        writer.grain(number as u64, grain).unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: Vec<u8>) -> Chain {
    let layer = Layer::open_single("other name.vmdk", Arc::new(file)).unwrap().unwrap();
    let chain = Chain::new(vec![layer]).unwrap();
    chain.verify().unwrap();
    chain
}

/// Every grain of its own kind: random, of one byte, zeros.
fn disk(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut truth = vec![0; length];
    for grain in truth.chunks_mut(GRAIN) {
        match random.below(4) {
            0 => grain.copy_from_slice(&random.bytes(grain.len())),
            1 => grain.fill(7),
            2 => grain[0] = 1,
            _ => {}
        }
    }
    truth
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(sectors in 1usize..3000, seed: u64, level in 0u32..10) {
        let truth = disk(sectors * 512, seed);
        let file = written(&truth, level);
        prop_assert!(file.len().is_multiple_of(512));
        let chain = read(file);
        prop_assert!(content(&chain) == truth);
        chain.recheck().unwrap();
    }
}

/// Several tables, one of them without grains.
fn large() -> Vec<u8> {
    let mut truth = disk(35 << 20, 11);
    truth.resize(70 << 20, 0);
    truth.extend(disk((20 << 20) + 512, 12));
    truth
}

fn save(folder: &Path, truth: &[u8]) {
    std::fs::write(folder.join("export.vmdk"), written(truth, 6)).unwrap();
}

#[test]
fn several_tables_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let truth = large();
    save(folder.path(), &truth);
    assert!(content(&open(folder.path(), "export.vmdk").unwrap()) == truth);
}

#[test]
fn qemu_reads_what_we_write() {
    if !has_qemu("qemu_reads_what_we_write") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for truth in [large(), disk(64 << 10, 3), disk(512, 4), vec![0; 1 << 20]] {
        save(folder.path(), &truth);
        qemu(folder.path(), &["check", "-f", "vmdk", "export.vmdk"]);
        assert!(qemu_content(folder.path(), "export.vmdk") == truth, "{}", truth.len());
    }
}

#[test]
fn dissect_reads_what_we_write() {
    let Some(python) = python("dissect_reads_what_we_write") else { return };
    let folder = tempfile::tempdir().unwrap();
    // It cannot read the end of a disk that is no multiple of 8 KiB: see `oracles.rs`.
    for truth in [large()[..90 << 20].to_vec(), disk(64 << 10, 3), vec![0; 1 << 20]] {
        save(folder.path(), &truth);
        let digest = dissect_digest(&python, folder.path(), "export.vmdk");
        assert_eq!(digest, (truth.len() as u64, sha256(&truth)));
    }
}

#[test]
fn what_is_left_out_is_zeros() {
    let mut writer = StreamWriter::new(Vec::new(), spec(40 << 30)).unwrap();
    let bytes = Random(1).bytes(GRAIN);
    for number in [3, 600, 655_359] {
        writer.grain(number, &bytes).unwrap();
    }
    let chain = read(writer.finish().unwrap());
    let parts = chain.resolve(DiskRange { offset: 0, length: 40 << 30 }).unwrap();
    let packed: Vec<u64> = parts
        .iter()
        .filter(|part| matches!(part.to, Target::Packed { .. }))
        .map(|part| part.range.offset / GRAIN as u64)
        .collect();
    assert_eq!(packed, [3, 600, 655_359]);
    assert_eq!(block::ReadAt::read_vec(&chain, 600 * GRAIN as u64, GRAIN).unwrap(), bytes);
}

#[test]
fn what_cannot_be_a_disk_is_refused() {
    let refused = |change: fn(&mut StreamSpec)| {
        let mut spec = spec(1 << 20);
        change(&mut spec);
        assert!(matches!(StreamWriter::new(Vec::new(), spec), Err(VmdkError::Write { .. })));
    };
    refused(|spec| spec.capacity = 0);
    refused(|spec| spec.capacity = 513);
    refused(|spec| spec.capacity = 65 << 40);
    refused(|spec| spec.cid = u32::MAX);
    refused(|spec| spec.name = "a\"b".into());
    refused(|spec| spec.name = "../a".into());
    refused(|spec| spec.name = "x".repeat(20_000));
    refused(|spec| spec.adapter_type = "a\nb".into());
    refused(|spec| spec.level = 10);
    let mut writer = StreamWriter::new(Vec::new(), spec((1 << 20) + 512)).unwrap();
    let grain = vec![1; GRAIN];
    assert!(writer.grain(17, &grain).is_err(), "beyond the end");
    assert!(writer.grain(16, &grain).is_err(), "the last one is short");
    assert!(writer.grain(0, &grain[1..]).is_err(), "too short");
    writer.grain(3, &grain).unwrap();
    assert!(writer.grain(3, &grain).is_err(), "twice");
    assert!(writer.grain(2, &grain).is_err(), "back");
    writer.grain(16, &grain[..512]).unwrap();
    assert_eq!(block::ReadAt::read_vec(&read(writer.finish().unwrap()), 1 << 20, 1).unwrap(), [1]);
}

/// A receiver that takes some bytes and then fails.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| std::io::Error::other("full"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_receiver_that_fails_ends_the_disk() {
    let whole = written(&vec![5; 1 << 20], 1).len();
    for room in (0..whole).step_by(512) {
        let write = || -> Result<Full, VmdkError> {
            let mut writer = StreamWriter::new(Full(room), spec(1 << 20))?;
            for number in 0..16 {
                if writer.grain(number, &vec![5; GRAIN]).is_err() {
                    let again = writer.grain(15, &vec![5; GRAIN]);
                    assert!(again.unwrap_err().to_string().contains("earlier"), "room {room}");
                    return writer.finish();
                }
            }
            writer.finish()
        };
        assert!(write().is_err(), "room {room} of {whole}");
    }
}

/// What a stream holds, in pieces of `step` bytes; only when it is whole.
fn streamed(file: &[u8], capacity: u64, step: usize) -> Result<Vec<u8>, VmdkError> {
    let mut reader = StreamReader::new("stream.vmdk", capacity);
    let mut disk = vec![0; usize::try_from(capacity).unwrap()];
    for piece in file.chunks(step) {
        reader.feed(piece);
        while let Some(grain) = reader.grain()? {
            let at = usize::try_from(grain.offset).unwrap();
            disk[at..at + grain.bytes.len()].copy_from_slice(&grain.bytes);
        }
    }
    reader.finish()?;
    Ok(disk)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_in_order(
        sectors in 1usize..3000, seed: u64, level in 0u32..10, step in 1usize..200_000,
    ) {
        let truth = disk(sectors * 512, seed);
        let read = streamed(&written(&truth, level), truth.len() as u64, step);
        prop_assert!(read.unwrap() == truth);
    }
}

#[test]
fn several_tables_come_in_order() {
    let truth = large();
    assert!(streamed(&written(&truth, 1), truth.len() as u64, 65_536).unwrap() == truth);
}

#[test]
fn a_stream_that_ends_early_or_late_is_no_disk() {
    let truth = disk(40 << 16, 5);
    let (file, capacity) = (written(&truth, 1), truth.len() as u64);
    for end in (0..file.len()).step_by(512) {
        assert!(streamed(&file[..end], capacity, 4096).is_err(), "{end} of {}", file.len());
    }
    let longer = [&file[..], &[0; 512]].concat();
    assert!(streamed(&longer, capacity, 4096).is_err(), "something behind the end");
    for other in [capacity - 65_536, capacity + 65_536, capacity * 2] {
        assert!(streamed(&file, other, 4096).is_err(), "another capacity");
    }
}

/// A bit of each byte of a stream: it is found, or it carries nothing. Of what the stream means,
/// nothing is believed that is not said twice.
#[test]
fn a_bit_that_flips_is_found_or_means_nothing() {
    let mut truth = vec![0; 70 << 16];
    truth[3 << 16..5 << 16].fill(7);
    truth[(68 << 16) + 5..69 << 16].fill(9);
    let (file, capacity) = (written(&truth, 9), truth.len() as u64);
    let (mut found, mut harmless) = (0, 0);
    for at in (0..512).chain(65_536..file.len()) {
        let bit = at % 8;
        let mut flipped = file.clone();
        flipped[at] ^= 1 << bit;
        match streamed(&flipped, capacity, 1 << 20) {
            Err(_) => found += 1,
            Ok(read) => {
                assert!(read == truth, "byte {at}, bit {bit}: other content, unnoticed");
                harmless += 1;
            }
        }
    }
    assert!(found > 200 && harmless > 0, "{found} found, {harmless} in what is not used");
}

/// Its streams have the directory in front and no mark of the end.
#[test]
fn streams_of_qemu_are_read_in_order() {
    if !has_qemu("streams_of_qemu_are_read_in_order") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for truth in [large(), disk(64 << 10, 3), vec![0; 1 << 20], disk((3 << 20) + 512, 8)] {
        std::fs::write(folder.path().join("a.raw"), &truth).unwrap();
        let convert = "convert -f raw -O vmdk -o subformat=streamOptimized a.raw a.vmdk";
        qemu(folder.path(), &convert.split(' ').collect::<Vec<_>>());
        let file = std::fs::read(folder.path().join("a.vmdk")).unwrap();
        let capacity = truth.len() as u64;
        assert!(streamed(&file, capacity, 100_000).unwrap() == truth, "{capacity}");
        if truth.iter().any(|byte| *byte != 0) {
            let end = file.iter().rposition(|byte| *byte != 0).unwrap();
            assert!(streamed(&file[..end], capacity, 4096).is_err(), "cut");
        }
    }
}
