//! How many commands one LUN has in flight: halved when it says that it is too much, and raised
//! again one by one while all goes well. Measures on the way what a path needs for a command.

use crate::multipath::Load;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Good answers in a row that earn one more command in flight.
const RAISE_AFTER: u32 = 64;
/// The newest measurement counts for one part in so many.
const SMOOTHING: u32 = 8;
/// An older measurement says nothing: a path that was slow gets another chance.
const FRESH: Duration = Duration::from_secs(5);

/// Invariant: permits (free, taken) - `debt` = `allowed`, and `1 <= allowed <= max`.
#[derive(Debug)]
pub(crate) struct Depth {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    max: usize,
}

#[derive(Debug, Default)]
struct State {
    allowed: usize,
    /// Permits that are taken now and will not be given back.
    debt: usize,
    good: u32,
    /// Permits that are taken or waited for.
    wanted: usize,
    /// Smoothed; zero before the first measurement.
    latency: Duration,
    measured: Option<Instant>,
}

/// The right to have one command in flight. Given back, it tells how long that was.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    depth: Arc<Depth>,
    /// Of a command that is measured.
    begun: Option<Instant>,
}

impl Depth {
    pub(crate) fn new(max: u16) -> Arc<Self> {
        let max = usize::from(max.max(1));
        let state = State { allowed: max, ..State::default() };
        Arc::new(Self { permits: Arc::new(Semaphore::new(max)), state: Mutex::new(state), max })
    }

    /// Waits for a free place. `measured`: the command counts for the latency.
    pub(crate) async fn acquire(self: &Arc<Self>, measured: bool) -> Permit {
        self.lock().wanted += 1;
        // From here on it is given back, also when nobody waits any more.
        let mut taken = Permit { permit: None, depth: Arc::clone(self), begun: None };
        taken.permit = Arc::clone(&self.permits).acquire_owned().await.ok(); // it is never closed
        taken.begun = measured.then(Instant::now);
        taken
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        let fresh = state.measured.is_some_and(|at| at.elapsed() < FRESH);
        let latency = if fresh { state.latency } else { Duration::ZERO };
        Load { in_flight: state.wanted, latency }
    }

    /// What a command needed lately, however long ago that was.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let state = self.lock();
        state.measured.map(|_| state.latency)
    }

    /// Commands that may be in flight now.
    #[cfg(test)]
    fn allowed(&self) -> usize {
        self.lock().allowed
    }

    /// The LUN has too much to do.
    pub(crate) fn lower(&self) {
        let mut state = self.lock();
        let less = state.allowed / 2;
        state.allowed -= less;
        state.good = 0;
        state.debt += less - self.permits.forget_permits(less);
    }

    /// The LUN answered well.
    pub(crate) fn good(&self) {
        let mut state = self.lock();
        if state.allowed == self.max {
            return;
        }
        state.good += 1;
        if state.good < RAISE_AFTER {
            return;
        }
        state.good = 0;
        state.allowed += 1;
        match state.debt.checked_sub(1) {
            Some(debt) => state.debt = debt,
            None => self.permits.add_permits(1),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The numbers are whole after each statement, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn measure(&mut self, took: Duration) {
        self.latency = match self.measured {
            None => took,
            Some(_) => (self.latency * (SMOOTHING - 1) + took) / SMOOTHING,
        };
        self.measured = Some(Instant::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.depth.lock();
        state.wanted -= 1;
        if let Some(begun) = self.begun {
            state.measure(begun.elapsed());
        }
        if let (Some(debt), Some(permit)) = (state.debt.checked_sub(1), self.permit.take()) {
            state.debt = debt;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn halved_at_once_and_raised_slowly() {
        let depth = Depth::new(8);
        let mut taken = Vec::new();
        for _ in 0..8 {
            taken.push(depth.acquire(false).await);
        }
        depth.lower();
        assert_eq!(depth.allowed(), 4);
        taken.truncate(4);
        assert_eq!(depth.permits.available_permits(), 0, "four given back, four owed");
        taken.clear();
        assert_eq!(depth.permits.available_permits(), 4);
        for _ in 0..RAISE_AFTER {
            depth.good();
        }
        assert_eq!((depth.allowed(), depth.permits.available_permits()), (5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_smoothed_and_forgotten() {
        let depth = Depth::new(2);
        for took in [80, 160] {
            let permit = depth.acquire(true).await;
            assert_eq!(depth.load().in_flight, 1);
            tokio::time::sleep(Duration::from_millis(took)).await;
            drop(permit);
        }
        assert_eq!(depth.load().latency, Duration::from_millis(90));
        assert_eq!(depth.load().in_flight, 0);
        tokio::time::sleep(FRESH).await;
        assert_eq!(depth.load().latency, Duration::ZERO);
        assert_eq!(depth.latency(), Some(Duration::from_millis(90)));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_not_counted() {
        let depth = Depth::new(1);
        let taken = depth.acquire(false).await;
        let waiting = tokio::time::timeout(Duration::from_millis(1), depth.acquire(false));
        assert!(waiting.await.is_err());
        assert_eq!(depth.load().in_flight, 1);
        drop(taken);
        assert_eq!(depth.load().in_flight, 0);
    }

    #[tokio::test]
    async fn never_below_one_never_above_the_maximum() {
        let depth = Depth::new(4);
        for _ in 0..10 {
            depth.lower();
        }
        assert_eq!((depth.allowed(), depth.permits.available_permits()), (1, 1));
        for _ in 0..RAISE_AFTER * 20 {
            depth.good();
        }
        assert_eq!((depth.allowed(), depth.permits.available_permits()), (4, 4));
    }
}
