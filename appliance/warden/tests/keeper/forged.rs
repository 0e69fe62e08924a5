//! Forged ledgers: whatever is changed, cut or put back is refused or, where it was never
//! acknowledged, moved aside. Nothing is ever believed that was not signed.

use crate::support::{ID, MemoryWitness, World, config, workload};
use fakes::disk::Sim;
use ledger::{Batch, Event, Head, Leaf, NoteSigner, Tree, origin};
use model::{ErrorKind, RetentionTime, WallTime};
use std::sync::Arc;
use warden::found::Found;
use warden::storage::{self, Storage};
use warden::wire::{Evidence, Request};
use warden::{Keeper, WardenError};

fn world() -> World {
    let mut world = World::new(Sim::default());
    workload(&mut world).unwrap();
    world
}

fn open(world: &World, disk: &Sim, witness: Option<&MemoryWitness>) -> Result<Found, WardenError> {
    let none = MemoryWitness::default();
    let config = config(witness.unwrap_or(&none));
    Keeper::open(Arc::new(disk.clone()), config, world.reading()).map(|(_, found)| found)
}

fn file(disk: &Sim, path: &str) -> Vec<u8> {
    storage::read_all(disk, path, 1 << 24).unwrap()
}

fn put(disk: &Sim, path: &str, bytes: &[u8]) {
    storage::replace(disk, path, bytes).unwrap();
}

/// The leaves, and where each frame ends.
fn frames(bytes: &[u8]) -> (Vec<Leaf>, Vec<usize>) {
    let mut frames = ledger::Frames::new(ID);
    frames.push(bytes);
    let (mut leaves, mut ends) = (Vec::new(), Vec::new());
    while let Some(leaf) = frames.next_leaf().unwrap() {
        leaves.push(leaf);
        ends.push(usize::try_from(frames.offset()).unwrap());
    }
    (leaves, ends)
}

fn signer() -> NoteSigner {
    NoteSigner::new(&origin(&ID), &crate::support::SIGNER).unwrap()
}

fn leaf_hash(leaf: &Leaf) -> ledger::Hash {
    ledger::tree::leaf_hash(&leaf.encode().unwrap())
}

