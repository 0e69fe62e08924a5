//! What verifications find and what follows of it: false and repaired damage costs no point, and
//! what is no damage is not called so.

use super::support::{Image, Rig, backup, options, restores};
use crate::{CompactRules, Kept, Repair, Repository, VerifyReport};
use format::BLOCK;
use model::{ErrorKind, RecoveryPointId, VmIdentity};
use policy::calendar::Calendar;
use policy::gfs::KeepRules;
use rustix::io::Errno;
use std::ops::ControlFlow;
use warden::wire::Request;

const DAY: i64 = 24 * 3600;

fn verify(repository: &Repository, point: RecoveryPointId) -> VerifyReport {
    let report = repository.verify(point, &mut |_| ());
    report.unwrap_or_else(|error| panic!("{}", model::chain(&error)))
}

fn yearly(_: &VmIdentity) -> KeepRules {
    KeepRules { yearly: 1, ..KeepRules::default() }
}

/// The first record of a data segment.
fn flip(rig: &Rig, path: &str) {
    rig.disk.flip(path, BLOCK + 300, 4);
}

/// The first of the year, one that the rules do not want beside it, and the newest.
fn three_points(repository: &Repository, rig: &Rig) -> [RecoveryPointId; 3] {
    [100, 200, 300].map(|number| {
        let image: Image = (0..12).map(|cell| number + cell).collect();
        let (point, _) = backup(repository, 1, &image, None, 0).unwrap();
        rig.clock.pass(DAY);
        repository.tick().unwrap();
        point.id
    })
}

fn expire(repository: &Repository) -> (Vec<RecoveryPointId>, Vec<(RecoveryPointId, Kept)>) {
    let expired = repository.expire(&yearly, Calendar::default()).unwrap();
    (expired.deleted, expired.kept)
}

fn scrub(repository: &Repository) -> crate::ScrubReport {
    repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn damage_that_a_repair_has_removed_costs_no_point() {
    for restart in [false, true] {
        let rig = Rig::new(&options(1));
        let mut repository = rig.open(&options(1));
        let [first, other, _] = three_points(&repository, &rig);
        flip(&rig, "segments/00000001.segment");
        let report = verify(&repository, first);
        assert_eq!(report.damage_total(), 1);
        repository.record_verification(first, &report).unwrap();
        // Nobody knows yet whether it can be repaired.
        let (deleted, kept) = expire(&repository);
        assert_eq!((deleted, kept), (vec![], vec![(first, Kept::Doubtful)]));
        assert_eq!(scrub(&repository).repaired, [(1, 1)]);
        if restart {
            drop(repository);
            repository = rig.open(&options(1));
        }
        let (deleted, kept) = expire(&repository);
        assert_eq!((deleted, kept), (vec![other], vec![]), "the first is the year's again");
        assert!(verify(&repository, first).is_whole());
    }
}

#[test]
fn damage_that_no_repair_explains_is_a_doubt_until_the_next_verification() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let [first, other, _] = three_points(&repository, &rig);
    flip(&rig, "segments/00000001.segment");
    let report = verify(&repository, first);
    flip(&rig, "segments/00000001.segment"); // a bad cable, say: the bytes were never wrong
    repository.record_verification(first, &report).unwrap();
    assert_eq!(repository.repair(1).unwrap(), Repair::Repaired { blocks: 0 });
    let (deleted, kept) = expire(&repository);
    assert_eq!((deleted, kept), (vec![], vec![(first, Kept::Doubtful)]));
    let report = verify(&repository, first);
    assert!(report.is_whole());
    repository.record_verification(first, &report).unwrap();
    assert_eq!(expire(&repository).0, [other]);
}

#[test]
fn a_segment_that_waits_for_its_repair_costs_no_point() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let [first, ..] = three_points(&repository, &rig);
    flip(&rig, "segments/00000001.segment");
    rig.disk.set_capacity(Some(rig.disk.used() + 60_000));
    assert_eq!(scrub(&repository).postponed, [1]);
    rig.disk.set_capacity(None);
    let (deleted, kept) = expire(&repository);
    assert_eq!((deleted, kept), (vec![], vec![(first, Kept::Doubtful)]));
}

