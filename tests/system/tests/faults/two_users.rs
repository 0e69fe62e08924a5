//! Warden and daemon as processes of two users, and a daemon that somebody has taken over: what
//! its user can try on files, and what is left of the appliance when the warden is killed. All
//! attacks and their outcomes stand in `appliance/repository/ATTACKS.md`.

use crate::site::{Site, VM, ended_well, guest, wait};
use api::{LedgerHead, PointDetail, Problem, RunState, Status};
use lab::warden::as_daemon;
use lab::{Daemon, Lab, LabSpec, Layout, VmSpec, Warden};
use std::path::{Path, PathBuf};

/// The fields are dropped in this order.
pub struct Two {
    pub site: Site,
    pub warden: Warden,
}

/// `None`, and said so, when this machine or user cannot.
pub fn start(test: &str) -> Option<Two> {
    start_with(test, |_, _| true)
}

/// As `start`, in a place that `change` prepares; it says why if it cannot.
pub fn start_with(
    test: &str,
    change: impl FnOnce(&Path, &mut lab::DaemonConfig) -> bool,
) -> Option<Two> {
    let vms = vec![VmSpec { name: VM.into(), disks: vec![guest(96)] }];
    let spec = LabSpec { lun_bytes: 2 << 30, layout: Layout::Fragmented, vms };
    let lab = Lab::start(&spec).unwrap();
    if let Some(why) = Warden::impossible_in(lab.directory()) {
        println!("SKIPPED: faults::{test}: {why}");
        return None;
    }
    let mut config = lab.daemon_config().unwrap();
    config.repository.reserve_mib = Some(64);
    if !change(lab.directory(), &mut config) {
        return None;
    }
    let warden = Warden::start(lab.directory(), &mut config).unwrap();
    let daemon = Daemon::start(lab.directory(), config).unwrap();
    Some(Two { site: Site { daemon, lab }, warden })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files
}

/// Every file of the repository with its content, but the daemon's own lock and open segments.
fn content(repository: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["", "segments", "ledger"].map(|name| repository.join(name));
    let all = folders.iter().flat_map(|folder| files(folder)).filter(|path| path.is_file());
    all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn who_has_taken_over_the_daemon_cannot_touch_what_is_sealed() {
    let Some(Two { site, warden }) = start("who_has_taken_over_the_daemon") else { return };
    let run = site.backup_and_compare("first");
    let status: Status = site.daemon.cli().unwrap().json(&["status"]).unwrap();
    assert!(status.repository.warden.own_process && status.repository.warden.answers);
    assert_eq!(status.repository.warden.officers, lab::warden::OFFICERS);

    let repository = site.daemon.config.repository.path.clone();
    let before = content(&repository);
    let text = |path: &Path| path.display().to_string();
    // The commands do work with these rights where the daemon may write.
    let own = text(&repository.join("open").join("own"));
    for program in ["touch", "rm"] {
        assert!(as_daemon(program, &[&own]).unwrap().status.success(), "{program} {own}");
    }
    let mut attempts: Vec<(&str, Vec<String>)> = Vec::new();
    for (path, _) in &before {
        let path = text(path);
        attempts.push(("rm", vec!["-f".into(), path.clone()]));
        attempts.push(("mv", vec![path.clone(), format!("{path}.aside")]));
        attempts.push(("truncate", vec!["--size=+4096".into(), path.clone()]));
        attempts.push(("truncate", vec!["--size=0".into(), path.clone()]));
        attempts.push(("fallocate", vec!["-p".into(), "-l".into(), "4096".into(), path.clone()]));
        attempts.push(("chattr", vec!["-i".into(), path.clone()]));
        attempts.push(("chmod", vec!["666".into(), path.clone()]));
        attempts.push(("cp", vec!["--no-target-directory".into(), "/dev/null".into(), path]));
    }
    for folder in ["", "segments", "ledger", "keys"] {
        attempts.push(("touch", vec![text(&repository.join(folder).join("new"))]));
    }
    attempts.push(("rmdir", vec![text(&repository.join("keys"))]));
    attempts.push(("cat", vec![text(&site.lab.directory().join("warden").join("signer"))]));
    attempts.push(("date", vec!["--set=@4000000000".into()]));
    attempts.push(("mount", vec!["-t".into(), "tmpfs".into(), "x".into(), text(&repository)]));
    for (program, arguments) in &attempts {
        // The lock file is the daemon's to write to; nothing depends on what is in it.
        if arguments.iter().any(|argument| *argument == text(&repository.join("lock"))) {
            continue;
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = as_daemon(program, &arguments).unwrap();
        assert!(!output.status.success(), "{program} {arguments:?} was not refused");
    }
    let unlocked = |all: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        all.into_iter().filter(|(path, _)| !path.starts_with(repository.join("ledger"))).collect()
    };
    assert_eq!(unlocked(content(&repository)), unlocked(before), "a file is not what it was");
    let log = warden.log();
    assert!(!log.contains("panicked"), "{log}");
    let truth = site.lab.keep_truth(VM, 0, "after").unwrap();
    site.restore_and_compare(&run, &truth);
}

#[test]
fn without_its_warden_the_daemon_says_so_and_goes_on_reading() {
    let Some(Two { mut site, mut warden }) = start("without_its_warden") else { return };
    let truth = site.lab.keep_truth(VM, 0, "first").unwrap();
    let first = site.backup();
    assert!(ended_well(&first), "{first:#?}");
    let point = first.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let head = site.lab.directory().join("head");
    let head = head.to_str().unwrap();
    let _: LedgerHead = cli.json(&["ledger", "head", "--output", head]).unwrap();

    warden.kill().unwrap();
    wait("the status says that the warden is gone", || {
        let status: Status = cli.json(&["status"]).unwrap();
        !status.repository.warden.answers
            && status.reasons.iter().any(|reason| reason.code == "warden-away")
    });
    let failed = site.backup();
    assert_eq!(failed.state, RunState::Failed, "{failed:#?}");
    assert_eq!(failed.error.as_ref().unwrap().code, "warden-away");
    assert!(site.snapshots().is_empty(), "no snapshot was taken for nothing");
    for command in [
        &["point", "hold", &point, "--matter", "case"] as &[&str],
        &["point", "delete", &point],
        &["ledger", "head"],
    ] {
        let output = cli.output(&[&["--json"], command].concat()).unwrap();
        let problem: Problem = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &*problem.code), (Some(1), "warden-away"), "{command:?}");
    }
    site.restore_and_compare(&first, &truth);

    warden.start_again().unwrap();
    wait("the warden answers again", || {
        let status: Status = cli.json(&["status"]).unwrap();
        status.repository.warden.answers
    });
    site.backup_and_compare("after the warden came back");
    let proof: serde_json::Value = cli.json(&["ledger", "proof", "--since", head]).unwrap();
    assert_eq!(proof["proven"], true);

    // Both killed, and started in the wrong order: the daemon waits for the warden.
    site.daemon.kill().unwrap();
    site.daemon.start_again().unwrap();
    assert_eq!(site.points().len(), 2);
}

