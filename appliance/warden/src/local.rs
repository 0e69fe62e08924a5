//! The warden's face, and the one that lives in the same process: for development and tests.

use crate::wire::{Reply, Request};
use crate::{Caller, Keeper, WardenError};
use retention::Reading;
use std::sync::Mutex;

/// Whoever seals, commits and deletes.
pub trait Warden: Send + Sync {
    /// Fulfils a request. Afterwards the ledger is to be read up to `size` of the reply.
    fn call(&self, request: Request) -> Result<Reply, WardenError>;
}

/// A keeper in this process. It keeps all of the logic, and protects against nothing that this
/// process itself does.
pub struct Local {
    keeper: Mutex<Keeper>,
    reading: Box<dyn Fn() -> Reading + Send + Sync>,
}

impl Local {
    /// A warden around `keeper`, with the clocks that `reading` reads.
    #[must_use]
    pub fn new(keeper: Keeper, reading: Box<dyn Fn() -> Reading + Send + Sync>) -> Self {
        Self { keeper: Mutex::new(keeper), reading }
    }

    /// As somebody at the box's own console.
    pub fn call_from(&self, caller: Caller, request: Request) -> Result<Reply, WardenError> {
        let Ok(mut keeper) = self.keeper.lock() else {
            let reason = "an earlier request ended in a panic".into();
            return Err(WardenError::Stopped { reason });
        };
        keeper.handle_from(caller, request, (self.reading)())
    }
}

impl Warden for Local {
    fn call(&self, request: Request) -> Result<Reply, WardenError> {
        self.call_from(Caller::Daemon, request)
    }
}
