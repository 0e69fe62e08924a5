//! How many commands one LUN has in flight: halved when it says that it is too much, and raised
//! again one by one while all goes well.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Good answers in a row that earn one more command in flight.
const RAISE_AFTER: u32 = 64;

/// Invariant: permits (free, taken) - `debt` = `allowed`, and `1 <= allowed <= max`.
#[derive(Debug)]
pub(crate) struct Depth {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    max: usize,
}

#[derive(Debug)]
struct State {
    allowed: usize,
    /// Permits that are taken now and will not be given back.
    debt: usize,
    good: u32,
}

/// The right to have one command in flight.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    depth: Arc<Depth>,
}

impl Depth {
    pub(crate) fn new(max: u16) -> Arc<Self> {
        let max = usize::from(max.max(1));
        let state = Mutex::new(State { allowed: max, debt: 0, good: 0 });
        Arc::new(Self { permits: Arc::new(Semaphore::new(max)), state, max })
    }

    /// Waits for a free place.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        Permit { permit: permit.ok(), depth: Arc::clone(self) } // it is never closed
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

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.depth.lock();
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
            taken.push(depth.acquire().await);
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
