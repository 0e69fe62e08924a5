//! Rot in sealed segments, on the real daemon and warden: within the parity it is repaired, beyond
//! it the points concerned are named, what is whole is restored, and the next backup heals.

use crate::site::{Site, VM, ended_well};
use crate::two_users::start;
use api::{
    ExpiryPreview, Forecast, Health, Leaves, MaintenanceResult, MaintenanceRun, PointDetail,
    Problem, Run, RunResult, ScrubResult, Status,
};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The largest segment holds the data.
fn largest_segment(site: &Site) -> PathBuf {
    let segments = site.daemon.config.repository.path.join("segments");
    let files = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn serial(segment: &Path) -> u32 {
    u32::from_str_radix(segment.file_stem().unwrap().to_str().unwrap(), 16).unwrap()
}

/// What only root can do, and what a bad disk does without asking: changes `length` bytes.
fn rot(segment: &Path, offset: u64, length: usize) {
    let immutable = |how: &str| {
        // Where the file system has no such attribute there is nothing to clear.
        let _ = Command::new("chattr").arg(how).arg(segment).output().unwrap();
    };
    immutable("-i");
    let file = std::fs::File::options().read(true).write(true).open(segment).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    file.write_all_at(&bytes, offset).unwrap();
    file.sync_all().unwrap();
    immutable("+i");
}

/// `repository scrub --all`: its exit status and what it did.
fn scrub(site: &Site) -> (Option<i32>, ScrubResult) {
    let cli = site.daemon.cli().unwrap();
    let output = cli.output(&["--json", "repository", "scrub", "--all"]).unwrap();
    let run: MaintenanceRun = serde_json::from_slice(&output.stdout).unwrap();
    let Some(MaintenanceResult::Scrub(result)) = run.result else { panic!("{run:#?}") };
    assert!(run.finished.is_some() && run.finished_retention.is_some(), "by both clocks");
    (output.status.code(), result)
}

fn status(site: &Site) -> Status {
    site.daemon.cli().unwrap().json(&["status"]).unwrap()
}

fn damage(site: &Site, point: &str) -> u64 {
    let cli = site.daemon.cli().unwrap();
    let output = cli.output(&["--json", "point", "verify", point]).unwrap();
    let run: Run = serde_json::from_slice(&output.stdout).unwrap();
    let Some(RunResult::Verify(result)) = &run.result else { panic!("{run:#?}") };
    result.damage_total
}

/// The kinds of all leaves of the ledger.
fn events(site: &Site) -> Vec<String> {
    let leaves: Leaves = site.daemon.cli().unwrap().json(&["ledger", "list"]).unwrap();
    leaves.leaves.into_iter().map(|leaf| leaf.data).collect()
}

fn has(events: &[String], kind: &str) -> bool {
    events.iter().any(|leaf| leaf.contains(&format!("\"{kind}\"")))
}

#[test]
fn rot_within_the_parity_is_repaired_on_record() {
    let Some(two) = start("rot_within_the_parity") else { return };
    let site = &two.site;
    let truth = site.lab.keep_truth(VM, 0, "first").unwrap();
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");
    let point = run.point.unwrap().to_string();
    let segment = largest_segment(site);
    let before = std::fs::read(&segment).unwrap();
    assert_eq!(scrub(site).0, Some(0), "nothing is damaged so far");

    rot(&segment, before.len() as u64 / 2, 700);
    let (code, result) = scrub(site);
    assert_eq!((code, result.damaged, result.repaired_total), (Some(0), 1, 1), "{result:?}");
    assert_eq!(result.repaired[0].segment, serial(&segment));
    assert!(std::fs::read(&segment).unwrap() == before, "byte for byte what was sealed");

    let told = status(site).repository.care;
    assert_eq!((told.scrub.damaged, told.quarantined_total), (0, 0), "{told:?}");
    assert_eq!(told.scrub.bytes_never, 0);
    assert!(told.scrub.on_track);
    let seen = told.tasks.iter().filter_map(|task| task.result.as_ref());
    let repaired = seen.filter(
        |result| matches!(result, MaintenanceResult::Scrub(scrub) if scrub.repaired_total == 1),
    );
    assert_eq!(repaired.count(), 1, "{:?}", told.tasks);
    let events = events(site);
    assert!(has(&events, "scrubbed") && has(&events, "repaired"), "{events:#?}");
    assert_eq!(damage(site, &point), 0);
    site.restore_and_compare(&run, &truth);
}

#[test]
fn what_a_verification_finds_is_repaired_at_once() {
    let Some(two) = start("what_a_verification_finds") else { return };
    let site = &two.site;
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");
    let point = run.point.unwrap().to_string();
    let segment = largest_segment(site);
    let before = std::fs::read(&segment).unwrap();
    rot(&segment, before.len() as u64 / 2, 700);
    assert!(damage(site, &point) > 0);
    // Long before the first slice of the maintenance, which begins after five minutes.
    let limit = Instant::now() + Duration::from_secs(60);
    while std::fs::read(&segment).unwrap() != before {
        assert!(Instant::now() < limit, "{:#?}", status(site).repository.care);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(damage(site, &point), 0);
}

#[test]
fn rot_beyond_the_parity_is_named_and_healed_by_the_next_backup() {
    let Some(mut two) = start("rot_beyond_the_parity") else { return };
    let first = two.site.backup();
    assert!(ended_well(&first), "{first:#?}");
    let point = first.point.unwrap().to_string();
    let segment = largest_segment(&two.site);
    let length = std::fs::metadata(&segment).unwrap().len();
    rot(&segment, length / 4, usize::try_from(length / 3).unwrap());

    let (code, result) = scrub(&two.site);
    assert_eq!((code, result.quarantined_total), (Some(1), 1), "{result:?}");
    assert_eq!(result.quarantined[0].segment, serial(&segment));
    assert!(has(&events(&two.site), "quarantined"));
    for attempt in ["at once", "after a restart"] {
        let site = &two.site;
        let told = status(site);
        assert_eq!(told.state, Health::Degraded, "{attempt}");
        let reason = told.reasons.iter().find(|reason| reason.code == "segment-lost");
        let reason = reason.unwrap_or_else(|| panic!("{attempt}: {:?}", told.reasons));
        assert!(reason.text.contains(&point), "{attempt}: the point is named: {reason:?}");
        let lost = &told.repository.care.quarantined[0];
        assert_eq!(lost.points, [first.point.unwrap()], "{attempt}");
        let shown: PointDetail =
            site.daemon.cli().unwrap().json(&["point", "show", &point]).unwrap();
        assert_eq!(shown.summary.lost_segments, [serial(&segment)], "{attempt}");
        two.site.daemon.stop().unwrap();
        two.site.daemon.start_again().unwrap();
    }
    let site = &two.site;
    assert!(damage(site, &point) > 0);

    // What cannot be read is refused and named; nothing of it is taken for the whole.
    let image = site.lab.directory().join("lost.raw");
    let file = image.to_str().unwrap();
    let arguments = ["--json", "point", "restore", &point, "--disk", "0", "--output", file];
    let output = site.daemon.cli().unwrap().output(&arguments).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let problem: Problem = serde_json::from_slice(&output.stdout).unwrap();
    let named = segment.file_name().unwrap().to_str().unwrap();
    assert!(problem.detail.contains(named), "'{named}' is not in {problem:?}");
    assert!(!image.exists());

    // The next backup builds on nothing that is lost: it reads in full and stores it anew.
    let healed = site.backup_and_compare("healed");
    let Some(RunResult::Backup(result)) = &healed.result else { panic!("{healed:#?}") };
    assert_eq!(result.changed_areas, 0, "read in full: {result:?}");
    assert!(result.stored_bytes > 0, "what was lost is stored anew: {result:?}");
    let new = healed.point.unwrap().to_string();
    assert_eq!(damage(site, &new), 0);
    let shown: PointDetail = site.daemon.cli().unwrap().json(&["point", "show", &new]).unwrap();
    assert!(shown.summary.lost_segments.is_empty());
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn nothing_expires_without_rules_and_nothing_locked_with_them() {
    let mut site = Site::new();
    let first = site.backup();
    assert!(ended_well(&first), "{first:#?}");
    for command in [&["repository", "expire"] as &[&str], &["repository", "expire", "--preview"]] {
        let output = site.daemon.cli().unwrap().output(&[&["--json"], command].concat()).unwrap();
        let problem: Problem = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &*problem.code), (Some(3), "no-keep-rules"));
    }
    assert!(!status(&site).repository.care.expires);
    let second = site.backup();
    assert!(ended_well(&second), "{second:#?}");

    site.daemon.stop().unwrap();
    site.daemon.config.keep = Some(BTreeMap::from([("last".to_owned(), 1)]));
    site.daemon.start_again().unwrap();
    assert!(status(&site).repository.care.expires);
    let cli = site.daemon.cli().unwrap();
    let preview: ExpiryPreview = cli.json(&["repository", "expire", "--preview"]).unwrap();
    let kept: Vec<_> = preview.kept.iter().map(|point| point.id).collect();
    assert_eq!((preview.go.len(), kept), (0, vec![first.point.unwrap()]), "{preview:?}");
    assert!(preview.kept[0].reason.as_ref().unwrap().contains("locked"), "{preview:?}");
    let run: MaintenanceRun = cli.json(&["repository", "expire"]).unwrap();
    let Some(MaintenanceResult::Expire(result)) = run.result else { panic!("{run:#?}") };
    assert_eq!((result.deleted_total, result.kept_total, result.wanted), (0, 1, 1));
    assert_eq!(site.points().len(), 2);

    let forecast: Forecast = cli.json(&["repository", "forecast", "--lock-days", "9"]).unwrap();
    assert!(forecast.used_bytes > 0 && forecast.used_bytes <= forecast.usable_bytes);
    assert!(forecast.text.contains("locked"), "{forecast:?}");
    let run: MaintenanceRun = cli.json(&["repository", "compact"]).unwrap();
    let Some(MaintenanceResult::Compact(result)) = run.result else { panic!("{run:#?}") };
    assert_eq!(result.from, 0, "locked segments are not touched: {result:?}");
}
