use super::*;
use crate::Runs;
use crate::event::{
    Commit, LockBounds, ManifestRef, POINTS_PER_LEAF, PointText, RUNS_PER_LEAF, ReachChange, Right,
    SERIALS_PER_LEAF, Segment,
};
use model::{Consistency, LockMode, RecoveryPointId, RetentionLock, RunId, VmIdentity, VmUuid};

const POINT: RecoveryPointId = RecoveryPointId([7; 16]);

fn runs(serials: &[u32]) -> Runs {
    serials.iter().copied().collect()
}

fn commit() -> Event {
    Event::Commit(Box::new(Commit {
        point: RecoveryPointId([1; 16]),
        run: RunId([2; 16]),
        vm: VmIdentity {
            uuid: VmUuid("u".into()),
            name: "naïve\n".into(),
            server_uuid: "s".into(),
        },
        started: WallTime(1),
        finished: WallTime(2),
        consistency: Consistency::Crash,
        disks: 1,
        capacity: 3,
        data_bytes: 4,
        new_bytes: 5,
        chunk_size: 1 << 20,
        manifest: ManifestRef { id: "00".into(), place: u64::MAX },
        reach: ReachChange { base: Some(POINT), add: runs(&[9, 11]), drop: runs(&[1]) },
        lock: RetentionLock { mode: LockMode::Compliance, until: RetentionTime(i64::MAX) },
    }))
}

fn segment() -> Event {
    Event::Segment(Segment {
        serial: 1,
        volume: 255,
        class: "data".into(),
        cohort: 3,
        bytes: 2,
        seal: "cd".into(),
        epoch: 4,
    })
}

#[test]
fn leaves_survive() {
    let bounds = LockBounds { min_seconds: 1, max_seconds: 9 };
    let matter = || String::from("Müller ./. Schmidt");
    let by = || vec!["ann".to_owned(), "bob".to_owned()];
    let state = serde_json::json!({"value": 5, "doubt": null});
    for event in [
        Event::Created { repository: "ab".into(), chunk_size: 1, bounds, signer: "s".into() },
        Event::Signer { key: "k".into() },
        Event::Officer {
            name: "ann".into(),
            key: "AA==".into(),
            rights: vec![Right::ReleaseHold, Right::Override],
            by: by(),
        },
        Event::Dismiss { name: "ann".into(), by: by() },
        Event::Bounds { bounds, by: by() },
        Event::Key { epoch: 1, hash: "ee".into() },
        Event::Volume { number: 2 },
        segment(),
        Event::Reach { point: POINT, add: runs(&[1]), drop: Runs::new() },
        commit(),
        Event::Extend { point: POINT, until: RetentionTime(-4) },
        Event::Tighten { point: POINT },
        Event::Hold { point: POINT, matter: matter() },
        Event::Unhold { point: POINT, matter: matter(), by: by() },
        Event::Override { point: POINT, reason: "r".into(), by: by() },
        Event::OverridesOff {},
        Event::Clock { state: state.clone() },
        Event::ClockEvent { what: state },
        Event::Refused {
            point: Some(POINT),
            action: "delete".into(),
            reason: "l".into(),
            until: None,
        },
        Event::Refused { point: None, action: "x".into(), reason: "l".into(), until: None },
        Event::Verified { point: POINT, chunks: 1, bytes: 2, damage: 3, segments: vec![4] },
        Event::Scrubbed { segments: runs(&[1, 2]), bytes: 3, damaged: vec![2] },
        Event::Quarantined { serial: 1, points: vec![PointText(POINT)], total: 5 },
        Event::Repaired { serial: 1, blocks: 2 },
        Event::Compact { from: runs(&[1]), to: runs(&[2, 4]) },
        Event::Exported { point: POINT, medium: "tape".into(), detail: "A00001L8".into() },
        Event::Alarm { what: "w".into(), detail: "d".into() },
        Event::Delete { points: vec![PointText(POINT)], segments: runs(&[1, 2]), keys: vec![3] },
        Event::Deleted { segments: 3, bytes: 4 },
    ] {
        let leaf = Leaf::new(RetentionTime(-1), WallTime(5), event);
        assert_eq!(Leaf::decode(0, &leaf.encode().unwrap()), Ok(leaf));
    }
}

#[test]
fn the_text_is_the_one_of_the_definition() {
    let text = |event| {
        String::from_utf8(Leaf::new(RetentionTime(7), WallTime(8), event).encode().unwrap())
            .unwrap()
    };
    let head = r#"{"v":2,"clock":7,"wall":8,"event":"#;
    let hold = r#"{"type":"hold","point":"07070707070707070707070707070707","matter":"m"}}"#;
    assert_eq!(text(Event::Hold { point: POINT, matter: "m".into() }), format!("{head}{hold}"));
    assert_eq!(text(Event::OverridesOff {}), format!(r#"{head}{{"type":"overrides-off"}}}}"#));
    let bounds = LockBounds { min_seconds: 1, max_seconds: 9 };
    assert_eq!(
        text(Event::Bounds { bounds, by: vec![] }),
        format!(r#"{head}{{"type":"bounds","min_seconds":1,"max_seconds":9,"by":[]}}}}"#)
    );
    assert_eq!(
        text(Event::Compact { from: runs(&[1, 2]), to: runs(&[9]) }),
        format!(r#"{head}{{"type":"compact","from":[[1,2]],"to":[[9,9]]}}}}"#)
    );
    assert!(text(segment()).contains(r#"{"type":"segment","serial":1,"volume":255,"class":"#));
    assert!(text(commit()).contains(r#""reach":{"base":"0707"#));
}

#[test]
fn what_is_not_known_is_refused() {
    let unknown = br#"{"v":2,"clock":1,"wall":1,"event":{"type":"pledge","point":"x"}}"#;
    let older = br#"{"v":1,"clock":1,"wall":1,"event":{"type":"clock"}}"#;
    let newer = br#"{"v":3,"clock":1,"wall":1,"event":{"type":"new"}}"#;
    for bytes in [&unknown[..], &older[..], &newer[..], b"{", b""] {
        assert!(matches!(Leaf::decode(3, bytes), Err(LedgerError::Unknown { number: 3, .. })));
    }
}

#[test]
fn the_fullest_leaves_fit_and_longer_ones_are_refused() {
    let far = |count: usize| -> Runs {
        (0..u32::try_from(count).unwrap()).map(|n| u32::MAX - 2 * n).collect()
    };
    let fits = |event| Leaf::new(RetentionTime(i64::MAX), WallTime(i64::MAX), event).encode();
    let points = vec![PointText(POINT); POINTS_PER_LEAF];
    let total = u64::MAX;
    let full = Event::Quarantined { serial: u32::MAX, points: points.clone(), total };
    assert!(fits(full).is_ok());
    let segments = far(RUNS_PER_LEAF);
    assert!(fits(Event::Delete { points: vec![], segments, keys: vec![u32::MAX; 256] }).is_ok());
    assert!(fits(Event::Delete { points, segments: Runs::new(), keys: vec![] }).is_ok());
    let (add, drop) = (far(RUNS_PER_LEAF), Runs::new());
    assert!(fits(Event::Reach { point: POINT, add, drop }).is_ok());
    let damaged = vec![u32::MAX; SERIALS_PER_LEAF];
    assert!(fits(Event::Scrubbed { segments: far(RUNS_PER_LEAF), bytes: 0, damaged }).is_ok());
    let long = Event::Delete { points: vec![], segments: far(5000), keys: vec![] };
    assert!(matches!(fits(long), Err(LedgerError::TooLong { .. })));
}