#[test]
fn a_hold_ends_with_an_officers_signature_and_not_otherwise() {
    let Some(Two { site, warden }) = start("a_hold_ends") else { return };
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");
    let point = run.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let holds = || cli.json::<PointDetail>(&["point", "show", &point]).unwrap().holds;
    cli.show(&["point", "hold", &point, "--matter", "case 7"]).unwrap();
    assert_eq!(holds(), ["case 7"]);
    let output = cli.output(&["--json", "point", "delete", &point]).unwrap();
    let problem: Problem = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &*problem.code), (Some(3), "point-held"));

    // One officer alone overrides nothing; for a hold one is enough.
    let reason = ["override", "--point", &point, "--reason", "because"];
    assert!(!warden.officers_do(&["ann"], &reason).unwrap().status.success());
    let release = ["release-hold", "--point", &point, "--matter", "case 7"];
    let output = warden.officers_do(&["ann"], &release).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("the daemon has heard of it", || holds().is_empty());

    // Two together end a governance lock, on record; then the point may go.
    assert!(warden.officers_do(&["ann", "bob"], &reason).unwrap().status.success());
    wait("the lock has ended", || {
        let detail: PointDetail = cli.json(&["point", "show", &point]).unwrap();
        detail.summary.lock.is_some_and(|lock| !lock.locked)
    });
    cli.show(&["point", "delete", &point]).unwrap();
    assert!(site.points().is_empty());
}

#[test]
fn a_compliance_lock_is_ended_by_nobody() {
    let Some(Two { site, warden }) = start("a_compliance_lock") else { return };
    let run = site.backup();
    let point = run.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let lock =
        || cli.json::<PointDetail>(&["point", "show", &point]).unwrap().summary.lock.unwrap();
    let wrong = ["--json", "point", "lock", "tighten", &point, "--until", "2031-01-01T00:00:00Z"];
    assert_eq!(cli.output(&wrong).unwrap().status.code(), Some(3), "the end was not repeated");
    let until = lock().until.to_string();
    cli.show(&["point", "lock", "tighten", &point, "--until", &until]).unwrap();
    assert_eq!(lock().mode, model::LockMode::Compliance);
    let reason = ["override", "--point", &point, "--reason", "because"];
    assert!(!warden.officers_do(&["ann", "bob"], &reason).unwrap().status.success());
    assert!(lock().locked);
    assert_eq!(cli.output(&["point", "delete", &point]).unwrap().status.code(), Some(3));
}
