//! What the daemon's user does to files behind the warden's back, and what he leaves in `open/`.

use crate::daemon::{Daemon, as_daemon, runs, segment};
use crate::stage::{DAEMON, Stage, WARDEN, is_immutable, mutable, set_immutable};
use format::segment::Class;
use model::{ErrorKind, LockMode};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use warden::storage::{Directory, Storage as _};
use warden::wire::{Outcome, Request};
use warden::{WardenError, layout};

const DAY: u64 = 86_400;

fn locked(stage: &Stage) -> Daemon {
    let daemon = Daemon::of(stage);
    as_daemon(|| daemon.back_up(1, 1, (LockMode::Compliance, DAY)).unwrap());
    daemon
}

fn denied(what: &str, result: io::Result<()>) {
    let error = result.expect_err(what);
    let codes = [libc::EPERM, libc::EACCES];
    assert!(error.raw_os_error().is_some_and(|code| codes.contains(&code)), "{what}: {error}");
}

/// Everything that one can try with a file that one may only read.
fn every_attack(path: &Path, open: &Path) {
    let name = path.display();
    let spare = open.join("spare");
    std::fs::write(&spare, b"forged").unwrap();
    let write = |options: &mut OpenOptions| options.write(true).open(path).map(drop);
    denied(&format!("write {name}"), write(&mut OpenOptions::new()));
    denied(&format!("truncate {name}"), write(OpenOptions::new().truncate(true)));
    denied(&format!("append {name}"), write(OpenOptions::new().append(true)));
    denied(&format!("remove {name}"), std::fs::remove_file(path));
    denied(&format!("move {name} away"), std::fs::rename(path, open.join("away")));
    denied(&format!("move over {name}"), std::fs::rename(&spare, path));
    denied(
        &format!("mode of {name}"),
        std::fs::set_permissions(path, Permissions::from_mode(0o666)),
    );
    denied(&format!("owner of {name}"), std::os::unix::fs::chown(path, Some(DAEMON), None));
    denied(&format!("a file beside {name}"), File::create_new(path.with_extension("x")).map(drop));
    assert!(!set_immutable(path, false), "the attribute of {name} was cleared");
    assert!(!set_immutable(path, true) || is_immutable(path));
    std::fs::remove_file(&spare).unwrap();
}

#[test]
fn the_daemons_user_cannot_touch_what_is_sealed_or_the_ledger() {
    let Some(stage) = Stage::new("files of the warden") else { return };
    let daemon = locked(&stage);
    let kept = [
        "segments/00000001.segment",
        "segments/00000002.segment",
        "ledger/leaves",
        "ledger/head",
        "repository",
    ];
    let read = |name: &&str| std::fs::read(daemon.repository.join(name)).unwrap();
    let before: Vec<Vec<u8>> = kept.iter().map(read).collect();
    as_daemon(|| {
        for name in kept {
            assert!(File::open(daemon.repository.join(name)).is_ok(), "{name} can be read");
            every_attack(&daemon.repository.join(name), &daemon.repository.join("open"));
        }
        for folder in ["segments", "ledger", "keys", "open"] {
            let path = daemon.repository.join(folder);
            denied(folder, std::fs::rename(&path, daemon.repository.join("other")));
        }
        denied("the state", std::fs::read_dir(stage.state()).map(drop));
        denied("the signing key", std::fs::read(stage.state().join("signer")).map(drop));
    });
    assert_eq!(before, kept.iter().map(read).collect::<Vec<_>>());
    let sealed = daemon.sealed(1);
    let found = sealed.metadata().unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (WARDEN, 0o444));
    if !is_immutable(&sealed) {
        println!("SKIPPED: immutable attribute: this file system has none");
        return;
    }
    // Not even root, before he clears the attribute: a tripwire.
    assert!(std::fs::remove_file(&sealed).is_err());
    assert!(OpenOptions::new().write(true).open(&sealed).is_err());
}

