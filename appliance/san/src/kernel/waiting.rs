//! Commands that the kernel has, and how long they are waited for.

use crate::counters::Cells;
use crate::depth::Permit;
use crate::job::Answer;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A command that is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) cells: Arc<Cells>,
    pub(super) permit: Permit,
    /// Bytes of its buffer.
    pub(super) length: usize,
    pub(super) until: Instant,
}

/// Invariant: numbers are given in the order of `until`, since all commands of a disk have the
/// same time; `given_up` counts those that the kernel still has though nobody waits for them.
#[derive(Debug)]
pub(super) struct Table {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    given_up: usize,
    given_up_max: usize,
}

impl Table {
    /// `given_up_max`: with as many unanswered commands no more are taken.
    pub(super) fn new(given_up_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, given_up: 0, given_up_max }
    }

    /// A number for a command that is to be sent; the command itself and how many were given up
    /// when there are too many of those.
    pub(super) fn enter(
        &mut self,
        waiting: Waiting,
    ) -> Result<(u64, Arc<Cells>), (Waiting, usize)> {
        if self.given_up >= self.given_up_max {
            return Err((waiting, self.given_up));
        }
        let (id, cells) = (self.next, Arc::clone(&waiting.cells));
        self.next += 1;
        self.waiting.insert(id, waiting);
        Ok((id, cells))
    }

    /// The kernel is through with a command; `None` when it had been given up.
    pub(super) fn leave(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id);
        if waiting.is_none() {
            self.given_up -= 1;
        }
        waiting
    }

    /// A command whose time has run out, and when the next one's does.
    pub(super) fn expire(&mut self, now: Instant) -> (Option<Waiting>, Option<Instant>) {
        let Some(first) = self.waiting.first_entry() else { return (None, None) };
        let until = first.get().until;
        if until > now {
            return (None, Some(until));
        }
        self.given_up += 1;
        (Some(first.remove()), None)
    }

    #[cfg(test)]
    pub(super) fn given_up(&self) -> usize {
        self.given_up
    }

    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
