//! Scrubs: the order, what is put on record, coverage, budgets and stops.

use super::support::{Image, Rig, backup, options};
use crate::Repository;
use model::RetentionTime;
use std::ops::ControlFlow;

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
fn a_device_that_is_gone_is_an_error_and_no_damage() {
    let (rig, repository) = filled();
    let size = repository.ledger_head().0;
    rig.disk.cut_at(rig.disk.operations());
    assert!(repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).is_err());
    drop(repository);
    let repository = rig.with(rig.disk.after_kill()).open(&options(1));
    assert_eq!(repository.scrub_coverage(30).damaged, 0);
    assert!(repository.ledger_head().0 <= size + 2, "only the start is on record");
}
