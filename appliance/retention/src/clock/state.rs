//! What of the clock is on record, and how a replay of the ledger gives it back.

use super::event::ClockEvent;
use super::limits::DOUBT_SECONDS;
use model::{RetentionTime, WallTime};
use serde::{Deserialize, Serialize};

/// Why nothing may be released now, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "the clocks are in doubt ({cause}); nothing is released before {} of the compliance clock, \
     which it reaches when they have agreed for a day of running time",
    until.0
)]
pub struct Doubt {
    /// The last disturbance on record.
    pub cause: ClockEvent,
    /// It ends when the compliance clock gets here without another disturbance.
    pub until: RetentionTime,
}

/// The clock as the ledger knows it.
///
/// Changed by [`apply`](Self::apply) and [`reach`](Self::reach) only, in the process that runs the
/// clock as in a replay: feed a replay every leaf in order (`apply` for a clock event, `reach` for
/// any other), and the state is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    value: RetentionTime,
    wall: Option<WallTime>,
    /// `Some`: this repository has seen a hardware clock, and expects one from then on.
    rtc: Option<WallTime>,
    doubt: Option<Doubt>,
}

impl ClockState {
    /// The clock of a new repository: initialised once, by the operator (W5).
    #[must_use]
    pub fn begin(value: RetentionTime) -> Self {
        Self { value, wall: None, rtc: None, doubt: None }
    }

    /// A leaf was written when the clock said `value`. The largest one counts.
    pub fn reach(&mut self, value: RetentionTime) {
        self.value = self.value.max(value);
    }

    /// A clock event was put on record when the clock said `value`.
    pub fn apply(&mut self, event: &ClockEvent, value: RetentionTime) {
        self.reach(value);
        match *event {
            ClockEvent::Resumed { wall, rtc, .. } | ClockEvent::Mark { wall, rtc } => {
                self.wall = Some(wall);
                self.rtc = rtc.or(self.rtc);
            }
            ClockEvent::RtcFound { rtc } => self.rtc = Some(rtc),
            ClockEvent::Agreed => self.doubt = None,
            ClockEvent::Jumped { .. }
            | ClockEvent::Drifted { .. }
            | ClockEvent::RtcMissing { .. }
            | ClockEvent::RtcBack { .. }
            | ClockEvent::NetworkBehind { .. } => {
                let until = RetentionTime(self.value.0.saturating_add(DOUBT_SECONDS));
                self.doubt = Some(Doubt { cause: *event, until });
            }
        }
    }

    /// The largest value on record.
    #[must_use]
    pub fn value(&self) -> RetentionTime {
        self.value
    }

    /// The doubt, if there is one.
    #[must_use]
    pub fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// True when a hardware clock has been seen, so that one is expected.
    #[must_use]
    pub fn rtc_seen(&self) -> bool {
        self.rtc.is_some()
    }

    /// The system time that was last put on record.
    pub(super) fn wall(&self) -> Option<WallTime> {
        self.wall
    }

    /// The hardware clock that was last put on record.
    pub(super) fn rtc(&self) -> Option<WallTime> {
        self.rtc
    }
}
