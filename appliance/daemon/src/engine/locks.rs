//! Locks and holds: asked of the warden, which decides; shown as they are afterwards.

use super::from_store;
use super::points::lock_view;
use api::{DeletionPreview, Protection, text};
use console::{EngineError, EngineResult};
use jiff::Timestamp;
use model::{ErrorKind, RecoveryPointId, RetentionTime};
use repository::{Kept, Repository, StoreError};
use retention::Refusal;
use warden::WardenError;

pub(super) fn preview(
    repository: &Repository,
    id: RecoveryPointId,
) -> EngineResult<DeletionPreview> {
    repository.protection(id).map_err(|error| from_store(&error))?; // says which point is unknown
    let preview = repository.preview(&[id]).map_err(|error| from_store(&error))?;
    let reason = preview.kept.first().map(|(_, kept)| why_kept(kept));
    let (segments, bytes) = (preview.segments, preview.bytes);
    Ok(DeletionPreview { allowed: reason.is_none(), reason, segments, bytes })
}

/// Why a point stays, in a sentence.
pub(super) fn why_kept(kept: &Kept) -> String {
    match kept {
        Kept::Unknown => "There is no such point.".into(),
        Kept::Locked { mode, until } => format!(
            "It is locked in {mode} mode: protected at least until {} by the appliance's own \
             clock.",
            text::retention(*until)
        ),
        Kept::Held { matters } => format!("It is held for: {}.", matters.join(", ")),
        Kept::InUse => "A backup builds on it now, or it is being read.".into(),
        Kept::ClockInDoubt { why } => format!("Nothing is released now: {why}"),
        Kept::Damaged => "It is damaged, and its VM has no newer sound point yet.".into(),
        Kept::Doubtful => {
            "Damage was found in it that a repair may have removed: verify it again. \
                           Until then it stays."
                .into()
        }
        Kept::Burst { points } => format!(
            "{points} points of its VM came in one day: somebody has to look at them first."
        ),
    }
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
