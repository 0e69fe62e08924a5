//! A locked point is kept, a damaged one is told, and both are known after a restart.

use crate::site::{Site, VM, ended_well, flip};
use api::{Problem, Run, RunResult};
use std::path::PathBuf;

#[test]
fn a_locked_point_is_not_deleted_and_says_until_when() {
    let mut site = Site::new();
    let truth = site.lab.keep_truth(VM, 0, "first").unwrap();
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");
    site.restore_and_compare(&run, &truth);
    site.export_and_compare(&run, &truth);
    let point = run.point.unwrap().to_string();
    for attempt in ["running", "restarted"] {
        let cli = site.daemon.cli().unwrap();
        let output = cli.output(&["--json", "point", "delete", &point]).unwrap();
        assert_eq!(output.status.code(), Some(3), "{attempt}");
        let problem: Problem = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(problem.code, "point-locked");
        let lock = problem.lock.expect("the lock that refused");
        assert!(lock.locked && problem.detail.contains(&lock.until.to_string()), "{problem:?}");
        assert_eq!(site.points().len(), 1, "{attempt}");
        site.daemon.kill().unwrap();
        site.daemon.start_again().unwrap();
    }
}

#[test]
fn a_rotten_bit_is_found_told_after_a_restart_and_never_restored() {
    let mut site = Site::new();
    let run = site.backup_and_compare("first");
    let point = run.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let whole: Run = cli.json(&["point", "verify", &point]).unwrap();
    let Some(RunResult::Verify(result)) = &whole.result else { panic!("{whole:#?}") };
    assert_eq!(result.damage_total, 0);

    // The largest segment holds the data; its middle is a chunk.
    let segments = site.daemon.config.repository.path.join("segments");
    let files = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path());
    let length = |path: &PathBuf| path.metadata().unwrap().len();
    let largest = files.max_by_key(length).unwrap();
    let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
    std::fs::set_permissions(&largest, mode(0o644)).unwrap();
    // Beyond the parity: what is within it is repaired as soon as it was found.
    for at in (length(&largest) / 4..length(&largest) / 2).step_by(4096) {
        flip(&largest, at, 4).unwrap();
    }

    let output = cli.output(&["--json", "point", "verify", &point]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let damaged: Run = serde_json::from_slice(&output.stdout).unwrap();
    let Some(RunResult::Verify(result)) = &damaged.result else { panic!("{damaged:#?}") };
    assert!(result.damage_total > 0, "{result:?}");
    assert!(result.damage[0].range.is_some(), "the bytes concerned are named: {result:?}");

    site.daemon.stop().unwrap();
    site.daemon.start_again().unwrap();
    let verified = site.points()[0].verified.expect("the last verification is on record");
    assert!(!verified.intact);
    let image = site.lab.directory().join("rotten.raw");
    let file = image.to_str().unwrap();
    let cli = site.daemon.cli().unwrap();
    let arguments = ["point", "restore", &point, "--disk", "0", "--output", file];
    for format in ["raw", "vmdk"] {
        let arguments = [&arguments[..], &["--format", format]].concat();
        assert!(!cli.output(&arguments).unwrap().status.success(), "{format}");
        assert!(!image.exists(), "no part of an image is taken for the whole: {format}");
    }

    // The next backup does not build on what is known to be damaged: it heals.
    let healed = site.backup_and_compare("after the rot");
    let Some(RunResult::Backup(result)) = &healed.result else { panic!("{healed:#?}") };
    assert_eq!(result.changed_areas, 0, "read in full: {result:?}");
    let point = healed.point.unwrap().to_string();
    let again: Run = site.daemon.cli().unwrap().json(&["point", "verify", &point]).unwrap();
    let Some(RunResult::Verify(result)) = &again.result else { panic!("{again:#?}") };
    assert_eq!(result.damage_total, 0, "{result:?}");
}
