//! The compliance clock: the only clock that ends locks. It can be late, never early.
//!
//! What it is: a function of readings, which the caller takes, and of [`ClockState`], which the
//! ledger gives back. What it is not: a wall clock (it may lag far behind one), or a guard of the
//! ledger: that an older ledger was put back is found by whoever keeps its signed heads.
//!
//! How it advances: between two readings in which every expected clock answered, by the smallest
//! of what monotonic time, system time and hardware clock say has passed. No time counts while
//! nobody reads. Counted from an anchor, so that rounding does not add up; a step of any clock
//! sets a new anchor, so that a step forward is no credit for later. Where the value can still
//! catch up, new locks are counted from what it would catch up to ([`ClockView::lock_from`]):
//! between the moment a lock is written and its end, at least its length of monotonic time has
//! passed.
//!
//! | what happens | value | release |
//! |---|---|---|
//! | clocks agree | goes on | yes |
//! | step of 2 minutes, drift of 10 minutes a day at most | the slowest clock counts | yes |
//! | more than that, either way | the slowest clock counts | frozen |
//! | hardware clock does not answer | stands still, catches up later | frozen after 2 minutes |
//! | authenticated network time behind the value | goes on | frozen |
//! | network time ahead, missing, or not authenticated | goes on | yes |
//! | off, or the process stopped | stands still | yes, once it runs again |
//! | suspended (two clocks jump against monotonic time) | stands still | frozen |
//!
//! A doubt ends by itself when the value has advanced by a day (and the quarter of an hour in
//! which disturbances are put on record together) without another disturbance. A repository that
//! has seen a hardware clock expects one for ever: where it is gone for good, the disks go to
//! another box. Nothing here can be switched off.

mod event;
mod limits;
mod state;
mod watched;

pub use event::{ClockEvent, Settable};
pub use state::{ClockState, Doubt};

use event::Kind;
use limits::{LAG, MERGE, NETWORK_TOLERANCE, RTC_GRACE, STEP};
use model::{RetentionTime, WallTime};
use std::collections::BTreeMap;
use std::time::Duration;
use watched::{Finding, Watched, deviation};

/// What the machine's clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Since any fixed moment of this process's life, such as `CLOCK_MONOTONIC_RAW`: cannot be
    /// set, stands still in suspend.
    pub monotonic: Duration,
    /// The system time; may be wrong or set.
    pub wall: WallTime,
    /// The hardware clock, in whole seconds; `None`: it did not answer.
    pub rtc: Option<WallTime>,
    /// Authenticated network time, if there is a fresh one. Only ever a bound.
    pub network: Option<WallTime>,
}

/// The clock as the retention engine sees it. Only a [`ComplianceClock`] gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockView {
    value: RetentionTime,
    lock_from: RetentionTime,
    doubt: Option<Doubt>,
}

impl ClockView {
    #[cfg(test)]
    pub(crate) fn new(value: RetentionTime, doubt: Option<Doubt>) -> Self {
        Self { value, lock_from: value, doubt }
    }

    /// The value of the clock, in doubt or not.
    #[must_use]
    pub fn value(&self) -> RetentionTime {
        self.value
    }

    /// What new locks are counted from: the value that the clock would have had all its sources
    /// gone as far as monotonic time, rounded up. The value may still catch up to it, such as when
    /// a hardware clock answers again, and a lock must not end earlier for that.
    #[must_use]
    pub fn lock_from(&self) -> RetentionTime {
        self.lock_from
    }

    /// The value by which locks end; refused in doubt.
    pub fn release_time(&self) -> Result<RetentionTime, Doubt> {
        self.doubt.map_or(Ok(self.value), Err)
    }
}

impl From<&ClockView> for ClockView {
    fn from(view: &ClockView) -> Self {
        view.clone()
    }
}

/// For a question about a time, such as "what if it were later": it is in no doubt.
impl From<RetentionTime> for ClockView {
    fn from(value: RetentionTime) -> Self {
        Self { value, lock_from: value, doubt: None }
    }
}

/// The running clock.
///
/// Invariant: `value - anchor.value <= last whole reading - anchor.monotonic`, in seconds.
#[derive(Clone, Debug)]
pub struct ComplianceClock {
    state: ClockState,
    last: Reading,
    /// Where the value is counted from, and the last reading in which every expected clock
    /// answered. `None`: there was none yet.
    counted: Option<Counted>,
    wall: Watched,
    rtc: Option<Watched>,
    /// Since when the expected hardware clock has not answered, and whether that is on record.
    rtc_missing: Option<(Duration, bool)>,
    recorded: BTreeMap<Kind, Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    value: RetentionTime,
    anchor: Reading,
    whole: Reading,
}

