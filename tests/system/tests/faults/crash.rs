//! kill -9 in the middle of a run.

use crate::site::{Site, VM, wait};
use api::{Page, Run, RunState};

#[test]
fn killed_at_any_moment_nothing_is_left_and_nothing_committed_is_lost() {
    let mut site = Site::new();
    let truth = site.lab.keep_truth(VM, 0, "first").unwrap();
    let first = site.backup();
    site.restore_and_compare(&first, &truth);

    // Slow enough to be hit at different places: before the snapshot, in it, while reading, and
    // around the commit.
    for (round, delay) in [0_u64, 40, 120, 250, 400, 700].into_iter().enumerate() {
        site.lab.write(VM, 0, (5 + round as u64) << 20, &vec![round as u8 + 1; 70_000]).unwrap();
        let before = site.points().len();
        let now = ["backup", "run", VM, "--full", "--no-wait"];
        assert!(site.daemon.cli().unwrap().output(&now).unwrap().status.success());
        std::thread::sleep(std::time::Duration::from_millis(delay));
        site.daemon.kill().unwrap();

        site.daemon.start_again().unwrap();
        site.wait_for_no_snapshot();
        let after = site.points().len();
        assert!(after == before || after == before + 1, "round {round}: {before} -> {after}");
        site.restore_and_compare(&first, &truth);
        site.backup_and_compare(&format!("round {round}"));
    }
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn an_interrupted_run_is_shown_as_failed() {
    let mut site = Site::new();
    let slow = serde_json::json!({ "method": "QueryChangedDiskAreas", "delay_ms": 3000 });
    site.lab.vcenter.fault(&slow).unwrap();
    let now = ["backup", "run", VM, "--no-wait"];
    assert!(site.daemon.cli().unwrap().output(&now).unwrap().status.success());
    wait("there is a snapshot", || !site.snapshots().is_empty());
    site.daemon.kill().unwrap();
    site.daemon.start_again().unwrap();
    let page: Page<Run> = site.daemon.cli().unwrap().json(&["run", "list"]).unwrap();
    let run = &page.items[0];
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(run.error.as_ref().unwrap().code, "interrupted");
    site.wait_for_no_snapshot();
}

#[test]
fn a_stop_in_the_middle_of_a_run_cleans_up_before_it_ends() {
    let mut site = Site::new();
    let slow = serde_json::json!({ "method": "QueryChangedDiskAreas", "delay_ms": 1000 });
    site.lab.vcenter.fault(&slow).unwrap();
    let now = ["backup", "run", VM, "--no-wait"];
    assert!(site.daemon.cli().unwrap().output(&now).unwrap().status.success());
    wait("there is a snapshot", || !site.snapshots().is_empty());
    assert!(site.daemon.stop().unwrap().success());
    assert!(site.snapshots().is_empty(), "SIGTERM waits for the clean-up");
}
