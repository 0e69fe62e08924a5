//! Every reachable state of a small scope, engine against [`Spec`].
//!
//! Breadth first over distinct states. In each: every request by every signer, the clock's tick,
//! the beginning and the end of a doubt, and a restart (a replay of what is on record into a fresh
//! engine). Checked besides that both say the same: the properties themselves, step by step, and
//! that a record which nobody checked (a forged ledger) shortens nothing either.

use super::spec::{Ask, OVERRIDE, RELEASE_HOLD, Spec, Who, id, matter};
use super::{Authority, Event, Retention, Verdict};
use model::{LockMode, RetentionTime};
use std::collections::{HashMap, VecDeque};

/// What is tried in every state, in the words of both sides.
struct Scope {
    asks: Vec<(Ask, Event)>,
    signers: Vec<(Who, Authority)>,
    last_time: i64,
    depth: usize,
}

impl Scope {
    fn new(asks: &[Ask], signers: &[Who], last_time: i64, depth: usize) -> Self {
        Self {
            asks: asks.iter().map(|ask| (*ask, ask.event())).collect(),
            signers: signers.iter().map(|who| (*who, who.authority())).collect(),
            last_time,
            depth,
        }
    }
}

/// A state, and how it was reached first.
struct Node {
    engine: Retention,
    depth: usize,
    from: usize,
    event: Option<Event>,
}

#[derive(Debug, Default)]
struct Counts {
    states: usize,
    transitions: usize,
    granted: usize,
    depth: usize,
    /// Nothing new came up any more: these are all reachable states.
    closed: bool,
}

struct Search<'a> {
    scope: &'a Scope,
    nodes: Vec<Node>,
    known: HashMap<Spec, usize>,
    queue: VecDeque<(Spec, usize)>,
    counts: Counts,
}

impl<'a> Search<'a> {
    fn run(scope: &'a Scope, begin: Spec, events: Vec<Event>) -> Counts {
        let mut engine = Retention::default();
        let mut search = Self {
            scope,
            nodes: Vec::new(),
            known: HashMap::new(),
            queue: VecDeque::new(),
            counts: Counts { closed: true, ..Counts::default() },
        };
        for event in events {
            engine.apply(event.clone()).unwrap();
            let from = search.nodes.len().saturating_sub(1);
            search.nodes.push(Node { engine: engine.clone(), depth: 0, from, event: Some(event) });
        }
        let from = search.nodes.len().saturating_sub(1);
        search.reach(begin, engine, from, 0, None);
        while let Some((spec, number)) = search.queue.pop_front() {
            search.expand(&spec, number);
        }
        search.counts.states = search.known.len();
        search.counts
    }

    fn reach(
        &mut self,
        spec: Spec,
        engine: Retention,
        from: usize,
        depth: usize,
        event: Option<Event>,
    ) {
        if let Some(&known) = self.known.get(&spec) {
            assert_eq!(self.nodes[known].engine, engine, "two ways to {spec:?}");
            return;
        }
        let number = self.nodes.len();
        self.nodes.push(Node { engine, depth, from, event });
        self.restart(number);
        self.known.insert(spec.clone(), number);
        self.counts.depth = self.counts.depth.max(depth);
        self.queue.push_back((spec, number));
    }

    /// A replay of what is on record gives the same state.
    fn restart(&self, number: usize) {
        let mut events = Vec::new();
        let mut at = number;
        loop {
            let node = &self.nodes[at];
            events.extend(node.event.clone());
            if node.from == at || at == 0 {
                break;
            }
            at = node.from;
        }
        let mut replayed = Retention::default();
        for event in events.into_iter().rev() {
            replayed.apply(event).expect("it was applied before");
        }
        assert_eq!(replayed, self.nodes[number].engine, "replayed");
    }