#[test]
fn what_a_compaction_moved_and_removed_during_a_verification_is_no_damage() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    // More than one batch of leaves, so that something happens between the first and the last.
    let mut old: Image = vec![0; 70 * 256];
    let mut new = old.clone();
    for (number, cell) in (0..60).map(|n| n * 290).enumerate() {
        let number = number as u64;
        old[cell] = 1 + number;
        new[cell] = if number.is_multiple_of(3) { 1 + number } else { 1000 + number };
    }
    let (first, _) = backup(&repository, 1, &old, None, 0).unwrap();
    let base = Some((&old, first.id));
    let (point, _) = backup(&repository, 1, &new, base, 0).unwrap();
    repository.delete(&[first.id]).unwrap();
    let rules = CompactRules { live_percent: 75, small: 0, budget: u64::MAX };
    let mut moved = 0;
    let report = repository.verify(point.id, &mut |_| {
        moved += repository.compact(&rules).unwrap().from;
        repository.reclaim().unwrap();
    });
    let report = report.unwrap();
    assert!(moved > 4, "{moved}");
    assert!(report.is_whole(), "{report:?}");
    assert!(restores(&repository, point.id, &new));
}

#[test]
fn what_says_nothing_about_the_bytes_is_an_error_and_no_damage() {
    let rig = Rig::new(&options(0));
    let repository = rig.open(&options(0));
    repository.inner.core.ask(Request::AddVolume { number: 1 }).unwrap();
    drop(repository);
    let repository = rig.open(&options(0));
    let mut point = repository.begin(super::support::draft(1)).unwrap();
    point.state.use_volume(1);
    super::support::write_disk(&mut point, &(1..20).collect(), None).unwrap();
    let point = point.commit(super::support::lock(0), model::WallTime(0)).unwrap().id;
    let size = repository.ledger_head().0;
    for (what, below, error) in [
        ("too many handles", "volumes/1/segments", Errno::MFILE),
        ("not for us", "volumes/1/segments", Errno::ACCESS),
        ("the volume is gone", "volumes/1/", Errno::NOENT),
        ("the array is gone", "volumes/1/", Errno::IO),
    ] {
        rig.disk.refuse(below, error.raw_os_error());
        let report = repository.verify(point, &mut |_| ());
        assert!(report.is_err(), "{what}: {report:?}");
        rig.disk.refuse_nothing();
        assert!(verify(&repository, point).is_whole(), "{what}");
    }
    for (what, below, error) in [
        ("the file is gone", "volumes/1/segments/00000001", Errno::NOENT),
        ("its blocks are bad", "volumes/1/segments/00000001", Errno::IO),
    ] {
        rig.disk.refuse(below, error.raw_os_error());
        let report = verify(&repository, point);
        assert_eq!(report.segments.into_iter().collect::<Vec<_>>(), [1], "{what}");
        rig.disk.refuse_nothing();
    }
    assert_eq!(repository.ledger_head().0, size, "nothing is on record");
}

#[test]
fn a_missing_key_is_no_damage() {
    let encryption = Some(crate::KeyEncryptionKey::new(&[7; 32]));
    let options = crate::Options { encryption, ..options(1) };
    let rig = Rig::new(&options);
    let repository = rig.open(&options);
    let (point, _) = backup(&repository, 1, &(1..9).collect(), None, 0).unwrap();
    repository.rotate_key().unwrap();
    drop(repository);
    rig.disk.remove_below("keys/00000001");
    let repository = rig.open(&options);
    let error = repository.verify(point.id, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
}

#[test]
fn the_page_cache_does_not_hide_what_is_on_the_medium() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let image: Image = (1..12).collect();
    let (point, _) = backup(&repository, 1, &image, None, 0).unwrap();
    assert!(restores(&repository, point.id, &image)); // handles are open, too
    let paths = rig.disk.paths().into_iter().filter(|path| path.ends_with(".segment"));
    for path in paths.collect::<Vec<_>>() {
        let serial = u32::from_str_radix(&path[9..17], 16).unwrap();
        for at in [BLOCK + 300, 60, rig.disk.length(&path) - 60] {
            rig.disk.keep_cached(&path);
            rig.disk.flip(&path, at, 4);
            assert!(restores(&repository, point.id, &image), "byte {at} of {path}");
            let found = verify(&repository, point.id).segments;
            assert_eq!(found.into_iter().collect::<Vec<_>>(), [serial], "byte {at} of {path}");
            rig.disk.flip(&path, at, 4);
        }
    }
}