#[test]
fn a_segment_that_is_open_for_writing_is_not_sealed() {
    let Some(stage) = Stage::new("open for writing") else { return };
    let daemon = Daemon::of(&stage);
    as_daemon(|| {
        let path = daemon.open(1);
        std::fs::write(&path, segment(daemon.id(), 1, Class::Data)).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let error = daemon.ask(Request::Seal { volume: 0, serial: 1 }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(!daemon.sealed(1).exists());
        writer.write_all(b"more").unwrap();
        drop(writer);
        // What was written meanwhile is seen.
        let error = daemon.ask(Request::Seal { volume: 0, serial: 1 }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let outcome = daemon.seal(2, Class::Data).unwrap().outcome;
        assert!(matches!(outcome, Outcome::Sealed(_)));
    });
}

#[test]
fn links_pipes_holes_and_garbage_in_open_are_refused() {
    let Some(mut stage) = Stage::new("garbage in open/") else { return };
    let daemon = Daemon::of(&stage);
    let elsewhere = stage.place.path().join("elsewhere");
    std::fs::write(&elsewhere, segment(daemon.id(), 10, Class::Data)).unwrap();
    as_daemon(|| {
        let good = |serial| segment(daemon.id(), serial, Class::Data);
        let refused = |serial: u32, what: &str| {
            let error = daemon.ask(Request::Seal { volume: 0, serial }).expect_err(what);
            assert!(!matches!(error, WardenError::Unavailable { .. }), "{what}: {error}");
            assert!(!daemon.sealed(serial).exists(), "{what} was sealed");
        };
        refused(1, "a file that is not there");
        symlink(&elsewhere, daemon.open(10)).unwrap();
        refused(10, "a symbolic link");
        symlink("/dev/zero", daemon.open(11)).unwrap();
        refused(11, "a link to a device");
        std::fs::write(daemon.open(12), good(12)).unwrap();
        std::fs::hard_link(daemon.open(12), daemon.open(13)).unwrap();
        refused(12, "a file with two names");
        let fifo = daemon.open(14);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();
        refused(14, "a pipe");
        std::fs::create_dir(daemon.open(15)).unwrap();
        refused(15, "a directory");
        let huge = File::create(daemon.open(16)).unwrap();
        huge.set_len(1 << 43).unwrap();
        drop(huge);
        refused(16, "a hole of 8 TiB");
        let mut hole = File::create(daemon.open(17)).unwrap();
        hole.write_all(&good(17)).unwrap();
        hole.seek(SeekFrom::Start(4 << 30)).unwrap();
        hole.write_all(&good(17)).unwrap();
        drop(hole);
        refused(17, "two segments with a hole between them");
        std::fs::write(daemon.open(18), b"").unwrap();
        refused(18, "an empty file");
        std::fs::write(daemon.open(19), vec![0xff; 100_000]).unwrap();
        refused(19, "garbage");
        std::fs::write(daemon.open(20), good(21)).unwrap();
        refused(20, "another serial's segment");
        std::fs::write(daemon.open(22), &good(22)[..9000]).unwrap();
        refused(22, "half a segment");
        std::fs::write(daemon.open(23), good(23)).unwrap();
        std::fs::set_permissions(daemon.open(23), Permissions::from_mode(0o000)).unwrap();
        refused(23, "a file that cannot be read");
        std::os::unix::net::UnixListener::bind(daemon.open(24)).unwrap();
        refused(24, "a socket");
        daemon.seal(30, Class::Data).unwrap();
    });
    assert!(stage.alive());
}

/// Two threads of the daemon: one has segments sealed, the other exchanges their names all the
/// time. Whatever is sealed must be the warden's alone.
#[test]
fn a_file_that_is_exchanged_while_it_is_sealed_is_the_wardens_or_refused() {
    let Some(stage) = Stage::new("exchanged while sealed") else { return };
    let daemon = Daemon::of(&stage);
    let end = Instant::now() + Duration::from_secs(5);
    let (sealed, refused) = as_daemon(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = daemon.repository.join("open/other");
                while Instant::now() < end {
                    for serial in 1..4 {
                        // Losing a race is what this is about.
                        let _ = std::fs::copy(daemon.open(serial), &other);
                        let _ = std::fs::rename(&other, daemon.open(serial));
                    }
                }
            });
            let (mut sealed, mut refused) = (Vec::new(), 0);
            let mut serial = 0;
            while Instant::now() < end {
                serial = serial % 3 + 1;
                let _ = std::fs::remove_file(daemon.open(serial));
                let bytes = segment(daemon.id(), serial, Class::Data);
                if std::fs::write(daemon.open(serial), bytes).is_err() {
                    continue;
                }
                match daemon.ask(Request::Seal { volume: 0, serial }) {
                    Ok(_) => sealed.push(serial),
                    Err(WardenError::Unavailable { source }) => panic!("{source}"),
                    Err(_) => refused += 1,
                }
            }
            (sealed, refused)
        })
    });
    println!("{sealed:?} sealed, {refused} refused");
    for serial in sealed {
        let found = daemon.sealed(serial).metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (WARDEN, 0o444), "{serial}");
    }
}

