//! Compaction: needed chunks move, everything that was readable stays readable, and nothing moves
//! that a locked or held point needs.

use super::support::{CHUNK, Image, Rig, backup, options, restores};
use crate::{CompactRules, Compacted, KeyEncryptionKey, Options, Repository};
use fakes::disk::Random;
use ledger::Runs;
use model::{ErrorKind, RecoveryPointId};
use std::collections::BTreeMap;
use warden::wire::Request;

pub(super) const RULES: CompactRules =
    CompactRules { live_percent: 75, small: 0, budget: u64::MAX };

fn compact(repository: &Repository) -> Compacted {
    repository.compact(&RULES).unwrap_or_else(|error| panic!("{}", model::chain(&error)))
}

/// A point of which a deleted one has left every second chunk behind.
pub(super) fn half_dead(rig: &Rig, lock: u64) -> (Repository, RecoveryPointId, Image) {
    let repository = rig.open(&options(1));
    let old: Image = (1..61).collect();
    let new: Image = (1..61).map(|n| if n % 3 == 0 { n } else { 1000 + n }).collect();
    let (first, _) = backup(&repository, 1, &old, None, 0).unwrap();
    let base = Some((&old, first.id));
    let (second, _) = backup(&repository, 1, &new, base, lock).unwrap();
    repository.delete(&[first.id]).unwrap();
    (repository, second.id, new)
}

#[test]
fn what_is_needed_moves_and_the_rest_is_freed() {
    let rig = Rig::new(&options(1));
    let (repository, point, image) = half_dead(&rig, 0);
    let before = repository.stats().unwrap().bytes;
    let done = compact(&repository);
    assert!(done.from >= 4 && done.to >= 1 && done.chunks >= 20, "{done:?}");
    assert!(done.bytes_after * 2 < done.bytes_before, "{done:?}");
    let freed = repository.reclaim().unwrap();
    assert_eq!((freed.segments, freed.bytes), (done.from, done.bytes_before));
    let after = repository.stats().unwrap().bytes;
    assert_eq!(after, before + done.bytes_after - done.bytes_before);
    assert_eq!(compact(&repository).from, 0, "nothing more to gain");
    let check = |repository: &Repository| {
        assert!(restores(repository, point, &image));
        assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
    };
    check(&repository);
    // An incremental upon it, one upon that, and a full that finds its chunks.
    let mut next = image.clone();
    next[7] = 5000;
    next[8] = 0;
    let (third, stats) = backup(&repository, 1, &next, Some((&image, point)), 0).unwrap();
    assert_eq!(stats.new_chunks, 1);
    let (full, stats) = backup(&repository, 2, &next, None, 0).unwrap();
    assert_eq!(stats.new_chunks, 0, "deduplicated against what was moved");
    drop(repository);
    let repository = rig.open(&options(1));
    check(&repository);
    // The points that it was moved for may go; those that came later keep it.
    repository.delete(&[point]).unwrap();
    repository.reclaim().unwrap();
    for id in [third.id, full.id] {
        assert!(restores(&repository, id, &next));
        assert!(repository.verify(id, &mut |_| ()).unwrap().is_whole());
    }
    compact(&repository);
    repository.delete(&[third.id]).unwrap();
    assert!(restores(&repository, full.id, &next));
    repository.delete(&[full.id]).unwrap();
    repository.reclaim().unwrap();
    assert_eq!(repository.stats().unwrap().bytes, 0, "all space came back");
}

#[test]
fn nothing_moves_that_a_locked_or_held_point_reaches() {
    let rig = Rig::new(&options(1));
    let (repository, point, image) = half_dead(&rig, 1000);
    let moved: Runs = repository.inner.core.catalog.lock().unwrap().files.keys().copied().collect();
    assert_eq!(compact(&repository).examined, 0);
    let ask = |repository: &Repository| {
        let (spare, _) = backup(repository, 9, &vec![7, 8], None, 0).unwrap();
        let to =
            repository.inner.core.catalog.lock().unwrap().point(spare.id).unwrap().reach.to_runs();
        let from: Runs = moved.serials().take(1).collect();
        repository.inner.core.ask(Request::Compact { from, to })
    };
    assert_eq!(ask(&repository).unwrap_err().kind(), ErrorKind::Refused, "the warden knows too");
    rig.clock.pass(1001);
    repository.tick().unwrap();
    repository.hold(point, "case 7").unwrap();
    assert_eq!(ask(&repository).unwrap_err().kind(), ErrorKind::Refused, "held");
    let done = compact(&repository);
    assert!(restores(&repository, point, &image));
    assert_eq!(done.from, 0, "{done:?}");
}

