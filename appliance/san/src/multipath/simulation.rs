//! A fabric in which everything goes wrong, in virtual time: what the driver around this module
//! does, with paths that are cut, fall silent, change their state, abort, or show another LUN.
//! The seed of a run that fails is in its message.

use super::paths::Pick;
use super::{Course, Fault, Link, Load, Paths, Patience, Step, Time, Why};
use scsi::AccessState;
use std::collections::BTreeMap;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SILENT: Duration = Duration::from_secs(15);
const GONE: Duration = Duration::from_secs(120);
const COMMANDS: usize = 150;
const SEEDS: u64 = 200;
/// A path that is good for so long has been found by a probe.
const FOUND: Duration = Duration::from_secs(60);
const STATES: [AccessState; 5] = [
    AccessState::ActiveOptimized,
    AccessState::ActiveNonOptimized,
    AccessState::Standby,
    AccessState::Unavailable,
    AccessState::Transitioning,
];

/// xorshift64*, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What a path really is.
struct Truth {
    up: bool,
    silent: bool,
    impostor: bool,
    access: AccessState,
    latency: Duration,
    /// Since when a read by it would succeed.
    good_since: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Command, attempt, path; the attempt tells answers that nobody waits for any more.
    Answer(usize, u32, usize, Option<Why>),
    Look(usize, u32),
    Begin(usize),
    Probed(usize),
    Probe,
    Change,
}

#[derive(Debug)]
enum Phase {
    New,
    Sent { at: usize, begun: Time },
    Waiting,
    Done,
    GivenUp,
}

struct Command {
    course: Course,
    phase: Phase,
    attempt: u32,
    begun: Time,
}

struct World {
    seed: u64,
    chance: Chance,
    now: Time,
    number: u64,
    events: BTreeMap<(Time, u64), Event>,
    paths: Paths,
    truth: Vec<Truth>,
    in_flight: Vec<usize>,
    commands: Vec<Command>,
    alua: bool,
    calm: bool,
    done: usize,
    given_up: usize,
    sent: usize,
    /// When the keeper looks next.
    probe_at: Option<Time>,
}

impl World {
    /// `calm`: the first path never fails.
    fn new(seed: u64, calm: bool) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let alua = calm || chance.one_in(2);
        let count = 1 + usize::try_from(chance.below(4)).unwrap();
        let mut paths = Paths::new(alua);
        let mut truth = Vec::new();
        for at in 0..count {
            let access = AccessState::ActiveOptimized;
            let proven = at == 0 || chance.one_in(2);
            paths.join(at % 2, alua.then_some(access), proven, Time::ZERO).unwrap();
            let latency = MS * u32::try_from(1 + chance.below(20)).unwrap();
            truth.push(Truth {
                up: true,
                silent: false,
                impostor: false,
                access,
                latency,
                good_since: Some(Time::ZERO),
            });
        }
        let patience = Patience { losses: 8, busy: Duration::from_secs(30), lost: GONE };
        let command = |_| Command {
            course: Course::new(patience, count),
            phase: Phase::New,
            attempt: 0,
            begun: Time::ZERO,
        };
        let commands = (0..COMMANDS).map(command).collect();
        Self {
            seed,
            chance,
            now: Time::ZERO,
            number: 0,
            events: BTreeMap::new(),
            paths,
            truth,
            in_flight: vec![0; count],
            commands,
            alua,
            calm,
            done: 0,
            given_up: 0,
            sent: 0,
            probe_at: None,
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.events.insert((self.now + wait, self.number), event);
    }

    fn run(&mut self) {
        for command in 0..COMMANDS {
            let wait = MS * u32::try_from(self.chance.below(600_000)).unwrap();
            self.after(wait, Event::Begin(command));
        }
        self.after(MS, Event::Change);
        self.plan_probe();
        while self.done + self.given_up < COMMANDS {
            let ((now, _), event) = self.events.pop_first().expect("a command was forgotten");
            assert!(now < Duration::from_secs(3600), "seed {}: it does not end", self.seed);
            self.now = now;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(command) => {
                self.commands[command].begun = self.now;
                self.step(command);
            }
            Event::Answer(command, attempt, at, outcome) => {
                self.in_flight[at] -= 1;
                if self.commands[command].attempt == attempt {
                    self.answered(command, at, outcome);
                }
            }
            Event::Look(command, attempt) => {
                if self.commands[command].attempt == attempt {
                    self.look(command);
                }
            }
            Event::Probe if self.probe_at == Some(self.now) => self.probe(),
            Event::Probe => {} // it was put forward
            Event::Probed(at) => self.probed(at),
            Event::Change => self.change(),
        }
    }

