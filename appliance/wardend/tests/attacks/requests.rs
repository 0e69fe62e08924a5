//! What the daemon asks for that it must not get.

use crate::daemon::{Daemon, as_daemon, as_user, commit, point, runs, signed};
use crate::stage::{ANN_SEED, BOB_SEED, PATIENCE, Stage, WARDEN};
use ledger::event::PointText;
use model::{ErrorKind, LockMode, RetentionTime};
use std::time::{Duration, Instant};
use warden::client::Client;
use warden::frames::Role;
use warden::wire::{OfficerAction, Outcome, Request};
use warden::{Warden as _, WardenError};

const DAY: u64 = 86_400;

fn delete(number: u32) -> Request {
    Request::Delete { points: vec![point(number)], keep: runs(&[]) }
}

fn refusal(error: &WardenError) -> String {
    assert!(matches!(error, WardenError::Refused { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Refused);
    error.to_string()
}

#[test]
fn a_locked_point_is_not_deleted_shortened_or_released_by_the_daemon() {
    let Some(stage) = Stage::new("locked point") else { return };
    let daemon = Daemon::of(&stage);
    as_daemon(|| {
        daemon.back_up(1, 1, (LockMode::Compliance, DAY)).unwrap();
        daemon.back_up(2, 3, (LockMode::Governance, 0)).unwrap();
        refusal(&daemon.ask(delete(1)).unwrap_err());
        // All or nothing: the free one stays with the locked one.
        let both = Request::Delete { points: vec![point(2), point(1)], keep: runs(&[]) };
        refusal(&daemon.ask(both).unwrap_err());
        let earlier = Request::Extend { point: point(1), until: RetentionTime(5) };
        refusal(&daemon.ask(earlier).unwrap_err());
        assert!(daemon.ask(Request::Compact { from: runs(&[1]), to: runs(&[3]) }).is_err());
        daemon.ask(Request::Reclaim { keep: runs(&[]), orphans: runs(&[]) }).unwrap();
        for serial in 1..5 {
            assert!(daemon.sealed(serial).exists(), "{serial}");
        }
        // Without the locked one it goes.
        let end = Instant::now() + PATIENCE;
        let reply = loop {
            // Its lock ends with the second in which it was committed.
            match daemon.ask(delete(2)) {
                Err(WardenError::Refused { .. }) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => break other.unwrap(),
            }
        };
        let Outcome::Removed(removed) = reply.outcome else { panic!("{reply:?}") };
        assert_eq!(removed.segments, runs(&[3, 4]));
        assert!(!daemon.sealed(3).exists() && daemon.sealed(1).exists());
    });
}

#[test]
fn replayed_requests_change_nothing() {
    let Some(stage) = Stage::new("replayed requests") else { return };
    let daemon = Daemon::of(&stage);
    as_daemon(|| {
        daemon.back_up(1, 1, (LockMode::Governance, DAY)).unwrap();
        let again = Request::Commit(Box::new(commit(1, 1, (LockMode::Governance, 0))));
        assert!(daemon.ask(again).is_err(), "a point was committed twice");
        let hold = Request::Hold { point: point(1), matter: "case".into() };
        daemon.ask(hold.clone()).unwrap();

        let action =
            OfficerAction::ReleaseHold { point: PointText(point(1)), matter: "case".into() };
        let release = signed(&daemon, action, &[("ann", ANN_SEED)]);
        daemon.ask(release.clone()).unwrap();
        daemon.ask(hold).unwrap();
        let error = daemon.ask(release).unwrap_err();
        assert!(error.to_string().contains("challenge"), "{error}");

        // A signature over one action is none over another one.
        let action = OfficerAction::Override { point: PointText(point(1)), reason: "x".into() };
        let Request::Officer(mut changed) =
            signed(&daemon, action, &[("ann", ANN_SEED), ("bob", BOB_SEED)])
        else {
            unreachable!()
        };
        changed.action = OfficerAction::OverridesOff {};
        let error = daemon.ask(Request::Officer(changed)).unwrap_err();
        assert!(error.to_string().contains("signature is wrong"), "{error}");

        // One officer is not two.
        let action = OfficerAction::Override { point: PointText(point(1)), reason: "x".into() };
        let alone = signed(&daemon, action, &[("ann", ANN_SEED), ("ann", ANN_SEED)]);
        assert!(daemon.ask(alone).is_err());
        refusal(&daemon.ask(delete(1)).unwrap_err());
        assert!(daemon.sealed(1).exists());
    });
}

#[test]
fn root_and_the_wardens_user_are_officers_at_most() {
    let Some(stage) = Stage::new("roles") else { return };
    let daemon = Daemon::of(&stage);
    as_daemon(|| daemon.back_up(1, 1, (LockMode::Governance, 0)).unwrap());
    for user in [0, WARDEN] {
        as_user(user, || {
            let pretends = Client::new(&stage.socket(), Role::Daemon, PATIENCE);
            let error = pretends.call(delete(1)).unwrap_err();
            assert!(error.to_string().contains("not the daemon's user"), "{error}");
            let officer = Client::new(&stage.socket(), Role::Officer, PATIENCE);
            officer.call(Request::Status).unwrap();
            officer.call(Request::Challenge).unwrap();
            let error = officer.call(delete(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
        });
    }
    let stranger = as_user(61_002, || {
        Client::new(&stage.socket(), Role::Daemon, PATIENCE).call(Request::Status)
    });
    assert!(stranger.is_err());
    assert!(daemon.sealed(1).exists());
    // A second daemon, while the first one is connected.
    let second = Daemon::of(&stage);
    let error = as_daemon(|| second.ask(Request::Status)).unwrap_err();
    assert!(error.to_string().contains("a daemon is connected already"), "{error}");
}
