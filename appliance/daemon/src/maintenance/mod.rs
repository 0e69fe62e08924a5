//! Care of the repository, by itself and when somebody asks: scrub and repair in slices over the
//! day; once a day expiry by the keep rules, where there are any, reclaim and compaction.
//!
//! What it is: the order, the pace and the memory of what was done. What it is not: a decision
//! about what may go (`retention`, in the warden), or what is worth it (`repository`).
//!
//! | with | rule |
//! |---|---|
//! | backups | go first: a scrub waits while one runs, a compaction does not begin |
//! | tasks that somebody asks for | a scrub of our own gives way to them |
//! | a stop | within seconds, in a segment too; what was read is on record then |
//! | damage that a verification found | its repair begins at once |
//! | errors | kept, shown in the status, and tried again with the next slice |

mod pace;
mod tasks;
pub(crate) mod work;

use crate::clock;
use crate::engine::Appliance;
use api::{MaintenanceResult, MaintenanceRun, MaintenanceTask, RunState, ScrubResult, text};
use model::ErrorKind;
use pace::{Daily, Pace};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tasks::{Ended, Outcome, Tasks};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// When the first slice begins: after a start people look, restore and back up.
const FIRST: Duration = Duration::from_secs(5 * 60);
/// How often a slice begins.
const SLICE: Duration = Duration::from_secs(15 * 60);

/// What the worker and those who ask share.
#[derive(Default)]
pub(crate) struct Maintenance {
    pub(crate) tasks: Tasks,
    stopping: AtomicBool,
    /// Damage was found, and its repair is not to wait for the next slice.
    damage: AtomicBool,
    asked: Notify,
}

/// What the worker does besides what is due.
#[derive(Debug, PartialEq)]
enum Next {
    Asked(Box<MaintenanceRun>),
    Repair,
}

impl Maintenance {
    /// Queues a task; `None` when too many wait already.
    pub(crate) fn ask(&self, task: MaintenanceTask) -> Option<MaintenanceRun> {
        let run = self.tasks.add(task, true)?;
        self.asked.notify_one();
        Some(run)
    }

