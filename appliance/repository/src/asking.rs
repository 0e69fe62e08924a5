//! Asking the warden. What it has put on record is known here before anything else is done; where
//! an answer was lost, before anything that depends on it.

use crate::StoreError;
use crate::core::{Core, locked};
use model::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use warden::WardenError;
use warden::wire::{ClockView, Reply, Request};

/// How often a segment that somebody still has open is shown to the warden again: for a second.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

impl Core {
    /// Asks the warden, and takes what that has put on record into the catalog.
    ///
    /// Nothing is held while it works. What it refuses is on record too.
    pub(crate) fn ask(&self, request: Request) -> Result<Reply, StoreError> {
        let answer = self.call(request);
        match &answer {
            Ok(reply) => self.advance(reply.size, Some(reply.clock.clone()))?,
            Err(WardenError::Refused { size, .. }) => self.advance(*size, None)?,
            Err(_) => {}
        }
        Ok(answer?)
    }

    /// A segment is not taken over while anybody has it open for writing. For a moment that is
    /// every process that a thread of this one has forked, until it executes its program.
    fn call(&self, request: Request) -> Result<Reply, WardenError> {
        if matches!(request, Request::Seal { .. } | Request::Repair { .. }) {
            for _ in 0..BUSY_TRIES {
                match self.warden.call(request.clone()) {
                    Err(error) if error.kind() == ErrorKind::Busy => std::thread::sleep(BUSY_PAUSE),
                    other => return other,
                }
            }
        }
        self.warden.call(request)
    }

    /// Takes the leaves up to `size` into the catalog. A segment that a compaction has emptied
    /// leaves the index in the same step: a run that found a chunk there which was not needed, and
    /// therefore not copied, would commit a point without it.
    fn advance(&self, size: u64, clock: Option<ClockView>) -> Result<(), StoreError> {
        let mut catalog = locked(&self.catalog);
        let known = catalog.moves.count();
        let outcome = catalog.advance(size, clock);
        let emptied = catalog.moves.emptied_since(known);
        if !emptied.is_empty() {
            locked(&self.index).hide(&emptied);
        }
        outcome
    }

    /// Brings the catalog up to date if the answer to a compaction was lost. To be called where
    /// no compaction can go on record meanwhile.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        if self.unsettled.load(Ordering::Acquire) {
            self.ask(Request::Status)?;
            self.unsettled.store(false, Ordering::Release);
        }
        Ok(())
    }
}
