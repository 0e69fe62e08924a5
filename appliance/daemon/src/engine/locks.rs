//! Locks and holds: asked of the warden, which decides; shown as they are afterwards.

use super::from_store;
use super::points::lock_view;
use api::{DeletionPreview, Protection, text};
use console::{EngineError, EngineResult};
use jiff::Timestamp;
use model::{ErrorKind, RecoveryPointId, RetentionTime};
use repository::{Repository, StoreError, Verdict};
use retention::Refusal;
use warden::WardenError;

pub(super) fn preview(
    repository: &Repository,
    id: RecoveryPointId,
) -> EngineResult<DeletionPreview> {
    let protection = repository.protection(id).map_err(|error| from_store(&error))?;
    let gone = repository.preview(&[id]);
    let clock = repository.clock();
    let reason = match protection.verdict {
        Verdict::Expire => clock.doubt.map(|doubt| format!("Nothing is released now: {doubt}")),
        Verdict::Locked { mode, until } => Some(format!(
            "It is locked in {mode} mode: protected at least until {} by the appliance's own clock.",
            text::retention(until)
        )),
        Verdict::Held { matters } => Some(format!("It is held for: {}.", matters.join(", "))),
    };
    let (segments, bytes) = (gone.segments, gone.bytes);
    Ok(DeletionPreview { allowed: reason.is_none(), reason, segments, bytes })
}

pub(super) fn extend(
    repository: &Repository,
    id: RecoveryPointId,
    until: Timestamp,
) -> EngineResult<Protection> {
    // A part of a second counts as a whole one: a lock may end late, never early.
    let part = i64::from(until.subsec_nanosecond() > 0);
    let until = RetentionTime(until.as_second().saturating_add(part));
    repository.extend(id, until).map_err(|error| refused(&error))?;
    shown(repository, id)
}

pub(super) fn tighten(
    repository: &Repository,
    id: RecoveryPointId,
    repeated: Timestamp,
) -> EngineResult<Protection> {
    let protection = repository.protection(id).map_err(|error| from_store(&error))?;
    let until = text::retention(protection.lock.until);
    if repeated != until {
        return Err(EngineError::new(
            ErrorKind::Refused,
            "end-not-repeated",
            "The lock stays as it is",
            format!("The lock of recovery point {id} ends at {until}, not at {repeated}."),
        )
        .next_step(
            "In compliance mode nobody can remove the point from this appliance before that end, \
             whoever asks. If that is what you want, repeat the end exactly.",
        ));
    }
    repository.tighten(id).map_err(|error| refused(&error))?;
    shown(repository, id)
}

pub(super) fn hold(
    repository: &Repository,
    id: RecoveryPointId,
    matter: &str,
) -> EngineResult<Protection> {
    repository.hold(id, matter).map_err(|error| refused(&error))?;
    shown(repository, id)
}

fn shown(repository: &Repository, id: RecoveryPointId) -> EngineResult<Protection> {
    let protection = repository.protection(id).map_err(|error| from_store(&error))?;
    let lock = lock_view(protection.lock, repository.clock().value);
    Ok(Protection { lock, holds: protection.matters })
}

/// What the warden said no to, in its own words.
fn refused(error: &StoreError) -> EngineError {
    let StoreError::Warden(WardenError::Refused { refusal, .. }) = error else {
        return from_store(error);
    };
    let title = "The lock stays as it is";
    let detail = match &**refusal {
        Refusal::Shorter { point, mode, until } => format!(
            "The {mode} lock of recovery point {point} holds at least until {} by the appliance's \
             own clock; it cannot be made to end earlier.",
            text::retention(*until)
        ),
        other => format!("{other}."),
    };
    EngineError::new(refusal.kind(), "lock-refused", title, detail)
        .next_step("'holdfast point show' has the lock and the holds as they are.")
}
