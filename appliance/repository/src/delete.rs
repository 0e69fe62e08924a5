//! Deleting points and the segments that nothing reaches any more (FORMAT.md 7, 9).
//!
//! The warden decides and removes. What is done here is the daemon's part: no new reference to
//! what is about to go comes up, and what runs still need is kept. A point that somebody reads is
//! not deleted; where a compaction has emptied segments of it the reader looks chunks up by id.

use crate::core::{Core, locked};
use crate::{DeleteError, StoreError};
use ledger::Runs;
use model::{RecoveryPointId, RetentionTime};
use retention::Verdict;
use std::collections::BTreeSet;
use warden::wire::{Outcome, Removed, Request};

/// What a deletion gives back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Segments removed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Deletes points whose locks have ended, all of them or none.
pub(crate) fn delete(core: &Core, points: &[RecoveryPointId]) -> Result<Deleted, DeleteError> {
    let _alone = locked(&core.maintenance);
    let failed = |error| DeleteError::of(points, error, RetentionTime(0));
    core.ask(Request::Status).map_err(failed)?; // the clock as it is now
    let keep = condemn(core, points)?;
    let outcome = core.ask(Request::Delete { points: points.to_vec(), keep });
    let now = {
        let mut catalog = locked(&core.catalog);
        catalog.end_removal();
        catalog.clock().value
    };
    let reply = outcome.map_err(|error| DeleteError::of(points, error, now))?;
    Ok(forget(core, &reply.outcome))
}

/// Removes what no point reaches, without deleting a point.
pub(crate) fn reclaim(core: &Core) -> Result<Deleted, StoreError> {
    let _alone = locked(&core.maintenance);
    // Asked for before the pins are counted: what a run seals from then on is not among them.
    let orphans = match core.ask(Request::Status)?.outcome {
        Outcome::Status(status) => status.orphans,
        other => return Err(StoreError::misuse(format!("the warden answered {other:?}"))),
    };
    let keep = {
        let catalog = locked(&core.catalog);
        let mut index = locked(&core.index);
        let keep: Runs = index.pinned().collect();
        let recorded = |serial: &u32| catalog.state.segment(*serial).is_some();
        let unreached = |serial: &u32| catalog.state.references(*serial) == 0;
        let going = catalog.files.keys().copied().filter(unreached);
        let going = going.filter(|serial| recorded(serial) || orphans.contains(*serial));
        index.hide(&going.filter(|serial| !keep.contains(*serial)).collect());
        keep
    };
    let reply = core.ask(Request::Reclaim { keep, orphans })?;
    Ok(forget(core, &reply.outcome))
}

/// Sees to it that nothing new refers to the segments that `points` alone reach, and says which
/// ones must stay because somebody refers to them already. When the warden is going to refuse
/// anyway, nothing is forgotten: the attempt is put on record and that is all.
fn condemn(core: &Core, points: &[RecoveryPointId]) -> Result<Runs, DeleteError> {
    let mut catalog = locked(&core.catalog);
    catalog.begin_removal(points).map_err(|point| DeleteError::InUse { point })?;
    let mut index = locked(&core.index);
    let keep: Runs = index.pinned().collect();
    let now = catalog.clock().value;
    let expires = |point: &RecoveryPointId| {
        catalog.state.retention().may_delete(*point, now) == Some(Verdict::Expire)
    };
    if points.iter().all(expires) {
        let going = catalog.state.unreached_after(points, &keep).segments;
        index.hide(&going.serials().collect());
    }
    Ok(keep)
}

/// Closes what has been removed.
fn forget(core: &Core, outcome: &Outcome) -> Deleted {
    let Outcome::Removed(Removed { segments, bytes, .. }) = outcome else {
        return Deleted::default();
    };
    let gone: BTreeSet<u32> = segments.serials().collect();
    core.forget_files(|serial| gone.contains(&serial));
    // Most are hidden already. A run that found a chunk there after all is refused its commit.
    locked(&core.index).removed(&gone);
    locked(&core.catalog).files.retain(|serial, _| !gone.contains(serial));
    Deleted { segments: segments.count(), bytes: *bytes }
}
