//! Care of the paths that commands do not take: states are asked for again, lost paths tried, new
//! ones proven. One task for each LUN, which ends with the last handle of it.

use super::way::Way;
use super::{Lun, Shared};
use crate::multipath::{Fault, Link};
use crate::{SanError, alua};
use scsi::{AccessState, disk};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Nothing is due: until somebody wakes it.
const LONG: Duration = Duration::from_secs(3600);

pub(super) async fn keep(shared: Weak<Shared>, wake: Arc<Notify>) {
    while let Some(lun) = Lun::upgrade(&shared) {
        let now = lun.now();
        let due = lun.lock().due(now);
        for at in due {
            let lun = lun.clone();
            // By itself: a path that does not answer holds up no other one.
            tokio::spawn(async move { lun.probe(at).await });
        }
        let next = lun.lock().next_due().map_or(LONG, |due| due.saturating_sub(now));
        drop(lun);
        tokio::select! {
            () = wake.notified() => {}
            () = sleep(next) => {}
        }
    }
}

impl Lun {
    async fn probe(&self, at: usize) {
        let way = self.way(at);
        let outcome = self.look_after(at, &way).await;
        self.hear(at, &way);
        if let Err(error) = &outcome {
            tracing::debug!(path = way.path.line(), "probe: {error}");
            self.blame(at, &way, error);
        }
        self.lock().probed(at, outcome.is_ok(), self.now());
        self.announce();
    }

    /// State, readiness, identity, in this order: each needs the one before.
    async fn look_after(&self, at: usize, way: &Way) -> Result<(), SanError> {
        let alua = self.lock().alua();
        let told = alua && self.ask_states(at, way).await?;
        if told {
            let access = self.lock().view(at).access;
            if !access.is_none_or(AccessState::reads) {
                return Ok(());
            }
        }
        way.path.run("TEST UNIT READY", disk::test_unit_ready()).await?;
        if !told {
            self.lock().ready(at, self.now());
        }
        let view = self.lock().view(at);
        match view.link {
            Link::Refused => Ok(()),
            _ if !view.proven => self.prove(at).await,
            Link::Down => self.is_the_same(at, way).await,
            Link::Up => {
                self.lock().good(at, self.now());
                Ok(())
            }
        }
    }

    /// Asks by path `by` for the states of all; false: the LUN does not tell that of `by`.
    async fn ask_states(&self, by: usize, way: &Way) -> Result<bool, SanError> {
        let Some(groups) = alua::ask(&way.path).await? else { return Ok(false) };
        let ways = self.ways().clone();
        let mut told = false;
        for (at, other) in ways.iter().enumerate() {
            let Some(state) = alua::state_of(&groups, other.facts.group, other.facts.port) else {
                continue;
            };
            told |= at == by;
            if self.lock().reported(at, state, self.now()) {
                tracing::info!(path = other.path.line(), %state, "the state of a path");
            }
        }
        self.announce();
        Ok(told)
    }

    /// Puts an error on the path's account.
    pub(super) fn blame(&self, at: usize, way: &Way, error: &SanError) {
        way.remember(error);
        let fault = match error.state_told() {
            Some(state) => Fault::State(state),
            None if matches!(error, SanError::LoggedOut { .. }) => {
                self.ended(way);
                return self.lock().refused(at);
            }
            None => Fault::Lost,
        };
        self.lock().failed(at, fault, self.now());
        self.announce();
    }
}
