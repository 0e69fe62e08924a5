//! What a daemon asks for that was taken over, in ways that no honest one would.

use crate::support::{
    World, key_file, locked, officer, only, reclaim, refusal, runs, segment, workload,
};
use base64::Engine as _;
use fakes::disk::Sim;
use format::parity::ParityWriter;
use format::segment::Class;
use format::trailer::Trailer;
use ledger::event::{LockBounds, PointText, Right, Segment};
use ledger::{Event, Leaf, Runs};
use model::{LockMode, RetentionTime};
use std::sync::Arc;
use warden::storage;
use warden::wire::{Evidence, OfficerAction, OfficerRequest, Outcome, Request};
use warden::{Caller, Keeper, State};

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
    let mut creation = crate::support::creation();
    creation.officers[1].key = creation.officers[0].key;
    let (disk, config) = (Sim::default(), crate::support::config(&world.witness.copy()));
    let made = Keeper::create(Arc::new(disk), &creation, config, world.reading()).map(drop);
    assert!(made.unwrap_err().to_string().contains("same key"));
    // Without any officer the console brings in the first two, and nobody else does.
    let mut creation = crate::support::creation();
    creation.officers.clear();
    let mut empty = World::new(Sim::default());
    let config = crate::support::config(&empty.witness);
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

/// Every leaf of a ledger, and leaves that break its rules, against every state on the way: what
/// is checked before a leaf is written is what taking it says.
#[test]
fn whether_a_leaf_can_be_taken_is_known_before_it_is_written() {
    let mut world = World::new(Sim::default());
    workload(&mut world).unwrap();
    let bytes = storage::read_all(&world.disk, "ledger/leaves", 1 << 24).unwrap();
    let mut frames = ledger::Frames::new(crate::support::ID);
    frames.push(&bytes);
    let mut leaves = Vec::new();
    while let Some(leaf) = frames.next_leaf().unwrap() {
        leaves.push(leaf);
    }
    let mut tried = leaves.clone();
    let last = leaves.last().unwrap();
    for event in broken(&leaves) {
        tried.push(Leaf::new(last.clock, last.wall, event));
    }
    let (mut state, mut refused) = (State::new(), 0);
    for (number, leaf) in (0..).zip(&leaves) {
        for other in &tried {
            let clock = other.clock.max(state.high_water());
            let other = Leaf::new(clock, other.wall, other.event.clone());
            let checked = state.check(std::slice::from_ref(&other));
            let taken = state.clone().apply(number, &other);
            assert_eq!(
                checked.is_ok(),
                taken.is_ok(),
                "{number}: {other:?}: {checked:?} {taken:?}"
            );
            refused += u32::from(checked.is_err());
        }
        state.apply(number, leaf).unwrap();
    }
    assert!(refused > 1000, "{refused}");
}

fn broken(leaves: &[Leaf]) -> Vec<Event> {
    let (point, none) = (PointText(crate::support::point(90)), Runs::new);
    let zero: Runs = [0, 1].into_iter().collect();
    let mut events = vec![
        Event::Delete { points: vec![point], segments: none(), keys: vec![] },
        Event::Delete { points: vec![], segments: runs(&[10]), keys: vec![] },
        Event::Delete { points: vec![], segments: none(), keys: vec![2] },
        Event::Delete { points: vec![], segments: zero.clone(), keys: vec![] },
        Event::Compact { from: zero, to: runs(&[10]) },
        Event::Compact { from: runs(&[1]), to: runs(&[1, 10]) },
        Event::Volume { number: 0 },
        Event::Key { epoch: 9, hash: "no hash".into() },
        Event::Signer { key: "nobody".into() },
        Event::Extend { point: crate::support::point(1), until: RetentionTime(1) },
        Event::Hold { point: crate::support::point(90), matter: "m".into() },
    ];
    for leaf in leaves {
        match leaf.event.clone() {
            Event::Segment(segment) => {
                events.push(Event::Segment(Segment { serial: 700, epoch: 7, ..segment.clone() }));
                events.push(Event::Segment(Segment { serial: 0, ..segment.clone() }));
                events.push(Event::Segment(Segment { seal: "x".into(), serial: 700, ..segment }));
            }
            Event::Commit(commit) => {
                let mut far = *commit;
                far.point = crate::support::point(91);
                far.reach.add = runs(&[1, 700]);
                events.push(Event::Commit(Box::new(far)));
            }
            _ => {}
        }
    }
    events
}

