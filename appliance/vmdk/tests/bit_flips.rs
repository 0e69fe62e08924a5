//! One flipped bit anywhere in the metadata of a sparse file, or in a descriptor.
//!
//! What a flip may do is what the format itself cannot show, and nothing more:
//!
//! * in a **header, footer or marker, or in a descriptor**: an error, or the same content;
//! * in an entry of a **grain table**: an error, or other content of that one grain. A pointer
//!   that leads to another grain's place is seen by `Layer::verify`; one that leads to a place
//!   that no grain has, and a mark that became another mark, contradict nothing;
//! * in an entry of a **directory**: an error, or the table is lost: its grains are the parent's
//!   then. The entry became 0, or in COWD a place of the file that holds zeros;
//! * where a file has **two directories** (hosted ones that are not streams): an error always;
//! * in **deflated grains**: an error always, but for the bytes that pad them.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::{ReadAt, ReadError};
use common::{Made, Random, cid};
use fakes::vmdk::{Grain, SparseSpec, descriptor, hosted};
use std::ops::Range;
use std::sync::Arc;
use vmdk::{Chain, Disk, Layer, StreamSpec, StreamWriter, VmdkError};

/// Bytes with some bits of one byte flipped.
struct Flipped {
    inner: Arc<Vec<u8>>,
    at: u64,
    mask: u8,
}

impl ReadAt for Flipped {
    fn size(&self) -> u64 {
        self.inner.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.inner.read_at(offset, buffer)?;
        let at = self.at.checked_sub(offset);
        if let Some(byte) = at.and_then(|at| buffer.get_mut(usize::try_from(at).ok()?)) {
            *byte ^= self.mask;
        }
        Ok(())
    }
}

/// A small disk under test.
struct Sample {
    name: &'static str,
    file: Arc<Vec<u8>>,
    /// The descriptor; `None` when it is inside the file.
    text: Option<String>,
    grain: usize,
    truth: Vec<u8>,
}

const PARENT: u8 = 9;

impl Sample {
    /// What a backup reads, or why it does not.
    fn content(&self, at: u64, mask: u8) -> Result<Vec<u8>, VmdkError> {
        let file = Arc::new(Flipped { inner: Arc::clone(&self.file), at, mask });
        let layer = match &self.text {
            Some(text) => Layer::open(Disk::parse(text.as_bytes())?, vec![file])?,
            None => Layer::open_single("flipped.vmdk", file)?
                .ok_or(VmdkError::Chain { problem: "no longer a disk of one file".into() })?,
        };
        layer.verify()?;
        chain_content(layer, self.truth.len())
    }

    /// The grains that are other ones after the flip; `None` when it is noticed.
    fn changed(&self, at: u64, mask: u8) -> Option<Vec<usize>> {
        let bytes = self.content(at, mask).ok()?;
        assert_eq!(bytes.len(), self.truth.len());
        let pairs = bytes.chunks(self.grain).zip(self.truth.chunks(self.grain));
        Some(pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(number, _)| number).collect())
    }

    /// Flips every bit of `bytes`; `allowed` says which grains may be others then.
    fn flip(&self, bytes: Range<u64>, allowed: impl Fn(u64, u8, &[usize]) -> bool) -> Tally {
        let mut tally = Tally::default();
        for at in bytes {
            for bit in 0..8 {
                let mask = 1 << bit;
                match self.changed(at, mask) {
                    None => tally.noticed += 1,
                    Some(grains) if grains.is_empty() => tally.harmless += 1,
                    Some(grains) => {
                        let name = self.name;
                        assert!(allowed(at, mask, &grains), "{name} {at:#x} ^ {mask}: {grains:?}");
                        tally.other += 1;
                    }
                }
            }
        }
        tally
    }
}

#[derive(Debug, Default)]
struct Tally {
    noticed: u32,
    harmless: u32,
    other: u32,
}

/// Reads the disk, above a parent of nines when it has one.
fn chain_content(layer: Layer, length: usize) -> Result<Vec<u8>, VmdkError> {
    let parent = layer.disk().parent_cid.is_some();
    let mut layers = vec![layer];
    if parent {
        let line = format!("RW {} VMFS \"base-flat.vmdk\"", length / 512);
        let disk = Disk::parse(descriptor("vmfs", cid(0), None, &[line]).as_bytes())?;
        layers.push(Layer::open(disk, vec![Arc::new(vec![PARENT; length])])?);
    }
    let chain = Chain::new(layers)?;
    let whole = chain.read_vec(0, usize::try_from(chain.capacity()).unwrap());
    whole.map_err(|source| VmdkError::Read {
        structure: "disk",
        offset: 0,
        file: String::new(),
        source,
    })
}

