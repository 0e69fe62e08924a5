//! The task that makes VMs of recovery points, one after another, beside the backups; and the one
//! that ends what a crash left of them.

use crate::clock;
use crate::engine::{Appliance, Restoring};
use api::{Problem, RunKind, VmRef};
use jobs::restore::Stage;
use jobs::{Restore, RestoreIntent, Settings, Undone, sweep_restores};
use model::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

/// How often a sweep is tried while something is left to end.
const SWEEP: Duration = Duration::from_secs(10);

/// Runs one restore after another until the queue is closed. A VM that is replaced must not be
/// backed up meanwhile.
pub(crate) async fn restores(appliance: Arc<Appliance>, mut queue: Receiver<Restoring>) {
    while let Some((entry, order)) = queue.recv().await {
        let _restoring = appliance.restoring.lock().await;
        entry.begin();
        let _turn = if order.in_place() { Some(appliance.turn.lock().await) } else { None };
        let restore = Restore {
            target: Arc::clone(&appliance.vcenter),
            journal: Arc::clone(&appliance.journal),
            wall: clock::wall,
        };
        let result = restore.run(order, &entry.progress).await;
        entry.end_restore(result);
    }
}

/// Ends what a crash left behind, as soon as vCenter can be reached, and what a run could not.
pub(crate) async fn sweeper(appliance: Arc<Appliance>) {
    for intent in appliance.journal.restores() {
        show_interrupted(&appliance, &intent);
    }
    let mut every = interval(SWEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if appliance.journal.restores().is_empty() {
            continue;
        }
        // The intent of a restore that runs is not left behind.
        let Ok(_restoring) = appliance.restoring.try_lock() else { continue };
        let Ok(_turn) = appliance.turn.try_lock() else { continue };
        let swept = sweep_restores(&*appliance.vcenter, &appliance.journal, clock::wall()).await;
        for one in swept {
            let (run, vm) = (one.intent.run, one.intent.name);
            match one.outcome {
                Ok(Undone::Closed { removed }) => {
                    tracing::info!(%run, vm, removed, "an interrupted restore is ended");
                }
                Ok(Undone::Waiting) => {
                    tracing::debug!(%run, vm, "no VM so far; it may still come");
                }
                Err(error) => {
                    let error = model::chain(&error);
                    tracing::warn!(%run, vm, error, "an interrupted restore is not ended yet");
                }
            }
        }
    }
}

/// What a crash ended is shown as it was.
fn show_interrupted(appliance: &Appliance, intent: &RestoreIntent) {
    let vm = VmRef { uuid: intent.vm.uuid.clone(), name: intent.vm.name.clone() };
    let (run, point) = (intent.run, Some(intent.point));
    let added = appliance.registry.add(run, RunKind::Restore, vm, point, Settings::default());
    let Ok(entry) = added else { return }; // more than fits: the journal and the log have it
    entry.begin();
    let (detail, next_step) = match &intent.stage {
        Stage::Making => (
            format!("holdfastd ended while '{}' was being made.", intent.temporary),
            "What there is of it is being removed. Restore again.",
        ),
        Stage::Naming { .. } | Stage::Replacing { .. } => (
            format!("holdfastd ended when the VM was whole, before it was '{}'.", intent.name),
            "That is being finished now; look at it in the vSphere client.",
        ),
    };
    let title = "The restore was interrupted";
    let problem = Problem::of_kind(ErrorKind::Retryable, "interrupted", title);
    entry.end(Err(Box::new(problem.detail(detail).next_step(next_step))));
}
