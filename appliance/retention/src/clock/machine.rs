//! For tests: a box with clocks that can be attacked, the ledger it writes, and the time that
//! really passes.

use super::{ClockEvent, ClockState, ComplianceClock, Doubt, Reading};
use model::{RetentionTime, WallTime};
use std::time::Duration;

/// 2026-11-22, some time of the day.
pub(super) const START: i64 = 1_795_320_000;
pub(super) const HOUR: u64 = 3600;
pub(super) const DAY: u64 = 24 * HOUR;

pub(super) struct Machine {
    pub(super) monotonic: Duration,
    pub(super) wall: i64,
    pub(super) rtc: Option<i64>,
    pub(super) network: Option<i64>,
    pub(super) clock: ComplianceClock,
    /// What a replay of the ledger gives.
    pub(super) replayed: ClockState,
    /// True running time since the beginning, in seconds.
    pub(super) ran: i64,
    /// Disturbances and ends of doubts since the last look.
    news: Vec<ClockEvent>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::at(START)
    }

    pub(super) fn at(start: i64) -> Self {
        let reading = Reading {
            monotonic: Duration::from_secs(50),
            wall: WallTime(start),
            rtc: Some(WallTime(start)),
            network: None,
        };
        let state = ClockState::begin(RetentionTime(start));
        let (clock, events) = ComplianceClock::resume(state.clone(), reading);
        let mut machine = Self {
            monotonic: reading.monotonic,
            wall: start,
            rtc: Some(start),
            network: None,
            clock,
            replayed: state,
            ran: 0,
            news: Vec::new(),
        };
        machine.record(events);
        machine
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            monotonic: self.monotonic,
            wall: WallTime(self.wall),
            rtc: self.rtc.map(WallTime),
            network: self.network.map(WallTime),
        }
    }

    pub(super) fn read(&mut self) {
        let events = self.clock.advance(self.reading());
        self.record(events);
    }

    fn record(&mut self, events: Vec<ClockEvent>) {
        let value = self.clock.value();
        self.replayed.reach(value);
        for event in &events {
            self.replayed.apply(event, value);
        }
        assert_eq!(&self.replayed, self.clock.state(), "a replay gives the same state");
        self.news.extend(
            events
                .into_iter()
                .filter(|event| event.is_disturbance() || matches!(event, ClockEvent::Agreed)),
        );
    }

    /// Runs for `seconds` with honest clocks, read every minute.
    pub(super) fn run(&mut self, seconds: u64) {
        self.run_at_rate(seconds, 1000);
    }

    /// Runs for `seconds` while monotonic and system time, which is made of it, run at `rate`
    /// thousandths of the true rate.
    pub(super) fn run_at_rate(&mut self, seconds: u64, rate: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(60);
            left -= step;
            let before = self.monotonic.as_secs();
            self.monotonic += Duration::from_millis(step * rate);
            self.wall = self.wall.saturating_add_unsigned(self.monotonic.as_secs() - before);
            self.rtc = self.rtc.map(|rtc| rtc.saturating_add_unsigned(step));
            self.network = self.network.map(|time| time.saturating_add_unsigned(step));
            self.ran += i64::try_from(step).unwrap();
            self.read();
        }
    }

    /// Stops, and starts again after `off` seconds from what is on record.
    pub(super) fn restart(&mut self, off: u64) {
        let mark = self.clock.mark();
        self.record(vec![mark]);
        self.wall = self.wall.saturating_add_unsigned(off);
        self.rtc = self.rtc.map(|rtc| rtc.saturating_add_unsigned(off));
        self.monotonic = Duration::from_secs(3);
        self.resume(self.replayed.clone());
    }

    /// Starts from this state.
    pub(super) fn resume(&mut self, state: ClockState) -> Vec<ClockEvent> {
        self.replayed = state.clone();
        let (clock, events) = ComplianceClock::resume(state, self.reading());
        self.clock = clock;
        self.record(events.clone());
        events
    }

    /// Disturbances and ends of doubts since the last call.
    pub(super) fn news(&mut self) -> Vec<ClockEvent> {
        std::mem::take(&mut self.news)
    }

    /// Seconds that the clock is behind the true running time; negative would be a broken lock.
    pub(super) fn late(&self) -> i64 {
        START + self.ran - self.clock.value().0
    }

    /// The doubt that there must be now.
    pub(super) fn doubt(&self) -> Doubt {
        self.clock.release_time().expect_err("in doubt")
    }

    /// There is a doubt; it lasts through a restart, and ends after a day of agreement, not
    /// before.
    pub(super) fn must_recover(&mut self) {
        let until = self.doubt().until;
        self.restart(0);
        assert_eq!(self.doubt().until, until, "a restart does not end it");
        self.run(DAY - HOUR);
        self.doubt();
        self.run(2 * HOUR);
        assert_eq!(self.clock.release_time(), Ok(self.clock.value()));
        assert_eq!(self.news().last(), Some(&ClockEvent::Agreed));
    }
}
