//! Single requests: what is refused and how, what repeating does, hostile segments, full disks.

use crate::support::{
    World, key_file, locked, officer, only, point, reclaim, refusal, runs, segment, segment_of,
    size, tick, workload,
};
use base64::Engine as _;
use fakes::disk::Sim;
use format::segment::Class;
use ledger::Runs;
use ledger::event::{LockBounds, PointText, ReachChange, Right};
use model::{ErrorKind, LockMode};
use retention::{Refusal, Verdict};
use warden::storage::{self, Storage};
use warden::wire::{Evidence, OfficerAction, OfficerRequest, Outcome, Removed, Request};
use warden::{Caller, WardenError};

fn removed(outcome: Outcome) -> Removed {
    match outcome {
        Outcome::Removed(removed) => removed,
        other => panic!("{other:?}"),
    }
}

fn delete(points: &[u8]) -> Request {
    Request::Delete { points: points.iter().map(|n| point(*n)).collect(), keep: Runs::new() }
}

#[test]
fn a_locked_or_held_point_is_not_deleted_and_the_refusal_is_typed_and_on_record() {
    let mut world = locked(100);
    let before = size(&world);
    let told = refusal(world.ask(delete(&[1])));
    assert!(matches!(told, Refusal::Kept { verdict: Verdict::Locked { .. }, .. }), "{told:?}");
    assert_eq!(size(&world), before + 1, "one leaf");
    refusal(world.ask(delete(&[1])));
    assert_eq!(size(&world), before + 1, "the same refusal is on record once a minute");
    world.compare().unwrap();
    world.hold(1, "m").unwrap();
    world.wait(1000);
    let told = refusal(world.ask(delete(&[1])));
    assert!(matches!(told, Refusal::Kept { verdict: Verdict::Held { .. }, .. }), "{told:?}");
    // All or nothing.
    world.seal(0, 3, Class::Metadata, 0).unwrap();
    world.commit(2, 3, only(&[3]), (LockMode::Governance, 0)).unwrap();
    world.wait(10);
    refusal(world.ask(delete(&[2, 1])));
    world.compare().unwrap();
    assert!(world.state.point(point(2)).is_some());
    world.check();
}

#[test]
fn a_clock_in_doubt_releases_nothing_and_says_why() {
    let mut world = locked(10);
    world.wait(100);
    world.wall += 86_400 * 365;
    let told = refusal(world.ask(delete(&[1])));
    assert!(matches!(told, Refusal::InDoubt { .. }), "{told:?}");
    let reply = world.ask(Request::Status).unwrap();
    assert!(reply.clock.doubt.is_some());
    world.seal(0, 5, Class::Metadata, 0).unwrap();
    world.commit(5, 5, only(&[5]), (LockMode::Governance, 10)).unwrap();
    world.restart().unwrap();
    assert!(matches!(refusal(world.ask(delete(&[1]))), Refusal::InDoubt { .. }), "after a restart");
    for _ in 0..30 {
        world.wait(3600);
        world.ask(Request::Tick).unwrap();
    }
    world.delete(&[1]).unwrap();
}

#[test]
fn repeated_and_reordered_requests_cause_nothing() {
    let mut world = World::new(Sim::default());
    workload(&mut world).unwrap();
    let (files, points) = (world.disk.paths().len(), world.state.point_count());
    for serial in [0, 1, 10] {
        assert!(world.ask(Request::Seal { volume: 0, serial }).is_err(), "{serial}");
    }
    for number in [1, 2] {
        let again = world.commit_request(number, 10, only(&[10]), (LockMode::Governance, 5));
        refusal(world.ask(Request::Commit(Box::new(again))));
    }
    assert_eq!(world.ask(delete(&[2])).unwrap_err().kind(), ErrorKind::NotFound);
    let nothing = removed(world.ask(reclaim()).unwrap().outcome);
    assert!(nothing.segments.is_empty() && nothing.complete);
    assert!(world.ask(Request::Compact { from: runs(&[1]), to: runs(&[10]) }).is_err());
    assert!(world.ask(Request::AddKey { epoch: 1, file: key_file(1) }).is_err(), "destroyed");
    let before = size(&world);
    world.ask(Request::AddKey { epoch: 2, file: key_file(2) }).unwrap();
    world.ask(Request::AddVolume { number: 1 }).unwrap();
    assert_eq!(size(&world), before, "done before");
    assert_eq!((world.disk.paths().len(), world.state.point_count()), (files, points));
    world.check();
}