/// A volume is away while the key of what lies on it is destroyed. When it comes back nothing can
/// be done with that any more, and nothing on record says otherwise.
#[test]
fn a_segment_whose_key_was_destroyed_meanwhile_is_not_recorded() {
    let mut world = locked(900_000);
    world.ask(Request::AddVolume { number: 1 }).unwrap();
    world.ask(Request::AddKey { epoch: 1, file: key_file(1) }).unwrap();
    world.seal(0, 10, Class::Metadata, 1).unwrap();
    world.commit(2, 10, only(&[10]), (LockMode::Governance, 0)).unwrap();
    world.seal(1, 11, Class::Metadata, 1).unwrap();
    let header = storage::read_all(&world.disk, "volumes/1/volume", 4096).unwrap();
    world.disk.remove_below("volumes/1/volume");
    world.restart().unwrap();
    world.ask(Request::AddKey { epoch: 2, file: key_file(2) }).unwrap();
    world.delete(&[2]).unwrap();
    assert!(!world.state.keys().contains_key(&1));
    storage::replace(&world.disk, "volumes/1/volume", &header).unwrap();
    let found = world.restart().unwrap();
    assert_eq!(found.orphans, runs(&[11]));
    let commit = world.commit_request(3, 11, only(&[11]), (LockMode::Governance, 5));
    let error = world.ask(Request::Commit(Box::new(commit))).unwrap_err();
    assert!(error.to_string().contains("destroyed"), "{error}");
    let compact = Request::Compact { from: runs(&[1]), to: runs(&[11]) };
    assert!(world.ask(compact).is_err());
    // It still opens, and goes on.
    world.restart().unwrap();
    world.ask(reclaim()).unwrap();
    assert!(!world.disk.paths().contains(&"volumes/1/segments/0000000b.segment".to_owned()));
    world.seal(0, 12, Class::Metadata, 2).unwrap();
    world.commit(4, 12, only(&[12]), (LockMode::Governance, 5)).unwrap();
    world.check();
}

/// People get something to sign however often the daemon asks for it too.
#[test]
fn the_daemon_drives_out_no_challenge_of_the_console() {
    let mut world = locked(1000);
    world.hold(1, "m").unwrap();
    let Outcome::Challenge(challenge) =
        world.ask_as(Caller::Console, Request::Challenge).unwrap().outcome
    else {
        panic!("no challenge")
    };
    for _ in 0..100 {
        world.challenge().unwrap();
    }
    let action = OfficerAction::ReleaseHold {
        point: PointText(crate::support::point(1)),
        matter: "m".into(),
    };
    let text = warden::officer_text(&crate::support::ID, &challenge, &action);
    let signature = hex::encode(officer("ann").sign_bytes(text.as_bytes()));
    let signatures = vec![("ann".to_owned(), signature)];
    let request = OfficerRequest { action, challenge, signatures };
    world.ask_as(Caller::Console, Request::Officer(Box::new(request))).unwrap();
    assert_eq!(world.state.retention().matters(crate::support::point(1)).count(), 0);
}

#[test]
fn a_commit_with_long_names_is_refused() {
    let mut world = locked(100);
    world.seal(0, 5, Class::Metadata, 0).unwrap();
    let mut long = world.commit_request(2, 5, only(&[5]), (LockMode::Governance, 5));
    long.vm.name = "x".repeat(5000);
    assert!(world.ask(Request::Commit(Box::new(long))).is_err());
    world.commit(3, 5, only(&[5]), (LockMode::Governance, 5)).unwrap();
}
