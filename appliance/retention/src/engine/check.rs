//! Requests: who may ask for what, now. What passes here can be applied.

use super::officers::Officers;
use super::{Authority, Bounds, Event, Refusal, Retention, Right};
use crate::clock::ClockView;
use model::{LockMode, RecoveryPointId, RetentionLock, RetentionTime};

/// Longest name of a matter or an officer, in bytes.
const NAME_MAX: usize = 200;
/// Matters that one point can be held for.
pub(super) const MATTERS: usize = 256;

impl Retention {
    /// A lock that begins now and lasts `seconds`. For a commit, take a reading, and use one view
    /// of the clock for this and for the check.
    pub fn new_lock(
        &self,
        mode: LockMode,
        seconds: u64,
        now: &ClockView,
    ) -> Result<RetentionLock, Refusal> {
        let until = i64::try_from(seconds).ok().and_then(|s| now.lock_from().0.checked_add(s));
        let until = RetentionTime(until.ok_or(Refusal::TooFar { seconds })?);
        self.within_bounds(until, now)?;
        Ok(RetentionLock { mode, until })
    }

    /// Whether `event` may be put on record for `who` now. In doubt, whatever releases is refused
    /// and whatever locks is not.
    pub fn check(&self, event: &Event, who: &Authority, now: &ClockView) -> Result<(), Refusal> {
        match event {
            Event::Commit { lock, .. } => self.within_bounds(lock.until, now)?,
            Event::Extend { until, .. } => self.within_bounds(*until, now)?,
            Event::Tighten { .. } => {}
            Event::Hold { point, matter } => {
                good_name(matter)?;
                self.few_matters(*point, matter)?;
            }
            Event::Unhold { .. } => self.officers.one_with(Right::ReleaseHold, who)?,
            Event::Override { point, at, by } => {
                Officers::approved(by, who)?;
                is_now(*point, *at, now)?;
            }
            Event::ForbidOverrides => self.officers.one_with(Right::Override, who)?,
            Event::SetBounds(_) | Event::Dismiss { .. } => self.officers.pair_or_local(who)?,
            Event::Enrol { officer, by, .. } => {
                good_name(officer)?;
                Officers::approved(by, who)?;
                if by.is_empty() && !self.officers.local(who) {
                    return Err(Refusal::NeedsTwo { right: None });
                }
            }
            Event::Deleted { point, at } => {
                self.release(*point, now.clone())?;
                is_now(*point, *at, now)?;
            }
        }
        self.allows(event)
    }

    /// A hold more than any case needs only fills memory and record: nobody but an officer ends
    /// it.
    fn few_matters(&self, point: RecoveryPointId, matter: &str) -> Result<(), Refusal> {
        let others = self.matters(point).filter(|known| *known != matter).count();
        if others < MATTERS { Ok(()) } else { Err(Refusal::ManyHolds { point, max: MATTERS }) }
    }

    fn within_bounds(&self, until: RetentionTime, now: &ClockView) -> Result<(), Refusal> {
        let seconds = i128::from(until.0) - i128::from(now.lock_from().0);
        let Bounds { min_seconds, max_seconds } = self.bounds;
        if (i128::from(min_seconds)..=i128::from(max_seconds)).contains(&seconds) {
            Ok(())
        } else {
            let seconds = until.0.saturating_sub(now.lock_from().0);
            Err(Refusal::OutOfBounds { seconds, bounds: self.bounds })
        }
    }
}

/// Releases happen at the clock's time, and only when it is not in doubt.
fn is_now(point: RecoveryPointId, at: RetentionTime, now: &ClockView) -> Result<(), Refusal> {
    match now.release_time() {
        Err(doubt) => Err(Refusal::InDoubt { doubt }),
        Ok(now) if now != at => Err(Refusal::NotNow { point, at, now }),
        Ok(_) => Ok(()),
    }
}

fn good_name(name: &str) -> Result<(), Refusal> {
    let good = !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control);
    if good { Ok(()) } else { Err(Refusal::BadName { max: NAME_MAX }) }
}
