//! Recovery points: lists, details, files, deletion.

use super::{Appliance, from_store, unknown_point};
use api::{
    DiskStats, LockView, Page, PointDetail, PointDisk, PointFile, PointMode, PointQuery,
    PointSummary, Portrait, Verification, VmRef, text,
};
use console::{Blob, EngineError, EngineResult};
use jobs::RunRecord;
use jobs::configuration::is_configuration;
use model::{ErrorKind, ReadMode, RecoveryPointId, RetentionLock, RetentionTime, RunId, Transport};
use repository::{DeleteError, Manifest, RecoveryPoint, Repository};
use tokio::sync::mpsc;

impl Appliance {
    /// The point's summary, or that there is none.
    pub(super) fn find_point(&self, id: RecoveryPointId) -> EngineResult<RecoveryPoint> {
        self.repository.summary(id).map_err(|error| match error.kind() {
            ErrorKind::NotFound => unknown_point(id),
            _ => from_store(&error),
        })
    }
}

pub(super) fn list(appliance: &Appliance, query: &PointQuery) -> EngineResult<Page<PointSummary>> {
    let wanted = |point: &RecoveryPoint| {
        query.vm.as_ref().is_none_or(|vm| point.vm.name == *vm || point.vm.uuid.0 == *vm)
    };
    let points = appliance.repository.points().into_iter().filter(wanted);
    let now = appliance.repository.clock().value;
    let bare = points.map(|point| summary(&point, &RunRecord::default(), now));
    // Only what is on the page is read from the disks.
    let page = Page::cut(bare, &query.page());
    let whole = page.items.into_iter().map(|item| {
        let point = appliance.find_point(item.id)?;
        let record = record(&appliance.repository, item.id)?;
        Ok(PointSummary {
            lost_segments: lost(appliance, item.id),
            suspected_by: suspected(appliance, item.id),
            ..summary(&point, &record, now)
        })
    });
    Ok(Page { items: whole.collect::<EngineResult<_>>()?, next: page.next })
}

/// What the run wrote down about itself. A point without it was not made by this program.
fn record(repository: &Repository, id: RecoveryPointId) -> EngineResult<RunRecord> {
    match repository.file(id, RunRecord::FILE) {
        Ok(bytes) => Ok(RunRecord::parse(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(RunRecord::default()),
        // One point that has lost its record does not hide the others; it says what it has lost.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Gone) => {
            tracing::warn!(point = %id, error = model::chain(&error), "the run's record is lost");
            Ok(RunRecord::default())
        }
        Err(error) => Err(from_store(&error)),
    }
}

/// Segments that it needs and that are damaged beyond repair.
fn lost(appliance: &Appliance, id: RecoveryPointId) -> Vec<u32> {
    let damaged = appliance.repository.damage_below(id);
    damaged.into_iter().filter(|(_, beyond)| *beyond).map(|(serial, _)| serial).collect()
}

/// The run whose cross-check says that areas of the point may be too old.
fn suspected(appliance: &Appliance, id: RecoveryPointId) -> Option<RunId> {
    let suspicions = appliance.journal.suspicions();
    suspicions.iter().find(|found| found.points.contains(&id)).map(|found| found.run)
}

fn summary(point: &RecoveryPoint, record: &RunRecord, now: RetentionTime) -> PointSummary {
    let configuration = is_configuration(&point.vm.uuid);
    let full = configuration || record.disks.iter().any(|disk| disk.read != ReadMode::Incremental);
    let network = record.disks.iter().any(|disk| disk.transport == Transport::Network);
    PointSummary {
        id: point.id,
        vm: VmRef { uuid: point.vm.uuid.clone(), name: point.vm.name.clone() },
        created: text::wall(point.started),
        size_bytes: point.capacity,
        stored_new_bytes: point.new_bytes,
        configuration,
        mode: if full { PointMode::Full } else { PointMode::Incremental },
        transport: if network { Transport::Network } else { Transport::San },
        consistency: point.consistency,
        lock: Some(lock_view(point.lock, now)),
        verified: point.verified.map(|verified| Verification {
            at: text::wall(verified.at),
            intact: verified.damage == 0,
        }),
        lost_segments: Vec::new(),
        suspected_by: None,
    }
}

/// The lock as it stands, whether there are holds besides or not.
pub(super) fn lock_view(lock: RetentionLock, now: RetentionTime) -> LockView {
    let RetentionLock { mode, until } = lock;
    LockView { mode, until: text::retention(until), locked: now < until }
}

pub(super) fn detail(appliance: &Appliance, id: RecoveryPointId) -> EngineResult<PointDetail> {
    let point = appliance.find_point(id)?;
    let manifest = appliance.repository.point(id).map_err(|error| from_store(&error))?;
    let record = record(&appliance.repository, id)?;
    let protection = appliance.repository.protection(id).map_err(|error| from_store(&error))?;
    let shown = |name: &str| name != RunRecord::FILE && name != Portrait::FILE;
    let files = manifest.files.iter().filter(|file| shown(&file.name));
    let bare = summary(&point, &record, appliance.repository.clock().value);
    Ok(PointDetail {
        summary: PointSummary {
            lost_segments: lost(appliance, id),
            suspected_by: suspected(appliance, id),
            ..bare
        },
        server_uuid: point.vm.server_uuid.clone(),
        run: point.run,
        previous: record.previous,
        disks: disks(&manifest, &record),
        not_contained: record.not_contained,
        portrait: portrait(&appliance.repository, id),
        holds: protection.matters,
        files: files
            .map(|file| PointFile { name: file.name.clone(), size_bytes: file.length })
            .collect(),
    })
}

/// The VM as it stood in its inventory. Older points have none; a lost one hides nothing else.
fn portrait(repository: &Repository, id: RecoveryPointId) -> Option<Portrait> {
    let bytes = match repository.file(id, Portrait::FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(point = %id, error = model::chain(&error), "the portrait is lost");
            return None;
        }
    };
    serde_json::from_slice(&bytes).ok()
}

