//! Threads for calls that block: a few, begun when there is work, gone when there is none.
//!
//! Not tokio's: a command on a path that is gone may block for long, and neither other work nor the
//! end of the program must wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

type Task = Box<dyn FnOnce() + Send>;

/// At most a fixed number of threads; further tasks wait in the order they came. Tasks that wait
/// when the pool is dropped are run to their end.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    more: Condvar,
    name: &'static str,
    threads_max: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Invariant: `idle <= threads <= threads_max`, and no task waits while a thread is idle without
/// having been woken.
struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(name: &'static str, threads_max: usize) -> Self {
        let state = State { tasks: VecDeque::new(), threads: 0, idle: 0, closed: false };
        let (state, more) = (Mutex::new(state), Condvar::new());
        Self { shared: Arc::new(Shared { state, more, name, threads_max: threads_max.max(1) }) }
    }

    /// Runs `task` on one of the threads.
    pub(super) fn run(&self, task: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        state.tasks.push_back(Box::new(task));
        if state.tasks.len() > state.idle && state.threads < self.shared.threads_max {
            state.threads += 1;
            drop(state);
            self.shared.spawn();
        } else {
            drop(state);
            self.shared.more.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A task that panics does not hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        if let Err(error) = thread.spawn(move || shared.work()) {
            tracing::error!(pool = self.name, %error, "no thread");
            self.lock().threads -= 1;
        }
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            // A panic of one task is a fault of ours; the others have to go on.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                tracing::error!(pool = self.name, "a task panicked");
            }
        }
    }

    /// The next task; `None` when the thread is to end, and is counted out already.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let woken = self.more.wait_timeout(state, IDLE);
            let (guard, waited) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.tasks.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn as_many_at_a_time_as_allowed_and_all_of_them() {
        let pool = Pool::new("test", 3);
        let (begun, began) = mpsc::channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        for number in 0..10 {
            let (begun, gate) = (begun.clone(), Arc::clone(&gate));
            pool.run(move || {
                begun.send(number).unwrap();
                let (open, opened) = &*gate;
                let mut open = open.lock().unwrap();
                while !*open {
                    open = opened.wait(open).unwrap();
                }
            });
        }
        drop(begun);
        let mut seen: Vec<i32> = (0..3).map(|_| began.recv().unwrap()).collect();
        assert_eq!(pool.shared.lock().threads, 3);
        assert_eq!(pool.shared.lock().tasks.len(), 7, "seven wait");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        drop(pool);
        seen.extend(began);
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>(), "those that waited ran as well");
    }

    #[test]
    fn a_task_that_panics_takes_no_other_with_it() {
        let pool = Pool::new("test", 1);
        let (sender, receiver) = mpsc::channel();
        pool.run(|| panic!("on purpose"));
        pool.run(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv(), Ok(7));
    }

    #[test]
    fn a_pool_can_be_dropped_by_its_own_task() {
        let (sender, receiver) = mpsc::channel();
        let pool = Arc::new(Pool::new("test", 2));
        let own = Arc::clone(&pool);
        let (go, wait) = mpsc::channel::<()>();
        pool.run(move || {
            wait.recv().unwrap();
            drop(own);
            sender.send(()).unwrap();
        });
        drop(pool);
        go.send(()).unwrap();
        receiver.recv().unwrap();
    }
}