    /// One more try of a command.
    fn step(&mut self, command: usize) {
        let loads: Vec<Load> = self.loads();
        let (now, one) = (self.now, &mut self.commands[command]);
        one.attempt += 1;
        match one.course.next(&mut self.paths, |at| loads[at], now) {
            Step::Send(at) => {
                one.phase = Phase::Sent { at, begun: now };
                self.check(at);
                self.send(command, at);
            }
            Step::Pause(wait) | Step::Wait(wait) => {
                one.phase = Phase::Waiting;
                let attempt = one.attempt;
                self.after(wait, Event::Look(command, attempt));
            }
            Step::GiveUp => self.give_up(command),
        }
    }

    fn loads(&self) -> Vec<Load> {
        let load =
            |at: usize| Load { in_flight: self.in_flight[at], latency: self.truth[at].latency };
        (0..self.truth.len()).map(load).collect()
    }

    /// What must hold of every command that is sent.
    fn check(&self, at: usize) {
        let (seed, view) = (self.seed, self.paths.view(at));
        assert!(view.proven, "seed {seed}: a path that was never compared");
        assert!(view.link != Link::Refused, "seed {seed}: a path that shows something else");
        let reads = view.access.is_none_or(AccessState::reads);
        assert!(reads, "seed {seed}: {:?}", view.access);
        let usable = |other: usize| {
            let view = self.paths.view(other);
            view.proven && view.link == Link::Up
        };
        if view.link == Link::Down {
            let others = (0..self.truth.len()).filter(|&other| usable(other));
            let better = others
                .filter(|&other| self.paths.view(other).access.is_none_or(AccessState::reads));
            assert_eq!(better.count(), 0, "seed {seed}: a lost path while another is usable");
        } else if view.access == Some(AccessState::ActiveNonOptimized) {
            let optimized = (0..self.truth.len()).filter(|&other| {
                usable(other) && self.paths.view(other).access == Some(AccessState::ActiveOptimized)
            });
            assert_eq!(optimized.count(), 0, "seed {seed}: the long way without need");
        }
    }

    fn send(&mut self, command: usize, at: usize) {
        self.sent += 1;
        self.in_flight[at] += 1;
        let attempt = self.commands[command].attempt;
        let truth = &self.truth[at];
        let (wait, outcome) = if truth.silent {
            (GONE, Some(Why::Gone))
        } else if !truth.up {
            (MS * 300, Some(Why::Lost))
        } else if self.alua && !truth.access.reads() {
            (truth.latency, Some(Why::State(truth.access)))
        } else {
            let wait = truth.latency;
            let trouble = match self.chance.below(60) {
                0 => Some(Why::Repeat),
                1 if !self.calm => Some(Why::Elsewhere),
                2 => Some(Why::Busy),
                _ => None,
            };
            (wait, trouble)
        };
        self.after(wait, Event::Answer(command, attempt, at, outcome));
        self.after(SILENT, Event::Look(command, attempt));
    }

    fn answered(&mut self, command: usize, at: usize, outcome: Option<Why>) {
        let Some(why) = outcome else {
            // The bytes count only from the LUN that was found: the driver asks it.
            if self.truth[at].impostor {
                self.paths.refused(at);
                return self.step(command);
            }
            if self.paths.view(at).link == Link::Down {
                self.paths.restored(at, self.now);
            }
            self.paths.good(at, self.now);
            self.finish(command, Phase::Done);
            self.done += 1;
            return;
        };
        self.failed(command, at, why);
    }

    fn failed(&mut self, command: usize, at: usize, why: Why) {
        let goes_on = self.commands[command].course.failed(at, why, &mut self.paths, self.now);
        if goes_on {
            self.step(command)
        } else {
            self.give_up(command)
        }
        self.announce();
    }

    fn give_up(&mut self, command: usize) {
        let waited = self.now - self.commands[command].begun;
        assert!(!self.calm, "seed {}: given up after {waited:?} with a good path", self.seed);
        // A path that its transport gave up after all its patience is excused.
        let sent = match self.commands[command].phase {
            Phase::Sent { at, .. } => Some(at),
            _ => None,
        };
        for (at, truth) in self.truth.iter().enumerate().filter(|(at, _)| Some(*at) != sent) {
            let good = truth.good_since.map_or(Duration::ZERO, |since| self.now - since);
            let seed = self.seed;
            assert!(good < FOUND, "seed {seed}: given up, and path {at} was good for {good:?}");
        }
        self.finish(command, Phase::GivenUp);
        self.given_up += 1;
    }

