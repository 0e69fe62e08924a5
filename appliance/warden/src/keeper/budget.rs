//! How fast the daemon may make the ledger grow with what decides nothing: evidence, extensions,
//! holds, keys, repairs, compactions, refusals. A daemon that was taken over could fill the disk
//! with them.
//!
//! One unit is one leaf, and one more for every KiB of it. A day's worth may come at once, and it
//! comes back with the monotonic clock, which nobody sets. Honest use is far below: a scrub of
//! 100,000 segments is 1600 leaves, 5,000 verifications are 5,000. Commits are not counted: taking
//! backups is what the daemon is for, and each of them shows. A restart begins with a full day.

use super::Keeper;
use crate::WardenError;
use crate::wire::Request;
use ledger::Event;
use model::ErrorKind;
use retention::Reading;
use std::time::Duration;

/// Units that come back within a day, and the most there ever are.
pub const UNITS_PER_DAY: u32 = 1 << 16;
const DAY: Duration = Duration::from_secs(86_400);
/// Bytes that are in the price of a leaf.
const UNIT_BYTES: usize = 1 << 10;

/// What is left. The debt is kept as the time at which all of it will have come back.
#[derive(Debug, Default)]
pub(super) struct Budget {
    full_at: Duration,
    told: bool,
}

impl Budget {
    /// Pays, or does not and changes nothing.
    fn take(&mut self, units: u32, now: Duration) -> bool {
        if self.full_at <= now {
            (self.full_at, self.told) = (now, false);
        }
        let after = self.full_at.saturating_add(DAY / UNITS_PER_DAY * units);
        let enough = after <= now.saturating_add(DAY);
        if enough {
            self.full_at = after;
        }
        enough
    }

    /// True once for each time that it ran out.
    fn tell(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }
}

/// What a request costs; `None`: it is not counted.
fn price(request: &Request) -> Option<u32> {
    match request {
        Request::Note(evidence) => units(evidence),
        // Two sets of segments could be moved to and fro for ever.
        Request::Compact { from, to } => units(&(from, to)),
        Request::Extend { .. }
        | Request::Hold { .. }
        | Request::Repair { .. }
        | Request::AddKey { .. } => Some(1),
        _ => None,
    }
}

fn units(leaf: &impl serde::Serialize) -> Option<u32> {
    let bytes = serde_json::to_vec(leaf).map_or(usize::MAX, |text| text.len());
    Some(u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).saturating_add(1))
}

impl Keeper {
    /// Counts what the daemon asks for; beyond the budget it is refused.
    pub(super) fn afford(
        &mut self,
        request: &Request,
        reading: Reading,
    ) -> Result<(), WardenError> {
        let Some(units) = price(request) else { return Ok(()) };
        if self.pay(units, reading) {
            return Ok(());
        }
        Err(WardenError::Denied {
            problem: format!(
                "the daemon has put more on record than a day allows ({UNITS_PER_DAY} entries of \
                 1 KiB); it may go on little by little. Find out what it is doing"
            ),
            kind: ErrorKind::Busy,
        })
    }

    /// Whether there is still room for so much; the first time that there is none is on record.
    pub(super) fn pay(&mut self, units: u32, reading: Reading) -> bool {
        let enough = self.budget.take(units, reading.monotonic);
        if !enough && self.budget.tell() {
            let what = "too much for the record".into();
            let detail = format!(
                "the daemon asked for more than {UNITS_PER_DAY} entries within a day; what is \
                 beyond that is refused and not recorded"
            );
            tracing::error!("{detail}");
            if let Err(error) = self.record(vec![Event::Alarm { what, detail }], reading) {
                tracing::error!(error = model::chain(&error), "this is not on record");
            }
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, DAY, UNITS_PER_DAY};
    use std::time::Duration;

    #[test]
    fn a_day_at_once_then_little_by_little() {
        let (mut budget, mut now) = (Budget::default(), Duration::from_secs(5));
        let mut taken = 0u32;
        while budget.take(1, now) {
            taken += 1;
        }
        assert!(taken.abs_diff(UNITS_PER_DAY) <= 1, "{taken}");
        assert!(budget.tell() && !budget.tell(), "once");
        now += DAY / UNITS_PER_DAY;
        assert!(budget.take(1, now) && !budget.take(1, now));
        assert!(!budget.tell(), "not before it was full again");
        now += DAY * 2;
        assert!(budget.take(UNITS_PER_DAY, now) && !budget.take(1, now), "never more than a day");
        assert!(budget.tell());
    }

    #[test]
    fn the_price_of_anything_does_not_overflow() {
        let mut budget = Budget::default();
        assert!(!budget.take(u32::MAX, Duration::ZERO));
        assert!(budget.take(1, Duration::MAX));
    }
}
