//! Logging in again: how often, how long, and when not.

use super::worker::Worker;
use super::{Context, Order, random, refuse};
use crate::SanError;
use crate::link::{Link, session_error};
use iscsi::{Agreed, IscsiError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

impl Worker {
    /// Logs in again for `order`, or tells it and everyone who waits that the path is lost.
    pub(super) async fn reinstate(&mut self, order: Order) -> Option<(Link<Context>, Agreed)> {
        let job = match order {
            Order::Run(job) => job,
            Order::Logout(done) => {
                // There is no session to end.
                self.close();
                drop(done);
                return None;
            }
        };
        match self.log_in_again().await {
            Ok((mut link, agreed)) => {
                self.epoch += 1;
                tracing::info!(portal = %self.portal.portal, target = %self.portal.target,
                    "session reinstated");
                self.submit(&mut link, job);
                Some((link, agreed))
            }
            Err(error) => {
                job.refuse(error.clone());
                while let Ok(order) = self.queue.try_recv() {
                    refuse(order, &error);
                }
                None
            }
        }
    }

    async fn log_in_again(&mut self) -> Result<(Link<Context>, Agreed), SanError> {
        let plan = self.portal.reconnect;
        let give_up = Instant::now() + plan.patience;
        if self.not_before > give_up {
            // It wants to be left alone for longer than anyone here waits.
            return Err(self.path_lost(self.too_long()));
        }
        sleep_until(self.not_before).await;
        let mut attempt = 1;
        loop {
            let error = match self.log_in_once(give_up).await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            tracing::warn!(portal = %self.portal.portal, attempt, "login failed: {error}");
            let delay = jittered(plan.delay.saturating_mul(1 << (attempt - 1).min(8)))?;
            let late = Instant::now() + delay >= give_up;
            if attempt >= plan.attempts || late || is_final(&error) {
                return Err(self.path_lost(error));
            }
            sleep(delay).await;
            attempt += 1;
        }
    }

    async fn log_in_once(&mut self, give_up: Instant) -> Result<(Link<Context>, Agreed), SanError> {
        let login = Link::login(&self.portal, &mut self.memory);
        match tokio::time::timeout_at(give_up, login).await {
            Ok(result) => result,
            Err(_) => Err(self.too_long()),
        }
    }

    fn too_long(&self) -> SanError {
        let source = IscsiError::TimedOut { waited_for: "the session's reinstatement" };
        session_error("login", &self.portal, source)
    }

    fn path_lost(&self, source: SanError) -> SanError {
        SanError::PathLost {
            portal: self.portal.portal.clone(),
            target: self.portal.target.clone(),
            source: Box::new(source),
        }
    }
}

/// A refusal stays one, however often it is asked for.
fn is_final(error: &SanError) -> bool {
    use model::ErrorKind::{Gone, NotFound, Refused};
    matches!(error.kind(), Refused | NotFound | Gone)
}

/// Up to a quarter longer, so that many appliances do not come back at the same moment.
fn jittered(delay: Duration) -> Result<Duration, SanError> {
    let [byte] = random()?;
    Ok(delay + delay / 1024 * u32::from(byte))
}