/// What a warden leaves that was stopped inside a seal belongs to its user: the daemon can neither
/// write nor remove it, and must get rid of it all the same.
#[test]
fn what_was_taken_over_and_not_sealed_is_discarded_now_or_after_a_kill() {
    let Some(mut stage) = Stage::new("taken over, not sealed") else { return };
    let daemon = Daemon::of(&stage);
    let disk = Directory::new(daemon.repository.clone(), false);
    let taken_over = |serial: u32| {
        std::fs::write(daemon.open(serial), &segment(daemon.id(), serial, Class::Data)[..9000])
            .unwrap();
        let error = daemon.ask(Request::Seal { volume: 0, serial }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(daemon.open(serial).metadata().unwrap().uid(), WARDEN);
        let error = disk.remove(&layout::open(0, serial)).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::PermissionDenied,
            "the daemon's store waits for it"
        );
    };
    let discarded = |serial: u32| {
        daemon.ask(Request::Discard { volume: 0, serial }).unwrap();
        assert!(!daemon.open(serial).exists());
        daemon.seal(serial, Class::Data).unwrap();
    };
    as_daemon(|| {
        taken_over(1);
        discarded(1);
        taken_over(2);
    });
    stage.kill();
    stage.start();
    as_daemon(|| discarded(2));
    assert!(stage.alive());
}

#[test]
fn root_can_destroy_a_segment_and_it_is_told() {
    let Some(mut stage) = Stage::new("root destroys a segment") else { return };
    let daemon = locked(&stage);
    mutable(&stage.repository().join("segments"));
    std::fs::remove_file(daemon.sealed(1)).unwrap();
    let cut = OpenOptions::new().write(true).open(daemon.sealed(2)).unwrap();
    cut.set_len(4096).unwrap();
    drop(cut);
    // While it runs: at the next look at the files.
    let reply = as_daemon(|| daemon.ask(Request::Tick).unwrap());
    let Outcome::Ticked { alarms } = reply.outcome else { panic!("{reply:?}") };
    let alarms = alarms.join("\n");
    assert!(alarms.contains("segment missing: segments/00000001"), "{alarms}");
    assert!(alarms.contains("segment altered: segments/00000002"), "{alarms}");
    // And at every start, in the status.
    stage.kill();
    stage.start();
    let status = String::from_utf8(stage.status().stdout).unwrap();
    assert!(status.contains("segments/00000001.segment") && status.contains("missing"), "{status}");
    assert!(status.contains("4096 bytes instead of"), "{status}");
}

#[test]
fn an_attribute_that_root_cleared_is_set_again_and_told() {
    let Some(stage) = Stage::new("attribute cleared") else { return };
    let daemon = locked(&stage);
    if !is_immutable(&daemon.sealed(1)) {
        println!("SKIPPED: attribute cleared: this file system has none");
        return;
    }
    assert!(set_immutable(&daemon.sealed(1), false));
    let reply = as_daemon(|| daemon.ask(Request::Tick).unwrap());
    let Outcome::Ticked { alarms } = reply.outcome else { panic!("{reply:?}") };
    assert!(alarms.join("").contains("attribute lost"), "{alarms:?}");
    assert!(is_immutable(&daemon.sealed(1)));
    assert!(
        as_daemon(|| daemon.ask(Request::Reclaim { keep: runs(&[]), orphans: runs(&[]) })).is_ok()
    );
    assert!(daemon.sealed(1).exists());
}