    fn expand(&mut self, spec: &Spec, number: usize) {
        let depth = self.nodes[number].depth + 1;
        let engine = self.nodes[number].engine.clone();
        check_questions(spec, &engine);
        if depth > self.scope.depth {
            self.counts.closed = false;
            return;
        }
        let mut others = vec![Spec { doubt: !spec.doubt, ..spec.clone() }];
        if spec.now < self.scope.last_time {
            others.push(Spec { now: spec.now + 1, ..spec.clone() });
        }
        for other in others {
            self.counts.transitions += 1;
            self.reach(other, engine.clone(), number, depth, None);
        }
        let scope = self.scope;
        for (ask, event) in &scope.asks {
            let (granted, after) = self.ask(spec, &engine, ask, event);
            if granted > 0 {
                self.counts.granted += granted;
                let mut next = spec.clone();
                next.carry_out(ask);
                self.reach(next, after, number, depth, Some(event.clone()));
            }
        }
    }

    /// By how many signers the request is granted, and the engine after it.
    fn ask(
        &mut self,
        spec: &Spec,
        engine: &Retention,
        ask: &Ask,
        event: &Event,
    ) -> (usize, Retention) {
        let mut after = engine.clone();
        let applied = after.apply(event.clone()).is_ok();
        assert!(applied || after == *engine, "refused {event:?} changed the state");
        check_step(engine, event, &after);
        let view = spec.view();
        let mut granted = 0;
        for (who, authority) in &self.scope.signers {
            self.counts.transitions += 1;
            let answer = engine.check(event, authority, &view);
            assert_eq!(answer.is_ok(), spec.grants(ask, *who), "{ask:?} by {who:?} in {spec:?}");
            if answer.is_ok() {
                assert!(applied, "{event:?} passed the check and was not applied");
                check_granted(spec, engine, event);
                granted += 1;
            }
        }
        (granted, after)
    }
}

/// What the engine says of each point, of all, and of a key, is what the specification says.
fn check_questions(spec: &Spec, engine: &Retention) {
    let view = spec.view();
    for (p, point) in spec.points.iter().enumerate() {
        let released = engine.release(id(p), &view);
        assert_eq!(released.is_ok(), spec.free(p) && !spec.doubt, "{p} in {spec:?}");
        let preview = engine.preview(&[id(p)], &view);
        assert_eq!(preview, [(id(p), released.map(|_| ()))]);
        assert_eq!(engine.lock(id(p)).is_some(), point.is_some());
        assert_eq!(engine.may_destroy_key([id(p)]).is_ok(), point.is_none());
        let (Some(point), Some(lock)) = (point, engine.lock(id(p))) else { continue };
        assert_eq!(lock.until, RetentionTime(point.end));
        assert_eq!(lock.mode == LockMode::Compliance, point.compliance);
        let held = [1, 2].into_iter().filter(|bit| point.matters & bit != 0).map(matter);
        assert!(held.eq(engine.matters(id(p)).map(str::to_owned)));
    }
    assert_eq!(engine.may_destroy_all(&view).is_ok(), spec.may_destroy_all(), "{spec:?}");
    assert_eq!(engine.overrides_forbidden(), spec.forbidden);
}

/// What no record does, whoever wrote it.
pub(super) fn check_step(before: &Retention, event: &Event, after: &Retention) {
    for point in before.points() {
        let old = before.lock(point).unwrap();
        let Some(new) = after.lock(point) else {
            let Event::Deleted { at, .. } = event else { panic!("{event:?} removed {point}") };
            assert!(*at >= old.until, "{event:?} freed {old:?}");
            assert_eq!(before.matters(point).count(), 0, "{event:?} freed a held point");
            continue;
        };
        assert!(new.mode >= old.mode, "{event:?} loosened {old:?} to {new:?}");
        if new.until < old.until {
            assert!(matches!(event, Event::Override { .. }), "{event:?} shortened {old:?}");
            assert_eq!(old.mode, LockMode::Governance, "{event:?} shortened a compliance lock");
            assert_eq!(before.matters(point).count(), 0, "{event:?} overrode a hold");
            assert!(!before.overrides_forbidden(), "{event:?} after all were forbidden");
        }
        let kept = |m| after.matters(point).any(|other| other == m);
        let unheld = matches!(event, Event::Unhold { .. });
        assert!(unheld || before.matters(point).all(kept), "{event:?} dropped a hold");
    }
    assert!(after.overrides_forbidden() || !before.overrides_forbidden());
}

