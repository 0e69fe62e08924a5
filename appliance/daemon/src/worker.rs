//! The tasks that run beside the console: backups, verifications, the sweep, the clock.

use crate::clock;
use crate::engine::Appliance;
use crate::wire::network::Leases;
use crate::wire::store::{self, Locked};
use api::{Problem, RunKind, RunResult, VmRef};
use jobs::configuration::{self, is_configuration};
use jobs::{Backup, BackupReport, Entry, Settings, Swept, Undone, sweep};
use model::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

/// How often the retention clock is advanced and recorded.
const TICK: Duration = Duration::from_secs(60);
/// How often the warden is asked how it is.
const LOOK: Duration = Duration::from_secs(3);
/// How often the inventory of the SAN is taken anew.
const INVENTORY: Duration = Duration::from_secs(600);
/// How often a sweep is tried while something is left to undo.
const SWEEP: Duration = Duration::from_secs(10);

/// Runs one backup after another until the queue is closed.
pub(crate) async fn backups(appliance: Arc<Appliance>, mut queue: Receiver<Arc<Entry>>) {
    while let Some(entry) = queue.recv().await {
        entry.begin();
        let backup = Backup {
            hypervisor: Arc::clone(&appliance.vcenter),
            fabric: Arc::clone(&appliance.fabric),
            store: Locked::new(appliance.repository.clone(), &appliance.config.lock),
            network: Arc::new(Leases(Arc::clone(&appliance.vcenter))),
            verdicts: Arc::clone(&appliance.verdicts),
            journal: Arc::clone(&appliance.journal),
            wall: clock::wall,
        };
        let _turn = appliance.turn.lock().await;
        // Without the warden nothing can be committed: said before a snapshot is taken.
        if let Err(problem) = warden_answers(&appliance).await {
            entry.end(Err(problem));
            continue;
        }
        if is_configuration(&entry.vm.uuid) {
            keep_configuration(&appliance, &backup.store, &entry).await;
            continue;
        }
        let result = backup.run(&entry.vm.uuid, entry.id, entry.settings, &entry.progress).await;
        entry.end_backup(result);
        forget_suspicions(&appliance);
    }
}

/// The configuration of a host or a server: files, and nothing to undo.
async fn keep_configuration(appliance: &Appliance, store: &Locked, entry: &Entry) {
    let (uuid, progress) = (&entry.vm.uuid, &entry.progress);
    let source = &*appliance.vcenter;
    let kept = configuration::keep(source, store, uuid, entry.id, clock::wall, progress).await;
    entry.end_backup(kept.map(|point| BackupReport { point, disks: Vec::new() }));
}

/// What was found of chains whose points are all gone concerns nobody any more.
fn forget_suspicions(appliance: &Appliance) {
    let exists = |point| appliance.repository.summary(point).is_ok();
    if let Err(error) = jobs::suspicion::forget(&appliance.journal, exists) {
        tracing::warn!(error, "the journal could not be written");
    }
}

async fn warden_answers(appliance: &Arc<Appliance>) -> Result<(), Box<Problem>> {
    look(appliance).await;
    let Some(error) = appliance.warden.seen().error else { return Ok(()) };
    let title = "The warden does not answer";
    let problem = Problem::of_kind(ErrorKind::Retryable, "warden-away", title)
        .detail(error)
        .next_step("Start holdfast-warden again, then run the backup again. Restores go on.");
    Err(Box::new(problem))
}

async fn look(appliance: &Arc<Appliance>) {
    let asked = Arc::clone(appliance);
    let looked = tokio::task::spawn_blocking(move || asked.warden.look(&asked.repository)).await;
    if let Err(error) = looked {
        tracing::error!(%error, "the warden could not be asked");
    }
}

/// Asks the warden how it is, again and again; what officers did comes in with its answers.
pub(crate) async fn watcher(appliance: Arc<Appliance>) {
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        look(&appliance).await;
    }
}

/// Takes the inventory of the SAN from time to time: not every change of a presentation is
/// announced.
pub(crate) async fn looker(appliance: Arc<Appliance>) {
    let mut every = interval(INVENTORY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Some(san) = appliance.fabric.now().san {
            san.rescan().await;
            appliance.acknowledged.look(&san.luns());
        }
    }
}