impl ComplianceClock {
    /// Goes on from what is on record, whatever the clocks of this machine say: it is the
    /// repository's own clock (W18). No credit for the time before `reading`.
    ///
    /// Like those of [`advance`](Self::advance), the events belong on record with
    /// [`value`](Self::value).
    #[must_use]
    pub fn resume(state: ClockState, reading: Reading) -> (Self, Vec<ClockEvent>) {
        let Reading { monotonic, wall, rtc, .. } = reading;
        let since = |before: WallTime, now: WallTime| now.0.saturating_sub(before.0);
        let resumed = ClockEvent::Resumed {
            wall,
            rtc,
            off_by_wall: state.wall().map(|before| since(before, wall)),
            off_by_rtc: state.rtc().zip(rtc).map(|(before, rtc)| since(before, rtc)),
        };
        let mut events = vec![resumed];
        let mut clock = Self {
            last: reading,
            counted: None,
            wall: Watched::new(monotonic, wall),
            rtc: rtc.map(|rtc| Watched::new(monotonic, rtc)),
            rtc_missing: None,
            recorded: BTreeMap::new(),
            state,
        };
        clock.state.apply(&resumed, clock.state.value());
        events.extend(clock.advance(reading));
        (clock, events)
    }

    /// Takes a reading of all clocks and advances. A reading that was taken before the last one
    /// and arrives after it changes nothing.
    ///
    /// The events are in force at once. They belong on record, in this order, before anything else
    /// is: one that could not be written is kept and tried again, and nothing is released until it
    /// is durable, else a restart would forget a doubt.
    pub fn advance(&mut self, reading: Reading) -> Vec<ClockEvent> {
        if reading.monotonic < self.last.monotonic {
            return Vec::new();
        }
        let mut events = self.watch(&reading);
        self.last = reading;
        self.count(reading);
        events.extend(self.network(&reading));
        let disturbed = !events.is_empty();
        events.retain(|event| self.is_new(event, reading.monotonic));
        if let Some(rtc) = reading.rtc.filter(|_| !self.state.rtc_seen()) {
            events.push(ClockEvent::RtcFound { rtc });
        }
        let waited = self.state.doubt().is_some_and(|doubt| doubt.until <= self.state.value());
        if waited && !disturbed && self.rtc_missing.is_none() {
            events.push(ClockEvent::Agreed);
        }
        for event in &events {
            self.state.apply(event, self.state.value());
        }
        events
    }

    /// The time that is on record. Locks end by [`release_time`](Self::release_time), and are
    /// counted from [`ClockView::lock_from`].
    #[must_use]
    pub fn value(&self) -> RetentionTime {
        self.state.value()
    }

    /// The time by which locks end; refused in doubt.
    pub fn release_time(&self) -> Result<RetentionTime, Doubt> {
        self.view().release_time()
    }

    /// How far the clock is behind the system time of the last reading, in seconds: shown wherever
    /// the end of a lock is shown. Negative when it is ahead; both numbers can be wrong by then.
    #[must_use]
    pub fn lag_seconds(&self) -> i64 {
        self.last.wall.0.saturating_sub(self.value().0)
    }

    /// What the engine decides by, as of the last reading: take one before.
    #[must_use]
    pub fn view(&self) -> ClockView {
        let (value, doubt) = (self.value(), self.state.doubt().copied());
        ClockView { value, lock_from: self.lock_from(), doubt }
    }

    /// No value is above this before more monotonic time has passed.
    fn lock_from(&self) -> RetentionTime {
        let Some(Counted { value, anchor, .. }) = self.counted else { return self.value() };
        let passed = self.last.monotonic.saturating_sub(anchor.monotonic);
        let seconds = passed.as_secs().saturating_add(u64::from(passed.subsec_nanos() > 0));
        later(value, i64::try_from(seconds).unwrap_or(i64::MAX)).max(self.value())
    }

    /// What a replay of the ledger gives back when every event and value is on record.
    #[must_use]
    pub fn state(&self) -> &ClockState {
        &self.state
    }

    /// The last readings as an event for the record, to be written now and then: the value is what
    /// a crash can cost, the readings tell the next start how long it was off.
    pub fn mark(&mut self) -> ClockEvent {
        let mark = ClockEvent::Mark { wall: self.last.wall, rtc: self.last.rtc };
        self.state.apply(&mark, self.state.value());
        mark
    }

    /// Disturbances of the clocks that can be set.
    fn watch(&mut self, reading: &Reading) -> Vec<ClockEvent> {
        let monotonic = reading.monotonic;
        let wall = disturbance(Settable::Wall, self.wall.take(monotonic, reading.wall));
        let (rtc, presence) = match reading.rtc {
            Some(rtc) => {
                let watched = self.rtc.get_or_insert_with(|| Watched::new(monotonic, rtc));
                let finding = watched.take(monotonic, rtc);
                (disturbance(Settable::Rtc, finding), self.meet_rtc(monotonic))
            }
            None => (None, self.miss_rtc(monotonic)),
        };
        wall.into_iter().chain(rtc).chain(presence).collect()
    }

