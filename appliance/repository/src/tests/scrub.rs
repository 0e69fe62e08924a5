//! Scrubs: the order, what is put on record, coverage, budgets and stops.

use super::support::{Image, Rig, backup, options};
use crate::Repository;
use model::RetentionTime;
use rustix::io::Errno;
use std::ops::ControlFlow;
use warden::wire::Request;

const DAY: i64 = 24 * 3600;

fn scrub(repository: &Repository, budget: u64) -> crate::ScrubReport {
    repository.scrub(budget, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Some segments, none of them ever scrubbed.
fn filled() -> (Rig, Repository) {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    for number in 1..4 {
        rig.clock.pass(60);
        let image: Image = (0..20).map(|cell| 100 * u64::from(number) + cell).collect();
        backup(&repository, number, &image, None, 0).unwrap();
    }
    (rig, repository)
}

#[test]
fn what_was_read_is_on_record_and_the_rest_comes_next() {
    let (rig, repository) = filled();
    let total = repository.scrub_coverage(30).bytes_total;
    assert_eq!(repository.scrub_coverage(30).bytes_never, total);
    let (mut seen, mut last, mut read) = (0, 0, 0);
    while repository.scrub_coverage(30).bytes_never > 0 {
        rig.clock.pass(100);
        repository.tick().unwrap();
        let report = scrub(&repository, total / 4);
        assert!(report.segments > 0 && report.bytes <= (total / 4).max(600 << 10));
        assert_eq!((report.damaged, report.stopped), (0, false));
        let never = repository.scrub_coverage(30).bytes_never;
        read += report.bytes;
        assert_eq!(never, total - read, "nothing is read twice before all is read once");
        (seen, last) = (seen + 1, never);
    }
    assert!(seen >= 4 && last == 0);
    // The ledger remembers it.
    drop(repository);
    let repository = rig.open(&options(1));
    assert_eq!(repository.scrub_coverage(30).bytes_never, 0);
}

#[test]
fn coverage_falls_behind_with_time_and_comes_back() {
    let (rig, repository) = filled();
    let coverage = repository.scrub_coverage(30);
    assert!(coverage.on_track, "what was sealed was read back: {coverage:?}");
    rig.clock.pass(31 * DAY);
    repository.tick().unwrap();
    let coverage = repository.scrub_coverage(30);
    assert_eq!((coverage.on_track, coverage.bytes_within), (false, 0));
    let now = repository.clock().value;
    let due = repository.scrub_due(30, now);
    assert_eq!((due.bytes, due.overdue), (coverage.bytes_total, coverage.bytes_total));
    let report = scrub(&repository, due.bytes);
    assert_eq!(report.bytes, coverage.bytes_total);
    let coverage = repository.scrub_coverage(30);
    assert!(coverage.on_track && coverage.oldest == Some(now));
    let tomorrow = RetentionTime(now.0 + DAY);
    let due = repository.scrub_due(30, tomorrow);
    assert!(due.bytes <= coverage.bytes_total / 29 + 1 && due.overdue == 0, "{due:?}");
}

#[test]
fn a_scrub_ends_when_its_caller_wants_and_keeps_what_it_did() {
    let (_rig, repository) = filled();
    let mut told = Vec::new();
    let report = repository
        .scrub(u64::MAX, &mut |progress| {
            told.push(progress);
            if told.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert!(report.stopped && report.segments == 2);
    assert!(told[0].done < told[1].done && told[1].done < told[1].total);
    let coverage = repository.scrub_coverage(30);
    assert_eq!(coverage.bytes_never, coverage.bytes_total - report.bytes);
}

#[test]
fn a_scrub_ends_in_the_middle_of_a_segment() {
    let options = crate::Options { segment_size: 40 << 20, ..options(0) };
    let rig = Rig::new(&options);
    let repository = rig.open(&options);
    backup(&repository, 1, &(1..800).collect(), None, 0).unwrap();
    let mut told = Vec::new();
    let report = repository.scrub(u64::MAX, &mut |progress| {
        told.push(progress);
        ControlFlow::Break(())
    });
    let report = report.unwrap();
    assert!(report.stopped && (report.segments, report.bytes) == (0, 0), "{report:?}");
    assert!(told.len() == 1 && told[0].done < 10 << 20, "{told:?}");
    let coverage = repository.scrub_coverage(30);
    assert_eq!(coverage.bytes_never, coverage.bytes_total, "half a reading is none");
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_read() {
    let (rig, repository) = filled();
    let coverage = repository.scrub_coverage(30);
    let bad = "segments/00000001.segment";
    let left = rig.disk.length(bad) as u64;
    rig.disk.refuse(bad, Errno::ACCESS.raw_os_error());
    let mut slices = 0;
    while repository.scrub_coverage(30).bytes_never > left {
        let report = scrub(&repository, 1);
        assert!(report.segments > 0 && report.bytes <= 2 * left, "others instead: {report:?}");
        assert_eq!(report.failed_total, 1);
        assert_eq!(report.failed[0].0, 1);
        slices += 1;
    }
    assert!(slices >= 3, "{slices}");
    let report = scrub(&repository, u64::MAX);
    assert_eq!((report.bytes, report.failed_total), (coverage.bytes_total - left, 1));
    rig.disk.refuse_nothing();
    let report = scrub(&repository, 1);
    assert_eq!((report.segments, report.failed_total), (1, 0));
    assert_eq!(repository.scrub_coverage(30).bytes_never, 0);
}

#[test]
fn a_volume_that_went_away_does_not_keep_the_others_from_being_read() {
    let rig = Rig::new(&options(0));
    let repository = rig.open(&options(0));
    repository.inner.core.ask(Request::AddVolume { number: 1 }).unwrap();
    drop(repository);
    let repository = rig.open(&options(0));
    for volume in [1, 0] {
        let mut point = repository.begin(super::support::draft(volume)).unwrap();
        point.state.use_volume(volume);
        super::support::write_disk(&mut point, &(1..40).collect(), None).unwrap();
        point.commit(super::support::lock(0), model::WallTime(0)).unwrap();
    }
    let total = repository.scrub_coverage(30).bytes_total;
    rig.disk.refuse("volumes/1/", Errno::IO.raw_os_error());
    for budget in [1, u64::MAX] {
        let report = scrub(&repository, budget);
        assert!(report.segments > 0 && report.bytes <= total / 2 + 1, "{report:?}");
        assert_eq!(report.failed_total, 1, "the volume is named once: {report:?}");
        assert_eq!((report.damaged, report.quarantined.len()), (0, 0));
    }
}

#[test]
fn a_repair_that_fails_keeps_nothing_from_being_read_or_repaired() {
    let (rig, repository) = filled();
    let paths = ["segments/00000001.segment", "segments/00000002.segment"];
    paths.iter().for_each(|path| rig.disk.flip(path, 5000, 4));
    rig.disk.refuse("open/00000001", Errno::ACCESS.raw_os_error());
    let report = scrub(&repository, u64::MAX);
    assert_eq!(report.bytes, repository.scrub_coverage(30).bytes_total);
    assert_eq!((report.damaged, report.failed_total), (2, 1), "{report:?}");
    assert_eq!((&*report.repaired, report.failed[0].0), (&[(2, 1)][..], 1));
    // It is not trusted, and does not keep a small budget from the others.
    assert_eq!(repository.to_repair(), [1]);
    rig.clock.pass(100);
    repository.tick().unwrap();
    rig.disk.flip("segments/00000003.segment", 5000, 4);
    let report = scrub(&repository, u64::MAX);
    assert_eq!((&*report.repaired, report.failed_total), (&[(3, 1)][..], 1));
    let go_on = &mut || ControlFlow::Continue(());
    assert_eq!(repository.mend(go_on).failed_total, 1);
    rig.disk.refuse_nothing();
    assert!(repository.mend(&mut || ControlFlow::Break(())).stopped);
    assert_eq!(repository.mend(go_on).repaired, [(1, 1)]);
    assert_eq!(repository.scrub_coverage(30).damaged, 0);
}

#[test]
fn a_device_that_is_gone_is_an_error_and_no_damage() {
    let (rig, repository) = filled();
    let size = repository.ledger_head().0;
    rig.disk.cut_at(rig.disk.operations());
    let report = repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(()));
    assert!(report.map_or(true, |report| report.failed_total > 0 && report.segments == 0));
    drop(repository);
    let repository = rig.with(rig.disk.after_kill()).open(&options(1));
    assert_eq!(repository.scrub_coverage(30).damaged, 0);
    assert!(repository.ledger_head().0 <= size + 2, "only the start is on record");
}