#[test]
fn every_byte_of_the_leaves_is_bound() {
    let world = world();
    let length = world.disk.length("ledger/leaves");
    println!("{length} bytes, one bit of each");
    for at in 0..length {
        let disk = world.disk.copy();
        disk.flip("ledger/leaves", at, 1 << (at % 8));
        let error = open(&world, &disk, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert_eq!(disk.length("ledger/leaves"), length, "byte {at}: something was cut");
    }
}

#[test]
fn every_bit_of_the_head_is_bound() {
    let world = world();
    for bit in 0..world.disk.length("ledger/head") * 8 {
        let disk = world.disk.copy();
        disk.flip("ledger/head", bit / 8, 1 << (bit % 8));
        assert!(open(&world, &disk, None).is_err(), "bit {bit}");
    }
}

#[test]
fn exchanged_repeated_and_left_out_frames_are_refused() {
    let world = world();
    let bytes = file(&world.disk, "ledger/leaves");
    let (_, ends) = frames(&bytes);
    let frame = |n: usize| &bytes[n.checked_sub(1).map_or(0, |last| ends[last])..ends[n]];
    for at in 0..ends.len() - 1 {
        for wrong in [vec![at + 1, at], vec![at, at], vec![at + 1]] {
            let order = (0..at).chain(wrong).chain(at + 2..ends.len());
            let forged: Vec<u8> = order.flat_map(|n| frame(n).to_vec()).collect();
            let disk = world.disk.copy();
            put(&disk, "ledger/leaves", &forged);
            assert!(open(&world, &disk, None).is_err(), "at {at}");
        }
    }
}

#[test]
fn a_ledger_that_was_cut_back_is_refused_as_long_as_one_newer_head_is_known() {
    let world = world();
    let (leaves, ends) = frames(&file(&world.disk, "ledger/leaves"));
    let mut tree = Tree::default();
    for (number, leaf) in leaves.iter().enumerate().take(leaves.len() - 1) {
        tree.push(leaf_hash(leaf));
        let older = Head::new(ID, &tree).sign(&signer());
        let cut = world.disk.copy();
        cut.truncate("ledger/leaves", ends[number]);
        // The head that is there names more.
        assert!(open(&world, &cut, None).is_err(), "cut after leaf {number}");
        // With the older head, rightly signed, the warden's own record knows better,
        put(&cut, "ledger/head", older.as_bytes());
        let error = open(&world, &cut, Some(&world.witness)).unwrap_err();
        assert!(matches!(error, WardenError::RolledBack { .. }), "{number}: {error}");
        // and so does the copy on another volume, once there was one.
        if leaves[..=number].iter().any(|leaf| matches!(leaf.event, Event::Volume { .. })) {
            let error = open(&world, &cut, None).unwrap_err();
            assert!(matches!(error, WardenError::RolledBack { .. }), "{number}: {error}");
        }
    }
}

#[test]
fn a_history_signed_by_another_key_is_refused() {
    let world = world();
    let other = NoteSigner::new(&origin(&ID), &[66; 32]).unwrap();
    let (leaves, _) = frames(&file(&world.disk, "ledger/leaves"));
    let mut batch = Batch::after(&Tree::default());
    leaves.iter().for_each(|leaf| batch.push(&ID, leaf).unwrap());
    let disk = world.disk.copy();
    put(&disk, "ledger/head", Head::new(ID, batch.tree()).sign(&other).as_bytes());
    assert!(matches!(open(&world, &disk, None), Err(WardenError::Ledger { .. })));
    // Whoever can write the ledger can name himself as another box. The start after it says so,
    let key = other.vkey().to_string();
    let clock = leaves.last().unwrap().clock;
    batch.push(&ID, &Leaf::new(clock, WallTime(0), Event::Signer { key })).unwrap();
    put(&disk, "ledger/leaves", batch.bytes());
    put(&disk, "ledger/head", Head::new(ID, batch.tree()).sign(&other).as_bytes());
    let found = open(&world, &disk.copy(), Some(&world.witness.copy())).unwrap();
    assert!(found.signer_changed);
    // and as soon as the right history has gone on, its head is not among the forger's.
    let mut right = World::new(world.disk.copy());
    (right.witness, right.wall) = (world.witness.copy(), world.wall);
    right.restart().unwrap();
    let error = open(&world, &disk, Some(&right.witness)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn another_history_of_the_same_length_is_refused_by_the_witness() {
    let world = world();
    let (leaves, _) = frames(&file(&world.disk, "ledger/leaves"));
    let mut batch = Batch::after(&Tree::default());
    for leaf in &leaves {
        let leaf = Leaf::new(leaf.clock, WallTime(leaf.wall.0 + 1), leaf.event.clone());
        batch.push(&ID, &leaf).unwrap();
    }
    let disk = world.disk.copy();
    put(&disk, "ledger/leaves", batch.bytes());
    put(&disk, "ledger/head", Head::new(ID, batch.tree()).sign(&signer()).as_bytes());
    let error = open(&world, &disk, Some(&world.witness)).unwrap_err();
    assert!(matches!(error, WardenError::RolledBack { .. }), "{error}");
}

#[test]
fn leaves_that_break_the_rules_are_refused_even_when_signed() {
    let world = world();
    let (leaves, _) = frames(&file(&world.disk, "ledger/leaves"));
    let last = leaves.last().unwrap().clock;
    let point = crate::support::point(1);
    let points = vec![ledger::event::PointText(crate::support::point(90))];
    let (segments, keys) = (ledger::Runs::new(), Vec::new());
    for (clock, event) in [
        (RetentionTime(last.0 - 1), Event::OverridesOff {}),
        (last, Event::Delete { points, segments: segments.clone(), keys: keys.clone() }),
        (last, Event::Delete { points: vec![], segments: crate::support::runs(&[10]), keys }),
        (last, Event::Delete { points: vec![], segments, keys: vec![2] }),
        (last, Event::Extend { point, until: RetentionTime(1) }),
        (last, Event::Volume { number: 1 }),
        (last, leaves[0].event.clone()),
    ] {
        let mut batch = Batch::after(&Tree::default());
        leaves.iter().for_each(|leaf| batch.push(&ID, leaf).unwrap());
        batch.push(&ID, &Leaf::new(clock, WallTime(0), event.clone())).unwrap();
        let disk = world.disk.copy();
        put(&disk, "ledger/leaves", batch.bytes());
        put(&disk, "ledger/head", Head::new(ID, batch.tree()).sign(&signer()).as_bytes());
        assert!(open(&world, &disk, None).is_err(), "{event:?}");
    }
}

#[test]
fn a_head_that_is_gone_is_an_error_and_a_ledger_that_is_gone_too() {
    let world = world();
    for path in ["ledger/head", "ledger/leaves"] {
        let disk = world.disk.copy();
        disk.remove_below(path);
        assert!(open(&world, &disk, None).is_err(), "{path}");
    }
    let disk = world.disk.copy();
    disk.remove_below("repository");
    assert_eq!(open(&world, &disk, None).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_torn_tail_is_kept_aside() {
    let world = world();
    let disk = world.disk.copy();
    let bytes = file(&disk, "ledger/leaves");
    put(&disk, "ledger/leaves", &[&bytes[..], b"HFLF half a frame"].concat());
    let found = open(&world, &disk, Some(&world.witness)).unwrap();
    assert_eq!(found.torn_bytes, 17);
    let torn = disk.paths().into_iter().find(|path| path.starts_with("ledger/torn-")).unwrap();
    assert_eq!(file(&disk, &torn), b"HFLF half a frame");
}

#[test]
fn a_copy_that_lags_or_is_wrong_is_completed() {
    let world = world();
    let copy = "volumes/1/ledger/leaves";
    let length = world.disk.length(copy);
    assert_eq!(file(&world.disk, copy), file(&world.disk, "ledger/leaves"));
    for damage in [0, 1, length / 2, length - 1] {
        let disk = world.disk.copy();
        disk.truncate(copy, damage);
        let found = open(&world, &disk, None).unwrap();
        assert_eq!(found.copies_completed, [1], "cut to {damage}");
        assert_eq!(file(&disk, copy), file(&disk, "ledger/leaves"), "cut to {damage}");
        let disk = world.disk.copy();
        disk.flip(copy, damage, 8);
        open(&world, &disk, None).unwrap();
        assert_eq!(file(&disk, copy), file(&disk, "ledger/leaves"), "flip at {damage}");
        assert_eq!(file(&disk, "volumes/1/ledger/head"), file(&disk, "ledger/head"));
    }
}

#[test]
fn another_box_goes_on_with_the_repositorys_clock_and_says_so() {
    let world = world();
    let mut other = config(&MemoryWitness::default());
    other.signer = [99; 32];
    let clock = world.keeper.as_ref().unwrap().state().high_water();
    let mut reading = world.reading();
    (reading.wall, reading.rtc) = (WallTime(1), Some(WallTime(1)));
    let storage: Arc<dyn Storage> = Arc::new(world.disk.copy());
    let (keeper, found) = Keeper::open(Arc::clone(&storage), other, reading).unwrap();
    assert!(found.signer_changed && found.without_witness);
    assert_eq!(keeper.state().high_water(), clock);
    drop(keeper);
    let (_, found) = Keeper::open(storage, config(&world.witness), world.reading()).unwrap();
    assert!(found.signer_changed, "and back");
}

#[test]
fn proofs_of_every_leaf_and_every_older_size_hold() {
    let world = world();
    let (leaves, _) = frames(&file(&world.disk, "ledger/leaves"));
    let mut roots = Vec::new();
    let mut tree = Tree::default();
    for leaf in &leaves {
        tree.push(leaf_hash(leaf));
        roots.push(tree.root());
    }
    let (size, root) = (tree.size(), tree.root());
    for (index, leaf) in (0..).zip(&leaves) {
        let path = warden::prove_inclusion(&world.disk, ID, index, size).unwrap();
        let hash = leaf_hash(leaf);
        assert!(ledger::proof::verify_inclusion(&hash, index, size, &path, &root), "{index}");
        let old = index + 1;
        let proof = warden::prove_consistency(&world.disk, ID, old, size).unwrap();
        let before = roots[usize::try_from(index).unwrap()];
        assert!(ledger::proof::verify_consistency((old, &before), (size, &root), &proof), "{old}");
    }
    assert!(warden::prove_inclusion(&world.disk, ID, size, size).is_err());
    assert!(warden::prove_inclusion(&world.disk, ID, 0, size + 1).is_err());
    assert!(warden::prove_consistency(&world.disk, ID, 0, size).is_err());
}

#[test]
fn a_page_of_the_ledger_is_read_from_near_its_first_leaf() {
    let mut world = world();
    let alarm = |number: u64| Evidence::Alarm { what: number.to_string(), detail: "x".into() };
    for number in 0..3000 {
        let reading = world.reading();
        world.keeper.as_mut().unwrap().handle(Request::Note(alarm(number)), reading).unwrap();
    }
    world.compare().unwrap();
    let bytes = file(&world.disk, "ledger/leaves");
    let (leaves, _) = frames(&bytes);
    let size = leaves.len() as u64;
    for from in (0..size + 5).step_by(311).chain([1023, 1024, 1025, 2048, size - 1, size]) {
        let start = world.reader.before(from);
        assert!(start.tree().size() <= from && from - start.tree().size() < 1024 + 5, "{from}");
        let page = warden::read_leaves(&world.disk, start, (from, 7), size).unwrap();
        let expected = leaves.iter().skip(usize::try_from(from).unwrap()).take(7);
        assert_eq!(page, expected.map(|leaf| leaf.encode().unwrap()).collect::<Vec<_>>(), "{from}");
    }
}
