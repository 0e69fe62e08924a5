//! The warden's process as the kernel sees it.

use crate::daemon::{Daemon, as_daemon, as_user};
use crate::stage::{DAEMON, Stage, WARDEN};
use format::segment::Class;
use std::time::{Duration, Instant};
use warden::WardenError;
use warden::wire::Request;

#[test]
fn it_has_the_rights_it_needs_and_no_others() {
    let Some(stage) = Stage::new("rights of the warden") else { return };
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("missing").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let user = format!("{WARDEN} {WARDEN} {WARDEN} {WARDEN}");
    assert_eq!((field("Uid:"), field("Gid:")), (user.clone(), user));
    assert_eq!(field("Groups:"), DAEMON.to_string());
    // chown 0, fowner 3, linux_immutable 9, lease 28 (linux/capability.h)
    let kept = format!("{:016x}", 1 << 0 | 1 << 3 | 1 << 9 | 1u64 << 28);
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), kept, "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    // Neither the daemon nor the warden's own user looks into its memory.
    for user in [DAEMON, WARDEN] {
        let memory = format!("/proc/{}/mem", stage.pid());
        assert!(as_user(user, || std::fs::File::open(memory)).is_err(), "{user}");
    }
    let killed = as_user(DAEMON, || {
        let pid = i32::try_from(stage.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL)
    });
    assert!(killed.is_err(), "the daemon's user killed the warden");
}

#[test]
fn without_the_warden_nothing_is_sealed_and_reading_goes_on() {
    let Some(mut stage) = Stage::new("killed warden") else { return };
    let daemon = Daemon::of(&stage);
    as_daemon(|| daemon.seal(1, Class::Data).unwrap());
    stage.kill();
    let begin = Instant::now();
    as_daemon(|| {
        let error = daemon.seal(2, Class::Data).unwrap_err();
        assert!(matches!(error, WardenError::Unavailable { .. }), "{error}");
        assert!(std::fs::read(daemon.sealed(1)).is_ok());
    });
    assert!(begin.elapsed() < Duration::from_secs(20));
    stage.start();
    as_daemon(|| daemon.ask(Request::Seal { volume: 0, serial: 2 }).unwrap());
}