    /// A verification found damage.
    pub(crate) fn found_damage(&self) {
        self.damage.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// What comes next: who asked goes first, then what is damaged, once.
    fn next(&self) -> Option<Next> {
        if self.is_stopping() {
            return None;
        }
        let asked = self.tasks.asked_for().map(|run| Next::Asked(Box::new(run)));
        asked.or_else(|| self.damage.swap(false, Ordering::Relaxed).then_some(Next::Repair))
    }

    /// Lets the work end soon, and no other begin.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// What has to be remembered from slice to slice.
#[derive(Default)]
struct Day {
    pace: Pace,
    expire: Daily,
    reclaim: Daily,
    compact: Daily,
}

/// Does what is asked for and what is due, until the appliance stops.
pub(crate) async fn worker(appliance: Arc<Appliance>) {
    let start = Instant::now();
    let mut every = interval_at(start + FIRST, SLICE);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut day = Day::default();
    while !appliance.maintenance.is_stopping() {
        tokio::select! {
            () = appliance.maintenance.asked.notified() => {}
            _ = every.tick() => slice(&appliance, &mut day, start.elapsed()).await,
        }
        while let Some(next) = appliance.maintenance.next() {
            match next {
                Next::Asked(run) => drop(perform(&appliance, *run, None).await),
                Next::Repair => repair(&appliance).await,
            }
        }
    }
}

/// What is known to be damaged, and nothing else.
async fn repair(appliance: &Arc<Appliance>) {
    if appliance.repository.to_repair().is_empty() {
        return;
    }
    let done = own(appliance, MaintenanceTask::Scrub, Some(0)).await;
    if let Some(MaintenanceResult::Scrub(ScrubResult { stopped: true, .. })) = done {
        appliance.maintenance.found_damage(); // it gave way to somebody who asked
    }
}

/// What is due now.
async fn slice(appliance: &Arc<Appliance>, day: &mut Day, now: Duration) {
    let repository = &appliance.repository;
    let goal = appliance.config.repository.scrub_days;
    let due = repository.scrub_due(goal, repository.clock().value);
    let budget = day.pace.budget(due.bytes, due.overdue, now, SLICE);
    if budget > 0 || !repository.to_repair().is_empty() {
        let result = own(appliance, MaintenanceTask::Scrub, Some(budget)).await;
        if let Some(MaintenanceResult::Scrub(scrub)) = result {
            day.pace.spent(scrub.bytes);
        }
    }
    let daily = [
        (MaintenanceTask::Expire, &mut day.expire, appliance.config.keep.is_some()),
        (MaintenanceTask::Reclaim, &mut day.reclaim, true),
        (MaintenanceTask::Compact, &mut day.compact, !work::backup_runs(appliance)),
    ];
    for (task, daily, may) in daily {
        if may && daily.is_due(now) && own(appliance, task, None).await.is_some() {
            daily.done(now);
        }
    }
}

/// A task that nobody asked for; `None` when it failed, or the appliance stops.
async fn own(
    appliance: &Arc<Appliance>,
    task: MaintenanceTask,
    budget: Option<u64>,
) -> Option<MaintenanceResult> {
    if appliance.maintenance.is_stopping() {
        return None;
    }
    let run = appliance.maintenance.tasks.add(task, false)?;
    perform(appliance, run, budget).await
}

async fn perform(
    appliance: &Arc<Appliance>,
    run: MaintenanceRun,
    budget: Option<u64>,
) -> Option<MaintenanceResult> {
    let tasks = &appliance.maintenance.tasks;
    let (number, task) = (run.number, run.task);
    tasks.begin(number);
    let budget = budget.unwrap_or_else(|| match task {
        MaintenanceTask::ScrubAll => u64::MAX,
        _ => {
            let (goal, now) =
                (appliance.config.repository.scrub_days, appliance.repository.clock());
            appliance.repository.scrub_due(goal, now.value).bytes
        }
    });
    let working = Arc::clone(appliance);
    let worked = tokio::task::spawn_blocking(move || work::perform(&working, &run, budget)).await;
    let outcome = worked.unwrap_or_else(|error| {
        let detail = format!("it ended abnormally: {error}");
        Outcome::from(Err(work::problem(ErrorKind::Retryable, detail)))
    });
    if let Some(result) = &outcome.result {
        tracing::info!(number, ?task, ?result, "maintenance");
    }
    if let Some(problem) = &outcome.problem {
        tracing::error!(number, ?task, detail = problem.detail, "maintenance");
    }
    let result = outcome.result.clone();
    let retention = text::retention(appliance.repository.clock().value);
    tasks.end(number, outcome, Ended { wall: text::wall(clock::wall()), retention });
    result
}

/// The newest task of each kind that failed.
pub(crate) fn failures(newest: &[MaintenanceRun]) -> impl Iterator<Item = &MaintenanceRun> {
    newest.iter().filter(|run| run.state == RunState::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_wakes_the_worker_and_is_repaired_once_after_who_asked() {
        let maintenance = Maintenance::default();
        assert_eq!(maintenance.next(), None);
        maintenance.found_damage();
        let woken = maintenance.asked.notified();
        assert!(is_ready_now(woken), "nobody waits for the next slice");
        let asked = maintenance.ask(MaintenanceTask::Reclaim).unwrap();
        assert_eq!(maintenance.next(), Some(Next::Asked(Box::new(asked.clone()))));
        maintenance.tasks.begin(asked.number);
        assert_eq!(maintenance.next(), Some(Next::Repair));
        assert_eq!(maintenance.next(), None);
        maintenance.found_damage();
        maintenance.stop();
        assert_eq!(maintenance.next(), None);
    }

    /// Whether it is ready at once.
    fn is_ready_now(future: impl Future<Output = ()>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_ready()
    }
}
