//! After a restart: undo what a crash left behind.

use crate::journal::{Intent, Journal};
use crate::ports::{Hypervisor, PortError};
use model::ErrorKind;

/// What happened to one intent.
#[derive(Debug)]
pub struct Swept {
    /// Which.
    pub intent: Intent,
    /// How many snapshots were removed (none when the crash came before the snapshot), or why
    /// the intent stays open.
    pub outcome: Result<usize, PortError>,
}

/// Removes the snapshots of every open intent and closes it. What fails stays open for the next
/// sweep: nothing is ever forgotten. Snapshots of others are never touched: only an exact match
/// of the name, which carries the run's id, counts.
pub async fn sweep<H: Hypervisor>(hypervisor: &H, journal: &Journal) -> Vec<Swept> {
    let mut swept = Vec::new();
    for intent in journal.pending() {
        let outcome = undo(hypervisor, journal, &intent).await;
        swept.push(Swept { intent, outcome });
    }
    swept
}

/// Undoes one intent: used by the sweep, and by a run at its end.
pub async fn undo<H: Hypervisor>(
    hypervisor: &H,
    journal: &Journal,
    intent: &Intent,
) -> Result<usize, PortError> {
    let removed = match hypervisor.vm(&intent.vm.uuid).await {
        Ok(vm) => {
            let snapshots = hypervisor.find_snapshots(&vm, &intent.snapshot).await?;
            for snapshot in &snapshots {
                hypervisor.remove_snapshot(&vm, snapshot).await?;
            }
            snapshots.len()
        }
        // The VM was deleted and its snapshots with it.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Gone) => 0,
        Err(error) => return Err(error),
    };
    journal.close(intent.run).map_err(|source| PortError {
        kind: ErrorKind::Retryable,
        operation: format!("noting in the journal that run {} is cleaned up", intent.run),
        source,
    })?;
    Ok(removed)
}