    fn miss_rtc(&mut self, monotonic: Duration) -> Option<ClockEvent> {
        if !self.state.rtc_seen() {
            return None;
        }
        let (since, told) = self.rtc_missing.get_or_insert((monotonic, false));
        let missing = monotonic.saturating_sub(*since);
        if *told || missing < RTC_GRACE {
            return None;
        }
        *told = true;
        Some(ClockEvent::RtcMissing { seconds: missing.as_secs() })
    }

    fn meet_rtc(&mut self, monotonic: Duration) -> Option<ClockEvent> {
        let (since, _) = self.rtc_missing.take().filter(|(_, told)| *told)?;
        Some(ClockEvent::RtcBack { seconds: monotonic.saturating_sub(since).as_secs() })
    }

    /// Network time says only one thing: that the value is too large.
    fn network(&self, reading: &Reading) -> Option<ClockEvent> {
        let network = reading.network?;
        let ahead = self.value().0.saturating_sub(network.0);
        let by = u64::try_from(ahead).ok().filter(|by| *by > NETWORK_TOLERANCE)?;
        Some(ClockEvent::NetworkBehind { by })
    }

    /// Advances the value, if every expected clock answered.
    fn count(&mut self, reading: Reading) {
        if self.state.rtc_seen() && reading.rtc.is_none() {
            return;
        }
        let value = self.state.value();
        let counted = match self.counted {
            Some(Counted { value: base, anchor, whole }) if steady(&whole, &reading) => {
                let passed = passed(&anchor, &reading);
                self.state.reach(later(base, passed));
                if lost(passed, &anchor, &reading) {
                    Counted { value: self.state.value(), anchor: reading, whole: reading }
                } else {
                    Counted { value: base, anchor, whole: reading }
                }
            }
            before => {
                if let Some(Counted { whole, .. }) = before {
                    self.state.reach(later(value, passed(&whole, &reading)));
                }
                Counted { value: self.state.value(), anchor: reading, whole: reading }
            }
        };
        self.counted = Some(counted);
    }

    /// False for a disturbance of a kind that was put on record a moment ago.
    fn is_new(&mut self, event: &ClockEvent, monotonic: Duration) -> bool {
        let Some(kind) = event.kind() else { return true };
        let recent = |at: &Duration| monotonic.saturating_sub(*at) < MERGE;
        if self.recorded.get(&kind).is_some_and(recent) {
            return false;
        }
        self.recorded.insert(kind, monotonic);
        true
    }
}

fn disturbance(clock: Settable, finding: Finding) -> Option<ClockEvent> {
    match finding {
        Finding::Steady => None,
        Finding::Jumped { by } => Some(ClockEvent::Jumped { clock, by }),
        Finding::Drifted { by, steps, within } => {
            Some(ClockEvent::Drifted { clock, by, steps, within })
        }
    }
}

/// No clock was stepped between two readings, and none came up.
fn steady(before: &Reading, now: &Reading) -> bool {
    let agrees = |from: WallTime, to: WallTime| {
        deviation((before.monotonic, from), (now.monotonic, to)).unsigned_abs() <= STEP
    };
    agrees(before.wall, now.wall)
        && match (before.rtc, now.rtc) {
            (Some(from), Some(to)) => agrees(from, to),
            (from, to) => from == to,
        }
}

/// The least that any clock says has passed, in seconds; never negative.
fn passed(before: &Reading, now: &Reading) -> i64 {
    let monotonic = now.monotonic.saturating_sub(before.monotonic).as_secs();
    let wall = now.wall.0.saturating_sub(before.wall.0);
    let rtc = match (before.rtc, now.rtc) {
        (Some(from), Some(to)) => to.0.saturating_sub(from.0),
        _ => i64::MAX,
    };
    i64::try_from(monotonic).unwrap_or(i64::MAX).min(wall).min(rtc).max(0)
}

/// The slowest clock has fallen so far behind monotonic time that this is not made up for any
/// more: new locks would become longer and longer.
fn lost(passed: i64, anchor: &Reading, now: &Reading) -> bool {
    let monotonic = now.monotonic.saturating_sub(anchor.monotonic).as_secs();
    monotonic.saturating_sub(passed.unsigned_abs()) >= LAG
}

fn later(value: RetentionTime, seconds: i64) -> RetentionTime {
    RetentionTime(value.0.saturating_add(seconds))
}
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod machine;
#[cfg(test)]
pub(crate) mod properties;
#[cfg(test)]
mod tests;
