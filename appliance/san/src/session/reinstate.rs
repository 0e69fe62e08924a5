//! Logging in again: how often, how long, and when not.

use super::worker::Worker;
use super::{Context, Order, login_config, random, refuse};
use crate::SanError;
use crate::link::{Link, session_error};
use iscsi::{Agreed, IscsiError, Time};
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Worker {
    /// Logs in again for `order`, or tells it and everyone who waits that the path is lost.
    pub(super) async fn reinstate(
        &mut self,
        order: Order,
        wait: Time,
    ) -> Option<(Link<Context>, Agreed)> {
        let (job, reply) = match order {
            Order::Run(job, reply) => (job, reply),
            Order::Logout(done) => {
                // There is no session to end.
                self.close();
                drop(done);
                return None;
            }
        };
        match self.log_in_again(wait).await {
            Ok((mut link, agreed)) => {
                self.epoch += 1;
                tracing::info!(portal = %self.portal.portal, target = %self.portal.target,
                    "session reinstated");
                self.submit(&mut link, job, reply);
                Some((link, agreed))
            }
            Err(error) => {
                refuse(Order::Run(job, reply), &error);
                while let Ok(order) = self.queue.try_recv() {
                    refuse(order, &error);
                }
                None
            }
        }
    }

    async fn log_in_again(&self, wait: Time) -> Result<(Link<Context>, Agreed), SanError> {
        let plan = self.portal.reconnect;
        let give_up = Instant::now() + plan.patience;
        let mut delay = wait;
        let mut attempt = 1;
        loop {
            sleep(jittered(delay)?).await;
            let error = match self.log_in_once(give_up).await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            tracing::warn!(portal = %self.portal.portal, attempt, "login failed: {error}");
            delay = plan.delay.saturating_mul(1 << (attempt - 1).min(8));
            let late = Instant::now() + delay >= give_up;
            if attempt >= plan.attempts || late || is_final(&error) {
                return Err(self.path_lost(error));
            }
            attempt += 1;
        }
    }

    async fn log_in_once(&self, give_up: Instant) -> Result<(Link<Context>, Agreed), SanError> {
        let config = login_config(&self.portal, self.isid)?;
        match tokio::time::timeout_at(give_up, Link::login(&self.portal, config)).await {
            Ok(result) => result,
            Err(_) => {
                let source = IscsiError::TimedOut { waited_for: "the session's reinstatement" };
                Err(session_error("login", &self.portal, source))
            }
        }
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
