//! What the socket's server does with a request: who may ask for it, and the answer as it goes
//! over the wire.

use crate::client::Answer;
use crate::error::WireError;
use crate::frames::Role;
use crate::server::{Peer, Service};
use crate::wire::{Evidence, Outcome, Reply, Request};
use crate::{Caller, Local, Warden as _, WardenError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one leaf in this time about strangers at the socket, so that they cannot fill the
/// ledger. All of them are in the log.
const BETWEEN_ALARMS: Duration = Duration::from_secs(600);

/// Answers for a warden.
pub struct Guard {
    warden: Local,
    missing: Vec<String>,
    alarmed: Mutex<Option<Instant>>,
}

impl Guard {
    /// `missing`: what the process around the warden does not enforce; its status shows it.
    #[must_use]
    pub fn new(warden: Local, missing: Vec<String>) -> Self {
        Self { warden, missing, alarmed: Mutex::new(None) }
    }

    /// To be called every minute or so: the clock goes on without a daemon too.
    pub fn tick(&self) {
        match self.warden.call(Request::Tick) {
            Ok(Reply { outcome: Outcome::Ticked { alarms }, .. }) => {
                for alarm in alarms {
                    tracing::error!("{alarm}");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!("{}", model::chain(&error)),
        }
    }

    fn told(&self, mut reply: Reply) -> Reply {
        if let Outcome::Status(status) = &mut reply.outcome {
            status.not_enforced.extend(self.missing.iter().cloned());
        }
        reply
    }
}

/// The daemon may ask for everything: whether it is done is decided over the ledger. A person at
/// the machine asks for what needs no daemon.
fn may_ask(role: Role, request: &Request) -> bool {
    role == Role::Daemon
        || matches!(request, Request::Status | Request::Challenge | Request::Officer(_))
}

impl Service for Guard {
    type Request = Request;
    type Answer = Answer;

    fn handle(&self, peer: Peer, request: Request) -> Answer {
        if !may_ask(peer.role, &request) {
            let problem = "only the daemon asks for this; an officer's connection is for the \
                           status and for signed actions";
            let error = WardenError::Told { text: problem.into(), kind: model::ErrorKind::Refused };
            return Err(WireError::from(&error));
        }
        let caller = match peer {
            Peer { role: Role::Officer, console: true } => Caller::Console,
            _ => Caller::Daemon,
        };
        self.warden.call_from(caller, request).map(|reply| self.told(reply)).map_err(|error| {
            tracing::warn!("{}", model::chain(&error));
            WireError::from(&error)
        })
    }

    fn noticed(&self, what: &str) {
        tracing::warn!("{what}");
        let mut last = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < BETWEEN_ALARMS) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        let alarm = Evidence::Alarm { what: "socket".into(), detail: what.into() };
        // The warden's own: a daemon that has used up its budget does not silence it.
        if let Err(error) = self.warden.call_from(Caller::Console, Request::Note(alarm)) {
            tracing::error!("the alarm is not on record: {}", model::chain(&error));
        }
    }
}
