//! Waiting for tasks. A broken connection does not end a wait: the task lives on in the server and
//! is found again by its reference.

use super::Client;
use super::properties::withheld;
use super::watch::{Awaited, PAUSES_MS};
use crate::error::VsphereError;
use crate::requests::Request;
use crate::wire::{Fault, MoRef, ObjectContent, localized_fault};
use model::ErrorKind;
use std::time::{Duration, Instant};

/// How a task ended.
enum Ended {
    /// With its result, if that is a reference.
    Done(Option<MoRef>),
    Failed(Box<Fault>),
}

/// A task that was started.
struct Started<'a> {
    method: &'static str,
    object: &'a MoRef,
    task: MoRef,
    began: Instant,
}

impl Started<'_> {
    /// True when the error says that the task itself is no longer there.
    fn is_lost(&self, error: &VsphereError) -> bool {
        match error {
            VsphereError::Gone { object } => *object == self.task,
            _ => {
                names_gone(error)
                    && error.fault().and_then(|f| f.object.as_ref()) == Some(&self.task)
            }
        }
    }

    /// The error after the last attempt. Never one of the kind `Gone`: that would be taken for the
    /// object of the task, and a snapshot for removed.
    fn given_up(&self, error: VsphereError) -> VsphereError {
        if names_gone(&error) { self.lost(error) } else { error }
    }

    /// The server has forgotten the task, as after a restart.
    fn lost(&self, error: VsphereError) -> VsphereError {
        VsphereError::TaskLost {
            method: self.method,
            object: self.object.clone(),
            task: self.task.clone(),
            source: Box::new(error),
        }
    }
}

impl Client {
    /// Starts a task and waits for its end. The result is `None` when it is no reference.
    pub(super) async fn run_task(
        &self,
        object: &MoRef,
        request: &Request,
    ) -> Result<Option<MoRef>, VsphereError> {
        let start = || self.returned_object(object, request);
        let task = self.shared.session.keep(start).await?;
        let (method, began) = (request.method, Instant::now());
        let started = Started { method, object, task, began };
        match self.end_of(&started).await? {
            Ended::Done(result) => Ok(result),
            Ended::Failed(source) => {
                tracing::debug!(method, %object, fault = source.raw, "the task failed");
                Err(VsphereError::TaskFailed { method, object: object.clone(), source })
            }
        }
    }

    /// Waits, through broken connections, for the end of the task.
    async fn end_of(&self, started: &Started<'_>) -> Result<Ended, VsphereError> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            match self.shared.session.keep(|| self.look(started)).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => pauses = PAUSES_MS.iter(),
                Err(error) if started.is_lost(&error) => return Err(started.lost(error)),
                // A collector of ours may vanish as well: the next look makes a new one.
                Err(error) if error.kind() == ErrorKind::Retryable || names_gone(&error) => {
                    let Some(pause) = pauses.next() else { return Err(started.given_up(error)) };
                    let task = &started.task;
                    tracing::warn!(method = started.method, %task, %error, "waiting again");
                    tokio::time::sleep(Duration::from_millis(*pause)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a change of the task's state, then reads how it stands; `None`: it runs.
    async fn look(&self, started: &Started<'_>) -> Result<Option<Ended>, VsphereError> {
        let awaited =
            Awaited { object: &started.task, path: "info.state", values: &["success", "error"] };
        self.wait_for(&awaited, || self.time_left(started)).await?;
        self.read_one(&started.task, &["info"], task_state).await
    }

    /// The rest of the task's time; an error when there is none.
    fn time_left(&self, started: &Started<'_>) -> Result<Duration, VsphereError> {
        let after = self.shared.task_timeout;
        let left = after.checked_sub(started.began.elapsed()).filter(|left| !left.is_zero());
        left.ok_or_else(|| VsphereError::TaskTimeout {
            method: started.method,
            object: started.object.clone(),
            task: started.task.clone(),
            after,
        })
    }
}

/// True for a fault that says that something no longer exists.
fn names_gone(error: &VsphereError) -> bool {
    error.fault().is_some_and(Fault::is_gone)
}

/// Reads a `TaskInfo`; `None`: it waits or runs.
fn task_state(content: &ObjectContent<'_>) -> Result<Option<Ended>, VsphereError> {
    let info = content.get("info").ok_or_else(|| withheld(content, "info"))?;
    match info.get("state") {
        Some("success") => {
            let result = info.child("result").and_then(|result| result.moref().ok());
            Ok(Some(Ended::Done(result)))
        }
        Some("error") => {
            let fault = info.child("error").map(localized_fault);
            let fault = fault.ok_or_else(|| withheld(content, "info.error"))?;
            Ok(Some(Ended::Failed(Box::new(fault))))
        }
        _ => Ok(None),
    }
}
