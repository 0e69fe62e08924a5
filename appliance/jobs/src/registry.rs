//! The runs that there are: queued, running and ended, as the API shows them.
//!
//! Kept in memory and bounded; what must survive a restart is in the journal and the ledger.

use crate::backup::{BackupReport, Settings};
use crate::error::RunError;
use crate::progress::{Progress, ProgressView, StepState, lock};
use api::{BackupResult, Problem, Run, RunKind, RunResult, RunState, RunStep, VerifyResult, VmRef};
use jiff::Timestamp;
use model::{ErrorKind, RecoveryPointId, RunId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Ended runs that are kept.
const ENDED_MAX: usize = 1000;
/// Runs that may wait.
const QUEUED_MAX: usize = 1000;
/// The rate shown is that of about the last so many seconds.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// One run.
pub struct Entry {
    /// Unique for ever.
    pub id: RunId,
    /// What it does.
    pub kind: RunKind,
    /// On which VM.
    pub vm: VmRef,
    /// For a verify run: on which point.
    pub point: Option<RecoveryPointId>,
    /// For a backup run: what it was told.
    pub settings: Settings,
    /// What it tells while it runs.
    pub progress: Arc<Progress>,
    created: Timestamp,
    fate: Mutex<Fate>,
    meter: Mutex<Meter>,
}

struct Fate {
    state: RunState,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    error: Option<Problem>,
    result: Option<RunResult>,
}

/// Samples of the bytes done, oldest first, within [`RATE_WINDOW`].
#[derive(Default)]
struct Meter(VecDeque<(Instant, u64)>);

/// All runs.
#[derive(Default)]
pub struct Registry {
    /// Invariant: in the order in which they were asked for.
    runs: Mutex<VecDeque<Arc<Entry>>>,
}

/// Too many runs wait already.
#[derive(Debug, thiserror::Error)]
#[error("{QUEUED_MAX} runs wait already; wait until some have ended")]
pub struct QueueFull;

impl Registry {
    /// Adds a queued run.
    pub fn add(
        &self,
        id: RunId,
        kind: RunKind,
        vm: VmRef,
        point: Option<RecoveryPointId>,
        settings: Settings,
    ) -> Result<Arc<Entry>, QueueFull> {
        let mut runs = lock(&self.runs);
        if runs.iter().filter(|run| run.state() == RunState::Queued).count() >= QUEUED_MAX {
            return Err(QueueFull);
        }
        let entry = Arc::new(Entry::new(id, kind, vm, point, settings));
        runs.push_back(Arc::clone(&entry));
        let ended = runs.iter().filter(|run| run.state().is_final()).count();
        if ended > ENDED_MAX
            && let Some(oldest) = runs.iter().position(|run| run.state().is_final())
        {
            runs.remove(oldest);
        }
        Ok(entry)
    }

    /// All runs as the API shows them.
    #[must_use]
    pub fn list(&self) -> Vec<Run> {
        let entries: Vec<_> = lock(&self.runs).iter().cloned().collect();
        entries.iter().map(|entry| entry.view()).collect()
    }

    /// One run.
    #[must_use]
    pub fn find(&self, id: RunId) -> Option<Arc<Entry>> {
        lock(&self.runs).iter().find(|entry| entry.id == id).cloned()
    }

    /// Asks every run that has not ended to stop.
    pub fn cancel_all(&self) {
        for entry in lock(&self.runs).iter().filter(|entry| !entry.state().is_final()) {
            entry.progress.cancel();
        }
    }
}

impl Entry {
    fn new(
        id: RunId,
        kind: RunKind,
        vm: VmRef,
        point: Option<RecoveryPointId>,
        settings: Settings,
    ) -> Self {
        let fate = Fate {
            state: RunState::Queued,
            started: None,
            finished: None,
            error: None,
            result: None,
        };
        Self {
            id,
            kind,
            vm,
            point,
            settings,
            progress: Arc::default(),
            created: Timestamp::now(),
            fate: Mutex::new(fate),
            meter: Mutex::default(),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        lock(&self.fate).state
    }

    /// It leaves the queue.
    pub fn begin(&self) {
        let mut fate = lock(&self.fate);
        fate.state = RunState::Running;
        fate.started = Some(Timestamp::now());
    }

    /// A backup has ended.
    pub fn end_backup(&self, result: Result<BackupReport, RunError>) {
        match result {
            Ok(report) => {
                let result = self.backup_result(&report);
                self.end(Ok(RunResult::Backup(result)));
            }
            Err(error) => {
                let detail = model::chain(&error);
                tracing::error!(run = %self.id, vm = self.vm.name, detail, "backup failed");
                let problem = Problem::of_kind(error.kind(), error.code(), "The backup failed")
                    .detail(detail)
                    .next_step(error.next_step());
                self.end(Err(Box::new(problem)));
            }
        }
    }

    /// A restore has ended.
    pub fn end_restore(&self, result: Result<api::RestoreResult, crate::RestoreError>) {
        self.end(result.map(RunResult::Restore).map_err(|error| {
            let detail = model::chain(&error);
            tracing::error!(run = %self.id, vm = self.vm.name, detail, "restore failed");
            let problem = Problem::of_kind(error.kind(), error.code(), "The restore failed");
            Box::new(problem.detail(detail).next_step(error.next_step()))
        }));
    }

    /// The run has ended. Damage found by a verify run is a failure with a result.
    pub fn end(&self, result: Result<RunResult, Box<Problem>>) {
        let warned = !self.progress.view().warnings.is_empty();
        let mut fate = lock(&self.fate);
        fate.finished = Some(Timestamp::now());
        fate.state = match &result {
            Ok(RunResult::Verify(VerifyResult { damage_total: 1.., .. })) => RunState::Failed,
            Ok(_) if warned => RunState::Warning,
            Ok(_) => RunState::Succeeded,
            Err(problem) if problem.kind == Some(ErrorKind::Cancelled) => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        match result {
            Ok(result) => fate.result = Some(result),
            Err(problem) => fate.error = Some(*problem),
        }
    }

    /// The run as the API shows it.
    #[must_use]
    pub fn view(&self) -> Run {
        let view = self.progress.view();
        let fate = lock(&self.fate);
        let running = view.steps.iter().rfind(|step| step.state == StepState::Running);
        let step = running.map(|step| step.name.clone());
        let point = self.point.or(match &fate.result {
            Some(RunResult::Backup(result)) => Some(result.point),
            _ => None,
        });
        Run {
            id: self.id,
            kind: self.kind,
            vm: self.vm.clone(),
            point,
            state: fate.state,
            progress: step.as_ref().and_then(|step| self.figures(step, &view)),
            step,
            created: self.created,
            started: fate.started,
            finished: fate.finished,
            steps: view.steps.iter().map(step_view).collect(),
            warnings: view.warnings,
            error: fate.error.clone(),
            result: fate.result.clone(),
        }
    }

    fn figures(&self, step: &str, view: &ProgressView) -> Option<api::Progress> {
        if view.total_bytes == 0 {
            return None;
        }
        let rate = lock(&self.meter).rate(Instant::now(), view.done_bytes);
        let left = view.total_bytes.saturating_sub(view.done_bytes);
        Some(api::Progress {
            disk: step.strip_prefix("read ").unwrap_or(step).into(),
            done_bytes: view.done_bytes,
            total_bytes: view.total_bytes,
            read_bytes: view.read_bytes,
            stored_bytes: view.stored_bytes,
            rate_bytes_per_second: rate,
            eta_seconds: left.checked_div(rate),
        })
    }

    fn backup_result(&self, report: &BackupReport) -> BackupResult {
        let sum = |of: fn(&crate::DiskReport) -> u64| report.disks.iter().map(of).sum::<u64>();
        let new = sum(|disk| disk.counts.new_bytes);
        let stored = sum(|disk| disk.counts.bytes_stored);
        let mut step_seconds = BTreeMap::new();
        for step in self.progress.view().steps {
            *step_seconds.entry(step.name).or_insert(0.0) += step.elapsed.as_secs_f64();
        }
        BackupResult {
            point: report.point,
            san_read_bytes: sum(|disk| disk.bytes_read),
            network_read_bytes: 0,
            changed_areas: sum(|disk| disk.changed_areas),
            changed_bytes: sum(|disk| disk.changed_bytes),
            compared_bytes: sum(|disk| disk.bytes_compared),
            cells: sum(|disk| disk.counts.cells),
            stored_bytes: stored,
            dedup_ratio: ratio(sum(|disk| disk.counts.bytes_in), new),
            compression_ratio: ratio(new, stored),
            step_seconds,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

fn step_view(step: &crate::StepView) -> RunStep {
    RunStep {
        name: step.name.clone(),
        state: match step.state {
            StepState::Running => api::StepState::Running,
            StepState::Done => api::StepState::Succeeded,
            StepState::Failed => api::StepState::Failed,
        },
        seconds: step.elapsed.as_secs_f64(),
        detail: (!step.detail.is_empty()).then(|| step.detail.clone()),
    }
}

impl Meter {
    /// Bytes per second over the window that ends `now`.
    fn rate(&mut self, now: Instant, done: u64) -> u64 {
        self.0.push_back((now, done));
        while self.0.len() > 2
            && self.0.get(1).is_some_and(|&(at, _)| now.duration_since(at) > RATE_WINDOW)
        {
            self.0.pop_front();
        }
        let &(since, before) = self.0.front().expect("one was pushed above");
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        done.saturating_sub(before).saturating_mul(1000).checked_div(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meter.rate(at(0), 0), 0);
        assert_eq!(meter.rate(at(2), 2000), 1000);
        for second in 3..60 {
            meter.rate(at(second), 2000);
        }
        assert_eq!(meter.rate(at(60), 2000), 0, "an old burst no longer counts");
        assert!(meter.0.len() < 16, "bounded");
    }

    fn vm() -> VmRef {
        VmRef { uuid: model::VmUuid("50".into()), name: "web01".into() }
    }

    #[test]
    fn ended_runs_are_forgotten_oldest_first_and_queued_ones_never() {
        let registry = Registry::default();
        let id = |n: usize| RunId((n as u128).to_be_bytes());
        registry.add(id(0), RunKind::Backup, vm(), None, Settings::default()).unwrap();
        for n in 1..=ENDED_MAX + 5 {
            let entry =
                registry.add(id(n), RunKind::Backup, vm(), None, Settings::default()).unwrap();
            entry.begin();
            entry.end_backup(Err(RunError::Cancelled));
        }
        assert!(registry.find(id(0)).is_some());
        assert!(registry.find(id(1)).is_none());
        assert_eq!(registry.find(id(ENDED_MAX + 5)).unwrap().state(), RunState::Cancelled);
        assert!(registry.list().len() <= ENDED_MAX + 2);
    }

    #[test]
    fn damage_makes_a_verify_run_fail_and_a_warning_shows() {
        let registry = Registry::default();
        let end = |n: u8, damage_total, warn| {
            let entry = registry
                .add(RunId([n; 16]), RunKind::Verify, vm(), None, Settings::default())
                .unwrap();
            entry.begin();
            if warn {
                entry.progress.warn("look");
            }
            let damage = Vec::new();
            entry.end(Ok(RunResult::Verify(VerifyResult {
                chunks: 1,
                bytes: 1,
                damage,
                damage_total,
            })));
            entry.state()
        };
        assert_eq!(end(1, 1, false), RunState::Failed);
        assert_eq!(end(2, 0, false), RunState::Succeeded);
        assert_eq!(end(3, 0, true), RunState::Warning);
    }
}
