//! Locks and holds: events in, verdicts out.

use model::{LockMode, RecoveryPointId, RetentionLock, RetentionTime};
use std::collections::{BTreeMap, BTreeSet};

/// What changes the state of locks, in the order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A recovery point exists, locked.
    Commit {
        /// The point.
        point: RecoveryPointId,
        /// Its first lock.
        lock: RetentionLock,
    },
    /// The lock of a point ends later.
    Extend {
        /// The point.
        point: RecoveryPointId,
        /// New end; not before the old one.
        until: RetentionTime,
    },
    /// The lock of a point becomes a compliance lock.
    Tighten {
        /// The point.
        point: RecoveryPointId,
    },
    /// A legal hold by the name of its matter.
    Hold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// The end of a legal hold.
    Unhold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// The point has been deleted. Fed only from a ledger: the ledger records a deletion after a
    /// [`Release`] was given for it.
    Deleted {
        /// The point.
        point: RecoveryPointId,
        /// The clock on the leaf.
        at: RetentionTime,
    },
}

/// Why an event was not taken. The state is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such point.
    #[error("there is no recovery point {point}")]
    Unknown {
        /// The point.
        point: RecoveryPointId,
    },
    /// A second commit of the same id.
    #[error("recovery point {point} exists already")]
    Exists {
        /// The point.
        point: RecoveryPointId,
    },
    /// Locks are extended only.
    #[error("the lock of recovery point {point} ends at {}; it cannot end earlier", until.0)]
    Shorter {
        /// The point.
        point: RecoveryPointId,
        /// Its end.
        until: RetentionTime,
    },
    /// No hold of that name.
    #[error("recovery point {point} has no hold '{matter}'")]
    NoHold {
        /// The point.
        point: RecoveryPointId,
        /// The matter.
        matter: String,
    },
    /// A lock or a hold stands in the way.
    #[error("recovery point {point} may not be deleted: {verdict}")]
    Kept {
        /// The point.
        point: RecoveryPointId,
        /// What stands in the way.
        verdict: Verdict,
    },
}

/// What may happen to a point now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// It may be deleted.
    #[error("its lock has ended")]
    Expire,
    /// Its lock has not ended.
    #[error("it is locked in {mode} mode until {} of the retention clock", until.0)]
    Locked {
        /// Who could end it.
        mode: LockMode,
        /// The first moment at which it no longer holds.
        until: RetentionTime,
    },
    /// Held, whatever its lock says.
    #[error("it is held for: {}", matters.join(", "))]
    Held {
        /// The names of all matters.
        matters: Vec<String>,
    },
}

/// Permission to delete one point, which only [`Retention::release`] gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    point: RecoveryPointId,
    at: RetentionTime,
}

impl Release {
    /// The point that may be deleted.
    #[must_use]
    pub fn point(&self) -> RecoveryPointId {
        self.point
    }

    /// The retention clock when it was given.
    #[must_use]
    pub fn at(&self) -> RetentionTime {
        self.at
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    lock: RetentionLock,
    holds: BTreeSet<String>,
}

/// The locks and holds of all points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    points: BTreeMap<RecoveryPointId, State>,
}

impl Retention {
    /// Takes an event, or refuses it and stays as it was.
    pub fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Commit { point, lock } => self.commit(point, lock),
            Event::Extend { point, until } => self.extend(point, until),
            Event::Tighten { point } => {
                self.state(point)?.lock.mode = LockMode::Compliance;
                Ok(())
            }
            Event::Hold { point, matter } => {
                self.state(point)?.holds.insert(matter);
                Ok(())
            }
            Event::Unhold { point, matter } => {
                let released = self.state(point)?.holds.remove(&matter);
                if released { Ok(()) } else { Err(Refusal::NoHold { point, matter }) }
            }
            Event::Deleted { point, at } => {
                self.release(point, at)?;
                self.points.remove(&point);
                Ok(())
            }
        }
    }

    fn commit(&mut self, point: RecoveryPointId, lock: RetentionLock) -> Result<(), Refusal> {
        if self.points.contains_key(&point) {
            return Err(Refusal::Exists { point });
        }
        self.points.insert(point, State { lock, holds: BTreeSet::new() });
        Ok(())
    }

    fn extend(&mut self, point: RecoveryPointId, until: RetentionTime) -> Result<(), Refusal> {
        let state = self.state(point)?;
        if until < state.lock.until {
            return Err(Refusal::Shorter { point, until: state.lock.until });
        }
        state.lock.until = until;
        Ok(())
    }

    fn state(&mut self, point: RecoveryPointId) -> Result<&mut State, Refusal> {
        self.points.get_mut(&point).ok_or(Refusal::Unknown { point })
    }

    /// What may happen to `point` at `now` of the retention clock; `None`: no such point.
    #[must_use]
    pub fn may_delete(&self, point: RecoveryPointId, now: RetentionTime) -> Option<Verdict> {
        let state = self.points.get(&point)?;
        Some(if !state.holds.is_empty() {
            Verdict::Held { matters: state.holds.iter().cloned().collect() }
        } else if now < state.lock.until {
            Verdict::Locked { mode: state.lock.mode, until: state.lock.until }
        } else {
            Verdict::Expire
        })
    }

    /// Permission to delete `point`, if its verdict at `now` is [`Verdict::Expire`].
    pub fn release(&self, point: RecoveryPointId, now: RetentionTime) -> Result<Release, Refusal> {
        match self.may_delete(point, now) {
            None => Err(Refusal::Unknown { point }),
            Some(Verdict::Expire) => Ok(Release { point, at: now }),
            Some(verdict) => Err(Refusal::Kept { point, verdict }),
        }
    }

    /// The lock of `point`.
    #[must_use]
    pub fn lock(&self, point: RecoveryPointId) -> Option<RetentionLock> {
        self.points.get(&point).map(|state| state.lock)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