    fn finish(&mut self, command: usize, phase: Phase) {
        let one = &mut self.commands[command];
        let open = !matches!(one.phase, Phase::Done | Phase::GivenUp);
        assert!(open, "seed {}: a command ended twice", self.seed);
        (one.phase, one.attempt) = (phase, one.attempt + 1);
    }

    /// Something about the paths changed: whoever waits looks again.
    fn announce(&mut self) {
        for command in 0..COMMANDS {
            self.look(command);
        }
        self.plan_probe();
    }

    fn plan_probe(&mut self) {
        let Some(due) = self.paths.next_due() else { return };
        let due = due.max(self.now);
        if self.probe_at.is_none_or(|planned| due < planned) {
            self.probe_at = Some(due);
            self.after(due - self.now, Event::Probe);
        }
    }

    fn look(&mut self, command: usize) {
        match self.commands[command].phase {
            Phase::Waiting => self.step(command),
            Phase::Sent { at, begun } => {
                let silent = self.now - begun >= SILENT;
                if let Some(why) = self.paths.overtaken(at, silent) {
                    self.failed(command, at, why);
                }
            }
            Phase::New | Phase::Done | Phase::GivenUp => {}
        }
    }

    fn probe(&mut self) {
        self.probe_at = None;
        for at in self.paths.due(self.now) {
            let answers = self.truth[at].up && !self.truth[at].silent;
            let wait = if answers { self.truth[at].latency } else { MS * 1500 };
            self.after(wait, Event::Probed(at));
        }
        self.plan_probe();
    }

    fn probed(&mut self, at: usize) {
        let truth = &self.truth[at];
        let answers = truth.up && !truth.silent;
        if !answers {
            self.paths.failed(at, Fault::Lost, self.now);
        } else if truth.impostor {
            self.paths.refused(at);
        } else {
            if self.alua {
                let states: Vec<AccessState> = self.truth.iter().map(|one| one.access).collect();
                for (other, state) in states.into_iter().enumerate() {
                    self.paths.reported(other, state, self.now);
                }
            }
            if !self.alua || self.truth[at].access.reads() {
                self.paths.restored(at, self.now);
            }
        }
        self.paths.probed(at, answers, self.now);
        self.announce();
    }

    /// Something goes wrong, or is put right.
    fn change(&mut self) {
        let count = self.truth.len() as u64;
        let at = usize::try_from(self.chance.below(count)).unwrap();
        let protected = self.calm && at == 0;
        let what = if protected { 3 } else { self.chance.below(12) };
        let state = STATES[usize::try_from(self.chance.below(5)).unwrap()];
        let latency = MS * u32::try_from(1 + self.chance.below(200)).unwrap();
        let never = !self.seed.is_multiple_of(3);
        let truth = &mut self.truth[at];
        match what {
            0..3 => truth.up = !truth.up,
            3..5 => truth.latency = latency,
            5 => truth.silent = !truth.silent,
            6 if !never && at > 0 => truth.impostor = true,
            7..12 => truth.access = state,
            _ => {}
        }
        let reads = !self.alua || truth.access.reads();
        let good = truth.up && !truth.silent && !truth.impostor && reads;
        truth.good_since = good.then(|| truth.good_since.unwrap_or(self.now));
        let wait = MS * u32::try_from(1 + self.chance.below(20_000)).unwrap();
        self.after(wait, Event::Change);
    }
}

#[test]
fn every_read_ends_once_and_only_by_a_path_that_may_be_used() {
    let (mut done, mut given_up) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, false);
        world.run();
        (done, given_up) = (done + world.done, given_up + world.given_up);
    }
    assert!(given_up > 1000 && done > 1000, "{done} done, {given_up} given up");
}

#[test]
fn with_one_good_path_no_read_fails_whatever_the_others_do() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, true);
        world.run();
        assert_eq!(world.done, COMMANDS, "seed {seed}");
    }
}

#[test]
fn work_is_shared_by_what_paths_are_expected_to_need() {
    let mut paths = Paths::new(true);
    for port in 0..3 {
        let access = Some(AccessState::ActiveOptimized);
        paths.join(port, access, true, Time::ZERO).unwrap();
    }
    let latency = [MS, MS * 3, MS * 3];
    let mut in_flight = [0_usize; 3];
    for _ in 0..50 {
        let load = |at: usize| Load { in_flight: in_flight[at], latency: latency[at] };
        let Pick::Use(at) = paths.pick(load, 0, 0) else { panic!("a path is usable") };
        in_flight[at] += 1;
    }
    assert_eq!(in_flight.iter().sum::<usize>(), 50);
    assert!((28..=32).contains(&in_flight[0]), "{in_flight:?}");
    assert!(in_flight[1].abs_diff(in_flight[2]) <= 1, "{in_flight:?}");
}

