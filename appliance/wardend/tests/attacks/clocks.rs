//! The monotonic clock of a real process, far ahead: in a time namespace, as after a restored
//! virtual machine or another boot. The system time of this machine is not ours to set; what it
//! does to the retention clock is tested with clocks that are passed in (`retention`, module
//! `clock::attacks`, and `warden`, `requests`).

use crate::daemon::{Daemon, as_daemon, point, runs};
use crate::stage::Stage;
use model::{ErrorKind, LockMode};
use std::process::Command;
use warden::wire::Request;

const DAY: u64 = 86_400;

#[test]
fn a_monotonic_clock_that_is_years_ahead_at_a_start_moves_nothing() {
    let can = Command::new("unshare").args(["--time", "--monotonic", "5", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("SKIPPED: years ahead: time namespaces cannot be made here");
        return;
    }
    let Some(mut stage) = Stage::new("years ahead") else { return };
    let daemon = Daemon::of(&stage);
    let status = || Request::Status;
    let before = as_daemon(|| {
        daemon.back_up(1, 1, (LockMode::Compliance, DAY)).unwrap();
        daemon.ask(status()).unwrap().clock.value
    });
    for years in [20i64, 1] {
        stage.kill();
        let serve = stage.command("serve");
        let mut ahead = Command::new("unshare");
        let offset = (years * 365 * 86_400).to_string();
        // Ahead and, from the first round to the second, back again.
        ahead.args(["--time", "--monotonic", &offset, "--boottime", &offset]);
        ahead.arg(serve.get_program()).args(serve.get_args());
        stage.start_as(ahead);
        let daemon = Daemon::of(&stage);
        let reply = as_daemon(|| daemon.ask(status()).unwrap());
        let passed = reply.clock.value.0 - before.0;
        assert!((0..600).contains(&passed), "{years} years: the clock went {passed} s");
        let delete = Request::Delete { points: vec![point(1)], keep: runs(&[]) };
        let error = as_daemon(|| daemon.ask(delete)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(daemon.sealed(1).exists());
    }
}
