use super::*;
use LockMode::{Compliance, Governance};
use model::RetentionTime;
use proptest::prelude::*;

const POINT: RecoveryPointId = RecoveryPointId([1; 16]);

fn lock(mode: LockMode, until: i64) -> RetentionLock {
    RetentionLock { mode, until: RetentionTime(until) }
}

fn locked(mode: LockMode, until: i64) -> Retention {
    let mut retention = Retention::default();
    retention.apply(Event::Commit { point: POINT, lock: lock(mode, until) }).unwrap();
    retention
}

#[test]
fn a_lock_holds_until_its_end_and_not_a_second_longer() {
    let retention = locked(Governance, 100);
    let verdict = |now| retention.may_delete(POINT, RetentionTime(now)).unwrap();
    assert_eq!(verdict(99), Verdict::Locked { mode: Governance, until: RetentionTime(100) });
    assert_eq!(verdict(100), Verdict::Expire);
    assert!(retention.release(POINT, RetentionTime(99)).is_err());
    assert_eq!(retention.release(POINT, RetentionTime(100)).unwrap().point(), POINT);
}

#[test]
fn a_hold_outlives_the_lock_and_is_released_by_name() {
    let mut retention = locked(Governance, 100);
    let hold = |matter: &str| Event::Hold { point: POINT, matter: matter.into() };
    let unhold = |matter: &str| Event::Unhold { point: POINT, matter: matter.into() };
    retention.apply(hold("a")).unwrap();
    retention.apply(hold("b")).unwrap();
    assert!(matches!(retention.apply(unhold("c")), Err(Refusal::NoHold { .. })));
    retention.apply(unhold("a")).unwrap();
    let held = Verdict::Held { matters: vec!["b".into()] };
    assert_eq!(retention.may_delete(POINT, RetentionTime(1000)), Some(held));
    retention.apply(unhold("b")).unwrap();
    assert_eq!(retention.may_delete(POINT, RetentionTime(1000)), Some(Verdict::Expire));
}

#[test]
fn a_point_cannot_be_committed_again_to_get_a_shorter_lock() {
    let mut retention = locked(Compliance, 100);
    let again = Event::Commit { point: POINT, lock: lock(Governance, 1) };
    assert_eq!(retention.apply(again), Err(Refusal::Exists { point: POINT }));
    assert_eq!(retention.lock(POINT), Some(lock(Compliance, 100)));
}

/// Every event of the small scope: ends and times 0 to 3, one matter.
fn scope() -> Vec<Event> {
    let mut events = vec![
        Event::Tighten { point: POINT },
        Event::Hold { point: POINT, matter: "m".into() },
        Event::Unhold { point: POINT, matter: "m".into() },
    ];
    for n in 0..=3 {
        let until = RetentionTime(n);
        events.push(Event::Extend { point: POINT, until });
        events.push(Event::Deleted { point: POINT, at: until });
        for mode in [Governance, Compliance] {
            events.push(Event::Commit { point: POINT, lock: RetentionLock { mode, until } });
        }
    }
    events
}

/// What must be true between the state before an event and the one after it.
fn check_step(before: &Retention, event: &Event, after: &Retention) {
    let Some(old) = before.points.get(&POINT) else { return };
    let Some(new) = after.points.get(&POINT) else {
        let Event::Deleted { at, .. } = event else { panic!("{event:?} removed the point") };
        assert!(*at >= old.lock.until, "{event:?} freed {old:?}");
        assert!(old.holds.is_empty(), "{event:?} freed a held point");
        return;
    };
    assert!(new.lock.until >= old.lock.until, "{event:?} shortened {old:?} to {new:?}");
    assert!(new.lock.mode >= old.lock.mode, "{event:?} loosened {old:?} to {new:?}");
    if !matches!(event, Event::Unhold { .. }) {
        assert!(new.holds.is_superset(&old.holds), "{event:?} dropped a hold");
    }
}

#[test]
fn every_sequence_of_four_events_on_one_point_keeps_the_rules() {
    let events = scope();
    let mut states = vec![Retention::default()];
    for _ in 0..4 {
        let mut next = Vec::new();
        for state in &states {
            for event in &events {
                let mut after = state.clone();
                let result = after.apply(event.clone());
                check_step(state, event, &after);
                if result.is_err() {
                    assert_eq!(&after, state, "refused {event:?} changed the state");
                }
                next.push(after);
            }
        }
        next.dedup();
        states = next;
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let point = (0u8..3).prop_map(|n| RecoveryPointId([n; 16]));
    let time = prop_oneof![0i64..50, Just(i64::MAX), Just(i64::MIN)].prop_map(RetentionTime);
    let mode = prop_oneof![Just(Governance), Just(Compliance)];
    let matter = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
    (point, time, mode, matter, 0..6).prop_map(|(point, until, mode, matter, kind)| match kind {
        0 => Event::Commit { point, lock: RetentionLock { mode, until } },
        1 => Event::Extend { point, until },
        2 => Event::Tighten { point },
        3 => Event::Hold { point, matter },
        4 => Event::Unhold { point, matter },
        _ => Event::Deleted { point, at: until },
    })
}

proptest! {
    #[test]
    fn no_sequence_shortens_a_lock(events in prop::collection::vec(any_event(), 0..200)) {
        let mut retention = Retention::default();
        for event in events {
            let before = retention.clone();
            let refused = retention.apply(event.clone()).is_err();
            prop_assert!(!refused || retention == before);
            for (id, old) in &before.points {
                match retention.points.get(id) {
                    Some(new) => {
                        prop_assert!(new.lock.until >= old.lock.until);
                        prop_assert!(new.lock.mode >= old.lock.mode);
                    }
                    None => {
                        let Event::Deleted { at, .. } = &event else { panic!("{event:?}") };
                        prop_assert!(*at >= old.lock.until && old.holds.is_empty());
                    }
                }
            }
        }
    }
}
