//! The lock and the holds of one point, and the only places where they change.

use super::{Refusal, Verdict};
use model::{LockMode, RecoveryPointId, RetentionLock, RetentionTime};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PointState {
    pub(super) lock: RetentionLock,
    pub(super) holds: BTreeSet<String>,
}

impl PointState {
    pub(super) fn new(lock: RetentionLock) -> Self {
        Self { lock, holds: BTreeSet::new() }
    }

    pub(super) fn verdict(&self, now: RetentionTime) -> Verdict {
        if !self.holds.is_empty() {
            Verdict::Held { matters: self.holds.iter().cloned().collect() }
        } else if now < self.lock.until {
            Verdict::Locked { mode: self.lock.mode, until: self.lock.until }
        } else {
            Verdict::Expire
        }
    }

    /// The new end is not earlier than the old one.
    pub(super) fn may_extend(
        &self,
        point: RecoveryPointId,
        until: RetentionTime,
    ) -> Result<(), Refusal> {
        let RetentionLock { mode, until: end } = self.lock;
        if until < end { Err(Refusal::Shorter { point, mode, until: end }) } else { Ok(()) }
    }

    /// Governance mode and not held. Whether its lock has ended does not matter.
    pub(super) fn may_override(&self, point: RecoveryPointId) -> Result<(), Refusal> {
        if self.lock.mode == LockMode::Compliance {
            return Err(Refusal::Compliance { point, until: self.lock.until });
        }
        if !self.holds.is_empty() {
            let matters = self.holds.iter().cloned().collect();
            return Err(Refusal::Kept { point, verdict: Verdict::Held { matters } });
        }
        Ok(())
    }

    pub(super) fn may_unhold(&self, point: RecoveryPointId, matter: &str) -> Result<(), Refusal> {
        if self.holds.contains(matter) {
            Ok(())
        } else {
            Err(Refusal::NoHold { point, matter: matter.into() })
        }
    }
}
