//! What root does below the repository: a file system that is remounted, mounted over, overwritten,
//! set back or filled, while the warden runs and before it starts.
//!
//! Each test runs itself again in a mount namespace of its own, over a small ext4 in a file:
//! nothing outside is touched, and nothing stays mounted.

use crate::daemon::{Daemon, as_daemon, point, replay, runs};
use crate::stage::Stage;
use model::{ErrorKind, LockMode};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use warden::WardenError;
use warden::wire::{Outcome, Request};

const INSIDE: &str = "HOLDFAST_ATTACK_MOUNTS";
const MIB: u64 = 1 << 20;
const LOCK: (LockMode, u64) = (LockMode::Compliance, 86_400);

/// True inside of a mount namespace of our own; outside, the test has run in one when this
/// returns, or has said why it was skipped.
fn in_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut can = Command::new("unshare");
    let can = can.args(["--mount", "--propagation", "private", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("SKIPPED: {test}: mount namespaces cannot be made here");
        return false;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("disks::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{told}");
    assert!(output.status.success() && told.contains("1 passed"), "{told}{error}");
    false
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The repository's file system, unmounted before its place is removed.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    fn make(place: &Path) -> Vec<String> {
        let disk = Self { image: place.join("image"), mounted: place.join("repository") };
        File::create(&disk.image).unwrap().set_len(24 * MIB).unwrap();
        disk.format();
        std::fs::create_dir(&disk.mounted).unwrap();
        disk.mount();
        std::fs::remove_dir(disk.mounted.join("lost+found")).unwrap();
        std::mem::forget(disk);
        Vec::new()
    }

    fn of(stage: &Stage) -> Self {
        Self { image: stage.place.path().join("image"), mounted: stage.repository() }
    }

    fn mount(&self) {
        self.mount_as("errors=remount-ro");
    }

    fn mount_as(&self, options: &str) {
        let options = format!("loop,{options}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.image).arg(&self.mounted));
    }

    fn unmount(&self) {
        run(Command::new("umount").arg(&self.mounted));
    }

    fn format(&self) {
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-F", "-m", "0"]).arg(&self.image));
    }

    /// The file system finds an error and turns read-only; false: this kernel has no switch for
    /// that.
    fn fail(&self) -> bool {
        let mut find = Command::new("findmnt");
        let found = find.args(["-n", "-o", "SOURCE"]).arg(&self.mounted).output().unwrap();
        let device = String::from_utf8(found.stdout).unwrap();
        let name = device.trim().trim_start_matches("/dev/");
        let switch = PathBuf::from(format!("/sys/fs/ext4/{name}/trigger_fs_error"));
        std::fs::write(switch, "a test").is_ok()
    }

    /// An empty file system in front of it.
    fn hide(&self) {
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&self.mounted));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The one in front and the one behind it; that there is none is fine.
        for _ in 0..2 {
            let _ = Command::new("umount").arg("-l").arg(&self.mounted).output();
        }
    }
}

/// A locked point over a file system of its own.
fn stage(test: &str) -> Option<(Stage, Daemon, Disk)> {
    if !in_own_mounts(test) {
        return None;
    }
    let stage = Stage::prepared(test, Disk::make)?;
    let (daemon, disk) = (Daemon::of(&stage), Disk::of(&stage));
    as_daemon(|| daemon.back_up(1, 1, LOCK).unwrap());
    Some((stage, daemon, disk))
}

fn delete(number: u32) -> Request {
    Request::Delete { points: vec![point(number)], keep: runs(&[]) }
}

fn ask(daemon: &Daemon, request: Request) -> Result<warden::wire::Reply, WardenError> {
    as_daemon(|| daemon.ask(request))
}

/// Whatever was done in between: the point is there, locked, with its files, and the ledger takes
/// more.
fn all_is_well(stage: &Stage, next: u32) {
    let daemon = Daemon::of(stage);
    let reply = ask(&daemon, Request::Status).unwrap();
    let Outcome::Status(status) = reply.outcome else { panic!("no status") };
    assert!(status.found.damaged.is_empty() && status.stopped.is_none(), "{status:?}");
    let state = replay(&stage.repository(), reply.size);
    let lock = state.retention().lock(point(1)).expect("the locked point is there");
    assert!(lock.until.0 - reply.clock.value.0 > 86_000, "{lock:?}");
    assert!(daemon.sealed(1).exists() && daemon.sealed(2).exists());
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    as_daemon(|| daemon.back_up(next, 100 + 2 * next, LOCK).unwrap());
}

