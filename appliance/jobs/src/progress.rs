//! What a run tells about itself while it runs. Written by the run, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It goes on.
    Running,
    /// It ended as it should.
    Done,
    /// The run ended in it.
    Failed,
}

/// A step of a run, as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepView {
    /// Such as 'snapshot' or 'read Hard disk 1'.
    pub name: String,
    /// How far.
    pub state: StepState,
    /// How long it has taken so far.
    pub elapsed: Duration,
    /// What it found out; may be empty.
    pub detail: String,
}

struct Step {
    name: String,
    began: Instant,
    /// `None` while it runs.
    ended: Option<(Instant, StepState)>,
    detail: String,
}

/// Shared between a run and its watchers.
#[derive(Default)]
pub struct Progress {
    steps: Mutex<Vec<Step>>,
    warnings: Mutex<Vec<String>>,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    cancelled: AtomicBool,
}

/// The progress at one moment.
#[derive(Clone, Debug, Default)]
pub struct ProgressView {
    /// All steps so far, in order.
    pub steps: Vec<StepView>,
    /// What the user should know although the run goes on.
    pub warnings: Vec<String>,
    /// Bytes of `total_bytes` that are done.
    pub done_bytes: u64,
    /// Bytes that this run has to process, as far as known by now.
    pub total_bytes: u64,
    /// Bytes read from the SAN.
    pub read_bytes: u64,
    /// Bytes added to the repository, by finished disks.
    pub stored_bytes: u64,
}

impl Progress {
    /// Ends the running step and begins the next.
    pub fn step(&self, name: impl Into<String>) {
        let now = Instant::now();
        let mut steps = lock(&self.steps);
        end_last(&mut steps, now, StepState::Done);
        let (name, detail) = (name.into(), String::new());
        steps.push(Step { name, began: now, ended: None, detail });
    }

    /// Says what the running step found out.
    pub fn detail(&self, text: impl Into<String>) {
        if let Some(step) = lock(&self.steps).last_mut() {
            step.detail = text.into();
        }
    }

    /// Ends the running step; nothing follows.
    pub fn end(&self, state: StepState) {
        end_last(&mut lock(&self.steps), Instant::now(), state);
    }

    /// The user should know this although the run goes on.
    pub fn warn(&self, text: impl Into<String>) {
        lock(&self.warnings).push(text.into());
    }

    /// More work is known.
    pub fn add_total(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Work is done, of which `read` bytes came from the SAN.
    pub fn add_done(&self, bytes: u64, read: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.read_bytes.fetch_add(read, Ordering::Relaxed);
    }

    /// The repository grew.
    pub fn add_stored(&self, bytes: u64) {
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Asks the run to stop and to clean up.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// True once somebody asked the run to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The progress now.
    #[must_use]
    pub fn view(&self) -> ProgressView {
        let steps = lock(&self.steps).iter().map(Step::view).collect();
        ProgressView {
            steps,
            warnings: lock(&self.warnings).clone(),
            done_bytes: self.done_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Step {
    fn view(&self) -> StepView {
        let (end, state) = self.ended.unwrap_or((Instant::now(), StepState::Running));
        StepView {
            name: self.name.clone(),
            state,
            elapsed: end.duration_since(self.began),
            detail: self.detail.clone(),
        }
    }
}

fn end_last(steps: &mut [Step], now: Instant, state: StepState) {
    if let Some(last) = steps.last_mut()
        && last.ended.is_none()
    {
        last.ended = Some((now, state));
    }
}

/// The lock; what jobs guard stays whole whatever a panicking holder did, so poison is no reason
/// to stop.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
