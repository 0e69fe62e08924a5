//! What a daemon asks for that was taken over, in ways that no honest one would.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use base64::Engine as _;
use fakes::disk::Sim;
use format::parity::ParityWriter;
use format::segment::Class;
use format::trailer::Trailer;
use ledger::event::{LockBounds, Right};
use std::sync::Arc;
use support::{World, locked, officer, refusal, segment};
use warden::wire::{Evidence, OfficerAction, Request};
use warden::{Caller, Keeper};

/// A daemon that is an enemy from the first minute on, before there is any point.
#[test]
fn before_the_first_commit_officers_and_bounds_need_signatures_too() {
    let mut world = World::new(Sim::default());
    world.create().unwrap();
    let key =
        |name: &str| base64::engine::general_purpose::STANDARD.encode(officer(name).vkey().key());
    let enrol = |name: &str, key: String| {
        let (name, rights) = (name.into(), vec![Right::Override, Right::ReleaseHold]);
        OfficerAction::Enrol { name, key, rights }
    };
    let bounds = LockBounds { min_seconds: 0, max_seconds: 1 };
    for action in [
        OfficerAction::Dismiss { name: "ann".into() },
        enrol("eve", key("eve")),
        OfficerAction::SetBounds { bounds },
    ] {
        for caller in [Caller::Daemon, Caller::Console] {
            let unsigned = world.signed(action.clone(), &[]).unwrap();
            refusal(world.ask_as(caller, unsigned));
        }
    }
    // One person under two names is no pair.
    let twice = world.signed(enrol("eve", key("ann")), &["ann", "bob"]).unwrap();
    let error = world.ask(twice).unwrap_err();
    assert!(error.to_string().contains("the key of ann"), "{error}");
    let mut creation = support::creation();
    creation.officers[1].key = creation.officers[0].key;
    let (disk, config) = (Sim::default(), support::config(&world.witness.copy()));
    let made = Keeper::create(Arc::new(disk), &creation, config, world.reading()).map(drop);
    assert!(made.unwrap_err().to_string().contains("same key"));
    // Without any officer the console brings in the first two, and nobody else does.
    let mut creation = support::creation();
    creation.officers.clear();
    let mut empty = World::new(Sim::default());
    let config = support::config(&empty.witness);
    let (keeper, _) = Keeper::create(empty.storage(), &creation, config, empty.reading()).unwrap();
    empty.keeper = Some(keeper);
    for name in ["ann", "bob"] {
        let unsigned = empty.signed(enrol(name, key(name)), &[]).unwrap();
        refusal(empty.ask(unsigned));
        let unsigned = empty.signed(enrol(name, key(name)), &[]).unwrap();
        empty.ask_as(Caller::Console, unsigned).unwrap();
    }
    let third = empty.signed(enrol("eve", key("eve")), &[]).unwrap();
    refusal(empty.ask_as(Caller::Console, third));
}

/// A segment of which data and footer are right, while its parity repairs nothing: all checksums
/// are those of the forged parity, so nothing but the parity itself shows it.
fn with_forged_parity(right: &[u8]) -> Vec<u8> {
    let length = right.len() as u64;
    let read = |at: u64, buffer: &mut [u8]| {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&right[at..at + buffer.len()]);
        Ok::<(), std::io::Error>(())
    };
    let (mut trailer, _) = Trailer::read(length, read).unwrap();
    let protected = usize::try_from(trailer.geometry.protected_length()).unwrap();
    let mut parity = ParityWriter::new();
    parity.write(&right[..protected]);
    let mut made = parity.finish().unwrap();
    made.parity[77] ^= 1;
    let block = protected / format::BLOCK * 4;
    let crc = crc32fast::hash(&made.parity[..format::BLOCK]).to_le_bytes();
    made.table[block..block + 4].copy_from_slice(&crc);
    trailer.table_hash = *blake3::hash(&made.table).as_bytes();
    [&right[..protected], &trailer.tail(&made)].concat()
}

#[test]
fn a_repair_does_not_bring_in_parity_that_repairs_nothing() {
    let mut world = locked(900_000);
    let right = segment(1, Class::Data, 0);
    let forged = with_forged_parity(&right);
    assert_eq!(forged.len(), right.len());
    for damaged in [false, true] {
        if damaged {
            world.disk.flip("segments/00000001.segment", 5000, 1);
            world.ask(Request::Note(Evidence::Quarantined { serial: 1 })).unwrap();
        }
        world.write(0, 1, &forged).unwrap();
        let error = world.ask(Request::Repair { volume: 0, serial: 1 }).unwrap_err();
        assert!(error.to_string().contains("not what was sealed"), "{error}");
        for at in (0..right.len()).step_by(509) {
            let mut flipped = right.clone();
            flipped[at] ^= 4;
            world.write(0, 1, &flipped).unwrap();
            assert!(world.ask(Request::Repair { volume: 0, serial: 1 }).is_err(), "byte {at}");
        }
    }
    world.write(0, 1, &right).unwrap();
    world.ask(Request::Repair { volume: 0, serial: 1 }).unwrap();
    world.check();
}