#[test]
fn without_states_one_port_is_used_until_it_is_lost() {
    let mut paths = Paths::new(false);
    for port in [7, 8, 7] {
        paths.join(port, None, true, Time::ZERO).unwrap();
    }
    let idle = |_: usize| Load::default();
    let mut taken = [0; 3];
    for _ in 0..20 {
        let Pick::Use(at) = paths.pick(idle, 0, 0) else { panic!("a path is usable") };
        taken[at] += 1;
    }
    assert_eq!(taken, [10, 0, 10], "two paths to one port are equals");
    paths.failed(0, Fault::Lost, MS);
    paths.failed(2, Fault::Lost, MS);
    assert_eq!(paths.pick(idle, 0, 0), Pick::Use(1));
    paths.restored(0, MS);
    assert_eq!(paths.pick(idle, 0, 0), Pick::Use(1), "it does not jump back");
}

#[test]
fn a_lost_path_alone_is_tried_and_a_refused_one_never() {
    let mut paths = Paths::new(false);
    paths.join(0, None, true, Time::ZERO).unwrap();
    let idle = |_: usize| Load::default();
    paths.failed(0, Fault::Lost, MS);
    assert_eq!(paths.pick(idle, 0, 0), Pick::Try(0));
    assert_eq!(paths.pick(idle, 0, 1), Pick::Nothing, "it was given up");
    assert_eq!(paths.next_due(), None, "an idle LUN with one path stays quiet");
    paths.refused(0);
    paths.restored(0, MS);
    assert_eq!(paths.pick(idle, 0, 0), Pick::Nothing);
}

#[test]
fn a_lost_path_that_answers_and_is_on_standby_is_asked_now_and_then() {
    let mut paths = Paths::new(true);
    for port in 0..2 {
        let access = Some(AccessState::ActiveOptimized);
        paths.join(port, access, true, Time::ZERO).unwrap();
    }
    paths.failed(0, Fault::Lost, MS);
    assert_eq!(paths.due(MS), [0]);
    paths.reported(0, AccessState::Standby, MS);
    paths.probed(0, true, MS);
    assert!(paths.due(MS * 2).is_empty(), "not again and again");
    assert_eq!(paths.due(MS * 6000), [0]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]

    /// Whatever happened to the paths: what is picked may be used, and the best state comes first.
    #[test]
    fn what_is_picked_may_be_used(
        alua: bool,
        steps in proptest::collection::vec((0..9_u8, 0..4_usize, 0..5_usize), 0..80),
    ) {
        let mut paths = Paths::new(alua);
        for port in 0..4 {
            let access = alua.then_some(AccessState::ActiveOptimized);
            paths.join(port, access, port != 3, Time::ZERO).unwrap();
        }
        for (number, (what, at, state)) in (1_u32..).zip(steps) {
            let now = MS * number * 700;
            match what {
                0 => paths.failed(at, Fault::Lost, now),
                1 => paths.failed(at, Fault::Trouble, now),
                2 => paths.failed(at, Fault::State(STATES[state]), now),
                3 => {
                    paths.reported(at, STATES[state], now);
                }
                4 => paths.restored(at, now),
                5 => paths.refused(at),
                6 => paths.ask(at, now),
                7 => for due in paths.due(now) { paths.probed(due, state > 2, now); },
                _ => paths.good(at, now),
            }
            let view = |at: usize| paths.view(at);
            let usable = |at: usize| {
                let view = view(at);
                view.proven && view.link == Link::Up
                    && view.access.is_none_or(AccessState::reads)
            };
            let any = (0..4).any(usable);
            match paths.clone().pick(|_| Load::default(), 0, 0) {
                Pick::Use(at) => {
                    proptest::prop_assert!(usable(at));
                    let optimized = Some(AccessState::ActiveOptimized);
                    let best = alua && (0..4).any(|at| usable(at) && view(at).access == optimized);
                    proptest::prop_assert!(!best || view(at).access == optimized);
                }
                Pick::Try(at) => {
                    proptest::prop_assert!(!any && view(at).link == Link::Down);
                    proptest::prop_assert!(view(at).proven);
                }
                Pick::Wait | Pick::Nothing => proptest::prop_assert!(!any),
            }
            if let Some(due) = paths.next_due() {
                proptest::prop_assert!(due <= now + Duration::from_secs(31));
            }
        }
    }
}