#[test]
fn a_segment_is_sealed_again_only_while_it_is_an_orphan_and_unchanged() {
    let mut world = locked(10);
    world.seal(0, 7, Class::Data, 0).unwrap();
    let again = world.ask(Request::Seal { volume: 0, serial: 7 }).unwrap().outcome;
    let Outcome::Sealed(again) = again else { panic!("{again:?}") };
    assert_eq!((again.cohort, again.class, again.epoch), (3, Class::Data, 0));
    world.write(0, 7, &segment_of(crate::support::ID, 7, Class::Data, 0, 99)).unwrap();
    assert!(world.ask(Request::Seal { volume: 0, serial: 7 }).is_err(), "a second content");
    let kept = storage::read_all(&world.disk, "segments/00000007.segment", 1 << 20).unwrap();
    assert_eq!(kept, segment(7, Class::Data, 0));
}

#[test]
fn officers_end_holds_and_overrides_and_nothing_is_signed_twice() {
    let mut world = locked(1000);
    world.hold(1, "m").unwrap();
    let release = || OfficerAction::ReleaseHold { point: PointText(point(1)), matter: "m".into() };
    let overrule = || OfficerAction::Override { point: PointText(point(1)), reason: "r".into() };
    for (caller, names) in
        [(Caller::Daemon, &[][..]), (Caller::Console, &[]), (Caller::Daemon, &["eve"])]
    {
        let request = world.signed(release(), names).unwrap();
        assert!(world.ask_as(caller, request).is_err(), "{caller:?} {names:?}");
    }
    let right = world.signed(release(), &["ann"]).unwrap();
    let Request::Officer(signed) = right.clone() else { panic!("not an officer's request") };
    // The same signature over another action, or with another challenge.
    let moved = OfficerRequest { action: overrule(), ..(*signed).clone() };
    assert!(world.ask(Request::Officer(Box::new(moved))).is_err());
    let challenge = world.challenge().unwrap();
    let moved = OfficerRequest { challenge, ..(*signed).clone() };
    assert!(world.ask(Request::Officer(Box::new(moved))).is_err());
    assert!(world.ask(right).is_err(), "its challenge was used by the first attempt");
    let late = world.signed(release(), &["ann"]).unwrap();
    world.wait(601);
    assert!(world.ask(late).is_err(), "too old");
    let right = world.signed(release(), &["ann"]).unwrap();
    world.ask(right.clone()).unwrap();
    assert!(world.ask(right).is_err());
    assert_eq!(world.state.retention().matters(point(1)).count(), 0);
    for one in [&["ann"][..], &["ann", "ann"]] {
        let alone = world.signed(overrule(), one).unwrap();
        assert!(world.ask(alone).is_err(), "{one:?}");
    }
    let both = world.signed(overrule(), &["ann", "bob"]).unwrap();
    world.ask(both).unwrap();
    world.delete(&[1]).unwrap();
}

#[test]
fn bounds_and_officers_change_by_two() {
    let mut world = locked(10);
    let bounds = LockBounds { min_seconds: 50, max_seconds: 60 };
    let alone = world.signed(OfficerAction::SetBounds { bounds }, &["bob"]).unwrap();
    assert!(world.ask(alone).is_err());
    let both = world.signed(OfficerAction::SetBounds { bounds }, &["bob", "ann"]).unwrap();
    world.ask(both).unwrap();
    world.seal(0, 5, Class::Metadata, 0).unwrap();
    let short = world.commit_request(5, 5, only(&[5]), (LockMode::Governance, 49));
    let told = refusal(world.ask(Request::Commit(Box::new(short))));
    assert!(matches!(told, Refusal::OutOfBounds { .. }), "{told:?}");
    world.commit(5, 5, only(&[5]), (LockMode::Governance, 50)).unwrap();
    let key = base64::engine::general_purpose::STANDARD.encode(officer("cat").vkey().key());
    let enrol = || {
        let (key, rights) = (key.clone(), vec![Right::Override]);
        OfficerAction::Enrol { name: "cat".into(), key, rights }
    };
    let local = world.signed(enrol(), &[]).unwrap();
    assert!(world.ask_as(Caller::Console, local).is_err(), "there is a pair");
    let both = world.signed(enrol(), &["ann", "bob"]).unwrap();
    world.ask(both).unwrap();
    assert_eq!(world.state.officers().len(), 3);
    let off = world.signed(OfficerAction::OverridesOff {}, &["cat"]).unwrap();
    world.ask(off).unwrap();
    assert!(world.state.retention().overrides_forbidden());
    let dismiss = OfficerAction::Dismiss { name: "cat".into() };
    let both = world.signed(dismiss, &["ann", "bob"]).unwrap();
    world.ask(both).unwrap();
    world.restart().unwrap();
    assert_eq!(world.state.officers().len(), 2);
}

