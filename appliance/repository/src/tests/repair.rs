//! Damage to sealed segments: within the parity it is repaired, beyond it the right points are
//! named, and no power cut during a repair makes anything worse.

use super::support::{Image, Rig, backup, options, restores};
use crate::{RecoveryPoint, Repair, Repository, ScrubReport};
use fakes::disk::{Random, Sim};
use format::BLOCK;
use format::parity::Geometry;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use warden::storage::{Storage as _, read_all};

fn scrub(repository: &Repository) -> ScrubReport {
    repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn segments(sim: &Sim) -> BTreeMap<String, Vec<u8>> {
    let paths = sim.paths().into_iter().filter(|path| path.ends_with(".segment"));
    paths.map(|path| (path.clone(), read_all(sim, &path, u64::MAX).unwrap())).collect()
}

fn serial(path: &str) -> u32 {
    u32::from_str_radix(&path[9..17], 16).unwrap()
}

fn stored(image: &Image) -> (Rig, Repository, RecoveryPoint) {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let (point, _) = backup(&repository, 1, image, None, 1000).unwrap();
    (rig, repository, point)
}

/// Three blocks of one row of the first zone: one more than the parity can compute.
fn flip_beyond(sim: &Sim, path: &str) {
    let geometry = Geometry::of_file(sim.length(path) as u64).unwrap();
    let column = geometry.zones().next().unwrap().column();
    for number in 1..4 {
        sim.flip(path, number * column + 17, 0x20);
    }
}

#[test]
fn every_sector_of_a_small_segment_is_found_and_repaired() {
    let image: Image = vec![1, 0, 2, 3];
    let (rig, repository, point) = stored(&image);
    let (before, mut random) = (segments(&rig.disk), Random(1));
    assert!(before.len() >= 2, "data and metadata");
    for (path, bytes) in &before {
        for sector in (0..bytes.len()).step_by(512) {
            let at = sector + random.below(512);
            rig.disk.flip(path, at, 1 << random.below(8));
            let report = scrub(&repository);
            assert_eq!(report.repaired, [(serial(path), 1)], "byte {at} of {path}: {report:?}");
            assert_eq!((report.damaged, report.quarantined.len()), (1, 0), "byte {at} of {path}");
        }
        assert!(read_all(&rig.disk, path, u64::MAX).unwrap() == *bytes, "{path}");
    }
    assert_eq!(segments(&rig.disk), before);
    assert!(restores(&repository, point.id, &image));
    assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
    let alarms = repository.scrub_coverage(1).damaged;
    assert_eq!(alarms, 0, "all are trusted again");
}

#[test]
fn samples_of_a_larger_repository_two_blocks_at_a_time() {
    let image: Image = (1..60).collect();
    let (rig, repository, point) = stored(&image);
    let (before, mut random) = (segments(&rig.disk), Random(2));
    let paths: Vec<&String> = before.keys().collect();
    for round in 0..40 {
        let path = paths[random.below(paths.len())];
        let blocks = before[path].len() / BLOCK;
        let (one, other) = (random.below(blocks), random.below(blocks));
        for block in [one, other] {
            rig.disk.flip(path, block * BLOCK + random.below(BLOCK), 1 << random.below(8));
        }
        let trailers = blocks - 1;
        let tail = Geometry::of_file(before[path].len() as u64).unwrap().protected_length();
        if one != other && one.min(other) >= usize::try_from(tail).unwrap() / BLOCK {
            // Both trailers or both tables may be hit: what then happens is tested below.
            rig.disk.remove_below(path);
            restore(&rig.disk, path, &before[path]);
            repository.inner.core.forget_files(|_| true);
            continue;
        }
        let report = scrub(&repository);
        assert!(one == other || report.repaired.len() == 1, "{round}: {one}, {other}, {report:?}");
        assert!(report.quarantined.is_empty(), "{round}: {one}, {other} of {trailers}");
        assert!(read_all(&rig.disk, path, u64::MAX).unwrap() == before[path], "{round}");
    }
    assert!(restores(&repository, point.id, &image));
}

fn restore(sim: &Sim, path: &str, bytes: &[u8]) {
    let mut file = sim.create(path, bytes.len() as u64).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    sim.sync_dir("segments").unwrap();
}

#[test]
fn cut_or_longer_files_and_lost_trailers() {
    let image: Image = (1..8).collect();
    let (rig, repository, point) = stored(&image);
    for (path, bytes) in segments(&rig.disk) {
        let trailers = Geometry::of_file(bytes.len() as u64).unwrap().trailers();
        rig.disk.truncate(&path, bytes.len() - 5000);
        assert_eq!(scrub(&repository).repaired.len(), 1, "{path} was cut");
        assert!(read_all(&rig.disk, &path, u64::MAX).unwrap() == bytes);
        let mut file = rig.disk.reopen(&path);
        if let Ok(file) = &mut file {
            rig.disk.set_immutable(&path, false).unwrap();
            file.append(b"more").unwrap();
        }
        drop(file);
        assert_eq!(scrub(&repository).repaired.len(), 1, "{path} was longer");
        assert!(read_all(&rig.disk, &path, u64::MAX).unwrap() == bytes);
        for at in trailers {
            rig.disk.flip(&path, usize::try_from(at).unwrap() + 20, 1);
        }
        rig.disk.flip(&path, 4096, 1);
        let report = scrub(&repository);
        assert_eq!(report.repaired, [(serial(&path), 3)], "{path} without trailers: {report:?}");
        assert!(read_all(&rig.disk, &path, u64::MAX).unwrap() == bytes);
        // Nor tables, and wrong data: what is right cannot be told from what is wrong.
        let tables = Geometry::of_file(bytes.len() as u64).unwrap().tables();
        let lost = trailers.into_iter().chain(tables).chain([4096]);
        let lost: Vec<usize> = lost.map(|at| usize::try_from(at).unwrap() + 20).collect();
        lost.iter().for_each(|at| rig.disk.flip(&path, *at, 1));
        let report = scrub(&repository);
        assert_eq!(report.quarantined.len(), 1, "{path} without tables: {report:?}");
        lost.iter().for_each(|at| rig.disk.flip(&path, *at, 1));
        let report = scrub(&repository);
        assert_eq!(report.repaired, [(serial(&path), 0)], "right again, so it is trusted again");
    }
    assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
}

#[test]
fn beyond_the_parity_the_points_are_named_and_a_new_full_heals() {
    for missing in [false, true] {
        let shared: Image = (1..20).collect();
        let other: Image = (50..60).collect();
        let (rig, repository, first) = stored(&shared);
        let (unharmed, _) = backup(&repository, 2, &other, None, 1000).unwrap();
        let (second, stats) = backup(&repository, 3, &shared, None, 1000).unwrap();
        assert_eq!(stats.new_chunks, 0);
        let path = segments(&rig.disk).into_keys().next().unwrap();
        if missing {
            rig.disk.remove_below(&path);
        } else {
            flip_beyond(&rig.disk, &path);
        }
        let report = scrub(&repository);
        let [quarantine] = &*report.quarantined else { panic!("{report:?}") };
        assert_eq!(quarantine.serial, serial(&path));
        assert_eq!(quarantine.points, [first.id, second.id]);
        assert_eq!(repository.scrub_coverage(1).damaged, 1);
        // Again: it is known, and nothing more goes on record for it but the reading.
        let size = repository.ledger_head().0;
        assert_eq!(scrub(&repository).quarantined.len(), 1);
        assert_eq!(repository.ledger_head().0, size + 2, "two batches");
        assert!(restores(&repository, unharmed.id, &other));
        drop(repository);
        let repository = rig.open(&options(1));
        let (healed, stats) = backup(&repository, 1, &shared, None, 0).unwrap();
        assert!(stats.new_chunks > 0, "not against what is damaged");
        assert!(restores(&repository, healed.id, &shared));
        for point in [&first, &second] {
            assert!(!repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
        }
        // An incremental upon a damaged point would be damaged too: it is refused.
        let mut next = shared.clone();
        next[0] = 900;
        assert!(backup(&repository, 1, &next, Some((&shared, first.id)), 0).is_err());
        assert!(repository.scrub_coverage(1).damaged == 1);
    }
}

#[test]
fn what_a_verification_finds_can_be_healed() {
    let image: Image = (1..30).collect();
    let (rig, repository, point) = stored(&image);
    let before = segments(&rig.disk);
    for path in before.keys() {
        rig.disk.flip(path, BLOCK + 300, 4);
    }
    let report = repository.verify(point.id, &mut |_| ()).unwrap();
    assert!(!report.is_whole());
    repository.record_verification(point.id, &report).unwrap();
    let healed = repository.heal(&report).unwrap();
    assert!(healed.iter().all(|(_, outcome)| matches!(outcome, Repair::Repaired { .. })));
    scrub(&repository); // damage that hid behind other damage
    assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
    assert_eq!(segments(&rig.disk), before);
    assert_eq!(repository.repair(4711).unwrap(), Repair::Whole);
    let (_, stats) = backup(&repository, 2, &image, None, 0).unwrap();
    assert_eq!(stats.new_chunks, 0, "deduplicated against what was repaired");
}

#[test]
fn without_room_a_repair_is_postponed() {
    let (rig, repository, point) = stored(&(1..6).collect());
    let path = segments(&rig.disk).into_keys().next().unwrap();
    rig.disk.flip(&path, 9000, 1);
    rig.disk.set_capacity(Some(rig.disk.used() + 60_000));
    let report = scrub(&repository);
    assert_eq!(report.postponed, [serial(&path)], "{report:?}");
    assert!(!rig.disk.paths().iter().any(|path| path.starts_with("open/")), "nothing is left");
    rig.disk.set_capacity(None);
    assert_eq!(scrub(&repository).repaired, [(serial(&path), 1)]);
    assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
}

#[test]
fn power_cut_at_every_step_of_a_repair() {
    let image: Image = (1..6).collect();
    let (rig, repository, point) = stored(&image);
    let path = segments(&rig.disk).into_keys().next().unwrap();
    let right = segments(&rig.disk);
    rig.disk.flip(&path, 9000, 1);
    drop(repository);
    let base = rig.disk.after_kill();
    let run = |cut: Option<u64>| {
        let rig = rig.with(base.copy());
        let before = rig.disk.operations();
        if let Some(cut) = cut {
            rig.disk.cut_at(before + cut);
        }
        let done = rig.try_open(&options(0)).and_then(|(repository, _)| {
            repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(()))
        });
        (rig.disk.operations() - before, done.is_ok(), rig)
    };
    let (operations, _, _) = run(None);
    let (mut random, mut unfinished, mut seen, mut early) = (Random(3), 0, 0, 0);
    for cut in 0..operations {
        let (_, done, crashed) = run(Some(cut));
        assert!(!done, "cut {cut}");
        let disks = (0..4).map(|_| crashed.disk.after_power_cut(&mut random));
        for disk in disks.chain([crashed.disk.after_kill()]).collect::<Vec<_>>() {
            let rig = crashed.with(disk);
            let repository = rig.open(&options(0));
            let trusted = repository.scrub_coverage(30).damaged == 0;
            let wrong = segments(&rig.disk) != right;
            let read = {
                let catalog = repository.inner.core.catalog.lock().unwrap();
                catalog.state.segment(serial(&path)).unwrap().scrubbed.is_some()
            };
            assert!(!(trusted && wrong && read), "cut {cut}: believed to be right");
            seen += u32::from(wrong && read);
            // Put in place, and not on record yet.
            early += u32::from(!trusted && !wrong);
            unfinished += u32::from(wrong);
            let report = scrub(&repository);
            assert!(report.quarantined.is_empty(), "cut {cut}");
            assert_eq!(segments(&rig.disk), right, "cut {cut}");
            assert_eq!(repository.scrub_coverage(30).damaged, 0, "cut {cut}");
            assert!(restores(&repository, point.id, &image), "cut {cut}");
            assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole(), "cut {cut}");
        }
    }
    println!("{unfinished} unfinished, {seen} found before, {early} not on record");
    assert!(unfinished > 20 && seen > 10 && early > 3, "{unfinished} {seen} {early}");
}
