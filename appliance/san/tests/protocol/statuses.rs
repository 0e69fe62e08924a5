//! The table of statuses and sense data (`scsi::advise`), seen from outside: what is repeated,
//! what is waited for, what is an error, and of which kind.

use super::{assert_reads, config, login, login_with, spec, start};
use fakes::target::{FakeTarget, Rule, Then, When, sense};
use model::ErrorKind;
use san::PortalConfig;
use std::time::Duration;

const READ: When = When::Command(0x88);

/// Longer than a path that serves no reads is left alone before it is asked again.
fn patient(target: &FakeTarget) -> PortalConfig {
    PortalConfig { busy_patience: Duration::from_secs(7), ..config(target.address()) }
}

/// Answers after which the same read is right.
#[tokio::test]
async fn statuses_that_pass_are_repeated_until_they_have() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login_with(patient(&target)).await;
    for (what, status, sense) in [
        ("BUSY", 0x08, vec![]),
        ("RESERVATION CONFLICT", 0x18, vec![]),
        ("TASK SET FULL", 0x28, vec![]),
        ("ACA ACTIVE", 0x30, vec![]),
        ("TASK ABORTED", 0x40, vec![]),
        ("lost sense data", 0x02, vec![]),
        ("becoming ready", 0x02, sense(2, 0x04, 0x01)),
        ("transition", 0x02, sense(2, 0x04, 0x0a)),
        ("power on", 0x02, sense(6, 0x29, 0x00)),
        ("reservations preempted", 0x02, sense(6, 0x2a, 0x03)),
        ("reservations released", 0x02, sense(6, 0x2a, 0x04)),
        ("states changed", 0x02, sense(6, 0x2a, 0x06)),
        ("medium may have changed", 0x02, sense(6, 0x28, 0x00)),
        ("LUN list changed", 0x02, sense(6, 0x3f, 0x0e)),
        ("aborted", 0x02, sense(0xb, 0x00, 0x00)),
        ("deferred error", 0x02, [&[0x71][..], &sense(3, 0x11, 0)[1..]].concat()),
    ] {
        let retries = lun.counters().retries;
        target.rule(Rule::times(2, READ, Then::Status(status, sense)));
        assert_reads(&lun, &target, &disk).await;
        assert!(lun.counters().retries >= retries + 2, "{what}");
        assert_eq!(target.rules_left(), 0, "{what}");
    }
    san.logout().await;
}

/// Answers that stay: an error of the right kind, in bounded time, and never zeros.
#[tokio::test]
async fn statuses_that_stay_are_errors() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    for (what, status, sense, kind) in [
        ("BUSY", 0x08, vec![], ErrorKind::Busy),
        ("RESERVATION CONFLICT", 0x18, vec![], ErrorKind::Busy),
        ("TASK SET FULL", 0x28, vec![], ErrorKind::Busy),
        ("TASK ABORTED", 0x40, vec![], ErrorKind::Retryable),
        ("not mapped", 0x02, sense(5, 0x25, 0x00), ErrorKind::Retryable),
        ("no such command", 0x02, sense(5, 0x20, 0x00), ErrorKind::Unsupported),
        ("no such field", 0x02, sense(5, 0x24, 0x00), ErrorKind::Unsupported),
        ("beyond the end", 0x02, sense(5, 0x21, 0x00), ErrorKind::Corrupt),
        ("medium error", 0x02, sense(3, 0x11, 0x00), ErrorKind::Corrupt),
        ("capacity changed", 0x02, sense(6, 0x2a, 0x09), ErrorKind::Refused),
        ("write-protected", 0x02, sense(7, 0x27, 0x00), ErrorKind::Refused),
        ("hardware", 0x02, sense(4, 0x44, 0x00), ErrorKind::Retryable),
        ("unit attention for ever", 0x02, sense(6, 0x29, 0x00), ErrorKind::Retryable),
    ] {
        target.rule(Rule::always(READ, Then::Status(status, sense)));
        let error = lun.read(0, 4096).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {}", model::chain(&error));
        target.behave();
        assert_reads(&lun, &target, &disk).await;
    }
    san.logout().await;
}

/// A path that serves no reads is an error in bounded time, asked again, and used when it does.
#[tokio::test]
async fn states_that_stay_are_errors_until_they_pass() {
    let states = [0x0a, 0x0b, 0x0c]; // transition, standby, unavailable
    let trials = states.map(|state| tokio::spawn(a_state_that_stays(state)));
    for trial in trials {
        trial.await.unwrap();
    }
}

async fn a_state_that_stays(state: u8) {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login_with(patient(&target)).await;
    target.rule(Rule::always(READ, Then::Status(2, sense(2, 0x04, state))));
    let error = lun.read(0, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{state:02x}h: {}", model::chain(&error));
    target.behave();
    assert_reads(&lun, &target, &disk).await;
    san.logout().await;
}

#[tokio::test]
async fn a_medium_error_names_its_block() {
    let (spec, _) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    let mut bad = sense(3, 0x11, 0x00);
    bad[0] = 0xf0;
    bad[3..7].copy_from_slice(&1234_u32.to_be_bytes());
    target.rule(Rule::once(READ, Then::Status(2, bad)));
    let error = lun.read(0, 4096).await.unwrap_err();
    assert!(error.to_string().contains("at 1234"), "{error}");
    assert_eq!(target.count(0x88), 1, "it is not asked again for what it cannot give");
    san.logout().await;
}

/// A whole read ends although half of its commands were refused for want of room.
#[tokio::test]
async fn a_full_queue_slows_down_and_fails_nothing() {
    let (mut spec, _) = spec();
    spec.disks = vec![fakes::target::Disk::new(1, 4 << 20)];
    let disk = spec.disks[0].clone();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    for _ in 0..6 {
        target.rule(Rule::once(READ, Then::Status(0x28, vec![])).after(1));
    }
    assert_reads(&lun, &target, &disk).await;
    assert_eq!(target.rules_left(), 0);
    san.logout().await;
}

/// What a device does not know is not asked for again and again.
#[tokio::test]
async fn an_unknown_command_is_not_repeated() {
    let (spec, _) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::always(READ, Then::Status(2, sense(5, 0x20, 0x00))));
    lun.read(0, 4096).await.unwrap_err();
    assert_eq!(target.count(0x88), 1);
    san.logout().await;
}

/// From login to logout, with faults of every sort between: only questions leave.
#[tokio::test]
async fn only_questions_leave_from_login_to_logout() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    for then in [
        Then::Status(0x28, vec![]),
        Then::Status(0x18, vec![]),
        Then::Status(2, sense(6, 0x29, 0)),
        Then::Status(2, sense(6, 0x2a, 6)),
        Then::Status(2, sense(6, 0x3f, 0x0e)),
        Then::Silence,
        Then::Close,
    ] {
        target.rule(Rule::once(READ, then));
        assert_reads(&lun, &target, &disk).await;
    }
    lun.verify().await.unwrap();
    san.logout().await;
    super::assert_harmless(&target);
    let seen = target.seen();
    assert_eq!(seen.last().unwrap().last().unwrap().opcode(), 0x06, "the last word is a logout");
}
