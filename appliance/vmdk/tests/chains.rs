//! Chains of disks in memory: what is read is what was written last, whatever the kinds of the
//! disks; and chains that are none.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::{ReadAt, ReadError};
use common::{DeltaSpec, Made, Random, Stack, cid, content};
use fakes::vmdk::{Grain, SparseSpec, descriptor, sesparse};
use model::{DiskRange, ErrorKind};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use vmdk::{Chain, Disk, Layer, Part, Place, Target, VmdkError};

fn delta() -> impl Strategy<Value = DeltaSpec> {
    let made = prop::sample::select(vec![Made::Cowd, Made::SeSparse, Made::Hosted]);
    let grain = prop::sample::select(vec![8u64, 16, 128]);
    (made, grain, prop::sample::select(vec![0u64, 5, 200, 700, 1000]), 1u64..u64::MAX).prop_map(
        |(made, grain, density, seed)| {
            // Half of the COWD files as ESXi makes them, with grains of one sector.
            let grain = if made == Made::Cowd && seed % 2 == 1 { 1 } else { grain };
            DeltaSpec::new(made, grain, density, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_reads_like_the_writes_that_made_it(
        sectors in 1u64..6000,
        base in prop::option::of(any::<u64>()),
        deltas in prop::collection::vec(delta(), 1..7),
        looks in prop::collection::vec((0u64..3_100_000, 0u64..70_000), 8),
    ) {
        let stack = Stack::new(sectors, base, &deltas);
        let chain = stack.chain().unwrap();
        chain.verify().unwrap();
        prop_assert!(content(&chain) == stack.truth, "the whole disk");
        for (offset, length) in looks {
            let offset = offset.min(chain.capacity());
            let length = length.min(chain.capacity() - offset);
            let parts = chain.resolve(DiskRange { offset, length }).unwrap();
            let mut position = offset;
            for part in &parts {
                prop_assert_eq!(part.range.offset, position);
                prop_assert!(part.range.length > 0);
                if let Target::File { extent, .. } = part.to {
                    prop_assert_eq!(extent.length, part.range.length);
                }
                position = part.range.end();
            }
            prop_assert_eq!(position, offset + length);
            let bytes = chain.read_vec(offset, usize::try_from(length).unwrap()).unwrap();
            let from = usize::try_from(offset).unwrap();
            prop_assert!(bytes == stack.truth[from..from + bytes.len()]);
        }
        chain.recheck().unwrap();
    }
}

#[test]
fn a_long_chain_is_resolved_and_a_longer_one_refused() {
    let deltas = |count: u64| -> Vec<DeltaSpec> {
        (1..=count).map(|seed| DeltaSpec::new(Made::SeSparse, 8, 30, seed)).collect()
    };
    let stack = Stack::new(4000, Some(7), &deltas(254));
    assert!(content(&stack.chain().unwrap()) == stack.truth);
    let error = Stack::new(8, Some(7), &deltas(255)).chain().unwrap_err();
    assert!(error.to_string().contains("256 disks"), "{error}");
}

/// The three answers of one disk, and what becomes of them in a chain.
#[test]
fn a_delta_says_this_file_zeros_or_the_parent() {
    let mut spec = SparseSpec { align_sectors: 8, ..SparseSpec::new(5 * 4096, 8) };
    spec.grains.insert(1, Grain::Data(vec![1; 4096]));
    spec.grains.insert(2, Grain::Zero);
    spec.grains.insert(3, Grain::Unmapped(vec![3; 4096]));
    let line = ["RW 40 SESPARSE \"d.vmdk\"".to_owned()];
    let child = descriptor("seSparse", 2, Some((1, "base.vmdk")), &line);
    let layer = |text: &str, file: Arc<dyn ReadAt>| {
        Layer::open(Disk::parse(text.as_bytes()).unwrap(), vec![file]).unwrap()
    };
    let child = layer(&child, Arc::new(sesparse(&spec)));
    let whole = DiskRange { offset: 0, length: 5 * 4096 };
    let parts = child.resolve(whole).unwrap();
    let kinds: Vec<_> = parts.iter().map(|part| (part.range.length, part.place)).collect();
    let [parent, (4096, Place::File(extent)), (8192, Place::Zero), after] = kinds[..] else {
        panic!("{kinds:?}")
    };
    assert_eq!((parent, after), ((4096, Place::Parent), (4096, Place::Parent)));
    assert_eq!(extent.length, 4096);
    let base = descriptor("vmfs", 1, None, &["RW 40 VMFS \"base-flat.vmdk\"".into()]);
    let chain = Chain::new(vec![child, layer(&base, Arc::new(vec![9; 5 * 4096]))]).unwrap();
    let bytes = content(&chain);
    let expected = [(9, 0), (1, 1), (0, 2), (0, 3), (9, 4)];
    for (byte, grain) in expected {
        assert!(bytes[grain * 4096..][..4096].iter().all(|b| *b == byte), "grain {grain}");
    }
}

#[test]
fn a_parent_that_was_changed_is_refused() {
    let deltas: Vec<_> = (1..4).map(|seed| DeltaSpec::new(Made::Cowd, 1, 300, seed)).collect();
    for position in 0..3 {
        let mut stack = Stack::new(64, Some(1), &deltas);
        let cids = [format!("\nCID={:08x}", cid(position)), format!("\nCID={:08x}", 0xBAD)];
        stack.disks[position].0 = stack.disks[position].0.replace(&cids[0], &cids[1]);
        let error = stack.chain().unwrap_err();
        let expected = cid(position);
        assert!(
            matches!(error, VmdkError::ParentChanged { expected: e, found: 0xBAD, child }
                if e == expected && child == 2 - position),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn disks_that_are_no_chain_are_refused() {
    let stack = Stack::new(64, Some(1), &[DeltaSpec::new(Made::Cowd, 1, 300, 5)]);
    let layer = |(text, file): &(String, Arc<dyn ReadAt>)| {
        Layer::open(Disk::parse(text.as_bytes()).unwrap(), vec![Arc::clone(file)]).unwrap()
    };
    let (base, child) = (&stack.disks[0], &stack.disks[1]);
    let refused = |layers: Vec<Layer>, words: &str| {
        let error = Chain::new(layers).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(vec![], "no disk");
    refused(vec![layer(child)], "has a parent, which was not given");
    refused(vec![layer(base), layer(base)], "has no parent");
    let other = Stack::new(65, Some(1), &[]);
    refused(vec![layer(child), layer(&other.disks[0])], "33280");
    let (text, file) = child;
    let disk = Disk::parse(text.replace("RW 64", "RW 63").as_bytes()).unwrap();
    let error = Layer::open(disk, vec![Arc::clone(file)]).unwrap_err();
    assert!(error.to_string().contains("32256"), "{error}");
    let disk = Disk::parse(text.as_bytes()).unwrap();
    assert!(Layer::open(disk.clone(), vec![]).is_err());
    // A file of another kind than the descriptor says.
    let cowd = stack.disks[1].1.clone();
    let other = text.replace("vmfsSparse", "seSparse").replace("VMFSSPARSE", "SESPARSE");
    let error = Layer::open(Disk::parse(other.as_bytes()).unwrap(), vec![cowd]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: ReadAt> ReadAt for Counted<R> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.inner.read_at(offset, buffer)
    }
}

/// 62 TiB, the largest disk of vSphere: few grains, in little time and with few reads.
#[test]
fn the_largest_disk_is_read_lazily() {
    let capacity = 62 << 40;
    let mut spec = SparseSpec::new(capacity, 8);
    let grains = [0, 1, 4095, 4096, 5 << 30, capacity / 4096 - 1];
    for number in grains {
        spec.grains.insert(number, Grain::Data(Random(number + 1).bytes(4096)));
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let file = Counted { inner: sesparse(&spec), bytes: Arc::clone(&bytes) };
    let line = format!("RW {} SESPARSE \"d.vmdk\"", capacity / 512);
    let disk = Disk::parse(descriptor("seSparse", 1, None, &[line]).as_bytes()).unwrap();
    let layer = Layer::open(disk, vec![Arc::new(file)]).unwrap();
    let opened = bytes.swap(0, Ordering::Relaxed);
    assert!(opened < 33 << 20, "the directory alone has 31 MiB: {opened}");
    let chain = Chain::new(vec![layer]).unwrap();
    for number in grains {
        let grain = chain.read_vec(number * 4096, 4096).unwrap();
        assert_eq!(grain, Random(number + 1).bytes(4096), "{number}");
    }
    let parts = chain.resolve(DiskRange { offset: 1 << 40, length: 60 << 40 }).unwrap();
    let files = parts.iter().filter(|part| matches!(part.to, Target::File { .. }));
    assert_eq!((parts.len(), files.count()), (3, 1));
    let read = bytes.swap(0, Ordering::Relaxed);
    assert!(read < 256 << 10, "a few pages of tables: {read}");
    chain.verify().unwrap();
    chain.recheck().unwrap();
}

/// A file of which a byte changes at some time; it notes what was read.
struct Changing {
    bytes: Vec<u8>,
    at: AtomicU64,
    read: Mutex<Vec<(u64, u64)>>,
}

impl ReadAt for Changing {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.bytes.read_at(offset, buffer)?;
        self.read.lock().unwrap().push((offset, offset + buffer.len() as u64));
        let at = self.at.load(Ordering::Relaxed).checked_sub(offset);
        if let Some(byte) = at.and_then(|at| buffer.get_mut(usize::try_from(at).ok()?)) {
            *byte ^= 1;
        }
        Ok(())
    }
}

#[test]
fn metadata_that_changes_while_it_is_used_is_noticed() {
    for made in [Made::Cowd, Made::SeSparse, Made::Hosted] {
        let delta = DeltaSpec::new(made, 8, 500, 3);
        let spec = delta.write(&mut vec![0; 4 << 20]);
        let bytes = made.image(&spec).to_vec();
        let open = || {
            let at = AtomicU64::new(u64::MAX);
            let file = Changing { bytes: bytes.clone(), at, read: Mutex::default() };
            let file = Arc::new(file);
            let line = format!("RW 8192 {} \"d.vmdk\"", made.extent());
            let disk = descriptor(made.create_type(), 1, None, &[line]);
            let disk = Disk::parse(disk.as_bytes()).unwrap();
            (Layer::open(disk, vec![Arc::clone(&file) as Arc<dyn ReadAt>]).unwrap(), file)
        };
        let whole = DiskRange { offset: 0, length: 4 << 20 };
        let parts: Vec<Part> = open().0.resolve(whole).unwrap();
        let first = parts.iter().filter_map(|part| match part.place {
            Place::File(extent) => Some(extent.offset),
            _ => None,
        });
        // What lies before the first grain: headers, directory, tables, areas that nobody reads.
        let mut noticed = 0;
        for at in (0..first.min().unwrap()).step_by(97) {
            let (layer, file) = open();
            layer.resolve(whole).unwrap();
            layer.recheck().unwrap();
            let read =
                file.read.lock().unwrap().iter().any(|(from, to)| (*from..*to).contains(&at));
            file.at.store(at, Ordering::Relaxed);
            let now = layer.recheck();
            assert_eq!(matches!(now, Err(VmdkError::Moved { .. })), read, "{made:?} at {at}");
            noticed += u32::from(read);
        }
        assert!(noticed > 10, "{made:?}: {noticed}");
    }
}

#[test]
fn ranges_beyond_the_disk_are_refused() {
    let chain = Stack::new(64, Some(1), &[DeltaSpec::new(Made::Cowd, 1, 300, 5)]).chain().unwrap();
    for (offset, length) in [(32768, 1), (0, 32769), (u64::MAX, 2)] {
        let error = chain.resolve(DiskRange { offset, length }).unwrap_err();
        assert!(matches!(error, VmdkError::BeyondEnd { .. }), "{error}");
    }
    assert_eq!(chain.resolve(DiskRange { offset: 32768, length: 0 }).unwrap(), []);
    assert!(chain.read_vec(32768, 1).is_err());
}