#[test]
fn a_commit_reaches_only_what_is_sealed() {
    let mut world = locked(10);
    let huge: Runs = serde_json::from_str("[[1,4294967295]]").unwrap();
    let unknown_base = ReachChange { base: Some(point(7)), ..only(&[1]) };
    for (manifest, reach, why) in [
        (9, only(&[9]), "never sealed"),
        (1, only(&[2]), "the manifest's segment is not reached"),
        (1, only(&[]), "nothing is reached"),
        (1, only(&(1..1000).collect::<Vec<_>>()), "segments that do not exist"),
        (1, ReachChange { base: None, add: huge, drop: Runs::new() }, "all there could be"),
        (1, unknown_base, "no such base"),
    ] {
        let request = world.commit_request(8, manifest, reach, (LockMode::Governance, 5));
        assert!(world.ask(Request::Commit(Box::new(request))).is_err(), "{why}");
    }
    assert!(world.state.point(point(8)).is_none());
    world.disk.remove_below("segments/00000001.segment");
    world.restart().unwrap();
    let request = world.commit_request(8, 2, only(&[1, 2]), (LockMode::Governance, 5));
    assert!(world.ask(Request::Commit(Box::new(request))).is_err(), "a missing segment");
}

#[test]
fn a_long_reach_goes_into_several_leaves() {
    let mut world = locked(10);
    let serials: Vec<u32> = (0..600).map(|n| 100 + n * 2).collect();
    for serial in &serials {
        world.seal(0, *serial, Class::Metadata, 0).unwrap();
    }
    let before = size(&world);
    world.commit(8, 100, only(&serials), (LockMode::Governance, 5)).unwrap();
    assert_eq!(size(&world), before + 600 + 2, "segments, reach, commit");
    assert_eq!(world.state.point(point(8)).unwrap().reach.count(), 600);
    let reach = ReachChange { base: Some(point(8)), add: runs(&[1]), drop: runs(&serials[1..]) };
    world.commit(9, 100, reach, (LockMode::Governance, 5)).unwrap();
    let left: Vec<u32> = world.state.point(point(9)).unwrap().reach.serials().collect();
    assert_eq!(left, [1, 100]);
    world.wait(100);
    world.delete(&[8]).unwrap();
    world.restart().unwrap();
    world.check();
    assert_eq!(world.state.references(100), 1);
}

