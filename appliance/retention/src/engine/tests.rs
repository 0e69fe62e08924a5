use super::*;
use LockMode::{Compliance, Governance};
use model::RetentionTime;

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
