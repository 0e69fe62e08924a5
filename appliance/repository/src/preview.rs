//! What a deletion would free, before it happens, and expiry: wishes of the keep rules, of which
//! only what the locks have let go of is deleted.

use crate::core::{Core, locked};
use crate::delete::{Deleted, delete};
use crate::{DeleteError, Repository, StoreError};
use ledger::Runs;
use model::{LockMode, RecoveryPointId, RetentionTime, VmIdentity};
use policy::calendar::Calendar;
use policy::gfs::{self, Candidate, Guard, KeepRules};
use retention::Verdict;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use warden::state::Point;
use warden::wire::Request;

/// How often expiry looks again when somebody began to read a point meanwhile.
const TRIES: usize = 3;

/// Exactly what a deletion would do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Points that may go.
    pub go: Vec<RecoveryPointId>,
    /// Points that stay, and why.
    pub kept: Vec<(RecoveryPointId, Kept)>,
    /// Segments that deleting `go` would free.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a point is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There is no such point.
    Unknown,
    /// Its lock has not ended.
    Locked {
        /// Who could end it early.
        mode: LockMode,
        /// The first moment of the retention clock at which it no longer holds.
        until: RetentionTime,
    },
    /// It is held, whatever its lock says.
    Held {
        /// Names of the matters.
        matters: Vec<String>,
    },
    /// A backup builds on it, or it is being read.
    InUse,
    /// The retention clock is in doubt: nothing is released.
    ClockInDoubt {
        /// What happened to the clock.
        why: String,
    },
    /// It is damaged, and there is no newer sound point of its VM yet.
    Damaged,
    /// Damage was found in it that a repair may remove, or may have removed: whether it is whole is
    /// known when it has been verified again.
    Doubtful,
    /// Too many points of its VM came in one day: a person has to look first.
    Burst {
        /// Sound points of that day.
        points: usize,
    },
}

/// What an expiry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Points that were deleted.
    pub deleted: Vec<RecoveryPointId>,
    /// Points that the rules do not want and that stay, and damaged and doubtful ones that stay in
    /// spite of the rules, with the reason.
    pub kept: Vec<(RecoveryPointId, Kept)>,
    /// Points that the rules want.
    pub wanted: usize,
    /// What was freed.
    pub freed: Deleted,
}

/// What the rules say of all points.
struct Wishes {
    go: Vec<RecoveryPointId>,
    kept: Vec<(RecoveryPointId, Kept)>,
    wanted: usize,
}

impl Repository {
    /// Exactly what deleting `points` would do now; the clock is the warden's of this moment.
    pub fn preview(&self, points: &[RecoveryPointId]) -> Result<Preview, StoreError> {
        self.inner.core.ask(Request::Status)?;
        Ok(preview(&self.inner.core, points))
    }

    /// What [`Self::expire`] would do now.
    pub fn preview_expiry(
        &self,
        rules: &dyn Fn(&VmIdentity) -> KeepRules,
        calendar: Calendar,
    ) -> Result<Preview, StoreError> {
        self.inner.core.ask(Request::Status)?;
        let wishes = wishes(&self.inner.core, rules, calendar);
        let mut found = preview(&self.inner.core, &wishes.go);
        found.kept.extend(wishes.kept);
        Ok(found)
    }