#[test]
fn hostile_open_segments_are_not_taken_over() {
    let mut world = locked(10);
    let right = segment(50, Class::Data, 0);
    let mut mixed = segment(50, Class::Metadata, 0);
    mixed[..4096].copy_from_slice(&right[..4096]);
    let mut hostile = vec![
        ("another serial".to_owned(), segment(51, Class::Data, 0)),
        ("another repository".to_owned(), segment_of([1; 16], 50, Class::Data, 0, 5)),
        ("an unknown key epoch".to_owned(), segment(50, Class::Data, 9)),
        ("nothing".to_owned(), Vec::new()),
        ("a cut one".to_owned(), right[..right.len() - 4096].to_vec()),
        ("a longer one".to_owned(), [&right[..], &[0; 4096]].concat()),
        ("a header of another class".to_owned(), mixed),
    ];
    // Every byte of header, footer and trailers counts; data, parity and tables are the daemon's
    // to read back, and the scrub's.
    let counts = (0..4096).chain(2 * 4096..4 * 4096).chain(right.len() - 4096..right.len());
    for at in counts.step_by(13) {
        let mut damaged = right.clone();
        damaged[at] ^= 1;
        hostile.push((format!("a flip at {at}"), damaged));
    }
    for (what, bytes) in hostile {
        world.write(0, 50, &bytes).unwrap();
        let outcome = world.ask(Request::Seal { volume: 0, serial: 50 });
        assert!(outcome.is_err(), "{what} was sealed");
    }
    world.write(0, 50, &right).unwrap();
    let busy = world.disk.reopen("open/00000032").unwrap();
    let error = world.ask(Request::Seal { volume: 0, serial: 50 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "somebody writes");
    drop(busy);
    assert!(world.ask(Request::Seal { volume: 3, serial: 50 }).is_err(), "no such volume");
    world.ask(Request::Seal { volume: 0, serial: 50 }).unwrap();
}

#[test]
fn a_deletion_takes_exactly_what_the_preview_says_and_keeps_what_is_in_use() {
    let mut world = World::new(Sim::default());
    workload(&mut world).unwrap();
    for serial in 60..64 {
        world.seal(0, serial, Class::Metadata, 0).unwrap();
    }
    world.commit(60, 60, only(&[60, 61, 62]), (LockMode::Governance, 5)).unwrap();
    world.commit(61, 62, only(&[62, 63]), (LockMode::Governance, 5)).unwrap();
    world.wait(10);
    let keep = runs(&[61]);
    let preview = world.state.unreached_after(&[point(60)], &keep);
    assert_eq!(preview.segments, runs(&[60]));
    world.promises.may_be_gone.insert(point(60));
    let request = Request::Delete { points: vec![point(60)], keep };
    let now = removed(world.ask(request).unwrap().outcome);
    assert_eq!((now.segments, now.bytes), (preview.segments, preview.bytes));
    let rest = removed(world.ask(reclaim()).unwrap().outcome);
    assert_eq!(rest.segments, runs(&[61]));
    assert!(world.ask(Request::Seal { volume: 0, serial: 61 }).is_err(), "given once");
    world.check();
}

#[test]
fn the_key_of_an_epoch_goes_with_its_last_segment_and_not_before() {
    let mut world = locked(10);
    world.ask(Request::AddKey { epoch: 1, file: key_file(1) }).unwrap();
    world.seal(0, 10, Class::Metadata, 1).unwrap();
    world.seal(0, 11, Class::Metadata, 1).unwrap();
    world.commit(2, 10, only(&[10]), (LockMode::Governance, 5)).unwrap();
    world.commit(3, 11, only(&[11]), (LockMode::Governance, 5)).unwrap();
    world.wait(10);
    world.delete(&[2, 3]).unwrap();
    assert!(world.state.keys().contains_key(&1), "the newest key stays");
    world.seal(0, 12, Class::Metadata, 1).unwrap();
    world.commit(4, 12, only(&[12]), (LockMode::Governance, 5)).unwrap();
    world.ask(Request::AddKey { epoch: 2, file: key_file(2) }).unwrap();
    world.seal(0, 13, Class::Metadata, 1).unwrap();
    world.wait(10);
    world.delete(&[4]).unwrap();
    assert!(world.state.keys().contains_key(&1), "an orphan needs it");
    world.commit(5, 13, only(&[13]), (LockMode::Governance, 5)).unwrap();
    world.wait(10);
    world.delete(&[5]).unwrap();
    assert!(!world.state.keys().contains_key(&1));
    assert!(!world.disk.paths().contains(&"keys/00000001".to_owned()));
    world.write(0, 14, &segment(14, Class::Metadata, 1)).unwrap();
    assert!(world.ask(Request::Seal { volume: 0, serial: 14 }).is_err(), "its key is gone");
}

#[test]
fn a_full_disk_refuses_deletion_and_commits_and_loses_nothing() {
    let mut world = locked(1);
    world.seal(0, 5, Class::Metadata, 0).unwrap();
    world.wait(100);
    for room in (0..2400).step_by(3) {
        let mut full = World::new(world.disk.copy());
        (full.witness, full.wall) = (world.witness.copy(), world.wall);
        full.promises = world.promises.clone();
        full.restart().unwrap();
        full.disk.set_capacity(Some(full.disk.used() + room));
        full.promises.asked.insert(point(9));
        let commit = full.commit_request(9, 5, only(&[5]), (LockMode::Governance, 5));
        if let Err(error) = full.ask(Request::Commit(Box::new(commit))) {
            assert_eq!(error.kind(), ErrorKind::Full, "{room}: {}", model::chain(&error));
        }
        match full.ask(delete(&[1])) {
            Ok(_) => {
                full.promises.may_be_gone.insert(point(1));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{room}: {}", model::chain(&error));
                assert!(full.disk.paths().contains(&"segments/00000001.segment".to_owned()));
            }
        }
        // A start on the full disk needs no room.
        full.restart().unwrap_or_else(|error| panic!("{room}: {}", model::chain(&error)));
        full.disk.set_capacity(None);
        full.restart().unwrap();
        full.ask(Request::Tick).unwrap();
        full.check();
    }
}

#[test]
fn what_happens_to_the_files_is_noticed_once() {
    let mut world = locked(900_000);
    world.ask(Request::AddKey { epoch: 1, file: key_file(1) }).unwrap();
    assert_eq!(tick(&mut world), Vec::<String>::new());
    world.disk.truncate("segments/00000001.segment", 4096);
    world.disk.remove_below("segments/00000002.segment");
    world.disk.flip("keys/00000001", 50, 1);
    let alarms = tick(&mut world);
    assert_eq!(alarms.len(), 3, "{alarms:?}");
    let before = size(&world);
    tick(&mut world);
    assert_eq!(size(&world), before);
    let found = world.restart().unwrap();
    assert_eq!(found.damaged.len(), 3, "{found:?}");
    assert_eq!(tick(&mut world), Vec::<String>::new());
    assert_eq!(world.state.alarms().count(), 3);
}

#[test]
fn an_attribute_that_was_cleared_is_set_again_and_told() {
    let mut world = locked(900_000);
    world.disk.set_immutable("segments/00000001.segment", false).unwrap();
    let alarms = tick(&mut world);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].starts_with("attribute lost"), "{alarms:?}");
    world.disk.set_immutable("segments/00000001.segment", false).unwrap();
    let found = world.restart().unwrap();
    assert_eq!(found.attributes_set, 1);
}

