//! What a restore writes down before it does it, and what the next start does about it.

use super::error::RestoreError;
use super::ports::{Found, Target, Who};
use crate::journal::Journal;
use crate::ports::PortError;
use crate::sweep::{SETTLED_AFTER_SECONDS, Undone};
use model::{ErrorKind, RecoveryPointId, RunId, VmIdentity, WallTime};
use serde::{Deserialize, Serialize};

/// A restore is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreIntent {
    /// Which run.
    pub run: RunId,
    /// Of whose point.
    pub vm: VmIdentity,
    /// Which point.
    pub point: RecoveryPointId,
    /// The name that the VM is made under: unique, it carries the run's id.
    pub temporary: String,
    /// The name that it has in the end.
    pub name: String,
    /// How far it is.
    pub stage: Stage,
    /// When it was written down first.
    pub opened: WallTime,
}

/// How far a restore is, which says what a restart does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The VM is being made: what there is of it is removed.
    Making,
    /// It is whole: it gets its name.
    Naming {
        /// Its handle.
        made: String,
    },
    /// It is whole and verified: it takes the place of the other one.
    Replacing {
        /// Its handle.
        made: String,
        /// The handle of the VM that goes.
        old: String,
        /// Who it becomes.
        who: Who,
    },
}

impl RestoreIntent {
    /// The name under which the VM that goes waits for its removal.
    #[must_use]
    pub fn set_aside(&self) -> String {
        format!("holdfast-replaced-{}", self.run)
    }
}

/// What happened to one intent.
#[derive(Debug)]
pub struct SweptRestore {
    /// Which.
    pub intent: RestoreIntent,
    /// What was done, or why it stays open.
    pub outcome: Result<Undone, RestoreError>,
}

/// Ends what a crash left behind: removes half a VM, finishes a whole one. What fails stays open
/// for the next sweep.
pub async fn sweep_restores<T: Target>(
    target: &T,
    journal: &Journal,
    now: WallTime,
) -> Vec<SweptRestore> {
    let mut swept = Vec::new();
    for intent in journal.restores() {
        let settled = now.0.saturating_sub(intent.opened.0) >= SETTLED_AFTER_SECONDS;
        let outcome = end(target, journal, &intent, settled).await;
        swept.push(SweptRestore { intent, outcome });
    }
    swept
}

/// Ends one intent. `settled`: nothing of it can come into being any more.
pub(super) async fn end<T: Target>(
    target: &T,
    journal: &Journal,
    intent: &RestoreIntent,
    settled: bool,
) -> Result<Undone, RestoreError> {
    let removed = match &intent.stage {
        Stage::Making => {
            let removed = remove_half(target, &intent.temporary).await?;
            if removed == 0 && !settled {
                return Ok(Undone::Waiting);
            }
            removed
        }
        Stage::Naming { .. } | Stage::Replacing { .. } => match finish(target, intent).await {
            Ok(()) => 0,
            Err(error) if error.kind() == ErrorKind::Gone => {
                journal.close_restore(intent.run).map_err(RestoreError::Journal)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        },
    };
    journal.close_restore(intent.run).map_err(RestoreError::Journal)?;
    Ok(Undone::Closed { removed })
}

/// A VM under a temporary name was never powered on by us: one that runs is somebody's now.
async fn remove_half<T: Target>(target: &T, temporary: &str) -> Result<usize, RestoreError> {
    let found = target.named(temporary).await?;
    for vm in &found {
        if !vm.powered_off {
            let why = "somebody has powered it on; power it off or give it another name";
            return Err(busy(format!("removing half a VM, '{temporary}'"), why));
        }
        target.destroy(&vm.reference).await?;
    }
    Ok(found.len())
}

/// Each step looks first whether it was done: so it may be begun again after any crash. At every
/// moment one of the two VMs is whole, and the old one goes last.
pub(super) async fn finish<T: Target>(
    target: &T,
    intent: &RestoreIntent,
) -> Result<(), RestoreError> {
    let (made, replacing) = match &intent.stage {
        Stage::Making => return Ok(()),
        Stage::Naming { made } => (made, None),
        Stage::Replacing { made, old, who } => (made, Some((old, who))),
    };
    let aside = intent.set_aside();
    let Some(new) = target.at(made).await? else {
        return Err(put_back(target, intent, replacing.map(|(old, _)| old)).await?);
    };
    if let Some((old, _)) = replacing
        && let Some(vm) = target.at(old).await?
        && vm.name != aside
    {
        may_go(&vm, intent)?;
        target.rename(old, &aside).await?;
    }
    if new.name == intent.temporary {
        target.rename(made, &intent.name).await?;
    }
    let Some((old, who)) = replacing else { return Ok(()) };
    if let Some(vm) = target.at(old).await? {
        if vm.name != aside {
            let operation = format!("removing the VM that '{}' replaces", intent.name);
            return Err(busy(operation, "somebody has given it another name meanwhile"));
        }
        may_go_aside(&vm)?;
        target.destroy(old).await?;
    }
    target.become_who(made, who).await?;
    Ok(())
}

/// The VM that goes must still be what it was when that was decided.
fn may_go(vm: &Found, intent: &RestoreIntent) -> Result<(), RestoreError> {
    if vm.name != intent.name {
        let operation = format!("replacing VM '{}'", intent.name);
        return Err(busy(operation, "it has another name now; nothing was removed"));
    }
    may_go_aside(vm)
}

fn may_go_aside(vm: &Found) -> Result<(), RestoreError> {
    let operation = format!("replacing VM '{}'", vm.name);
    if !vm.powered_off {
        return Err(busy(operation, "it was powered on meanwhile; power it off"));
    }
    match &vm.in_the_way {
        Some(why) => Err(busy(operation, why)),
        None => Ok(()),
    }
}

/// The new VM is gone: the old one, where it was set aside, gets its name back.
async fn put_back<T: Target>(
    target: &T,
    intent: &RestoreIntent,
    old: Option<&String>,
) -> Result<RestoreError, RestoreError> {
    if let Some(old) = old
        && let Some(vm) = target.at(old).await?
        && vm.name == intent.set_aside()
    {
        target.rename(old, &intent.name).await?;
    }
    Ok(RestoreError::Port(PortError {
        kind: ErrorKind::Gone,
        operation: format!("giving the restored VM its name '{}'", intent.name),
        source: format!("it is no longer there (it was made as '{}')", intent.temporary).into(),
    }))
}

fn busy(operation: String, why: &str) -> RestoreError {
    RestoreError::Port(PortError { kind: ErrorKind::Busy, operation, source: why.into() })
}
