//! After a run, and after a restart: undo what a run did, or what a crash left behind.
//!
//! The one danger is to take 'I see nothing' for 'nothing is there'. A creation whose answer was
//! lost may still come to its end; a VM that the hypervisor cannot describe right now still has
//! its snapshots. So an intent is closed without a removal only when the hypervisor says that
//! the VM is gone, when the creation is known to have failed, or when it is old enough that no
//! creation can be under way any more.

use crate::journal::{Intent, Journal};
use crate::ports::{Hypervisor, PortError, VmView};
use model::{ErrorKind, WallTime};

/// After so many seconds a creation that was begun has ended one way or the other: the longest
/// time a snapshot task is given, twice.
pub const SETTLED_AFTER_SECONDS: i64 = 2 * 60 * 60;

/// What happened to one intent.
#[derive(Debug)]
pub struct Swept {
    /// Which.
    pub intent: Intent,
    /// What was done, or why the intent stays open.
    pub outcome: Result<Undone, PortError>,
}

/// The outcome of an undoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The intent is closed; so many snapshots were removed.
    Closed {
        /// Snapshots removed.
        removed: usize,
    },
    /// No snapshot is there, but one may still come: the intent stays open.
    Waiting,
}

/// Undoes every open intent. What fails stays open for the next sweep: nothing is ever
/// forgotten. Snapshots of others are never touched: only an exact match of the name, which
/// carries the run's id, counts.
pub async fn sweep<H: Hypervisor>(hypervisor: &H, journal: &Journal, now: WallTime) -> Vec<Swept> {
    let mut swept = Vec::new();
    for intent in journal.pending() {
        let settled = now.0.saturating_sub(intent.opened.0) >= SETTLED_AFTER_SECONDS;
        let outcome = undo(hypervisor, journal, &intent, settled).await;
        swept.push(Swept { intent, outcome });
    }
    swept
}

/// Undoes one intent. `settled`: no creation of its snapshot can be under way any more.
pub async fn undo<H: Hypervisor>(
    hypervisor: &H,
    journal: &Journal,
    intent: &Intent,
    settled: bool,
) -> Result<Undone, PortError> {
    let removed = match hypervisor.vm(&intent.vm.uuid).await {
        Ok(vm) => {
            if intent.migration_blocked {
                hypervisor.allow_migration(&vm, &intent.snapshot).await?;
            }
            let removed = remove_all(hypervisor, &vm, &intent.snapshot).await?;
            if removed == 0 && !settled {
                return Ok(Undone::Waiting);
            }
            removed
        }
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Gone) => {
            if !hypervisor.is_gone(&intent.reference).await? {
                return Err(error);
            }
            0 // the VM was deleted and its snapshots with it
        }
        Err(error) => return Err(error),
    };
    journal.close(intent.run).map_err(|source| PortError {
        kind: ErrorKind::Retryable,
        operation: format!("noting in the journal that run {} is cleaned up", intent.run),
        source,
    })?;
    Ok(Undone::Closed { removed })
}

async fn remove_all<H: Hypervisor>(
    hypervisor: &H,
    vm: &VmView,
    name: &str,
) -> Result<usize, PortError> {
    let snapshots = hypervisor.find_snapshots(vm, name).await?;
    for snapshot in &snapshots {
        hypervisor.remove_snapshot(vm, snapshot).await?;
    }
    merged(hypervisor, vm).await?;
    Ok(snapshots.len())
}

/// A removal counts when its disks are merged; else the VM runs on, on a delta that grows.
async fn merged<H: Hypervisor>(hypervisor: &H, vm: &VmView) -> Result<(), PortError> {
    if !hypervisor.again(vm).await?.consolidation_needed {
        return Ok(());
    }
    hypervisor.consolidate(vm).await?;
    if !hypervisor.again(vm).await?.consolidation_needed {
        return Ok(());
    }
    Err(PortError {
        kind: ErrorKind::Busy,
        operation: format!("merging the disks of VM '{}'", vm.identity.name),
        source: "vCenter says that they still need consolidation".into(),
    })
}