#[test]
fn a_repair_demands_what_was_sealed() {
    let mut world = locked(900_000);
    world.disk.flip("segments/00000001.segment", 5000, 1);
    let mut other = segment(1, Class::Data, 0);
    other[5000] ^= 1;
    world.write(0, 1, &other).unwrap();
    assert!(world.ask(Request::Repair { volume: 0, serial: 1 }).is_err(), "wrong data");
    world.write(0, 1, &segment_of(crate::support::ID, 1, Class::Data, 0, 77)).unwrap();
    assert!(world.ask(Request::Repair { volume: 0, serial: 1 }).is_err(), "another seal");
    world.ask(Request::Note(Evidence::Quarantined { serial: 1 })).unwrap();
    assert!(world.state.segment(1).unwrap().quarantined);
    world.write(0, 1, &segment(1, Class::Data, 0)).unwrap();
    let outcome = world.ask(Request::Repair { volume: 0, serial: 1 }).unwrap().outcome;
    assert_eq!(outcome, Outcome::Repaired { blocks: 1 });
    assert!(!world.state.segment(1).unwrap().distrusted);
    world.write(0, 1, &segment(1, Class::Data, 0)).unwrap();
    let error = world.ask(Request::Repair { volume: 0, serial: 1 }).unwrap_err();
    assert!(error.to_string().contains("nothing to repair"), "{error}");
    world.ask(Request::Note(Evidence::Quarantined { serial: 1 })).unwrap();
    let outcome = world.ask(Request::Repair { volume: 0, serial: 1 }).unwrap().outcome;
    assert_eq!(outcome, Outcome::Repaired { blocks: 0 }, "right and not trusted: it is again");
    world.check();
}

#[test]
fn the_clock_is_on_record_every_hour() {
    let mut world = locked(10);
    let before = size(&world);
    for _ in 0..121 {
        world.wait(119);
        world.ask(Request::Tick).unwrap();
    }
    assert_eq!(size(&world) - before, 4, "four hours");
}

#[test]
fn requests_and_replies_survive_the_socket() {
    let mut world = locked(10);
    let request = world.commit_request(1, 2, only(&[1, 2]), (LockMode::Governance, 5));
    let request = Request::Commit(Box::new(request));
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    let reply = world.ask(Request::Status).unwrap();
    let text = serde_json::to_string(&reply).unwrap();
    assert_eq!(serde_json::from_str::<warden::wire::Reply>(&text).unwrap(), reply);
    let error = world.ask(request).unwrap_err();
    let text = serde_json::to_string(&warden::WireError::from(&error)).unwrap();
    let back = WardenError::from(serde_json::from_str::<warden::WireError>(&text).unwrap());
    assert_eq!((back.to_string(), back.kind()), (error.to_string(), error.kind()));
    assert!(matches!(back, WardenError::Refused { .. }));
}

