//! Waiting for tasks, with WaitForUpdatesEx instead of polling.
//!
//! Each wait has a property collector of its own: the default one is shared by the session, and
//! two long polls on one collector disturb each other. A broken connection does not end a wait:
//! the task lives on in the server and is found again by its reference.

use super::Client;
use super::caller::odd;
use super::properties::withheld;
use crate::error::VsphereError;
use crate::requests::{self, Request};
use crate::wire::{Fault, MoRef, Node, ObjectContent, localized_fault, read_objects};
use model::ErrorKind;
use std::time::{Duration, Instant};

/// The longest long poll: short enough for firewalls that drop silent connections.
const POLL: Duration = Duration::from_secs(30);
/// Pauses after the first, second … broken connection in a row.
const PAUSES_MS: [u64; 5] = [200, 1000, 2000, 5000, 10_000];

/// How a task stands.
enum TaskState {
    Runs,
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
        let mut pauses = PAUSES_MS.iter();
        loop {
            let wait = || self.wait_for(&started);
            match self.shared.session.keep(wait).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Retryable => {
                    let Some(pause) = pauses.next() else { return Err(error) };
                    tracing::warn!(method, task = %started.task, %error, "waiting again");
                    tokio::time::sleep(Duration::from_millis(*pause)).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            pauses = PAUSES_MS.iter();
            let read = || self.read_one(&started.task, &["info"], task_state);
            match self.shared.session.keep(read).await? {
                TaskState::Runs => {}
                TaskState::Done(result) => return Ok(result),
                TaskState::Failed(source) => {
                    tracing::debug!(method, %object, fault = source.raw, "the task failed");
                    return Err(VsphereError::TaskFailed {
                        method,
                        object: object.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// Returns when the task has ended.
    async fn wait_for(&self, started: &Started<'_>) -> Result<(), VsphereError> {
        let default = &self.shared.property_collector;
        let request = requests::create_property_collector(default);
        let collector = self.returned_object(default, &request).await?;
        let ended = self.watch(&collector, started).await;
        // It ends with the session at the latest; the task's end counts, not this.
        let destroy = requests::destroy_property_collector(&collector);
        if let Err(error) = self.call(&collector, &destroy).await {
            tracing::debug!(%collector, %error, "a property collector was not destroyed");
        }
        ended
    }

    async fn watch(&self, collector: &MoRef, started: &Started<'_>) -> Result<(), VsphereError> {
        let filter = requests::create_filter(collector, &started.task, &["info.state"]);
        self.call(collector, &filter).await?;
        let mut version = String::new();
        loop {
            let left = self.time_left(started)?;
            let patience = left.min(POLL).max(Duration::from_secs(1));
            let seconds = u32::try_from(patience.as_secs()).unwrap_or(1);
            let request = requests::wait_for_updates(collector, &version, seconds);
            let response = self.shared.session.poll(collector, &request, patience).await?;
            let Some(update) = response.value() else { continue }; // nothing within `patience`
            if ended(update, started)? {
                return Ok(());
            }
            version = update.need_text("version").map_err(odd(request.method))?.to_owned();
        }
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

/// True when an `UpdateSet` says that the task is no longer queued or running.
fn ended(update: Node<'_>, started: &Started<'_>) -> Result<bool, VsphereError> {
    let method = "WaitForUpdatesEx";
    for filter in update.all("filterSet") {
        let objects = read_objects(filter, "objectSet").map_err(odd(method))?;
        objects.map_err(|fault| VsphereError::Fault {
            method,
            object: started.task.clone(),
            source: Box::new(fault),
        })?;
        for object in filter.all("objectSet") {
            if object.get("kind") == Some("leave") {
                return Err(VsphereError::Gone { object: started.task.clone() });
            }
            let mut states = object.all("changeSet").filter_map(|change| change.get("val"));
            if states.any(|state| state == "success" || state == "error") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Reads a `TaskInfo`.
fn task_state(content: &ObjectContent<'_>) -> Result<TaskState, VsphereError> {
    let info = content.get("info").ok_or_else(|| withheld(content, "info"))?;
    match info.get("state") {
        Some("success") => {
            Ok(TaskState::Done(info.child("result").and_then(|result| result.moref().ok())))
        }
        Some("error") => {
            let fault = info.child("error").map(localized_fault);
            let fault = fault.ok_or_else(|| withheld(content, "info.error"))?;
            Ok(TaskState::Failed(Box::new(fault)))
        }
        _ => Ok(TaskState::Runs),
    }
}