#[test]
fn remounted_read_only_nothing_is_committed_or_lost() {
    let Some((mut stage, daemon, disk)) = stage("remounted_read_only_nothing_is_committed_or_lost")
    else {
        return;
    };
    // Not while the warden runs: it has the ledger open for writing.
    let mut remount = Command::new("mount");
    let remounted = remount.args(["-o", "remount,ro"]).arg(&disk.mounted).output().unwrap();
    assert!(!remounted.status.success(), "the file system was taken away from the warden");
    let before = ask(&daemon, Request::Status).unwrap().size;
    if disk.fail() {
        let hold = Request::Hold { point: point(1), matter: "x".into() };
        let error = ask(&daemon, hold).unwrap_err();
        println!("a hold: {}", model::chain(&error));
        assert!(as_daemon(|| std::fs::write(daemon.open(9), b"x")).is_err());
        assert_eq!(ask(&daemon, Request::Status).unwrap().size, before, "nothing is on record");
    } else {
        println!("SKIPPED: a file system that turns read-only: this kernel cannot be told to");
    }
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    drop(daemon);
    stage.kill();
    disk.unmount();
    disk.mount(); // mends what the error and the kill have left
    disk.unmount();
    disk.mount_as("ro");
    let told = stage.start_fails();
    println!("a start: {told}");
    assert!(told.to_lowercase().contains("read-only"), "{told}");
    disk.unmount();
    disk.mount();
    stage.start();
    all_is_well(&stage, 2);
}

#[test]
fn an_empty_file_system_mounted_over_it_is_told_and_takes_nothing_away() {
    let name = "an_empty_file_system_mounted_over_it_is_told_and_takes_nothing_away";
    let Some((mut stage, daemon, disk)) = stage(name) else { return };
    disk.hide();
    // The next look at the files sees it; from then on nothing comes on record.
    let reply = ask(&daemon, Request::Tick).unwrap();
    assert!(format!("{reply:?}").contains("volume missing: repository"), "{reply:?}");
    let error = ask(&daemon, Request::Tick).unwrap_err();
    println!("the next look: {}", model::chain(&error));
    assert!(model::chain(&error).contains("ledger/head"), "{error}");
    assert!(stage.log().contains("ledger/head"), "{}", stage.log());
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let error = ask(&daemon, Request::Seal { volume: 0, serial: 9 }).unwrap_err();
    println!("a seal: {}", model::chain(&error));
    let again = ask(&daemon, Request::Reclaim { keep: runs(&[]), orphans: runs(&[]) });
    println!("reclaim: {again:?}");
    stage.kill();
    let told = stage.start_fails();
    println!("a start: {told}");
    assert!(told.contains("repository"), "{told}");
    disk.unmount();
    stage.start();
    all_is_well(&stage, 2);
}

#[test]
fn a_new_file_system_on_the_disk_is_told() {
    let Some((mut stage, daemon, disk)) = stage("a_new_file_system_on_the_disk_is_told") else {
        return;
    };
    // Below a mounted file system: what the kernel has cached still shows.
    disk.format();
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let head = stage.status().stdout;
    stage.kill();
    disk.unmount(); // writes some of what was cached over the new one
    disk.format();
    disk.mount();
    let told = stage.start_fails();
    println!("a start: {told}");
    assert!(told.contains("there is no repository"), "{told}");
    // What is known of it elsewhere stays: the last head, signed.
    let kept: Vec<PathBuf> =
        stage.state().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let kept = kept.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let head = String::from_utf8(head).unwrap();
    assert!(
        kept.into_iter().any(|text| text.starts_with("holdfast/")
            && head.contains(text.lines().nth(2).unwrap_or("?"))),
        "the witness has the last head"
    );
}

#[test]
fn an_older_state_of_the_whole_disk_is_refused() {
    let Some((mut stage, daemon, disk)) = stage("an_older_state_of_the_whole_disk_is_refused")
    else {
        return;
    };
    let copy = |from: &Path, to: &Path| {
        run(Command::new("cp").args(["--sparse=always"]).arg(from).arg(to));
    };
    let (older, newer) = (disk.image.with_extension("old"), disk.image.with_extension("new"));
    stage.kill();
    disk.unmount();
    copy(&disk.image, &older);
    disk.mount();
    stage.start();
    as_daemon(|| Daemon::of(&stage).back_up(2, 3, LOCK).unwrap());
    drop(daemon);
    stage.kill();
    disk.unmount();
    copy(&disk.image, &newer);
    copy(&older, &disk.image);
    disk.mount();
    let told = stage.start_fails();
    println!("a start: {told}");
    assert!(told.contains("set back to an older state"), "{told}");
    disk.unmount();
    copy(&newer, &disk.image);
    disk.mount();
    stage.start();
    all_is_well(&stage, 3);
}

#[test]
fn a_full_disk_releases_nothing() {
    let Some((mut stage, daemon, _disk)) = stage("a_full_disk_releases_nothing") else { return };
    let filler = daemon.repository.join("open/filler");
    as_daemon(|| {
        let mut file = File::create(&filler).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    });
    // A batch of leaves may still fit into the block that the ledger has begun.
    let error = (0..300).find_map(|number| {
        let matter = format!("{number} {}", "x".repeat(180));
        ask(&daemon, Request::Hold { point: point(1), matter }).err()
    });
    let error = error.expect("the disk is full");
    println!("a hold: {}", model::chain(&error));
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(daemon.sealed(1).exists() && daemon.sealed(2).exists());
    drop(daemon);
    // A start with a full disk, too.
    stage.kill();
    stage.start();
    let daemon = Daemon::of(&stage);
    let error = ask(&daemon, delete(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    drop(daemon);
    as_daemon(|| std::fs::remove_file(&filler).unwrap());
    stage.kill();
    stage.start();
    all_is_well(&stage, 2);
}