fn disks(manifest: &Manifest, record: &RunRecord) -> Vec<PointDisk> {
    (0..)
        .zip(&manifest.disks)
        .map(|(index, disk)| {
            let told = record.disks.iter().find(|told| told.key == disk.identity.key);
            PointDisk {
                index,
                key: disk.identity.key,
                uuid: disk.identity.uuid.clone(),
                path: disk.identity.path.clone(),
                capacity_bytes: disk.identity.capacity,
                change_id: disk.identity.change_id.clone(),
                read: disk.read.clone(),
                transport: disk.transport,
                stats: told.map_or_else(DiskStats::default, |told| told.stats),
                excluded: disk.excluded.clone(),
                passed_over: told.map_or_else(Vec::new, |told| told.passed_over.clone()),
            }
        })
        .collect()
}

pub(super) fn file(repository: &Repository, id: RecoveryPointId, name: &str) -> EngineResult<Blob> {
    let bytes = repository.file(id, name).map_err(|error| from_store(&error))?;
    let length = bytes.len() as u64;
    let (sender, chunks) = mpsc::channel(1);
    if !bytes.is_empty() {
        // The channel has room for one, and nobody else sends.
        sender.try_send(Ok(bytes.into())).expect("an empty channel of capacity one");
    }
    Ok(Blob { length, chunks })
}

pub(super) fn delete(repository: &Repository, id: RecoveryPointId) -> EngineResult<()> {
    match repository.delete(&[id]) {
        Ok(deleted) => {
            tracing::info!(%id, deleted.segments, deleted.bytes, "recovery point deleted");
            Ok(())
        }
        Err(DeleteError::Locked { mode, until, .. }) => {
            let lock = LockView { mode, until: text::retention(until), locked: true };
            Err(EngineError::locked(id, lock))
        }
        Err(error @ DeleteError::Held { .. }) => {
            let title = "The recovery point is held";
            Err(EngineError::new(error.kind(), "point-held", title, format!("{error}.")).next_step(
                "A hold is released by an officer who has the right for it, with \
                     'holdfast-warden officer'.",
            ))
        }
        Err(error @ DeleteError::Refused { .. }) => {
            let title = "Nothing is released now";
            Err(EngineError::new(error.kind(), "not-released", title, model::chain(&error))
                .next_step("'holdfast status' says since when the clock is in doubt, and why."))
        }
        Err(DeleteError::Store { source, .. }) => Err(from_store(&source)),
        Err(error) => {
            let kind = error.kind();
            let detail = model::chain(&error);
            Err(EngineError::new(kind, "point-in-use", "The recovery point is kept", detail)
                .next_step("Try again when the text's reason has gone."))
        }
    }
}
