//! One clock that can be set, watched against the one that cannot.

use super::limits::{DAY, DRIFT, JUMP, STEP};
use model::WallTime;
use std::time::Duration;

/// A monotonic time and what the watched clock said then.
type Pair = (Duration, WallTime);

/// What a reading says about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// As it should be.
    Steady,
    /// A single step beyond [`JUMP`].
    Jumped { by: i64 },
    /// Beyond [`DRIFT`] in less than a day.
    Drifted { by: i64, steps: u64, within: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    last: Pair,
    /// Where drift is counted from; not older than [`DAY`] and one reading.
    window: Pair,
    /// Sum of all steps in the window.
    steps: u64,
}

impl Watched {
    pub(super) fn new(monotonic: Duration, time: WallTime) -> Self {
        let pair = (monotonic, time);
        Self { last: pair, window: pair, steps: 0 }
    }

    /// Takes a reading that is not older than the last one.
    pub(super) fn take(&mut self, monotonic: Duration, time: WallTime) -> Finding {
        let now = (monotonic, time);
        let step = deviation(self.last, now);
        self.last = now;
        if step.unsigned_abs() > JUMP {
            *self = Self::new(monotonic, time);
            return Finding::Jumped { by: step };
        }
        if step.unsigned_abs() > STEP {
            self.steps = self.steps.saturating_add(step.unsigned_abs());
        }
        let by = deviation(self.window, now);
        let within = monotonic.saturating_sub(self.window.0);
        let steps = self.steps;
        let drifted = by.unsigned_abs().max(steps) > DRIFT;
        if drifted || within >= DAY {
            *self = Self::new(monotonic, time);
        }
        if drifted {
            Finding::Drifted { by, steps, within: within.as_secs() }
        } else {
            Finding::Steady
        }
    }
}

/// How much further than monotonic time a clock went between two readings, in seconds.
pub(super) fn deviation((before, from): Pair, (after, to): Pair) -> i64 {
    let passed = i64::try_from(after.saturating_sub(before).as_secs()).unwrap_or(i64::MAX);
    to.0.saturating_sub(from.0).saturating_sub(passed)
}