/// Ten grains, every third one the parent's, over a base.
fn delta(made: Made, grain_sectors: u64) -> Sample {
    let grain = usize::try_from(grain_sectors * 512).unwrap();
    let mut truth = vec![PARENT; 10 * grain];
    let capacity = truth.len() as u64;
    let mut spec = SparseSpec { align_sectors: 8, ..SparseSpec::new(capacity, grain_sectors) };
    for number in (0..10).filter(|number| number % 3 != 2) {
        let bytes = Random(number as u64).bytes(grain);
        truth[number * grain..][..grain].copy_from_slice(&bytes);
        spec.grains.insert(number as u64, Grain::Data(bytes));
    }
    if made == Made::SeSparse {
        spec.grains.insert(2, Grain::Zero);
        spec.grains.insert(5, Grain::Unmapped(vec![3; grain]));
        truth[2 * grain..3 * grain].fill(0);
        truth[5 * grain..6 * grain].fill(0);
    }
    let file = Arc::new(made.image(&spec).to_vec());
    let line = format!("RW {} {} \"delta.vmdk\"", capacity / 512, made.extent());
    let parent = Some((cid(0), "base.vmdk"));
    let text = Some(descriptor(made.create_type(), cid(1), parent, &[line]));
    Sample { name: made.create_type(), file, text, grain, truth }
}

/// An entry of `width` bytes that starts at `first` + a multiple: its number.
fn entry(at: u64, first: u64, width: u64) -> usize {
    usize::try_from((at - first) / width).unwrap()
}

#[test]
fn cowd_under_flipped_bits() {
    let sample = delta(Made::Cowd, 1);
    assert_eq!(sample.changed(0, 0).unwrap(), [0; 0]);
    let header = sample.flip(0..2048, |_, _, _| false);
    assert!(header.noticed > 200, "{header:?}");
    // The directory: one table, in sector 5. It may seem to lie where there are only zeros.
    let directory = sample.flip(2048..2052, |_, _, _| true);
    assert!(directory.other <= 2 && directory.noticed >= 30, "{directory:?}");
    assert_eq!(sample.flip(2052..2560, |_, _, _| false).other, 0);
    let tables = 5 * 512;
    let own = |at: u64, _: u8, grains: &[usize]| grains == [entry(at, tables, 4)];
    let table = sample.flip(tables..tables + 200, own);
    assert!(table.noticed > 200, "{table:?}");
    // Entries of grains that the disk does not have.
    assert_eq!(sample.flip(tables + 200..tables + 1000, |_, _, _| false).other, 0);
}

#[test]
fn sesparse_under_flipped_bits() {
    let sample = delta(Made::SeSparse, 8);
    assert_eq!(sample.changed(0, 0).unwrap(), [0; 0]);
    let header = sample.flip(0..1024, |_, _, _| false);
    assert!(header.noticed > 7000, "{header:?}");
    let place = |field: usize| u64::from_le_bytes(sample.file[field..][..8].try_into().unwrap());
    let (directory, tables) = (place(80 + 3 * 16) * 512, place(80 + 4 * 16) * 512);
    // Table 0 is lost when the one bit of its entry is: it looks like none.
    let lost = |at: u64, mask: u8, _: &[usize]| (at, mask) == (directory + 7, 0x10);
    let tally = sample.flip(directory..directory + 512, lost);
    assert_eq!(tally.other, 1, "{tally:?}");
    let own = |at: u64, _: u8, grains: &[usize]| grains == [entry(at, tables, 8)];
    let table = sample.flip(tables..tables + 300, own);
    assert!(table.noticed > 500, "{table:?}");
    // Journal, bitmap and back map are not read.
    let back_map = place(80 + 6 * 16) * 512;
    assert_eq!(sample.flip(back_map..back_map + 100, |_, _, _| false).noticed, 0);
}

fn hosted_sample() -> Sample {
    let grain = 8 * 512;
    let mut truth = vec![0; 10 * grain];
    let mut spec = SparseSpec::new(truth.len() as u64, 8);
    for number in [0_usize, 1, 4, 9] {
        let bytes = Random(number as u64).bytes(grain);
        truth[number * grain..][..grain].copy_from_slice(&bytes);
        spec.grains.insert(number as u64, Grain::Data(bytes));
    }
    spec.grains.insert(5, Grain::Zero);
    let line = format!("RW {} SPARSE \"flipped.vmdk\"", truth.len() / 512);
    let text = descriptor("monolithicSparse", cid(1), None, &[line]);
    let file = Arc::new(hosted(&spec, Some(&text)).to_vec());
    Sample { name: "monolithicSparse", file, text: None, grain, truth }
}