#[test]
fn damage_to_a_map_node_is_that_of_its_own_segment() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let old: Image = (0..600).map(|cell| cell % 7).collect();
    let (first, _) = backup(&repository, 1, &old, None, 0).unwrap();
    let mut new = old.clone();
    new[0] = 99; // the other leaves, and their nodes, stay where they are
    let (second, _) = backup(&repository, 1, &new, Some((&old, first.id)), 0).unwrap();
    let root = |id| repository.point(id).unwrap().disks[0].map.unwrap().place;
    let (theirs, ours) = (root(first.id), root(second.id));
    assert_ne!(theirs.segment(), ours.segment());
    let path = format!("segments/{:08x}.segment", theirs.segment());
    // Each record of the first point's metadata, one after another.
    let (mut nodes, mut frames) = (0, 0);
    for block in 0..rig.disk.length(&path) / BLOCK {
        rig.disk.flip(&path, block * BLOCK + 40, 4);
        let report = verify(&repository, second.id);
        let found: Vec<u32> = report.segments.iter().copied().collect();
        let node = report.damage.iter().any(|damage| damage.cells.is_some());
        nodes += u32::from(node);
        frames += u32::from(!found.is_empty() && !node);
        assert!(found.is_empty() || found == [theirs.segment()], "block {block}: {report:?}");
        rig.disk.flip(&path, block * BLOCK + 40, 4);
    }
    assert!(nodes >= 2, "{nodes}: of the leaves that both share");
    assert!(frames >= 3, "{frames}: header, footer, parity, trailers of the nodes' segment");
}

#[test]
fn damage_beyond_the_list_makes_its_segment_distrusted_too() {
    let rig = Rig::new(&options(0));
    let repository = rig.open(&options(0));
    // One chunk in more cells than are listed, then others, in segments behind its own.
    let image: Image = (0..1200).map(|cell| if cell < 1100 { 1 } else { cell }).collect();
    let (point, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let (first, other) = ("segments/00000001.segment", "segments/00000004.segment");
    flip(&rig, first);
    flip(&rig, other);
    let report = verify(&repository, point.id);
    assert!(report.damage.len() == 1000 && report.more_damage == 101, "{}", report.more_damage);
    assert!(report.damage.iter().all(|damage| damage.segment == 1));
    repository.record_verification(point.id, &report).unwrap();
    assert_eq!(repository.to_repair(), [1, 4]);
    let (_, stats) = backup(&repository, 2, &image, None, 0).unwrap();
    assert!(stats.new_chunks > 2, "nothing is found in either: {stats:?}");
    let healed = repository.heal(&report).unwrap();
    assert_eq!(healed, [1, 4].map(|serial| (serial, Repair::Repaired { blocks: 1 })));
    assert!(verify(&repository, point.id).is_whole());
}

#[test]
fn more_segments_than_a_leaf_takes_stand_in_several() {
    let rig = Rig::new(&options(0));
    let repository = rig.open(&options(0));
    let (point, _) = backup(&repository, 1, &(1..20).collect(), None, 0).unwrap();
    let (mut report, size) = (verify(&repository, point.id), repository.ledger_head().0);
    report.more_damage = 2000;
    report.segments = (1..=1001).collect();
    repository.record_verification(point.id, &report).unwrap();
    assert_eq!(repository.ledger_head().0, size + 2);
    let catalog = repository.inner.core.catalog.lock().unwrap();
    let known = catalog.point(point.id).unwrap();
    assert_eq!(known.unmended.len(), 1001);
    assert_eq!(known.verified.unwrap().damage, 2000);
}
