//! The paths of one LUN: what is known of each, and which one is next.

use super::{Time, Why};
use scsi::AccessState;
use std::time::Duration;

/// A LUN has at most so many paths; a set of them is a word of bits.
pub(crate) const PATHS_MAX: usize = 64;
/// Commands in a row that a path spoiled before it counts as lost.
const TROUBLE_MAX: u32 = 5;
/// How often a path that is not usable is asked for its state.
const RECHECK: Duration = Duration::from_secs(5);
/// While it says that it is on its way from one state to another.
const RECHECK_SOON: Duration = Duration::from_secs(1);
/// One that is usable and idle.
const RECHECK_IDLE: Duration = Duration::from_secs(30);
/// After a probe that failed: doubled each time, up to the second.
const PROBE_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What a path is expected to need when nothing is known of any.
const LATENCY_UNKNOWN: Duration = Duration::from_millis(1);

/// Whether commands reach the LUN by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// They did, last time.
    Up,
    /// They did not.
    Down,
    /// They reach something else.
    Refused,
}

/// What a path did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is gone, or silent.
    Lost,
    /// It told its state: it does not serve reads now.
    State(AccessState),
    /// It spoiled one command.
    Trouble,
}

/// How busy a path is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Commands sent and not answered, and those that wait to be sent.
    pub(crate) in_flight: usize,
    /// Of one read, smoothed; zero when it is not known, or no longer.
    pub(crate) latency: Duration,
}

/// The next path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This one is usable.
    Use(usize),
    /// None is usable; this one was lost and may be back. What it brings counts only after it has
    /// proved its identity again.
    Try(usize),
    /// None can be tried now; that may change.
    Wait,
    /// None will ever be.
    Nothing,
}

/// What is known of a path, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) access: Option<AccessState>,
    pub(crate) link: Link,
    pub(crate) proven: bool,
    /// It is in use, or would be by the next command.
    pub(crate) chosen: bool,
    pub(crate) failures: u32,
    pub(crate) last_good: Option<Time>,
}

#[derive(Clone, Debug)]
struct State {
    /// Equal numbers lead to the same target port.
    port: usize,
    access: Option<AccessState>,
    link: Link,
    proven: bool,
    /// Commands in a row that failed.
    failures: u32,
    last_good: Option<Time>,
    /// When it was chosen last, as a number of turns.
    turn: u64,
    probe_at: Option<Time>,
    probing: bool,
    /// The LUN announced that states changed.
    asked: bool,
    /// Probes in a row that failed.
    probes: u32,
}

/// All paths of a LUN, by the order in which they joined.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    list: Vec<State>,
    /// The LUN tells states.
    alua: bool,
    /// Without states: the port in use.
    port: Option<usize>,
    turn: u64,
}