    /// Deletes what the rules of each VM do not want any more and nothing keeps. Without rules
    /// nothing of a VM expires.
    pub fn expire(
        &self,
        rules: &dyn Fn(&VmIdentity) -> KeepRules,
        calendar: Calendar,
    ) -> Result<Expired, DeleteError> {
        let core = &self.inner.core;
        let failed = |error| DeleteError::of(&[], error, RetentionTime(0));
        core.ask(Request::Status).map_err(failed)?;
        let Wishes { go: wished, kept: mut others, wanted } = wishes(core, rules, calendar);
        let mut tries = 1;
        loop {
            let Preview { go, mut kept, .. } = preview(core, &wished);
            let freed = match go.is_empty() {
                true => Ok(Deleted::default()),
                false => delete(core, &go),
            };
            match freed {
                Err(DeleteError::InUse { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
                Ok(freed) => {
                    kept.append(&mut others);
                    return Ok(Expired { deleted: go, kept, wanted, freed });
                }
            }
        }
    }
}

/// By the clock of the last answer. Each point is named once.
pub(crate) fn preview(core: &Core, points: &[RecoveryPointId]) -> Preview {
    let catalog = locked(&core.catalog);
    let keep: Runs = locked(&core.index).pinned().collect();
    let (mut preview, mut seen) = (Preview::default(), HashSet::new());
    for &point in points.iter().filter(|point| seen.insert(**point)) {
        let verdict = catalog.state.retention().may_delete(point, catalog.clock().value);
        let doubt = catalog.clock().doubt.clone();
        let kept = match verdict {
            None => Kept::Unknown,
            Some(Verdict::Locked { mode, until }) => Kept::Locked { mode, until },
            Some(Verdict::Held { matters }) => Kept::Held { matters },
            Some(Verdict::Expire) => match doubt {
                Some(why) => Kept::ClockInDoubt { why },
                None if catalog.is_in_use(point) => Kept::InUse,
                None => {
                    preview.go.push(point);
                    continue;
                }
            },
        };
        preview.kept.push((point, kept));
    }
    if !preview.go.is_empty() {
        let freed = catalog.state.unreached_after(&preview.go, &keep);
        (preview.segments, preview.bytes) = (freed.segments.count(), freed.bytes);
    }
    preview
}

fn wishes(core: &Core, rules: &dyn Fn(&VmIdentity) -> KeepRules, calendar: Calendar) -> Wishes {
    let Known { vms, doubtful, now } = known(core);
    let mut wishes = Wishes { go: Vec::new(), kept: Vec::new(), wanted: 0 };
    for (vm, points) in vms.into_values() {
        let burst = gfs::burst(&points, now, calendar);
        for wish in gfs::wishes(&rules(&vm), &points, now, calendar) {
            let kept = match (wish.verdict, burst) {
                (gfs::Verdict::Keep { guard: Some(Guard::NoSuccessor), tiers }, _)
                    if tiers.is_empty() =>
                {
                    Kept::Damaged
                }
                (gfs::Verdict::Keep { .. }, _) => {
                    wishes.wanted += 1;
                    continue;
                }
                (gfs::Verdict::Expire, _) if doubtful.contains(&wish.id) => Kept::Doubtful,
                (gfs::Verdict::Expire, Some(burst)) => Kept::Burst { points: burst.points },
                (gfs::Verdict::Expire, None) => {
                    wishes.go.push(wish.id);
                    continue;
                }
            };
            wishes.kept.push((wish.id, kept));
        }
    }
    wishes
}

/// What the rules are applied to.
struct Known {
    /// The points of each VM, by its server's uuid and its own.
    vms: BTreeMap<(String, String), (VmIdentity, Vec<Candidate>)>,
    /// They fill no tier, as if they were damaged, and stay, as if they were sound.
    doubtful: BTreeSet<RecoveryPointId>,
    now: RetentionTime,
}

/// A point is lost when it needs a segment that cannot be repaired: only a repair that failed says
/// so. It is doubtful while a verification's damage, or a segment's, has not been explained by a
/// repair: a false alarm, or damage that is repaired tomorrow, costs no point.
fn known(core: &Core) -> Known {
    let catalog = locked(&core.catalog);
    let of = |quarantined: bool| -> BTreeSet<RecoveryPointId> {
        let wrong = catalog.state.segments().filter(|(_, segment)| segment.distrusted);
        let wrong = wrong.filter(|(_, segment)| segment.quarantined == quarantined);
        let wrong: Runs = wrong.map(|(serial, _)| serial).collect();
        catalog.state.reaching(&wrong).map(|(id, _)| id).collect()
    };
    let (lost, mut doubtful) = (of(true), of(false));
    let in_doubt = |point: &Point| point.verified.is_some_and(|verified| verified.is_doubtful());
    let points = catalog.state.points();
    doubtful.extend(points.filter(|(_, point)| in_doubt(point)).map(|(id, _)| id));
    doubtful.retain(|id| !lost.contains(id));
    let mut vms = BTreeMap::new();
    for (id, point) in catalog.state.points() {
        let sound = !lost.contains(&id) && !doubtful.contains(&id);
        let vm = &point.commit.vm;
        let key = (vm.server_uuid.clone(), vm.uuid.0.clone());
        let entry = vms.entry(key).or_insert_with(|| (vm.clone(), Vec::new()));
        entry.0.name.clone_from(&vm.name); // the newest name
        entry.1.push(Candidate { id, at: point.committed, sound });
    }
    Known { vms, doubtful, now: catalog.clock().value }
}
