//! Random sequences on a larger scope, with far dates: engine against [`Spec`].

use super::model_check::check_step;
use super::spec::{Ask, Spec, Who};
use super::*;
use crate::clock::ClockView;
use model::RetentionTime;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Ask(Ask, Who),
    /// As `Ask`, at the clock's time, signed by whoever it names.
    Proper(Ask),
    Advance(i64),
    Doubt(bool),
    Restart,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0i64..50,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(1 << 31),
        1 => Just(1 << 32),
        1 => any::<i64>(),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let (point, officer, set) = (0usize..4, 0usize..5, 0u8..32);
    let mask = (set, 0u8..4, any::<bool>());
    (0..14, point, officer, mask, time(), time()).prop_map(
        |(kind, p, o, (by, rights, compliance), end, other)| match kind {
            0..=2 => Ask::Commit { p, compliance, end },
            3 => Ask::Extend { p, end },
            4 => Ask::Tighten { p },
            5 => Ask::Hold { p, m: rights.clamp(1, 2) },
            6 => Ask::Unhold { p, m: rights.clamp(1, 2) },
            7 => Ask::Override { p, at: end, by },
            8 if end % 16 == 0 => Ask::Forbid,
            8 | 9 => Ask::Enrol { o, rights, by },
            10 => Ask::Enrol { o, rights: 3, by: 0 },
            11 => Ask::Bounds { min: end.unsigned_abs() / 2, max: other.unsigned_abs() },
            12 => Ask::Dismiss { o },
            _ => Ask::Delete { p, at: end },
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let who = (0u8..32, any::<bool>())
        .prop_map(|(signed, local)| Who { signed: if local { 0 } else { signed }, local });
    prop_oneof![
        4 => (ask(), who).prop_map(|(ask, who)| Step::Ask(ask, who)),
        6 => ask().prop_map(Step::Proper),
        1 => prop_oneof![0i64..20, 0i64..i64::MAX].prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Doubt),
        1 => Just(Step::Restart),
    ]
}

/// The request at the clock's time, and whoever must have signed it.
fn proper(ask: Ask, now: i64) -> (Ask, Who) {
    let everybody = Who { signed: 31, local: false };
    match ask {
        Ask::Override { p, by, .. } => (Ask::Override { p, by, at: now }, everybody),
        Ask::Delete { p, .. } => (Ask::Delete { p, at: now }, everybody),
        Ask::Enrol { by: 0, .. } => (ask, Who { signed: 0, local: true }),
        ask => (ask, everybody),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn engine_and_specification_agree(
        begin in time(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut spec = Spec::new(4, 5, begin);
        let mut engine = Retention::default();
        let mut record = Vec::new();
        for step in steps {
            let (ask, who) = match step {
                Step::Ask(ask, who) => (ask, who),
                Step::Proper(ask) => proper(ask, spec.now),
                Step::Advance(by) => {
                    spec.now = spec.now.saturating_add(by);
                    continue;
                }
                Step::Doubt(doubt) => {
                    spec.doubt = doubt;
                    continue;
                }
                Step::Restart => {
                    let mut replayed = Retention::default();
                    for event in &record {
                        prop_assert_eq!(replayed.apply(Event::clone(event)), Ok(()));
                    }
                    prop_assert_eq!(&replayed, &engine);
                    continue;
                }
            };
            let event = ask.event();
            let checked = engine.check(&event, &who.authority(), &spec.view());
            prop_assert_eq!(checked.is_ok(), spec.grants(&ask, who), "{:?} by {:?}", ask, who);
            if checked.is_ok() {
                let before = engine.clone();
                prop_assert_eq!(engine.apply(event.clone()), Ok(()));
                check_step(&before, &event, &engine);
                spec.carry_out(&ask);
                record.push(event);
            }
            for p in 0..4 {
                let released = engine.release(super::spec::id(p), spec.view()).is_ok();
                prop_assert_eq!(released, spec.free(p) && !spec.doubt);
            }
            prop_assert_eq!(engine.may_destroy_all(&spec.view()).is_ok(), spec.may_destroy_all());
        }
    }

    /// A ledger that nobody checked, such as a forged one, shortens nothing either.
    #[test]
    fn unchecked_events_break_no_invariant(asks in prop::collection::vec(ask(), 0..200)) {
        let mut engine = Retention::default();
        for ask in asks {
            let (before, event) = (engine.clone(), ask.event());
            let refused = engine.apply(event.clone()).is_err();
            prop_assert!(!refused || engine == before);
            check_step(&before, &event, &engine);
        }
    }

    #[test]
    fn a_new_lock_lasts_as_long_as_asked_or_is_refused(
        now in time(),
        seconds in any::<u64>(),
        (min, max) in (any::<u64>(), any::<u64>()),
    ) {
        let mut engine = Retention::default();
        let bounds = Bounds { min_seconds: min.min(max), max_seconds: min.max(max) };
        engine.apply(Event::SetBounds(bounds)).unwrap();
        let view = ClockView::from(RetentionTime(now));
        let exact = i128::from(now) + i128::from(seconds);
        match engine.new_lock(LockMode::Governance, seconds, &view) {
            Ok(lock) => {
                prop_assert_eq!(i128::from(lock.until.0), exact);
                prop_assert!((bounds.min_seconds..=bounds.max_seconds).contains(&seconds));
            }
            Err(Refusal::TooFar { .. }) => prop_assert!(i64::try_from(seconds).is_err()
                || exact > i128::from(i64::MAX)),
            Err(refusal) => {
                prop_assert!(!(bounds.min_seconds..=bounds.max_seconds).contains(&seconds));
                let as_it_should_be = matches!(refusal, Refusal::OutOfBounds { .. });
                prop_assert!(as_it_should_be);
            }
        }
    }
}
