//! The patience of one command: how often and how long it is sent again, and by which path.

use super::Time;
use super::paths::{Fault, Load, Paths, Pick, bit};
use scsi::AccessState;
use std::time::Duration;

/// A command repeated at once more often than this has another problem. Unit attentions queue
/// up, one per cause, so a few in a row are normal.
const REPEATS_MAX: u32 = 8;
/// First and longest pause while a LUN is busy or reserved.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why a command has to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The device did not run it, or its data was damaged: at once.
    Repeat,
    /// It was aborted: at once, by another path where there is one.
    Elsewhere,
    /// The device or another host needs time.
    Busy,
    /// The path was lost, or silent for too long.
    Lost,
    /// The path was lost, and its transport has tried long enough to get it back.
    Gone,
    /// The path does not serve reads now.
    State(AccessState),
}

/// How much of each is too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How often one command is repeated after losses, for each path.
    pub(crate) losses: u32,
    /// How long a device that is busy, or has no path that serves reads, is waited for.
    pub(crate) busy: Duration,
    /// How long a path is waited for when all were lost.
    pub(crate) lost: Duration,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send it by this path.
    Send(usize),
    /// Sleep so long.
    Pause(Duration),
    /// Wait until something about the paths changes, at most so long.
    Wait(Duration),
    /// It cannot be done: the last error stands.
    GiveUp,
}

/// One command on its way. Every answer takes something from it, so it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    patience: Patience,
    repeats: u32,
    losses: u32,
    pause: Duration,
    sleep: Option<Duration>,
    busy_until: Option<Time>,
    /// After the first loss.
    lost_until: Option<Time>,
    /// While no path serves reads.
    state_until: Option<Time>,
    avoid: u64,
    given_up: u64,
}

impl Course {
    pub(crate) fn new(patience: Patience, paths: usize) -> Self {
        let losses = patience.losses.saturating_mul(u32::try_from(paths).unwrap_or(u32::MAX));
        Self {
            patience,
            repeats: REPEATS_MAX,
            losses: losses.max(1),
            pause: PAUSE.0,
            sleep: None,
            busy_until: None,
            lost_until: None,
            state_until: None,
            avoid: 0,
            given_up: 0,
        }
    }

    /// Where to now.
    pub(crate) fn next(
        &mut self,
        paths: &mut Paths,
        load: impl Fn(usize) -> Load,
        now: Time,
    ) -> Step {
        if let Some(pause) = self.sleep.take() {
            return Step::Pause(pause);
        }
        match paths.pick(load, self.avoid, self.given_up) {
            Pick::Use(at) | Pick::Try(at) => Step::Send(at),
            Pick::Wait => match self.wait_until(now).checked_sub(now) {
                None | Some(Duration::ZERO) => Step::GiveUp,
                Some(left) => Step::Wait(left),
            },
            Pick::Nothing => Step::GiveUp,
        }
    }

    /// It was not done by path `at`; false when enough is enough.
    pub(crate) fn failed(&mut self, at: usize, why: Why, paths: &mut Paths, now: Time) -> bool {
        match why {
            Why::Repeat => take(&mut self.repeats),
            Why::Elsewhere => {
                self.avoid |= bit(at);
                paths.failed(at, Fault::Trouble, now);
                take(&mut self.repeats)
            }
            Why::Busy => self.rest(now),
            Why::Lost | Why::Gone => {
                self.avoid |= bit(at);
                if why == Why::Gone {
                    self.given_up |= bit(at);
                }
                paths.failed(at, Fault::Lost, now);
                let until = *self.lost_until.get_or_insert(now + self.patience.lost);
                take(&mut self.losses) && now < until
            }
            Why::State(state) => {
                paths.failed(at, Fault::State(state), now);
                take(&mut self.losses) && now < self.wait_until(now)
            }
        }
    }

    fn rest(&mut self, now: Time) -> bool {
        let until = *self.busy_until.get_or_insert(now + self.patience.busy);
        self.sleep = Some(self.pause);
        let goes_on = now + self.pause < until;
        self.pause = (self.pause * 2).min(PAUSE.1);
        goes_on
    }

    /// How long a command waits for a path when there is none.
    fn wait_until(&mut self, now: Time) -> Time {
        let patience = self.patience.busy;
        self.lost_until.unwrap_or_else(|| *self.state_until.get_or_insert(now + patience))
    }
}

fn take(left: &mut u32) -> bool {
    let less = left.checked_sub(1);
    *left = less.unwrap_or(0);
    less.is_some()
}
