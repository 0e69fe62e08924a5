//! The questions whose answer may be yes: one point, many, everything, a key.

use super::{Refusal, Retention, Verdict};
use crate::clock::ClockView;
use model::{RecoveryPointId, RetentionTime};

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

    /// The compliance clock when it was given.
    #[must_use]
    pub fn at(&self) -> RetentionTime {
        self.at
    }
}

impl Retention {
    /// What may happen to `point` at `now` of the compliance clock, doubts aside; `None`: no such
    /// point.
    #[must_use]
    pub fn may_delete(&self, point: RecoveryPointId, now: RetentionTime) -> Option<Verdict> {
        self.points.get(&point).map(|state| state.verdict(now))
    }

    /// Permission to delete `point`, if its verdict is [`Verdict::Expire`] and the clock is not in
    /// doubt.
    pub fn release(
        &self,
        point: RecoveryPointId,
        now: impl Into<ClockView>,
    ) -> Result<Release, Refusal> {
        let now = now.into();
        match self.may_delete(point, now.value()) {
            None => Err(Refusal::Unknown { point }),
            Some(Verdict::Expire) => match now.release_time() {
                Ok(at) => Ok(Release { point, at }),
                Err(doubt) => Err(Refusal::InDoubt { doubt }),
            },
            Some(verdict) => Err(Refusal::Kept { point, verdict }),
        }
    }

    /// What [`release`](Self::release) would say now, point by point.
    #[must_use]
    pub fn preview(
        &self,
        points: &[RecoveryPointId],
        now: &ClockView,
    ) -> Vec<(RecoveryPointId, Result<(), Refusal>)> {
        let one = |point: &RecoveryPointId| (*point, self.release(*point, now.clone()).map(|_| ()));
        points.iter().map(one).collect()
    }

    /// Whether the container of all points may be destroyed, formatted or reset (W7): when none
    /// is kept, and the clock that says so is not in doubt.
    pub fn may_destroy_all(&self, now: &ClockView) -> Result<(), Refusal> {
        let verdicts = self.points.iter().map(|(id, state)| (*id, state.verdict(now.value())));
        let kept: Vec<_> = verdicts.filter(|(_, verdict)| *verdict != Verdict::Expire).collect();
        let number = kept.len();
        let longest = kept.into_iter().max_by_key(|(_, verdict)| match verdict {
            Verdict::Held { .. } => (true, RetentionTime(i64::MAX)),
            Verdict::Locked { until, .. } => (false, *until),
            Verdict::Expire => (false, RetentionTime(i64::MIN)),
        });
        if let Some((point, verdict)) = longest {
            return Err(Refusal::Contains { kept: number, point, verdict });
        }
        match now.release_time() {
            Err(doubt) if !self.points.is_empty() => Err(Refusal::InDoubt { doubt }),
            _ => Ok(()),
        }
    }

    /// Whether a key may be destroyed that `needed_by` cannot be read without (W21): when none of
    /// them exists any more, locked or not.
    pub fn may_destroy_key(
        &self,
        needed_by: impl IntoIterator<Item = RecoveryPointId>,
    ) -> Result<(), Refusal> {
        let exists = |id| self.points.get(&id).map(|state| (state.lock.until, id));
        let mut existing: Vec<_> = needed_by.into_iter().filter_map(exists).collect();
        existing.sort_unstable();
        existing.dedup();
        match existing.last() {
            Some(&(until, point)) => {
                Err(Refusal::KeyNeeded { points: existing.len(), point, until })
            }
            None => Ok(()),
        }
    }
}