#[test]
fn readers_and_runs_go_on_while_chunks_move() {
    let rig = Rig::new(&options(1));
    let (repository, point, image) = half_dead(&rig, 0);
    let reader = repository.open_disk(point, 0).unwrap();
    assert_eq!(reader.cell(0).unwrap(), reader.cell(0).unwrap());
    let mut run = repository.begin(super::support::draft(5)).unwrap();
    let again: Image = (1..10).map(|n| 3 * n).collect();
    super::support::write_disk(&mut run, &again, None).unwrap(); // refers to what would move
    let first = compact(&repository);
    let kept = run.commit(super::support::lock(0), model::WallTime(0)).unwrap();
    let second = compact(&repository);
    assert!(first.from > 0 && second.from > 0, "{first:?} {second:?}");
    repository.reclaim().unwrap();
    for (cell, number) in (0..).zip(&image) {
        let crate::Cell::Data(bytes) = reader.cell(cell).unwrap() else { panic!("cell {cell}") };
        assert!(bytes == super::support::content(*number, CHUNK), "cell {cell}");
    }
    assert!(restores(&repository, kept.id, &again));
}

#[test]
fn a_chunk_that_the_index_has_elsewhere_or_not_at_all_is_found_in_the_footers() {
    let rig = Rig::new(&options(1));
    let (repository, point, image) = half_dead(&rig, 0);
    assert!(compact(&repository).from > 0);
    repository.reclaim().unwrap();
    let all = repository.inner.core.catalog.lock().unwrap().files.keys().copied().collect();
    repository.inner.core.index.lock().unwrap().forget(&all);
    assert!(restores(&repository, point, &image));
    assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
}

#[test]
fn a_damaged_segment_is_left_to_the_scrub() {
    let rig = Rig::new(&options(1));
    let (repository, point, image) = half_dead(&rig, 0);
    let damaged = format::BLOCK + 2 * (CHUNK / 2 + 4096).next_multiple_of(format::BLOCK) + 300;
    rig.disk.flip("segments/00000001.segment", damaged, 4);
    let done = compact(&repository);
    assert!(done.from < 9, "{done:?}");
    repository.reclaim().unwrap();
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    assert_eq!(repository.scrub(u64::MAX, go_on).unwrap().repaired.len(), 1);
    assert!(restores(&repository, point, &image));
    assert!(compact(&repository).from > 0);
    repository.reclaim().unwrap();
    assert!(restores(&repository, point, &image));
}

#[test]
fn records_keep_the_key_that_they_were_encrypted_under() {
    let encryption = Some(KeyEncryptionKey::new(&[7; 32]));
    let options = Options { encryption, ..options(1) };
    let rig = Rig::new(&options);
    let mut repository = rig.open(&options);
    let (mut points, mut image) = (Vec::new(), (1..40).collect::<Image>());
    let (mut last, _) = backup(&repository, 1, &image, None, 0).unwrap();
    for round in 0..3 {
        repository.rotate_key().unwrap();
        drop(repository);
        repository = rig.open(&options);
        let mut next = image.clone();
        next.iter_mut().step_by(2 + round).for_each(|cell| *cell += 1000);
        let (point, _) = backup(&repository, 1, &next, Some((&image, last.id)), 0).unwrap();
        points.push(last.id);
        (image, last) = (next, point);
    }
    repository.delete(&points).unwrap();
    let rules = CompactRules { live_percent: 90, ..RULES };
    let done = repository.compact(&rules).unwrap();
    assert!(done.from > 2 && done.to > 1, "{done:?}");
    repository.reclaim().unwrap();
    drop(repository);
    let repository = rig.open(&options);
    assert!(restores(&repository, last.id, &image));
    assert!(repository.verify(last.id, &mut |_| ()).unwrap().is_whole());
}

