//! The warden over its socket, for the daemon and for the officers' tools.
//!
//! A warden that does not answer means that commits and deletions fail with
//! [`WardenError::Unavailable`]; reading never needs it.

use crate::Warden;
use crate::error::{WardenError, WireError};
use crate::frames::Role;
use crate::line::{Line, LineError};
use crate::wire::{Reply, Request};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long the daemon waits for one answer: reading a repaired segment, or removing thousands of
/// files, takes minutes.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What the warden answers.
pub type Answer = Result<Reply, WireError>;

/// A client; connects when it is first used, and again when the connection was lost.
pub struct Client {
    line: Line,
}

impl Client {
    /// A client of the warden at `socket`.
    #[must_use]
    pub fn new(socket: &Path, role: Role, patience: Duration) -> Self {
        Self { line: Line::new(socket, role, patience) }
    }
}

impl Warden for Client {
    fn call(&self, request: Request) -> Result<Reply, WardenError> {
        match self.line.exchange::<Request, Answer>(&request) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(told)) => Err(told.into()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: LineError) -> WardenError {
    match error {
        LineError::TurnedAway { .. } => {
            WardenError::Told { text: error.to_string(), kind: model::ErrorKind::Refused }
        }
        other => WardenError::Unavailable { source: io::Error::other(other) },
    }
}