/// Runs one verification after another until the queue is closed.
pub(crate) async fn verifications(appliance: Arc<Appliance>, mut queue: Receiver<Arc<Entry>>) {
    while let Some(entry) = queue.recv().await {
        entry.begin();
        let (repository, running) = (appliance.repository.clone(), Arc::clone(&entry));
        let result = tokio::task::spawn_blocking(move || store::verify(&repository, &running));
        let result = result.await.unwrap_or_else(|error| Err(ended_abnormally(&error)));
        if let Ok(RunResult::Verify(found)) = &result
            && found.damage_total > 0
        {
            appliance.maintenance.found_damage();
        }
        entry.end(result);
    }
}

fn ended_abnormally(error: &tokio::task::JoinError) -> Box<Problem> {
    let problem = Problem::of_kind(ErrorKind::Retryable, "internal", "The run ended abnormally")
        .detail(error.to_string())
        .next_step("Run it again; if it happens again, report it with the daemon's log.");
    Box::new(problem)
}

/// Undoes what a crash left behind, as soon as vCenter can be reached, and what a run could not.
pub(crate) async fn sweeper(appliance: Arc<Appliance>) {
    for intent in appliance.journal.pending() {
        show_interrupted(&appliance, &intent);
    }
    let mut every = interval(SWEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if appliance.journal.pending().is_empty() {
            continue;
        }
        // The intent of a backup that runs is not left behind: sweep and run exclude each other.
        let Ok(_turn) = appliance.turn.try_lock() else { continue };
        let swept = sweep(&*appliance.vcenter, &appliance.journal, clock::wall()).await;
        for Swept { intent, outcome } in swept {
            let vm = &intent.vm.name;
            match outcome {
                Ok(Undone::Closed { removed }) => {
                    tracing::info!(run = %intent.run, vm, removed, "snapshots of a run removed");
                }
                Ok(Undone::Waiting) => {
                    tracing::debug!(run = %intent.run, vm, "no snapshot so far; it may still come");
                }
                Err(error) => {
                    let error = model::chain(&error);
                    tracing::warn!(run = %intent.run, vm, error, "clean-up fails, is tried again");
                }
            }
        }
    }
}

/// What a crash ended is shown as it was: failed, so that nobody takes it for never begun, or
/// with its recovery point when that was committed before.
fn show_interrupted(appliance: &Appliance, intent: &jobs::Intent) {
    let vm = VmRef { uuid: intent.vm.uuid.clone(), name: intent.vm.name.clone() };
    let points = appliance.repository.points();
    let kept = points.iter().find(|point| point.run == intent.run).map(|point| point.id);
    let Ok(entry) =
        appliance.registry.add(intent.run, RunKind::Backup, vm, kept, Settings::default())
    else {
        return; // more than fits: the journal and the log have it
    };
    entry.begin();
    let next_step = "Its snapshot is being removed.";
    let (detail, next_step) = match kept {
        Some(point) => (
            format!("holdfastd ended after recovery point {point} was committed; it is whole."),
            next_step.to_owned(),
        ),
        None => (
            "holdfastd ended while the run was going on; nothing of it was kept.".to_owned(),
            format!("{next_step} Run the backup again."),
        ),
    };
    let problem =
        Problem::of_kind(ErrorKind::Retryable, "interrupted", "The backup was interrupted")
            .detail(detail)
            .next_step(next_step);
    entry.end(Err(Box::new(problem)));
}

/// In development: advances the retention clock, which only ever runs while we do. A warden of its
/// own does that by itself.
pub(crate) async fn ticker(appliance: Arc<Appliance>) {
    if appliance.config.repository.warden.is_some() {
        return;
    }
    let mut every = interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match appliance.repository.tick() {
            Ok(alarms) => {
                for alarm in alarms {
                    tracing::error!(alarm, "the warden found something wrong");
                }
            }
            Err(error) => {
                let error = model::chain(&error);
                tracing::error!(error, "the retention clock is not recorded");
            }
        }
    }
}
