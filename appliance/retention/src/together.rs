//! For tests: engine and clock together on a box that is attacked. Whatever happens to its clocks,
//! and however often it is restarted, no lock ends before the time that really had to pass while
//! the box was running.

use crate::clock::properties::{Step as ClockStep, World, step as clock_step};
use crate::{Authority, Event, Retention};
use model::{LockMode, RecoveryPointId, RetentionTime};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Clock(ClockStep),
    /// A point is committed, locked for seconds.
    Commit(u8, u64),
    /// A lock shall end so many seconds from now.
    Extend(u8, i64),
    Hold(u8),
    Release(u8),
    /// The engine is given back by its record.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let point = || 0u8..3;
    prop_oneof![
        8 => clock_step().prop_map(Step::Clock),
        3 => (point(), 0u64..200_000).prop_map(|(point, seconds)| Step::Commit(point, seconds)),
        1 => (point(), -100i64..200_000).prop_map(|(point, by)| Step::Extend(point, by)),
        1 => point().prop_map(Step::Hold),
        4 => point().prop_map(Step::Release),
        1 => Just(Step::Restart),
    ]
}

fn id(point: u8) -> RecoveryPointId {
    RecoveryPointId([point; 16])
}

/// The box, and what was promised: the true running time, in milliseconds, before which a point
/// must not be released; `None`: not while its hold lasts, which nobody ends here.
struct Promised {
    world: World,
    engine: Retention,
    record: Vec<Event>,
    earliest: BTreeMap<u8, Option<u64>>,
    released: usize,
}

impl Promised {
    fn new() -> Self {
        Self {
            world: World::new(1000),
            engine: Retention::default(),
            record: Vec::new(),
            earliest: BTreeMap::new(),
            released: 0,
        }
    }

    fn request(&mut self, event: Event) -> bool {
        let view = self.world.clock.view();
        let granted = self.engine.check(&event, &Authority::nobody(), &view).is_ok();
        if granted {
            self.engine.apply(event.clone()).expect("it was checked");
            self.record.push(event);
        }
        granted
    }

    /// A lock on `point` that was written now lasts so long.
    fn promise(&mut self, point: u8, seconds: u64) {
        let end = self.world.ran + seconds * 1000;
        let earliest = self.earliest.entry(point).or_insert(Some(0));
        *earliest = earliest.map(|before| before.max(end));
    }

    fn take(&mut self, step: &Step) {
        if !matches!(step, Step::Clock(_)) {
            self.world.take(&ClockStep::Run(0), false);
        }
        let (now, from) = (self.world.clock.value(), self.world.clock.view().lock_from());
        match *step {
            Step::Clock(ref step) => self.world.take(step, false),
            Step::Commit(point, seconds) => {
                let view = self.world.clock.view();
                let lock = self.engine.new_lock(LockMode::Governance, seconds, &view).unwrap();
                if self.request(Event::Commit { point: id(point), lock }) {
                    self.promise(point, seconds);
                }
            }
            Step::Extend(point, by) => {
                let until = RetentionTime(from.0 + by);
                if self.request(Event::Extend { point: id(point), until }) {
                    self.promise(point, u64::try_from(by).expect("within the bounds"));
                }
            }
            Step::Hold(point) => {
                if self.request(Event::Hold { point: id(point), matter: "m".into() }) {
                    self.earliest.insert(point, None);
                }
            }
            Step::Release(point) => {
                if self.request(Event::Deleted { point: id(point), at: now }) {
                    let earliest = self.earliest.remove(&point).expect("it exists");
                    let earliest = earliest.expect("it is not held");
                    assert!(self.world.ran >= earliest, "{point} at {}", self.world.ran);
                    self.released += 1;
                }
            }
            Step::Restart => {
                let mut replayed = Retention::default();
                for event in &self.record {
                    replayed.apply(event.clone()).expect("it was applied before");
                }
                assert_eq!(replayed, self.engine);
                self.engine = replayed;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_attack_on_the_clocks_ends_a_lock_early(steps in prop::collection::vec(step(), 1..200)) {
        let mut promised = Promised::new();
        for step in &steps {
            promised.take(step);
        }
    }
}

/// The property is not true because nothing is ever released.
#[test]
fn what_was_promised_is_released_in_the_end() {
    let mut promised = Promised::new();
    promised.take(&Step::Commit(1, 100_000));
    promised.take(&Step::Release(1));
    for _ in 0..100 {
        promised.take(&Step::Clock(ClockStep::Run(1_000_000)));
        promised.take(&Step::Release(1));
    }
    assert_eq!(promised.released, 1);
}
