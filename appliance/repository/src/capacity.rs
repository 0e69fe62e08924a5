//! The forecast of this repository: what is stored, since when and until when, out of the ledger.

use crate::core::locked;
use crate::forecast::{Forecast, Question, Stored, forecast};
use crate::{Repository, StoreError};
use model::{RecoveryPointId, RetentionTime};
use retention::Verdict;
use std::collections::BTreeMap;
use warden::state::State;

impl Repository {
    /// When the volumes are full, if what comes in goes on as in the last `window_days`. With
    /// `lock_seconds`: if all of it were locked for so long, to try a policy out.
    pub fn forecast(
        &self,
        window_days: u32,
        lock_seconds: Option<u64>,
    ) -> Result<Forecast, StoreError> {
        let core = &self.inner.core;
        let mut free = 0u64;
        for (_, bytes) in core.reachable() {
            free = free.saturating_add(bytes.saturating_sub(core.options.reserve_bytes));
        }
        let catalog = locked(&core.catalog);
        let used: u64 = catalog.files.values().map(|held| held.bytes).sum();
        let now = catalog.clock().value;
        let usable = used.saturating_add(free);
        let question = Question { now, usable, window_days, lock_seconds };
        Ok(forecast(&stored(&catalog.state, now), &question))
    }
}

/// Every recorded segment with the end of the last lock on it.
fn stored(state: &State, now: RetentionTime) -> Vec<Stored> {
    let mut ends: Vec<(RetentionTime, RecoveryPointId)> =
        state.points().filter_map(|(id, _)| Some((end(state, id, now)?, id))).collect();
    ends.sort_unstable();
    let mut left: BTreeMap<u32, Stored> = state
        .segments()
        .map(|(serial, segment)| {
            let at = segment.recorded;
            (serial, Stored { at, bytes: segment.bytes, until: at })
        })
        .collect();
    let mut all = Vec::with_capacity(left.len());
    // The longest first: who comes later finds only segments that nobody keeps longer.
    for (until, id) in ends.into_iter().rev() {
        let Some(point) = state.point(id) else { continue };
        for (first, last) in point.reach.runs() {
            while let Some((&serial, _)) = left.range(first..=last).next() {
                if let Some(stored) = left.remove(&serial) {
                    all.push(Stored { until: until.max(stored.at), ..stored });
                }
            }
        }
    }
    all.extend(left.into_values());
    all
}

/// When a point's lock ends; a held one's never does.
fn end(state: &State, id: RecoveryPointId, now: RetentionTime) -> Option<RetentionTime> {
    match state.retention().may_delete(id, now)? {
        Verdict::Held { .. } => Some(RetentionTime(i64::MAX)),
        Verdict::Locked { .. } | Verdict::Expire => Some(state.retention().lock(id)?.until),
    }
}
