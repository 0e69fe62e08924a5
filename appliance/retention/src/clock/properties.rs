//! For any sequence of readings, restarts and attacks: never early.

use super::*;
use proptest::prelude::*;

/// What happens to a box.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Time passes, in milliseconds, and the clocks are read.
    Run(u64),
    /// As `Run`, but nobody reads.
    Unread(u64),
    SetWall(i64),
    MoveWall(i64),
    SetRtc(i64),
    MoveRtc(i64),
    RtcAnswers(bool),
    Network(Option<i64>),
    /// A reading of the past arrives.
    Late(u64),
    /// The machine stands still for seconds, the clocks that can be set do not.
    Suspend(i64),
    /// The process ends, and starts after seconds.
    Restart(i64),
    /// It starts from an older copy of the ledger.
    Rollback(usize),
}

fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![-5i64..5, -200i64..200, -100_000i64..100_000, any::<i64>()]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u64..200_000).prop_map(Step::Run),
        2 => (0u64..200_000_000).prop_map(Step::Run),
        1 => (0u64..100_000).prop_map(Step::Unread),
        1 => seconds().prop_map(Step::SetWall),
        2 => seconds().prop_map(Step::MoveWall),
        1 => seconds().prop_map(Step::SetRtc),
        2 => seconds().prop_map(Step::MoveRtc),
        2 => any::<bool>().prop_map(Step::RtcAnswers),
        1 => prop::option::of(seconds()).prop_map(Step::Network),
        2 => (0u64..100_000).prop_map(Step::Late),
        1 => (0i64..100_000).prop_map(Step::Suspend),
        1 => (0i64..100_000).prop_map(Step::Restart),
        1 => (0usize..40).prop_map(Step::Rollback),
    ]
}

/// A box whose true time is known, in milliseconds.
pub(crate) struct World {
    /// True running time since the beginning.
    pub(crate) ran: u64,
    /// True running time when this process began.
    began: u64,
    /// Thousandths of the true rate at which monotonic and system time run.
    rate: u64,
    /// System time and hardware clock, less the time they made since the beginning.
    wall: i64,
    rtc: i64,
    rtc_answers: bool,
    network: Option<i64>,
    pub(crate) clock: ComplianceClock,
    ledger: ClockState,
    copies: Vec<ClockState>,
}

impl World {
    pub(crate) fn new(rate: u64) -> Self {
        let reading = Reading {
            monotonic: Duration::ZERO,
            wall: WallTime(0),
            rtc: Some(WallTime(0)),
            network: None,
        };
        let mut ledger = ClockState::begin(RetentionTime(0));
        let (clock, events) = ComplianceClock::resume(ledger.clone(), reading);
        events.iter().for_each(|event| ledger.apply(event, clock.value()));
        let copies = vec![ledger.clone()];
        Self {
            ran: 0,
            began: 0,
            rate,
            wall: 0,
            rtc: 0,
            rtc_answers: true,
            network: None,
            clock,
            ledger,
            copies,
        }
    }

    fn reading(&self) -> Reading {
        let made = |millis: u64| i64::try_from(millis / 1000).unwrap();
        let rtc = WallTime(self.rtc.saturating_add(made(self.ran)));
        Reading {
            monotonic: Duration::from_micros((self.ran - self.began) * self.rate),
            wall: WallTime(self.wall.saturating_add(made(self.ran * self.rate / 1000))),
            rtc: self.rtc_answers.then_some(rtc),
            network: self.network.map(WallTime),
        }
    }

    fn record(&mut self, events: &[ClockEvent]) {
        self.ledger.reach(self.clock.value());
        events.iter().for_each(|event| self.ledger.apply(event, self.clock.value()));
        self.copies.push(self.ledger.clone());
    }

    fn start(&mut self, off: i64) {
        self.began = self.ran;
        self.wall = self.wall.saturating_add(off);
        self.rtc = self.rtc.saturating_add(off);
        let (clock, events) = ComplianceClock::resume(self.ledger.clone(), self.reading());
        self.clock = clock;
        self.record(&events);
    }

    pub(crate) fn take(&mut self, step: &Step, honest_rtc: bool) {
        match *step {
            Step::Run(millis) => {
                self.ran += millis;
                let events = self.clock.advance(self.reading());
                self.record(&events);
            }
            Step::Unread(millis) => self.ran += millis,
            Step::SetWall(to) => self.wall = to,
            Step::MoveWall(by) => self.wall = self.wall.saturating_add(by),
            Step::SetRtc(to) if !honest_rtc => self.rtc = to,
            Step::MoveRtc(by) if !honest_rtc => self.rtc = self.rtc.saturating_add(by),
            Step::SetRtc(_) | Step::MoveRtc(_) => {}
            Step::RtcAnswers(answers) => self.rtc_answers = answers,
            Step::Network(network) => self.network = network,
            Step::Late(ago) => {
                let mut late = self.reading();
                late.monotonic = late.monotonic.saturating_sub(Duration::from_millis(ago));
                let events = self.clock.advance(late);
                self.record(&events);
            }
            Step::Suspend(off) if !honest_rtc => {
                self.wall = self.wall.saturating_add(off);
                self.rtc = self.rtc.saturating_add(off);
            }
            Step::Suspend(_) => {}
            Step::Restart(off) => self.start(off),
            Step::Rollback(back) => {
                let copy = self.copies.len().saturating_sub(back + 1);
                self.ledger = self.copies[copy].clone();
                self.copies.truncate(copy + 1); // the way on from there is another one
                self.start(0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_value_never_exceeds_the_true_running_time(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(1000);
        for step in &steps {
            let before = world.clock.value();
            world.take(step, false);
            let value = world.clock.value();
            let ran = i64::try_from(world.ran / 1000).unwrap();
            prop_assert!(value.0 <= ran, "{} after {ran} s, by {step:?}", value.0);
            prop_assert!(value >= before || matches!(step, Step::Rollback(_)), "{step:?}");
            prop_assert_eq!(&world.ledger, world.clock.state(), "replayed");
        }
    }

    #[test]
    fn a_fast_monotonic_clock_never_gets_ahead_of_the_hardware_clock(
        steps in prop::collection::vec(step(), 1..120),
        rate in 1000u64..1101,
    ) {
        let mut world = World::new(rate);
        for step in &steps {
            world.take(step, true);
            // The hardware clock is honest, and counts seconds of running time and of time off.
            let (value, ran) = (world.clock.value().0, i64::try_from(world.ran / 1000).unwrap());
            prop_assert!(value <= ran, "{value} after {ran} s, by {step:?}");
        }
    }

    #[test]
    fn honest_clocks_lose_nothing_and_alarm_nobody(
        steps in prop::collection::vec(0u64..100_000, 1..200),
        (wall, rtc) in (0u64..1000, 0u64..1000),
    ) {
        let read = |millis: u64| Reading {
            monotonic: Duration::from_millis(millis),
            wall: WallTime(i64::try_from((millis + wall) / 1000).unwrap()),
            rtc: Some(WallTime(i64::try_from((millis + rtc) / 1000).unwrap())),
            network: Some(WallTime(i64::try_from(millis / 1000).unwrap())),
        };
        let (mut clock, _) = ComplianceClock::resume(ClockState::begin(RetentionTime(0)), read(0));
        let mut ran = 0;
        for millis in steps {
            ran += millis;
            prop_assert_eq!(clock.advance(read(ran)), vec![]);
        }
        let late = i64::try_from(ran / 1000).unwrap() - clock.value().0;
        prop_assert!((0..=1).contains(&late), "{late} s");
    }
}
