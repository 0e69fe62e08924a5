//! The rules by their numbers, one behaviour a test.

use super::*;
use crate::clock::{ClockEvent, ClockView, Doubt};
use LockMode::{Compliance, Governance};
use model::RetentionTime;
use std::collections::BTreeSet;

const POINT: RecoveryPointId = RecoveryPointId([1; 16]);
const OTHER: RecoveryPointId = RecoveryPointId([2; 16]);

fn lock(mode: LockMode, until: i64) -> RetentionLock {
    RetentionLock { mode, until: RetentionTime(until) }
}

fn commit(point: RecoveryPointId, mode: LockMode, until: i64) -> Event {
    Event::Commit { point, lock: lock(mode, until) }
}

fn at(now: i64) -> ClockView {
    ClockView::new(RetentionTime(now), None)
}

fn in_doubt(now: i64) -> ClockView {
    let cause = ClockEvent::NetworkBehind { by: 700 };
    ClockView::new(RetentionTime(now), Some(Doubt { cause, until: RetentionTime(now + 87_300) }))
}

fn hold(matter: &str) -> Event {
    Event::Hold { point: POINT, matter: matter.into() }
}

fn unhold(matter: &str) -> Event {
    Event::Unhold { point: POINT, matter: matter.into() }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn enrol<const R: usize, const B: usize>(
    officer: &str,
    rights: [Right; R],
    by: [&str; B],
) -> Event {
    Event::Enrol { officer: officer.into(), rights: rights.into(), by: names(by) }
}

fn override_lock(at: i64, by: [&str; 2]) -> Event {
    Event::Override { point: POINT, at: RetentionTime(at), by: names(by) }
}

/// Anna and Bert may override, Cleo may release holds; all were there at the beginning.
fn staffed(mode: LockMode, until: i64) -> Retention {
    let mut retention = Retention::default();
    for event in [
        enrol("anna", [Right::Override], []),
        enrol("bert", [Right::Override], []),
        enrol("cleo", [Right::ReleaseHold], []),
    ] {
        retention.apply(event).unwrap();
    }
    request(&mut retention, commit(POINT, mode, until), &Authority::nobody(), 0).unwrap();
    retention
}

/// Checked, then applied.
fn request(
    retention: &mut Retention,
    event: Event,
    who: &Authority,
    now: i64,
) -> Result<(), Refusal> {
    let before = retention.clone();
    let answer = retention.check(&event, who, &at(now));
    assert_eq!(*retention, before);
    answer.map(|()| retention.apply(event).expect("it was checked"))
}

#[test]
fn a_lock_holds_until_its_end_and_not_a_second_longer() {
    let retention = staffed(Governance, 100);
    let verdict = |now| retention.may_delete(POINT, RetentionTime(now)).unwrap();
    assert_eq!(verdict(99), Verdict::Locked { mode: Governance, until: RetentionTime(100) });
    assert_eq!(verdict(100), Verdict::Expire);
    assert!(retention.release(POINT, at(99)).is_err());
    let release = retention.release(POINT, at(100)).unwrap();
    assert_eq!((release.point(), release.at()), (POINT, RetentionTime(100)));
}

#[test]
fn a_doubt_freezes_release_and_nothing_else() {
    let mut retention = staffed(Governance, 100);
    let refusal = retention.release(POINT, in_doubt(100)).unwrap_err();
    assert!(refusal.to_string().contains("700 s behind"), "{refusal}");
    assert!(refusal.to_string().contains("before 87400"), "{refusal}");
    let both = Authority::of(["anna", "bert"]);
    for releasing in [
        override_lock(100, ["anna", "bert"]),
        Event::Deleted { point: POINT, at: RetentionTime(100) },
    ] {
        let answer = retention.check(&releasing, &both, &in_doubt(100));
        assert!(matches!(answer, Err(Refusal::InDoubt { .. })), "{answer:?}");
    }
    assert!(matches!(retention.may_destroy_all(&in_doubt(100)), Err(Refusal::InDoubt { .. })));
    let until = RetentionTime(200);
    for locking in [
        hold("m"),
        Event::Extend { point: POINT, until },
        Event::Tighten { point: POINT },
        Event::Commit { point: OTHER, lock: lock(Compliance, 300) },
    ] {
        let nobody = Authority::nobody();
        assert_eq!(retention.check(&locking, &nobody, &in_doubt(100)), Ok(()), "{locking:?}");
        retention.apply(locking).unwrap();
    }
}

#[test]
fn w2_every_lock_that_is_written_is_within_the_bounds_from_now() {
    let mut retention = staffed(Governance, 100);
    let bounds = Bounds { min_seconds: 10, max_seconds: 50 };
    let both = Authority::of(["anna", "bert"]);
    request(&mut retention, Event::SetBounds(bounds), &both, 0).unwrap();
    let nobody = Authority::nobody();
    for (until, good) in [(109, false), (110, true), (150, true), (151, false), (i64::MAX, false)] {
        let extend = Event::Extend { point: POINT, until: RetentionTime(until) };
        assert_eq!(retention.check(&extend, &nobody, &at(100)).is_ok(), good, "{until}");
        let commit = commit(OTHER, Compliance, until);
        assert_eq!(retention.check(&commit, &nobody, &at(100)).is_ok(), good, "{until}");
        let new = retention.new_lock(Governance, until.unsigned_abs() - 100, &at(100));
        assert_eq!(new.is_ok(), good, "{until}");
    }
    assert_eq!(retention.lock(POINT), Some(lock(Governance, 100)), "locks keep their ends");
    let none = Bounds { min_seconds: 2, max_seconds: 1 };
    let refused = request(&mut retention, Event::SetBounds(none), &both, 0);
    assert_eq!(refused, Err(Refusal::NoBounds { bounds: none }));
}

#[test]
fn w2_the_far_ends_of_time_do_not_wrap() {
    let retention = Retention::default();
    let far = |seconds, now| retention.new_lock(Compliance, seconds, &at(now));
    assert_eq!(far(1, i64::MAX), Err(Refusal::TooFar { seconds: 1 }));
    assert_eq!(far(u64::MAX, 0), Err(Refusal::TooFar { seconds: u64::MAX }));
    assert_eq!(far(1, i64::MAX - 1).map(|lock| lock.until), Ok(RetentionTime(i64::MAX)));
    assert_eq!(far(5, i64::MIN).map(|lock| lock.until), Ok(RetentionTime(i64::MIN + 5)));
    let past = retention.check(&commit(POINT, Compliance, i64::MIN), &Authority::nobody(), &at(1));
    let bounds = Bounds::default();
    assert_eq!(past, Err(Refusal::OutOfBounds { seconds: i64::MIN, bounds }));
}

#[test]
fn w3_a_run_of_eight_hours_is_locked_from_its_commit_on() {
    let mut retention = Retention::default();
    let (started, hours, day) = (1_795_320_000, 8 * 3600, 86_400);
    let lock = retention.new_lock(Governance, 86_400, &at(started + hours)).unwrap();
    retention.apply(Event::Commit { point: POINT, lock }).unwrap();
    assert!(retention.release(POINT, at(started + hours + day - 1)).is_err());
    assert!(retention.release(POINT, at(started + hours + day)).is_ok());
}

#[test]
fn w4_governance_becomes_compliance_and_never_goes_back() {
    let mut retention = staffed(Governance, 100);
    let nobody = Authority::nobody();
    request(&mut retention, Event::Tighten { point: POINT }, &nobody, 0).unwrap();
    assert_eq!(retention.lock(POINT), Some(lock(Compliance, 100)));
    let both = Authority::of(["anna", "bert"]);
    let refused = request(&mut retention, override_lock(5, ["anna", "bert"]), &both, 5);
    assert_eq!(refused, Err(Refusal::Compliance { point: POINT, until: RetentionTime(100) }));
    let again = request(&mut retention, commit(POINT, Governance, 1), &nobody, 0);
    assert_eq!(again, Err(Refusal::Exists { point: POINT }));
    assert_eq!(retention.lock(POINT), Some(lock(Compliance, 100)));
}

#[test]
fn w6_a_hold_outlives_the_lock_and_is_released_by_its_own_role() {
    let mut retention = staffed(Governance, 100);
    for matter in ["a", "b"] {
        request(&mut retention, hold(matter), &Authority::nobody(), 0).unwrap();
    }
    let cleo = Authority::of(["cleo"]);
    let wrong = [Authority::nobody(), Authority::of(["anna", "bert"]), Authority::local()];
    for who in wrong {
        let refused = request(&mut retention, unhold("a"), &who, 0);
        assert_eq!(refused, Err(Refusal::NeedsRight { right: Right::ReleaseHold }));
    }
    let unknown = request(&mut retention, unhold("c"), &cleo, 0);
    assert_eq!(unknown, Err(Refusal::NoHold { point: POINT, matter: "c".into() }));
    request(&mut retention, unhold("a"), &cleo, 0).unwrap();
    let held = Verdict::Held { matters: vec!["b".into()] };
    assert_eq!(retention.may_delete(POINT, RetentionTime(1000)), Some(held));
    let both = Authority::of(["anna", "bert"]);
    let overridden = request(&mut retention, override_lock(5, ["anna", "bert"]), &both, 5);
    assert!(matches!(overridden, Err(Refusal::Kept { .. })), "{overridden:?}");
    request(&mut retention, unhold("b"), &cleo, 0).unwrap();
    assert_eq!(retention.may_delete(POINT, RetentionTime(1000)), Some(Verdict::Expire));
}

#[test]
fn w6_the_name_of_a_matter_is_a_name() {
    let mut retention = staffed(Governance, 100);
    for bad in [String::new(), "x".repeat(201), "a\nb".into()] {
        let refused = request(&mut retention, hold(&bad), &Authority::nobody(), 0);
        assert!(matches!(refused, Err(Refusal::BadName { .. })), "{bad:?}");
    }
    request(&mut retention, hold(&"x".repeat(200)), &Authority::nobody(), 0).unwrap();
}

#[test]
fn w6_a_point_is_held_for_so_many_matters_and_no_more() {
    let mut retention = staffed(Governance, 100);
    let held = |retention: &mut Retention, number: usize| {
        request(retention, hold(&format!("case {number}")), &Authority::nobody(), 0)
    };
    for number in 0..check::MATTERS {
        held(&mut retention, number).unwrap();
    }
    let refused = held(&mut retention, check::MATTERS);
    assert_eq!(refused, Err(Refusal::ManyHolds { point: POINT, max: check::MATTERS }));
    held(&mut retention, 7).unwrap();
    assert_eq!(retention.matters(POINT).count(), check::MATTERS);
}

#[test]
fn w7_nothing_is_destroyed_while_anything_is_kept() {
    let mut retention = staffed(Governance, 100);
    request(&mut retention, commit(OTHER, Compliance, 200), &Authority::nobody(), 0).unwrap();
    let refusal = retention.may_destroy_all(&at(50)).unwrap_err();
    let locked = Verdict::Locked { mode: Compliance, until: RetentionTime(200) };
    assert_eq!(refusal, Refusal::Contains { kept: 2, point: OTHER, verdict: locked });
    request(&mut retention, hold("m"), &Authority::nobody(), 0).unwrap();
    let refusal = retention.may_destroy_all(&at(300)).unwrap_err();
    assert!(matches!(refusal, Refusal::Contains { kept: 1, point: POINT, .. }), "{refusal:?}");
    request(&mut retention, unhold("m"), &Authority::of(["cleo"]), 0).unwrap();
    assert_eq!(retention.may_destroy_all(&at(200)), Ok(()));
    assert_eq!(Retention::default().may_destroy_all(&in_doubt(0)), Ok(()), "it is empty");
}

#[test]
fn w8_one_person_is_never_enough_to_override() {
    let mut retention = staffed(Governance, 100);
    let needs_two = Err(Refusal::NeedsTwo { right: Some(Right::Override) });
    let both = Authority::of(["anna", "bert", "cleo"]);
    for pair in [["anna", "anna"], ["anna", "cleo"], ["anna", "nobody"]] {
        let everybody = Authority::of(["anna", "bert", "cleo", "nobody"]);
        let refused = request(&mut retention, override_lock(5, pair), &everybody, 5);
        assert_eq!(refused, needs_two, "{pair:?}");
    }
    let alone = Authority::of(["anna"]);
    let refused = request(&mut retention, override_lock(5, ["anna", "bert"]), &alone, 5);
    assert_eq!(refused, Err(Refusal::NotApproved { officer: "bert".into() }));
    let refused = request(&mut retention, override_lock(4, ["anna", "bert"]), &both, 5);
    assert!(matches!(refused, Err(Refusal::NotNow { .. })), "a request of the past: {refused:?}");
    request(&mut retention, override_lock(5, ["anna", "bert"]), &both, 5).unwrap();
    assert_eq!(retention.may_delete(POINT, RetentionTime(5)), Some(Verdict::Expire));
}

#[test]
fn w8_whoever_enrolled_an_officer_does_not_override_with_him() {
    let mut retention = staffed(Governance, 100);
    let both = Authority::of(["anna", "bert"]);
    for name in ["dora", "emil"] {
        let event = enrol(name, [Right::Override], ["anna", "bert"]);
        request(&mut retention, event, &both, 0).unwrap();
    }
    let all = Authority::of(["anna", "bert", "dora", "emil"]);
    let refused = request(&mut retention, override_lock(5, ["anna", "dora"]), &all, 5);
    assert!(matches!(refused, Err(Refusal::NeedsTwo { .. })));
    let accomplice = enrol("fritz", [Right::Override], ["anna", "dora"]);
    assert!(request(&mut retention, accomplice, &all, 5).is_err(), "nor enrols a third");
    // Out of office and back again: the one who approved once is not forgotten.
    request(&mut retention, Event::Dismiss { officer: "dora".into() }, &all, 5).unwrap();
    let back = enrol("dora", [Right::Override], ["bert", "emil"]);
    assert!(request(&mut retention, back, &all, 5).is_err(), "Bert enrolled Emil");
    let back = enrol("dora", [Right::Override], ["anna", "bert"]);
    request(&mut retention, back, &all, 5).unwrap();
    request(&mut retention, override_lock(5, ["dora", "emil"]), &all, 5).unwrap();
}

#[test]
fn w8_a_dismissed_officer_has_no_rights() {
    let mut retention = staffed(Governance, 100);
    let both = Authority::of(["anna", "bert"]);
    request(&mut retention, hold("m"), &both, 0).unwrap();
    for name in ["cleo", "bert"] {
        request(&mut retention, Event::Dismiss { officer: name.into() }, &both, 0).unwrap();
    }
    let cleo = Authority::of(["cleo"]);
    assert!(retention.officers().map(|(name, _)| name).eq(["anna"]));
    assert!(request(&mut retention, unhold("m"), &cleo, 0).is_err());
    assert!(request(&mut retention, override_lock(5, ["anna", "bert"]), &both, 5).is_err());
    let again = request(&mut retention, Event::Dismiss { officer: "bert".into() }, &both, 0);
    assert!(again.is_err());
}

#[test]
fn w8_the_local_command_stands_in_only_while_there_is_no_pair() {
    let mut retention = Retention::default();
    let (nobody, local) = (Authority::nobody(), Authority::local());
    request(&mut retention, commit(POINT, Governance, 100), &nobody, 0).unwrap();
    let [anna, bert, cleo] =
        ["anna", "bert", "cleo"].map(|name| enrol(name, [Right::Override], []));
    assert!(request(&mut retention, anna.clone(), &nobody, 0).is_err());
    request(&mut retention, anna, &local, 0).unwrap();
    request(&mut retention, bert, &local, 0).unwrap();
    assert!(request(&mut retention, cleo, &local, 0).is_err(), "now there is a pair");
    let bounds = Event::SetBounds(Bounds::default());
    assert!(request(&mut retention, bounds, &local, 0).is_err());
    assert!(request(&mut retention, Event::ForbidOverrides, &local, 0).is_err());
}

#[test]
fn w8_nobody_changes_offices_or_bounds_for_having_come_before_the_first_commit() {
    let (nobody, local) = (Authority::nobody(), Authority::local());
    let mut retention = Retention::default();
    let bounds = || Event::SetBounds(Bounds::default());
    assert!(request(&mut retention, bounds(), &nobody, 0).is_err());
    assert!(request(&mut retention, enrol("eve", [Right::Override], []), &nobody, 0).is_err());
    for name in ["anna", "bert"] {
        let dismiss = Event::Dismiss { officer: name.into() };
        request(&mut retention, enrol(name, [Right::Override], []), &local, 0).unwrap();
        assert!(request(&mut retention, dismiss, &nobody, 0).is_err());
    }
    // There is a pair: the local command has said its last.
    for event in [Event::Dismiss { officer: "anna".into() }, bounds()] {
        assert!(request(&mut retention, event, &local, 0).is_err());
    }
}

#[test]
fn w9_forbidden_overrides_stay_forbidden() {
    let mut retention = staffed(Governance, 100);
    let both = Authority::of(["anna", "bert"]);
    request(&mut retention, Event::ForbidOverrides, &Authority::of(["anna"]), 0).unwrap();
    let refused = request(&mut retention, override_lock(5, ["anna", "bert"]), &both, 5);
    assert_eq!(refused, Err(Refusal::OverridesForbidden));
    assert!(retention.apply(override_lock(5, ["anna", "bert"])).is_err(), "nor by a forged record");
}

#[test]
fn w21_a_key_is_kept_while_a_point_needs_it() {
    let mut retention = staffed(Governance, 100);
    let needed = retention.may_destroy_key([OTHER, POINT, POINT]).unwrap_err();
    let until = RetentionTime(100);
    assert_eq!(needed, Refusal::KeyNeeded { points: 1, point: POINT, until });
    let gone = Event::Deleted { point: POINT, at: RetentionTime(100) };
    request(&mut retention, gone, &Authority::nobody(), 100).unwrap();
    assert_eq!(retention.may_destroy_key([OTHER, POINT]), Ok(()));
}

#[test]
fn a_preview_is_what_release_says() {
    let mut retention = staffed(Governance, 100);
    request(&mut retention, commit(OTHER, Compliance, 200), &Authority::nobody(), 0).unwrap();
    let unknown = RecoveryPointId([9; 16]);
    let preview = retention.preview(&[POINT, OTHER, unknown], &at(150));
    assert_eq!(preview[0], (POINT, Ok(())));
    assert!(matches!(&preview[1], (OTHER, Err(Refusal::Kept { .. }))));
    assert_eq!(preview[2].1, Err(Refusal::Unknown { point: unknown }));
}

#[test]
fn refusals_name_the_point_the_mode_and_the_end() {
    let retention = staffed(Compliance, 100);
    let refusal = retention.release(POINT, at(0)).unwrap_err();
    assert_eq!(refusal.kind(), model::ErrorKind::Refused);
    assert_eq!(
        refusal.to_string(),
        format!(
            "recovery point {POINT} may not be deleted: it is locked in compliance mode until 100 \
             of the compliance clock"
        )
    );
    let shorter = Event::Extend { point: POINT, until: RetentionTime(99) };
    let refusal = retention.check(&shorter, &Authority::nobody(), &at(0)).unwrap_err();
    assert!(refusal.to_string().contains("compliance lock") && refusal.to_string().contains("100"));
}

#[test]
fn events_and_refusals_survive_text() {
    let retention = staffed(Governance, 100);
    let refusals = [
        retention.release(POINT, at(0)).unwrap_err(),
        retention.release(POINT, in_doubt(100)).unwrap_err(),
        retention.may_destroy_all(&at(0)).unwrap_err(),
        retention.new_lock(Governance, u64::MAX, &at(0)).unwrap_err(),
    ];
    for refusal in refusals {
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal, "{json}");
    }
    for event in [
        commit(POINT, Compliance, i64::MAX),
        override_lock(5, ["anna", "bert"]),
        enrol("anna", [Right::Override, Right::ReleaseHold], ["a", "b"]),
        Event::ForbidOverrides,
        Event::SetBounds(Bounds::default()),
    ] {
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "{json}");
    }
}