/// Header, descriptor, both directories and all tables: nothing ever goes unnoticed.
#[test]
fn hosted_disks_under_flipped_bits() {
    let sample = hosted_sample();
    assert_eq!(sample.changed(0, 0).unwrap(), [0; 0]);
    let overhead = u64::from_le_bytes(sample.file[64..72].try_into().unwrap()) * 512;
    let (head, text) =
        (sample.flip(0..512, |_, _, _| false), sample.flip(512..1024, |_, _, _| false));
    assert!(head.noticed > 300 && text.noticed > 500, "{head:?} {text:?}");
    for start in [21 * 512, 22 * 512, 26 * 512, 27 * 512] {
        assert!(start < overhead);
        let tally = sample.flip(start..start + 40, |_, _, _| false);
        assert_eq!(tally.harmless % 32, 0, "entries are noticed or not looked at: {tally:?}");
        assert!(tally.noticed > 0, "{tally:?}");
    }
}

fn stream_sample() -> Sample {
    let grain = 64 << 10;
    let mut truth = vec![0; 5 * grain + 512];
    let capacity = truth.len() as u64;
    let (name, adapter_type) = ("flipped.vmdk".into(), "lsilogic".into());
    let spec = StreamSpec { capacity, name, cid: 1, adapter_type, level: 9 };
    let mut writer = StreamWriter::new(Vec::new(), spec).unwrap();
    for number in [0_usize, 1, 3, 5] {
        let end = truth.len().min((number + 1) * grain);
        truth[number * grain..][..40].copy_from_slice(&Random(number as u64).bytes(40));
        writer.grain(number as u64, &truth[number * grain..end]).unwrap();
    }
    let file = Arc::new(writer.finish().unwrap());
    Sample { name: "streamOptimized", file, text: None, grain, truth }
}

#[test]
fn streams_under_flipped_bits() {
    let sample = stream_sample();
    assert_eq!(sample.changed(0, 0).unwrap(), [0; 0]);
    let never = |_: u64, _: u8, _: &[usize]| false;
    let front = sample.flip(0..1100, never);
    assert!(front.noticed > 2000, "{front:?}");
    // From the end: marker, footer, marker, directory, marker, one table, marker, four grains.
    let end = sample.file.len() as u64;
    let (directory, table) = (end - 4 * 512, end - 9 * 512);
    let grains = sample.flip(128 * 512..table - 512, never);
    assert!(grains.noticed > 1500, "{grains:?}");
    let own = |at: u64, _: u8, grains: &[usize]| grains == [entry(at, table, 4)];
    sample.flip(table..table + 24, own);
    assert_eq!(sample.flip(table + 24..table + 400, never).other, 0);
    sample.flip(directory..directory + 4, never);
    let footer = sample.flip(end - 3 * 512..end, never);
    assert!(footer.noticed > 300, "{footer:?}");
}

/// Descriptors: another meaning is an error sooner or later, or does not matter for the content.
#[test]
fn descriptors_under_flipped_bits() {
    let sample = delta(Made::Cowd, 1);
    let text = sample.text.clone().unwrap();
    let (mut noticed, mut harmless) = (0, 0);
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let content = Disk::parse(&bytes).and_then(|disk| {
                // The caller finds the files by their names.
                if disk.files != ["delta.vmdk"] {
                    return Err(VmdkError::Missing { key: "file" });
                }
                let file = Arc::clone(&sample.file) as Arc<dyn ReadAt>;
                chain_content(Layer::open(disk, vec![file])?, sample.truth.len())
            });
            match content {
                Err(_) => noticed += 1,
                Ok(content) => {
                    assert!(content == sample.truth, "{at} ^ bit {bit}");
                    harmless += 1;
                }
            }
        }
    }
    assert!(noticed > 600 && harmless > 300, "{noticed} {harmless}");
}

/// A file that ends early is an error, or all that is missing was not needed.
#[test]
fn truncated_files_are_errors() {
    for whole in [delta(Made::Cowd, 1), delta(Made::SeSparse, 8), hosted_sample(), stream_sample()]
    {
        let needed = whole.file.len() - if whole.name == "seSparse" { 4096 } else { 0 };
        for length in (0..whole.file.len()).step_by(311).chain([needed - 1]) {
            let file = Arc::new(whole.file[..length].to_vec());
            let cut =
                Sample { file, text: whole.text.clone(), truth: whole.truth.clone(), ..whole };
            let same = cut.changed(0, 0).is_some_and(|grains| grains.is_empty());
            assert_eq!(cut.changed(0, 0).is_some(), same, "{} at {length}", whole.name);
            assert!(!same || length >= needed, "{} at {length}", whole.name);
        }
    }
}
