//! No space, failing syncs, and a disk that reads back other bytes than were written.

use super::support::{Image, Rig, backup, options, restores};
use crate::{Options, StoreError};
use model::ErrorKind;

#[test]
fn no_space_at_any_moment_stops_ingest_and_touches_nothing_else() {
    let first: Image = (1..12).collect();
    let second: Image = (50..75).collect();
    for workers in [0, 2] {
        let options = options(workers);
        let rig = Rig::new(&options);
        let sim = rig.disk.clone();
        let kept = {
            let repository = rig.open(&options);
            backup(&repository, 1, &first, None, 10_000).unwrap().0
        };
        let (used, mut failed, mut done) = (sim.used(), 0, 0);
        // From no room at all to room for everything, in steps that hit every kind of write.
        for room in (0..1_400_000).step_by(23_456) {
            let disk = sim.copy();
            disk.set_capacity(Some(used + room));
            let rig = rig.with(disk.clone());
            let repository = rig.open(&options);
            match backup(&repository, 2, &second, None, 0) {
                Ok((point, _)) => {
                    assert!(restores(&repository, point.id, &second), "room {room}");
                    done += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full, "room {room}: {error:?}");
                    assert_eq!(repository.points().len(), 1, "room {room}");
                    failed += 1;
                }
            }
            assert!(restores(&repository, kept.id, &first), "room {room}");
            assert!(repository.delete(&[kept.id]).is_err());
            drop(repository);
            let repository = rig.open(&options);
            assert!(restores(&repository, kept.id, &first), "room {room}, opened again");
            disk.set_capacity(None);
            let (point, _) = backup(&repository, 2, &second, None, 0).unwrap();
            assert!(restores(&repository, point.id, &second), "room {room}, space again");
        }
        assert!(failed > 20 && done > 3, "{failed} failed, {done} done");
    }
}

#[test]
fn the_reserve_is_kept() {
    let options = Options { reserve_bytes: 1_000_000, ..options(1) };
    let rig = Rig::new(&options);
    let (sim, repository) = (rig.disk.clone(), rig.open(&options));
    sim.set_capacity(Some(sim.used() + 1_300_000));
    let error = backup(&repository, 1, &(1..40).collect(), None, 0).unwrap_err();
    assert!(matches!(error, StoreError::Full { reserve: 1_000_000, .. }), "{error:?}");
    assert!(sim.used() < 1_300_000);
}

#[test]
fn a_sync_that_fails_fails_the_run_and_only_it() {
    let image: Image = (1..20).collect();
    let operations = {
        let rig = Rig::new(&options(0));
        let (sim, repository) = (rig.disk.clone(), rig.open(&options(0)));
        let before = sim.operations();
        backup(&repository, 1, &image, None, 0).unwrap();
        before..sim.operations()
    };
    let mut failed = 0;
    for operation in operations {
        let rig = Rig::new(&options(0));
        let (sim, repository) = (rig.disk.clone(), rig.open(&options(0)));
        sim.fail_sync_at(operation);
        if backup(&repository, 1, &image, None, 0).is_ok() {
            continue; // that operation was no sync, or the one of the head
        }
        failed += 1;
        assert!(repository.points().is_empty(), "operation {operation}");
        drop(repository);
        let repository = rig.with(sim.after_kill()).open(&options(0));
        for point in repository.points() {
            // The ledger's own sync failed, and the leaf was there all the same.
            assert!(restores(&repository, point.id, &image), "operation {operation}");
        }
        backup(&repository, 1, &image, None, 0).unwrap();
    }
    assert!(failed >= 4, "{failed} syncs failed");
}

#[test]
fn a_disk_that_reads_back_other_bytes_is_found_at_the_seal() {
    let rig = Rig::new(&options(1));
    let (sim, repository) = (rig.disk.clone(), rig.open(&options(1)));
    sim.lie_at_read_back();
    let error = backup(&repository, 1, &(1..20).collect(), None, 0).unwrap_err();
    assert!(matches!(error, StoreError::ReadBack { .. }), "{error:?}");
    assert!(repository.points().is_empty());
}

#[test]
fn a_full_disk_takes_nothing_in_and_everything_else_goes_on() {
    let first: Image = (1..12).collect();
    let second: Image = (50..90).collect();
    let options = Options { reserve_bytes: 100 << 10, ..options(0) };
    let rig = Rig::new(&options);
    let (sim, repository) = (rig.disk.clone(), rig.open(&options));
    let (kept, _) = backup(&repository, 1, &first, None, 10_000).unwrap();
    let (goes, _) = backup(&repository, 3, &(200..210).collect(), None, 0).unwrap();
    drop(repository);
    let (used, mut failed) = (sim.used(), 0);
    for room in (0..1_500_000).step_by(41_234) {
        let disk = sim.copy();
        disk.set_capacity(Some(used + options.reserve_bytes + room));
        let rig = rig.with(disk.clone());
        let repository = rig.open(&options);
        if let Err(error) = backup(&repository, 2, &second, None, 0) {
            assert_eq!(error.kind(), ErrorKind::Full, "room {room}: {error:?}");
            let why = model::chain(&error);
            assert!(why.contains("kept in reserve"), "before the disk is: {why}");
            assert_eq!(repository.points().len(), 2, "nothing is deleted to make room");
            failed += 1;
        }
        let what = format!("room {room}");
        assert!(restores(&repository, kept.id, &first), "{what}");
        let report = repository.verify(kept.id, &mut |_| ()).unwrap();
        assert!(report.is_whole(), "{what}");
        repository.record_verification(kept.id, &report).unwrap();
        repository.hold(kept.id, "case").unwrap();
        assert_eq!(repository.delete(&[kept.id]).unwrap_err().kind(), ErrorKind::Refused);
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        assert_eq!(repository.scrub(u64::MAX, go_on).unwrap().damaged, 0, "{what}");
        assert!(repository.delete(&[goes.id]).unwrap().bytes > 0, "{what}");
        repository.reclaim().unwrap();
        // Its room is there for others now.
        backup(&repository, 4, &(300..304).collect(), None, 0).unwrap();
        assert!(restores(&repository, kept.id, &first), "{what}");
    }
    assert!(failed > 10, "{failed}");
}