impl Paths {
    pub(crate) fn new(alua: bool) -> Self {
        Self { list: Vec::new(), alua, port: None, turn: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn alua(&self) -> bool {
        self.alua
    }

    /// A path joins; `None` when there are too many. `proven`: it was compared with the others.
    pub(crate) fn join(
        &mut self,
        port: usize,
        access: Option<AccessState>,
        proven: bool,
        now: Time,
    ) -> Option<usize> {
        if self.list.len() >= PATHS_MAX {
            return None;
        }
        let (link, turn) = (Link::Up, self.turn);
        let (failures, last_good, probe_at) = (0, proven.then_some(now), None);
        self.list.push(State {
            port,
            access,
            link,
            proven,
            failures,
            last_good,
            turn,
            probe_at,
            probing: false,
            asked: false,
            probes: 0,
        });
        // The others are no longer alone.
        (0..self.list.len()).for_each(|at| self.plan(at, now));
        Some(self.list.len() - 1)
    }

    /// The path for the next command. `avoid`: those that spoiled it before, taken only where
    /// nothing is as good; `given_up`: those that are not to be tried again.
    pub(crate) fn pick(&mut self, load: impl Fn(usize) -> Load, avoid: u64, given_up: u64) -> Pick {
        let usable = self.usable();
        if usable != 0 {
            let other = usable & !avoid;
            let best = self.cheapest(if other == 0 { usable } else { other }, load);
            self.turn += 1;
            self.list[best].turn = self.turn;
            self.port = Some(self.list[best].port);
            return Pick::Use(best);
        }
        let lost = self.set(|path| self.can_be_tried(path)) & !given_up;
        if lost != 0 {
            let other = lost & !avoid;
            let best = self.cheapest(if other == 0 { lost } else { other }, load);
            self.turn += 1;
            self.list[best].turn = self.turn;
            return Pick::Try(best);
        }
        let hope = self.set(|path| path.link != Link::Refused) & !given_up;
        if hope == 0 { Pick::Nothing } else { Pick::Wait }
    }

    /// Why another path is to be taken instead of waiting on for `at`, where there is one: this
    /// one was lost, is `silent` for too long, or serves no reads any more.
    pub(crate) fn overtaken(&self, at: usize, silent: bool) -> Option<Why> {
        let usable = self.set(|path| path.is_usable() && self.tier(path).is_some());
        if usable & !bit(at) == 0 || (usable & bit(at) != 0 && !silent) {
            return None;
        }
        let path = &self.list[at];
        match path.access {
            // It is not the path's fault, and no loss.
            Some(state) if path.is_usable() && !state.reads() => Some(Why::State(state)),
            _ => Some(Why::Lost),
        }
    }

    /// The paths that commands may take now: those of the best state, as bits.
    fn usable(&self) -> u64 {
        let best = |tier: u8| self.set(|path| path.is_usable() && self.tier(path) == Some(tier));
        let (first, second) = (best(0), best(1));
        let usable = if first == 0 { second } else { first };
        if self.alua || usable == 0 {
            return usable;
        }
        let of_port = |port| usable & self.set(|path| path.port == port);
        match self.port.map(of_port) {
            Some(current) if current != 0 => current,
            _ => of_port(self.list[usable.trailing_zeros() as usize].port),
        }
    }

    /// 0: optimized; 1: works all the same; `None`: must not be used.
    fn tier(&self, path: &State) -> Option<u8> {
        match path.access {
            Some(AccessState::ActiveOptimized) => Some(0),
            Some(state) if state.reads() => Some(1),
            Some(_) => None,
            None => Some(u8::from(self.alua)),
        }
    }

    fn can_be_tried(&self, path: &State) -> bool {
        path.link == Link::Down && path.proven && self.tier(path).is_some()
    }

    fn set(&self, wanted: impl Fn(&State) -> bool) -> u64 {
        let bits = self.list.iter().enumerate().filter(|(_, path)| wanted(path));
        bits.fold(0, |set, (at, _)| set | bit(at))
    }

    /// Of a set that is not empty: the path whose next answer is expected first; of equal ones
    /// that which was taken longest ago.
    fn cheapest(&self, set: u64, load: impl Fn(usize) -> Load) -> usize {
        let members = || (0..self.list.len()).filter(|&at| set & bit(at) != 0);
        let known = members().map(|at| load(at).latency).filter(|latency| !latency.is_zero());
        let quickest = known.min().unwrap_or(LATENCY_UNKNOWN);
        let cost = |at: usize| {
            let Load { in_flight, latency } = load(at);
            let latency = if latency.is_zero() { quickest } else { latency };
            let turns = (in_flight as u128 + 1) << self.list[at].failures.min(16);
            (latency.as_nanos() * turns, self.list[at].turn)
        };
        members().min_by_key(|&at| cost(at)).unwrap_or(0)
    }

    /// A command was answered well.
    pub(crate) fn good(&mut self, at: usize, now: Time) {
        let path = &mut self.list[at];
        path.failures = 0;
        path.last_good = Some(now);
    }

    /// A command was not.
    pub(crate) fn failed(&mut self, at: usize, fault: Fault, now: Time) {
        let path = &mut self.list[at];
        path.failures = path.failures.saturating_add(1);
        match fault {
            Fault::State(state) if path.access == Some(state) => {}
            Fault::State(state) => {
                path.access = Some(state);
                return self.ask(at, now);
            }
            Fault::Trouble if path.failures < TROUBLE_MAX => return,
            Fault::Lost | Fault::Trouble if path.link == Link::Up => {
                (path.link, path.probes) = (Link::Down, 0);
            }
            Fault::Lost | Fault::Trouble => {}
        }
        self.plan(at, now);
    }

    /// The LUN told the state of a path; true when that changed something.
    pub(crate) fn reported(&mut self, at: usize, access: AccessState, now: Time) -> bool {
        let changed = self.list[at].access != Some(access);
        self.list[at].access = Some(access);
        self.plan(at, now);
        changed
    }

    /// The path is ready, and nobody tells its state: what a command had said of it is over.
    pub(crate) fn ready(&mut self, at: usize, now: Time) {
        self.list[at].access = None;
        self.plan(at, now);
    }

    /// The LUN answers by the path, and it is the one that it joined.
    pub(crate) fn restored(&mut self, at: usize, now: Time) {
        let path = &mut self.list[at];
        if path.link == Link::Refused {
            return;
        }
        (path.link, path.proven) = (Link::Up, true);
        (path.failures, path.probes, path.last_good) = (0, 0, Some(now));
        self.plan(at, now);
    }

    /// The path shows another LUN.
    pub(crate) fn refused(&mut self, at: usize) {
        let path = &mut self.list[at];
        (path.link, path.proven, path.probe_at) = (Link::Refused, false, None);
    }

    /// The LUN announced that states changed: they are asked for at once.
    pub(crate) fn ask(&mut self, at: usize, now: Time) {
        let path = &mut self.list[at];
        if path.link != Link::Refused {
            (path.asked, path.probe_at) = (true, Some(now));
        }
    }

    /// The paths to probe now. Each is one's own until [`Self::probed`].
    pub(crate) fn due(&mut self, now: Time) -> Vec<usize> {
        let is_due =
            |path: &State| !path.probing && path.probe_at.is_some_and(|probe_at| probe_at <= now);
        let mut due: Vec<usize> =
            (0..self.list.len()).filter(|&at| is_due(&self.list[at])).collect();
        due.retain(|&at| !self.is_busy(at, now));
        for &at in &due {
            let path = &mut self.list[at];
            (path.probing, path.asked, path.probe_at) = (true, false, None);
        }
        due
    }

    /// A path that serves commands all the time needs no probe: the next one is put off.
    fn is_busy(&mut self, at: usize, now: Time) -> bool {
        let path = &self.list[at];
        let idle_at = path.last_good.map(|good| good + RECHECK_IDLE).filter(|&idle| idle > now);
        let serves = path.is_usable() && self.tier(path).is_some() && !path.asked;
        if serves && idle_at.is_some() {
            self.list[at].probe_at = idle_at;
        }
        serves && idle_at.is_some()
    }

    /// When the next probe is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.list.iter().filter(|path| !path.probing).filter_map(|path| path.probe_at).min()
    }

    /// A probe has ended; what it found was told before.
    pub(crate) fn probed(&mut self, at: usize, answered: bool, now: Time) {
        let path = &mut self.list[at];
        path.probing = false;
        path.probes = if answered { 0 } else { path.probes.saturating_add(1) };
        if path.probe_at.is_none() {
            self.plan(at, now);
        }
    }

    /// Sets the time of the next probe by what is known. A LUN with one path has its reads for
    /// probes when that path is lost: an idle one stays quiet.
    fn plan(&mut self, at: usize, now: Time) {
        let alone = self.list.len() == 1;
        let path = &self.list[at];
        let readable = self.tier(path).is_some();
        let wait = match (path.link, path.access) {
            (Link::Refused, _) => None,
            (Link::Up, _) if readable && path.proven => (!alone).then_some(RECHECK_IDLE),
            (Link::Down, _) if alone && readable && path.proven => None,
            (_, Some(AccessState::Transitioning)) => Some(RECHECK_SOON),
            // It answered, and there is nothing to do but to ask again later.
            _ if !readable && path.probes == 0 => Some(RECHECK),
            (Link::Up | Link::Down, _) => Some(again(path.probes)),
        };
        if !path.probing {
            self.list[at].probe_at = wait.map(|wait| now + wait);
        }
    }

    pub(crate) fn view(&self, at: usize) -> View {
        let path = &self.list[at];
        View {
            access: path.access,
            link: path.link,
            proven: path.proven,
            chosen: self.usable() & bit(at) != 0,
            failures: path.failures,
            last_good: path.last_good,
        }
    }
}

impl State {
    fn is_usable(&self) -> bool {
        self.link == Link::Up && self.proven
    }
}

/// How long after `probes` probes that failed the next one comes.
fn again(probes: u32) -> Duration {
    match probes.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => PROBE_AGAIN.0.saturating_mul(1 << doublings.min(8)).min(PROBE_AGAIN.1),
    }
}

pub(crate) fn bit(at: usize) -> u64 {
    1 << (at % PATHS_MAX)
}