/// What no request does, whoever signed it.
fn check_granted(spec: &Spec, engine: &Retention, event: &Event) {
    match event {
        Event::Deleted { point, at } => {
            assert!(!spec.doubt && at.0 == spec.now, "{event:?} in {spec:?}");
            assert_eq!(engine.may_delete(*point, *at), Some(Verdict::Expire));
        }
        Event::Override { at, by, .. } => {
            assert!(!spec.doubt && at.0 == spec.now && by.len() == 2, "{event:?} in {spec:?}");
        }
        _ => {}
    }
}

fn report(what: &str, scope: &Scope, counts: &Counts) {
    let all = if counts.closed { "all reachable" } else { "cut at the depth" };
    #[allow(clippy::print_stdout)] // shown with --nocapture
    {
        println!(
            "{what}: {} states to depth {} ({all}), {} transitions of which {} granted; {} \
             requests by {} signers",
            counts.states,
            counts.depth,
            counts.transitions,
            counts.granted,
            scope.asks.len(),
            scope.signers.len()
        );
    }
}

fn signer(signed: u8) -> Who {
    Who { signed, local: false }
}

/// Requests about points; ends and times to `last`.
fn asks_about_points(points: usize, matters: &[u8], last: i64) -> Vec<Ask> {
    let mut asks = vec![Ask::Forbid];
    for p in 0..points {
        asks.push(Ask::Tighten { p });
        for &m in matters {
            asks.extend([Ask::Hold { p, m }, Ask::Unhold { p, m }]);
        }
        for end in 0..=last {
            asks.extend([Ask::Extend { p, end }, Ask::Delete { p, at: end }]);
            asks.extend([false, true].map(|compliance| Ask::Commit { p, compliance, end }));
            asks.push(Ask::Override { p, at: end, by: 0b11 });
        }
    }
    asks
}

/// Two officers are there from the beginning: what becomes of locks.
#[test]
fn every_state_of_two_points_two_matters_and_four_seconds() {
    let mut asks = asks_about_points(2, &[1, 2], 3);
    asks.push(Ask::Bounds { min: 1, max: 2 });
    let signers = [signer(0), signer(0b01), signer(0b11)];
    let scope = Scope::new(&asks, &signers, 3, usize::MAX - 1);
    let mut begin = Spec::new(2, 2, 0);
    let mut events = Vec::new();
    for (o, rights) in [OVERRIDE, OVERRIDE | RELEASE_HOLD].into_iter().enumerate() {
        let enrol = Ask::Enrol { o, rights, by: 0 };
        begin.carry_out(&enrol);
        events.push(enrol.event());
    }
    let counts = Search::run(&scope, begin, events);
    report("locks", &scope, &counts);
    assert!(counts.closed && counts.states > 10_000, "{counts:?}");
}

/// Nobody is there at the beginning: who gets to say what.
#[test]
fn every_way_to_office_of_three_officers_to_a_depth() {
    let mut asks = asks_about_points(1, &[1], 1);
    for o in 0..3 {
        asks.push(Ask::Dismiss { o });
        for rights in [OVERRIDE, OVERRIDE | RELEASE_HOLD] {
            for by in [0, 0b001, 0b011, 0b101, 0b110, 0b111] {
                asks.push(Ask::Enrol { o, rights, by });
            }
        }
    }
    for by in [0, 0b001, 0b101, 0b110, 0b111] {
        asks.push(Ask::Override { p: 0, at: 0, by });
    }
    asks.extend([(1, 1), (2, 1)].map(|(min, max)| Ask::Bounds { min, max }));
    let local = Who { signed: 0, local: true };
    let signers: Vec<Who> = (0..8).map(signer).chain([local]).collect();
    let scope = Scope::new(&asks, &signers, 1, 7);
    let counts = Search::run(&scope, Spec::new(1, 3, 0), Vec::new());
    report("offices", &scope, &counts);
    assert!(counts.states > 1_000, "{counts:?}");
}