/// Random histories: all that exists restores after every step, and a deletion frees exactly what
/// its preview said.
#[test]
fn random_histories_with_compaction_in_between() {
    let mut moved = 0;
    for seed in 0..12 {
        let mut random = Random(seed);
        let rig = Rig::new(&options(0));
        let mut repository = rig.open(&options(0));
        let mut points: BTreeMap<RecoveryPointId, (u8, Image)> = BTreeMap::new();
        let mut last: BTreeMap<u8, RecoveryPointId> = BTreeMap::new();
        for step in 0..40 {
            let what = format!("seed {seed}, step {step}");
            rig.clock.pass(10);
            match random.below(8) {
                0..=3 => {
                    let vm = u8::try_from(random.below(3)).unwrap();
                    let lock = [0, 0, 0, 60][random.below(4)];
                    let base = last.get(&vm).filter(|_| random.below(4) > 0).copied();
                    let old = base.map(|id| points[&id].1.clone());
                    let mut image = old.clone().unwrap_or_else(|| vec![0; 30]);
                    for _ in 0..random.below(25) + 1 {
                        image[random.below(30)] = random.next() % 150;
                    }
                    let base = old.as_ref().zip(base);
                    let (point, _) = backup(&repository, vm, &image, base, lock).unwrap();
                    points.insert(point.id, (vm, image));
                    last.insert(vm, point.id);
                }
                4 | 5 => {
                    let some = points.keys().filter(|_| random.below(3) == 0);
                    let some: Vec<RecoveryPointId> = some.copied().collect();
                    let preview = repository.preview(&some).unwrap();
                    assert_eq!(preview.go.len() + preview.kept.len(), some.len(), "{what}");
                    if !preview.kept.is_empty() {
                        assert!(repository.delete(&some).is_err(), "{what}: {preview:?}");
                    }
                    if preview.go.is_empty() {
                        continue;
                    }
                    let freed = repository.delete(&preview.go).unwrap();
                    let found = (freed.segments, freed.bytes);
                    assert_eq!(found, (preview.segments, preview.bytes), "{what}");
                    for id in preview.go {
                        points.remove(&id);
                        last.retain(|_, last| *last != id);
                    }
                }
                6 => {
                    let live_percent = 30 + random.next() % 71;
                    let small = [0, 300 << 10][random.below(2)];
                    let rules = CompactRules { live_percent, small, ..RULES };
                    moved += repository.compact(&rules).unwrap().from;
                    if random.below(2) == 0 {
                        repository.reclaim().unwrap();
                    }
                }
                _ => {
                    drop(repository);
                    repository = rig.open(&options(0));
                }
            }
            for (id, (_, image)) in &points {
                assert!(restores(&repository, *id, image), "{what}: {id}");
            }
        }
        for id in points.keys() {
            let report = repository.verify(*id, &mut |_| ()).unwrap();
            assert!(report.is_whole(), "seed {seed}: {report:?}");
        }
    }
    println!("{moved} segments moved");
    assert!(moved > 50, "{moved}");
}

#[test]
fn power_cut_at_every_step_of_a_compaction() {
    let rig = Rig::new(&options(0));
    let (repository, point, image) = half_dead(&rig, 0);
    drop(repository);
    let base = rig.disk.after_kill();
    let run = |cut: Option<u64>| {
        let rig = rig.with(base.copy());
        let before = rig.disk.operations();
        if let Some(cut) = cut {
            rig.disk.cut_at(before + cut);
        }
        let done = rig.try_open(&options(0)).and_then(|(repository, _)| {
            repository.compact(&RULES)?;
            repository.reclaim()
        });
        (rig.disk.operations() - before, done, rig)
    };
    let (operations, done, _) = run(None);
    assert!(done.unwrap().segments > 3);
    let (mut random, mut moved, mut orphans) = (Random(4), 0, 0);
    for cut in 0..operations {
        let (_, _, crashed) = run(Some(cut));
        let disks = (0..3).map(|_| crashed.disk.after_power_cut(&mut random));
        for disk in disks.chain([crashed.disk.after_kill()]).collect::<Vec<_>>() {
            let what = format!("cut {cut}");
            let rig = crashed.with(disk);
            let (repository, recovery) = rig.try_open(&options(0)).unwrap();
            assert!(recovery.damaged.is_empty(), "{what}: {recovery:?}");
            orphans += usize::from(!recovery.orphans.is_empty());
            moved += usize::from(
                !repository.inner.core.catalog.lock().unwrap().state.compactions().is_empty(),
            );
            let check = |repository: &Repository| {
                assert!(restores(repository, point, &image), "{what}");
                assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole(), "{what}");
            };
            check(&repository);
            // A chunk that was dead is not found in what is about to go.
            let dead: Image = (1..30).collect();
            let (again, _) = backup(&repository, 2, &dead, None, 0).unwrap();
            repository.reclaim().unwrap();
            compact(&repository);
            repository.reclaim().unwrap();
            check(&repository);
            assert!(restores(&repository, again.id, &dead), "{what}");
        }
    }
    assert!(moved > 10 && orphans > 10, "{moved} {orphans}");
}
