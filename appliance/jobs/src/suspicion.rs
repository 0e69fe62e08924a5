//! Chains that a cross-check found wrong: change tracking had not reported what changed.
//!
//! A suspicion is in the journal before anything is done because of it, so that no crash makes us
//! build on the chain again. It stays while it says something:
//!
//! ```text
//! found -> Distrusted: every run reads in full
//!       -> ReadInFull (by the first point that holds no disk of the chain): the alarm stays
//!       -> Proven (each cell compared since, or found wrong again): only its points are marked
//!       -> forgotten when those are gone
//! ```

use crate::journal::Journal;
use crate::ports::BoxError;
use model::{DiskRange, RecoveryPointId, RunId, VmIdentity, WallTime};
use serde::{Deserialize, Serialize};

/// Change tracking of a VM kept a change back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The run that found it.
    pub run: RunId,
    /// Of which VM.
    pub vm: VmIdentity,
    /// When it was found.
    pub found: WallTime,
    /// Path of the disk.
    pub disk: String,
    /// The first area that differs although it was called unchanged.
    pub area: DiskRange,
    /// The points that may lack changes: those since the last full read.
    pub points: Vec<RecoveryPointId>,
    /// How far it is.
    pub standing: Standing,
}

/// How far a suspicion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The next point is read in full.
    Distrusted,
    /// This point was read in full.
    ReadInFull(RecoveryPointId),
    /// Nothing more was found, in a whole rotation of comparisons.
    Proven,
}

impl Suspicion {
    /// A person should look after it.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.standing != Standing::Proven
    }

    fn is_of(&self, vm: &VmIdentity) -> bool {
        self.vm.uuid == vm.uuid && self.vm.server_uuid == vm.server_uuid
    }
}

/// Why the next run of this VM must be a full one, if it must.
pub(crate) fn distrusted(journal: &Journal, vm: &VmIdentity) -> Option<String> {
    let of_vm = |found: &&Suspicion| found.is_of(vm) && found.standing == Standing::Distrusted;
    let suspicions = journal.suspicions();
    let found = suspicions.iter().find(of_vm)?;
    Some(format!("change tracking had kept a change back, as run {} found", found.run))
}

/// Writes a new suspicion down; it takes the place of an older alarm of the same VM.
pub(crate) fn begin(journal: &Journal, new: Suspicion) -> Result<(), BoxError> {
    let vm = new.vm.clone();
    let older = journal.suspicions();
    journal.suspect(new)?;
    older
        .into_iter()
        .filter(|old| old.is_of(&vm) && old.alarms())
        .try_for_each(|old| journal.suspect(Suspicion { standing: Standing::Proven, ..old }))
}

/// A point was committed. `full`: every disk of it was read in full; `proven`: with it each cell
/// has been compared since the last full read.
pub(crate) fn committed(
    journal: &Journal,
    vm: &VmIdentity,
    point: RecoveryPointId,
    full: bool,
    proven: bool,
) -> Result<(), BoxError> {
    for old in journal.suspicions().into_iter().filter(|old| old.is_of(vm)) {
        let standing = match old.standing {
            Standing::Distrusted if full => Standing::ReadInFull(point),
            Standing::ReadInFull(_) if proven => Standing::Proven,
            _ => continue,
        };
        journal.suspect(Suspicion { standing, ..old })?;
    }
    Ok(())
}

/// Forgets what concerns nobody any more. `exists`: the point is still there.
pub fn forget(journal: &Journal, exists: impl Fn(RecoveryPointId) -> bool) -> Result<(), BoxError> {
    let over = |old: &Suspicion| !old.alarms() && !old.points.iter().any(|point| exists(*point));
    journal
        .suspicions()
        .into_iter()
        .filter(over)
        .try_for_each(|old| journal.forget_suspicion(old.run))
}