#[test]
fn a_daemon_that_floods_the_record_is_refused_and_told_once_and_honest_use_is_not() {
    let mut world = locked(100_000);
    // A scrub of 100,000 segments and 5,000 verifications on one day.
    for number in 0..1563u32 {
        let segments = [(number * 64 + 1, number * 64 + 64)].map(|(first, last)| first..=last);
        let segments: Runs = segments.into_iter().flatten().collect();
        world
            .ask(Request::Note(Evidence::Scrubbed { segments, bytes: 1, damaged: vec![] }))
            .unwrap();
    }
    let verified =
        |segments| Evidence::Verified { point: point(1), chunks: 1, bytes: 1, damage: 0, segments };
    for _ in 0..5000 {
        world.ask(Request::Note(verified(vec![]))).unwrap();
    }
    // Everything that a leaf may hold, as fast as possible.
    let segments: Runs = (0..2000).map(|n| 1_000_000 + 2 * n).collect();
    let large = Evidence::Scrubbed { segments, bytes: 1, damaged: vec![] };
    let refused = |world: &mut World| loop {
        let before = world.monotonic;
        match world.ask(Request::Note(large.clone())) {
            Ok(_) => (world.monotonic, world.wall) = (before, world.wall - 1),
            Err(error) => break error,
        }
    };
    let error = refused(&mut world);
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    // Two sets of segments cannot be moved to and fro for ever either.
    let compact = || Request::Compact { from: runs(&[1]), to: runs(&[2]) };
    let counted = |_| world.ask(compact()).unwrap_err().kind() == ErrorKind::Busy;
    assert!((0..1000).any(counted), "what is left of the day is soon used up");
    world.compare().unwrap();
    let told = |world: &World| world.state.alarms().filter(|a| a.what.contains("record")).count();
    assert_eq!(told(&world), 1);
    let bytes = world.disk.length("ledger/leaves");
    assert!(bytes < 100 << 20, "{bytes}");
    for _ in 0..100 {
        refused(&mut world);
    }
    world.compare().unwrap();
    assert_eq!(told(&world), 1, "once");
    assert!(world.disk.length("ledger/leaves") < bytes + (2 << 20));
    // What decides is never kept off: the lock is judged, a commit goes on, and so does the clock.
    refusal(world.ask(delete(&[1])));
    world.seal(0, 3, Class::Metadata, 0).unwrap();
    world.commit(2, 3, only(&[3]), (LockMode::Governance, 5)).unwrap();
    tick(&mut world);
    // A day later it is as before.
    world.wait(2 * 86_400);
    world.ask(Request::Note(large.clone())).unwrap();
}

#[test]
fn what_was_taken_over_and_not_sealed_can_be_discarded_and_nothing_else() {
    let mut world = locked(1000);
    let before = world.disk.paths();
    world.write(0, 3, &segment(3, Class::Data, 0)[..9000]).unwrap();
    assert!(world.ask(Request::Seal { volume: 0, serial: 3 }).is_err());
    world.ask(Request::Discard { volume: 0, serial: 3 }).unwrap();
    assert_eq!(world.disk.paths(), before);
    for serial in [0, 1, 2, 3, u32::MAX] {
        world.ask(Request::Discard { volume: 0, serial }).unwrap();
    }
    assert!(world.ask(Request::Discard { volume: 7, serial: 1 }).is_err());
    assert_eq!(world.disk.paths(), before, "sealed segments are not in its reach");
}

#[test]
fn a_reclaim_takes_the_orphans_that_it_names_and_no_others() {
    let mut world = World::new(Sim::default());
    world.create().unwrap();
    for serial in 1..5 {
        world.seal(0, serial, Class::Metadata, 0).unwrap();
    }
    // Segment 4 was sealed after the daemon had looked; 2 is in use.
    let request = Request::Reclaim { keep: runs(&[2]), orphans: runs(&[1, 2, 3, 9]) };
    let gone = removed(world.ask(request).unwrap().outcome);
    assert_eq!(gone.segments, runs(&[1, 3]));
    world.commit(1, 4, only(&[2, 4]), (LockMode::Governance, 5)).unwrap();
    world.check();
}
