//! Locks, holds and offices: events in, verdicts out. The tables of states and of who is needed
//! are in the documentation of the crate.

mod check;
mod event;
mod officers;
mod point;
mod refusal;
mod release;

pub use event::{Bounds, Event, Right};
pub use officers::Authority;
pub use refusal::{Refusal, Verdict};
pub use release::Release;

use model::{LockMode, RecoveryPointId, RetentionLock};
use officers::Officers;
use point::PointState;
use std::collections::{BTreeMap, BTreeSet};

/// The locks and holds of all points, and who may change them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    points: BTreeMap<RecoveryPointId, PointState>,
    officers: Officers,
    bounds: Bounds,
    overrides_forbidden: bool,
}

impl Retention {
    /// Takes an event of the record, or refuses it and stays as it was.
    ///
    /// Who asked and when was checked before it came on record ([`check`](Self::check)); what is
    /// refused here breaks an invariant, so such a record was not written by this engine.
    pub fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        self.allows(&event)?;
        match event {
            Event::Commit { point, lock } => {
                self.points.insert(point, PointState::new(lock));
            }
            Event::Extend { point, until } => self.state(point)?.lock.until = until,
            Event::Tighten { point } => self.state(point)?.lock.mode = LockMode::Compliance,
            Event::Hold { point, matter } => {
                self.state(point)?.holds.insert(matter);
            }
            Event::Unhold { point, matter } => {
                self.state(point)?.holds.remove(&matter);
            }
            Event::Override { point, at, .. } => {
                let lock = &mut self.state(point)?.lock;
                lock.until = lock.until.min(at);
            }
            Event::ForbidOverrides => self.overrides_forbidden = true,
            Event::SetBounds(bounds) => self.bounds = bounds,
            Event::Enrol { officer, rights, by } => self.officers.enrol(officer, rights, by),
            Event::Dismiss { officer } => self.officers.dismiss(&officer),
            Event::Deleted { point, .. } => {
                self.points.remove(&point);
            }
        }
        Ok(())
    }

    /// The invariants: true of every event on record, whoever asked for it. What this refuses
    /// [`apply`](Self::apply) refuses.
    pub fn allows(&self, event: &Event) -> Result<(), Refusal> {
        match event {
            Event::Commit { point, .. } => match self.points.get(point) {
                Some(_) => Err(Refusal::Exists { point: *point }),
                None => Ok(()),
            },
            Event::Extend { point, until } => self.known(*point)?.may_extend(*point, *until),
            Event::Tighten { point } | Event::Hold { point, .. } => self.known(*point).map(|_| ()),
            Event::Unhold { point, matter } => self.known(*point)?.may_unhold(*point, matter),
            Event::Override { point, by, .. } => {
                if self.overrides_forbidden {
                    return Err(Refusal::OverridesForbidden);
                }
                self.known(*point)?.may_override(*point)?;
                self.officers.must_be_pair(by, Some(Right::Override))
            }
            Event::ForbidOverrides => Ok(()),
            Event::SetBounds(bounds) if bounds.min_seconds > bounds.max_seconds => {
                Err(Refusal::NoBounds { bounds: *bounds })
            }
            Event::SetBounds(_) => Ok(()),
            Event::Enrol { officer, by, .. } => self.officers.may_enrol(officer, by),
            Event::Dismiss { officer } => self.officers.may_dismiss(officer),
            Event::Deleted { point, at } => match self.known(*point)?.verdict(*at) {
                Verdict::Expire => Ok(()),
                verdict => Err(Refusal::Kept { point: *point, verdict }),
            },
        }
    }

    fn known(&self, point: RecoveryPointId) -> Result<&PointState, Refusal> {
        self.points.get(&point).ok_or(Refusal::Unknown { point })
    }

    fn state(&mut self, point: RecoveryPointId) -> Result<&mut PointState, Refusal> {
        self.points.get_mut(&point).ok_or(Refusal::Unknown { point })
    }

    /// The lock of `point`.
    #[must_use]
    pub fn lock(&self, point: RecoveryPointId) -> Option<RetentionLock> {
        self.points.get(&point).map(|state| state.lock)
    }

    /// The matters that `point` is held for.
    pub fn matters(&self, point: RecoveryPointId) -> impl Iterator<Item = &str> {
        self.points.get(&point).into_iter().flat_map(|state| state.holds.iter().map(String::as_str))
    }

    /// All points, in the order of their ids.
    pub fn points(&self) -> impl Iterator<Item = RecoveryPointId> + '_ {
        self.points.keys().copied()
    }

    /// Everybody in office, with their rights.
    pub fn officers(&self) -> impl Iterator<Item = (&str, &BTreeSet<Right>)> {
        self.officers.serving()
    }

    /// The bounds of locks that are written now.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// True when no governance lock can be ended early any more.
    #[must_use]
    pub fn overrides_forbidden(&self) -> bool {
        self.overrides_forbidden
    }
}

#[cfg(test)]
mod model_check;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod tests;
