//! Commands that the kernel has, and how long they are waited for.

use crate::counters::Cells;
use crate::depth::Permit;
use crate::reply::Reply;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// A command that is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: Reply,
    pub(super) cells: Arc<Cells>,
    pub(super) permit: Permit,
    /// Bytes of its buffer.
    pub(super) length: usize,
    pub(super) until: Instant,
}

/// Invariant: numbers are given in the order of `until`, since all commands of a disk have the
/// same time; `given_up` are those that the kernel still has though nobody waits for them, and none
/// of them is in `waiting`.
#[derive(Debug)]
pub(super) struct Table {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    given_up: BTreeSet<u64>,
    given_up_max: usize,
}

impl Table {
    /// `given_up_max`: with as many unanswered commands no more are taken.
    pub(super) fn new(given_up_max: usize) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, given_up: BTreeSet::new(), given_up_max }
    }

    /// A number for a command that is to be sent; the command itself and how many were given up
    /// when there are too many of those.
    pub(super) fn enter(
        &mut self,
        waiting: Waiting,
    ) -> Result<(u64, Arc<Cells>), (Waiting, usize)> {
        if self.given_up.len() >= self.given_up_max {
            return Err((waiting, self.given_up.len()));
        }
        let (id, cells) = (self.next, Arc::clone(&waiting.cells));
        self.next += 1;
        self.waiting.insert(id, waiting);
        Ok((id, cells))
    }

    /// The end of a command is known; `None` when it had been given up.
    pub(super) fn end(&mut self, id: u64) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    /// The kernel is through with a command, whatever became of it.
    pub(super) fn leave(&mut self, id: u64) {
        self.waiting.remove(&id);
        self.given_up.remove(&id);
    }

    /// A command whose time has run out, and when the next one's does.
    pub(super) fn expire(&mut self, now: Instant) -> (Option<Waiting>, Option<Instant>) {
        let Some(first) = self.waiting.first_entry() else { return (None, None) };
        let until = first.get().until;
        if until > now {
            return (None, Some(until));
        }
        let (id, waiting) = first.remove_entry();
        self.given_up.insert(id);
        (Some(waiting), None)
    }

    #[cfg(test)]
    pub(super) fn given_up(&self) -> usize {
        self.given_up.len()
    }

    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
