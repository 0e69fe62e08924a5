//! The tasks that there are: queued, running and ended, as the API shows them. In memory and
//! bounded; what must survive a restart is in the ledger.

use api::{MaintenanceResult, MaintenanceRun, MaintenanceTask, Problem, RunState};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tasks that are remembered.
const KEPT_MAX: usize = 1000;
/// Tasks that may wait.
const QUEUED_MAX: usize = 16;

/// All tasks.
#[derive(Default)]
pub(crate) struct Tasks {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    next: u64,
    /// Invariant: ascending by number.
    runs: VecDeque<MaintenanceRun>,
}

/// What became of a task; a scrub may have both, when some segments could not be read.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Option<MaintenanceResult>,
    pub(crate) problem: Option<Box<Problem>>,
}

impl From<Result<MaintenanceResult, Box<Problem>>> for Outcome {
    fn from(ended: Result<MaintenanceResult, Box<Problem>>) -> Self {
        match ended {
            Ok(result) => Self { result: Some(result), problem: None },
            Err(problem) => Self { result: None, problem: Some(problem) },
        }
    }
}

/// When a task ended, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) wall: Timestamp,
    pub(crate) retention: Timestamp,
}

impl Tasks {
    /// Adds a queued task; `None` when too many wait already.
    pub(crate) fn add(&self, task: MaintenanceTask, asked: bool) -> Option<MaintenanceRun> {
        let mut kept = self.lock();
        let queued = kept.runs.iter().filter(|run| run.state == RunState::Queued);
        if asked && queued.count() >= QUEUED_MAX {
            return None;
        }
        if kept.runs.len() >= KEPT_MAX
            && let Some(oldest) = kept.runs.iter().position(|run| run.state.is_final())
        {
            kept.runs.remove(oldest);
        }
        let run = MaintenanceRun {
            number: kept.next,
            task,
            asked,
            state: RunState::Queued,
            waits: false,
            done_bytes: 0,
            total_bytes: 0,
            finished: None,
            finished_retention: None,
            result: None,
            error: None,
        };
        kept.next += 1;
        kept.runs.push_back(run.clone());
        Some(run)
    }

    pub(crate) fn find(&self, number: u64) -> Option<MaintenanceRun> {
        self.lock().runs.iter().find(|run| run.number == number).cloned()
    }

    /// The oldest task that somebody asked for and that has not begun.
    pub(crate) fn asked_for(&self) -> Option<MaintenanceRun> {
        let kept = self.lock();
        kept.runs.iter().find(|run| run.asked && run.state == RunState::Queued).cloned()
    }

    pub(crate) fn begin(&self, number: u64) {
        self.change(number, |run| run.state = RunState::Running);
    }

    pub(crate) fn waits(&self, number: u64, waits: bool) {
        self.change(number, |run| run.waits = waits);
    }

    pub(crate) fn progress(&self, number: u64, done: u64, total: u64) {
        self.change(number, |run| (run.done_bytes, run.total_bytes) = (done, total));
    }

    pub(crate) fn end(&self, number: u64, outcome: Outcome, ended: Ended) {
        self.change(number, |run| {
            (run.finished, run.finished_retention) = (Some(ended.wall), Some(ended.retention));
            run.waits = false;
            run.state = match (&outcome.problem, &outcome.result) {
                (None, Some(result)) if is_whole(result) => RunState::Succeeded,
                (None, _) => RunState::Warning,
                (Some(_), _) => RunState::Failed,
            };
            run.result = outcome.result;
            run.error = outcome.problem.map(|problem| *problem);
        });
    }

    /// The newest task of each kind that has begun, and the newest scrub that found damage.
    pub(crate) fn newest(&self) -> Vec<MaintenanceRun> {
        let kept = self.lock();
        let mut newest: Vec<MaintenanceRun> = Vec::new();
        let mut damage_seen = false;
        for run in kept.runs.iter().rev().filter(|run| run.state != RunState::Queued) {
            let damage = !damage_seen && found_damage(run);
            damage_seen |= damage;
            if damage || newest.iter().all(|known| kind(known.task) != kind(run.task)) {
                newest.push(run.clone());
            }
        }
        newest
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut MaintenanceRun)) {
        if let Some(run) = self.lock().runs.iter_mut().find(|run| run.number == number) {
            change(run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two kinds of scrub are one: the newest of them says how scrubs go.
fn kind(task: MaintenanceTask) -> MaintenanceTask {
    match task {
        MaintenanceTask::ScrubAll => MaintenanceTask::Scrub,
        other => other,
    }
}

fn found_damage(run: &MaintenanceRun) -> bool {
    matches!(&run.result, Some(MaintenanceResult::Scrub(result))
        if result.damaged > 0 || result.repaired_total > 0)
}

/// Nothing is left that a person should look at.
fn is_whole(result: &MaintenanceResult) -> bool {
    match result {
        MaintenanceResult::Scrub(scrub) => scrub.quarantined_total == 0 && scrub.postponed == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Freed, ScrubResult};

    fn end(tasks: &Tasks, task: MaintenanceTask, result: MaintenanceResult) -> u64 {
        let run = tasks.add(task, false).unwrap();
        tasks.begin(run.number);
        let now = Timestamp::from_second(7).unwrap();
        tasks.end(run.number, Ok(result).into(), Ended { wall: now, retention: now });
        run.number
    }

    fn scrub(damaged: u64, quarantined_total: u64) -> MaintenanceResult {
        MaintenanceResult::Scrub(ScrubResult { damaged, quarantined_total, ..Default::default() })
    }

    #[test]
    fn the_newest_of_each_kind_and_the_newest_damage_are_shown() {
        let tasks = Tasks::default();
        end(&tasks, MaintenanceTask::ScrubAll, scrub(2, 1));
        let damaged = end(&tasks, MaintenanceTask::ScrubAll, scrub(1, 0));
        end(&tasks, MaintenanceTask::Reclaim, MaintenanceResult::Reclaim(Freed::default()));
        end(&tasks, MaintenanceTask::Scrub, scrub(0, 0));
        let reclaim =
            end(&tasks, MaintenanceTask::Reclaim, MaintenanceResult::Reclaim(Freed::default()));
        let clean = end(&tasks, MaintenanceTask::Scrub, scrub(0, 0));
        tasks.add(MaintenanceTask::Expire, true).unwrap();
        let newest: Vec<u64> = tasks.newest().iter().map(|run| run.number).collect();
        assert_eq!(newest, [clean, reclaim, damaged]);
        assert_eq!(tasks.find(damaged).unwrap().state, RunState::Succeeded);
        assert_eq!(tasks.find(0).unwrap().state, RunState::Warning);
    }

    #[test]
    fn memory_and_queue_are_bounded() {
        let tasks = Tasks::default();
        for _ in 0..QUEUED_MAX {
            assert!(tasks.add(MaintenanceTask::Scrub, true).is_some());
        }
        assert!(tasks.add(MaintenanceTask::Scrub, true).is_none());
        for _ in 0..2 * KEPT_MAX {
            end(&tasks, MaintenanceTask::Scrub, scrub(0, 0));
        }
        assert_eq!(tasks.lock().runs.len(), KEPT_MAX);
        assert_eq!(tasks.asked_for().unwrap().number, 0, "who waits is not forgotten");
    }
}
