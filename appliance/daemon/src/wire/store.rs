//! The repository as the jobs see it.

use crate::clock;
use crate::config;
use api::{Damage, Problem, RunResult, VerifyResult};
use jobs::ports::{
    DiskCounts, DiskDraft, DiskSink, PointDraft, PointSink, PortError, PreviousPoint, Store,
};
use jobs::{Entry, Rotation, RunRecord};
use model::{DiskRange, ErrorKind, ReadMode, RecoveryPointId, VmIdentity};
use repository::{
    DiskWriter, KeyEncryptionKey, Lock, LockBounds, Options, ParentDisk, PointWriter, Recovery,
    Repository, StoreError,
};
use warden::found::Found;

/// Bytes of a grid cell.
const CHUNK: u32 = 1 << 20;
/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The repository, and the lock that new points get.
#[derive(Clone)]
pub(crate) struct Locked {
    repository: Repository,
    lock: Lock,
}

impl Locked {
    pub(crate) fn new(repository: Repository, config: &config::Lock) -> Self {
        let duration_seconds = u64::from(config.days) * DAY;
        Self { repository, lock: Lock { mode: config.mode, duration_seconds } }
    }

    /// Where the comparisons of the point's chain stand; when it does not say they begin anew.
    fn cross_check(&self, point: RecoveryPointId) -> Option<Rotation> {
        let record = self.repository.file(point, RunRecord::FILE).ok()?;
        RunRecord::parse(&record).ok()?.cross_check
    }
}

impl Store for Locked {
    type Point = Point;

    fn chunk_size(&self) -> u64 {
        u64::from(CHUNK)
    }

    fn latest(&self, vm: &VmIdentity) -> Result<Option<PreviousPoint>, PortError> {
        let Some(point) = self.repository.latest_of(vm) else { return Ok(None) };
        // Nothing new is built on what is known to be damaged: the next run is a full one.
        if point.verified.is_some_and(|verified| verified.damage > 0) {
            tracing::warn!(point = %point.id, "the previous point is damaged; reading in full");
            return Ok(None);
        }
        let damaged = self.repository.damage_below(point.id);
        if !damaged.is_empty() {
            let point = point.id;
            tracing::warn!(%point, ?damaged, "it needs damaged segments; reading in full");
            return Ok(None);
        }
        let manifest = match self.repository.point(point.id) {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Gone) => {
                let error = model::chain(&error);
                tracing::warn!(point = %point.id, error, "the previous point cannot be read");
                return Ok(None);
            }
            manifest => manifest.map_err(port("reading the previous point"))?,
        };
        let disks = manifest.disks.into_iter().map(|disk| (disk.identity, disk.excluded));
        let (disks, excluded) = disks.unzip();
        let cross_check = self.cross_check(point.id);
        Ok(Some(PreviousPoint { id: point.id, disks, excluded, cross_check }))
    }

    fn since_full(&self, vm: &VmIdentity) -> Result<Vec<RecoveryPointId>, PortError> {
        let points = self.repository.points().into_iter().rev();
        let of_vm = |point: &repository::RecoveryPoint| {
            point.vm.uuid == vm.uuid && point.vm.server_uuid == vm.server_uuid
        };
        let in_full = |point: &repository::RecoveryPoint| {
            self.repository.point(point.id).is_ok_and(|manifest| {
                manifest.disks.iter().all(|disk| disk.read != ReadMode::Incremental)
            })
        };
        Ok(points.filter(of_vm).take_while(|point| !in_full(point)).map(|point| point.id).collect())
    }

    fn begin(&self, draft: PointDraft) -> Result<Point, PortError> {
        let writer = self
            .repository
            .begin(repository::PointDraft {
                vm: draft.vm,
                run: draft.run,
                consistency: draft.consistency,
                started: draft.started,
                chunk_size: None,
                zstd_level: None,
            })
            .map_err(port("beginning a recovery point"))?;
        Ok(Point { writer, lock: self.lock })
    }
}

/// A point being written.
pub(crate) struct Point {
    writer: PointWriter,
    lock: Lock,
}

impl PointSink for Point {
    type Disk = Disk;

    fn disk(&mut self, draft: DiskDraft) -> Result<Disk, PortError> {
        let draft = repository::DiskDraft {
            identity: draft.identity,
            mode: draft.mode,
            transport: draft.transport,
            parent: draft.parent.map(|(point, disk)| ParentDisk { point, disk }),
            excluded: draft.excluded,
        };
        self.writer.disk(draft).map(Disk).map_err(port("beginning a disk"))
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), PortError> {
        self.writer.file(name, bytes).map_err(port("keeping a file with the recovery point"))
    }

    fn commit(self) -> Result<RecoveryPointId, PortError> {
        let committed = self.writer.commit(self.lock, clock::wall());
        Ok(committed.map_err(port("committing the recovery point"))?.id)
    }
}

/// A disk being written.
pub(crate) struct Disk(DiskWriter);

impl DiskSink for Disk {
    fn put(&self, cell: u64, bytes: Vec<u8>) -> Result<(), PortError> {
        self.0.put(cell, bytes).map_err(port("storing a chunk"))
    }

    fn zero(&self, cell: u64) -> Result<(), PortError> {
        self.0.zero(cell).map_err(port("storing zeros"))
    }

    fn is_as_parent(&self, cell: u64, bytes: Option<&[u8]>) -> Result<bool, PortError> {
        self.0.is_as_parent(cell, bytes).map_err(port("comparing with the previous point"))
    }

    fn finish(self) -> Result<DiskCounts, PortError> {
        let stats = self.0.finish().map_err(port("storing a disk"))?;
        Ok(DiskCounts {
            bytes_in: stats.bytes_in,
            new_bytes: stats.new_bytes,
            bytes_stored: stats.bytes_stored,
            cells: stats.cells,
            zero_cells: stats.zero,
            known_cells: stats.same_as_parent + stats.deduplicated,
        })
    }
}

fn port(operation: &'static str) -> impl FnOnce(StoreError) -> PortError {
    move |error| PortError { kind: error.kind(), operation: operation.into(), source: error.into() }
}

/// The repository's options from ours.
pub(crate) fn options(config: &config::Config, encryption: Option<KeyEncryptionKey>) -> Options {
    let config::Config { repository: config, lock, .. } = config;
    let seconds = |days: u32| u64::from(days) * DAY;
    Options {
        encryption,
        bounds: LockBounds {
            min_seconds: seconds(lock.min_days),
            max_seconds: seconds(lock.max_days),
        },
        chunk_size: CHUNK,
        segment_size: config.segment_mib << 20,
        zstd_level: config.zstd_level,
        reserve_bytes: config.reserve_mib << 20,
        immutable: config.immutable,
        ..Options::default()
    }
}

/// What a start found that a person should know.
pub(crate) fn findings(recovery: &Recovery) -> Vec<String> {
    let mut found: Vec<String> = recovery
        .damaged
        .iter()
        .map(|segment| format!("Segment {} is damaged: {}", segment.serial, segment.what))
        .collect();
    if recovery.header_damaged {
        found.push("One of the two copies of the repository's header is damaged.".into());
    }
    for volume in &recovery.missing_volumes {
        found.push(format!(
            "Volume {} is not mounted; {} recovery points on it cannot be read until it is.",
            volume.number,
            volume.points.len()
        ));
    }
    if !recovery.foreign.is_empty() {
        let names = recovery.foreign.join(", ");
        found.push(format!("Files that are not the repository's lie in it: {names}"));
    }
    found
}

/// What the warden found when it opened the ledger, and nobody else can see.
pub(crate) fn warden_findings(found: &Found) -> Vec<String> {
    let mut told = Vec::new();
    if found.torn_bytes > 0 {
        told.push(format!(
            "{} bytes behind the last whole leaf of the ledger were torn, as by a power cut; \
             nobody had been promised them, and they were moved aside.",
            found.torn_bytes
        ));
    }
    if found.signer_changed {
        told.push("Another box kept the ledger before; this one signs from now on.".into());
    }
    told
}

/// Reads a whole point and compares; the run's progress moves along.
pub(crate) fn verify(repository: &Repository, run: &Entry) -> Result<RunResult, Box<Problem>> {
    let failed = |error: &StoreError| {
        let problem =
            Problem::of_kind(error.kind(), "verify-failed", "The verification did not end")
                .detail(model::chain(error))
                .next_step("Look at the cause named last, then verify again.");
        Box::new(problem)
    };
    let id = run.point.expect("a verify run names its point");
    let capacities: Vec<u64> = repository
        .point(id)
        .map_err(|error| failed(&error))?
        .disks
        .iter()
        .map(|disk| disk.identity.capacity)
        .collect();
    run.progress.step("verify");
    run.progress.add_total(capacities.iter().sum());
    let mut before = 0;
    let report = repository.verify(id, &mut |progress| {
        run.progress.add_done(progress.done.saturating_sub(before), 0);
        before = progress.done;
    });
    let report = report.map_err(|error| failed(&error))?;
    repository.record_verification(id, &report).map_err(|error| failed(&error))?;
    let result = VerifyResult {
        chunks: report.chunks,
        bytes: report.bytes,
        damage_total: report.damage_total(),
        damage: report.damage.iter().map(|damage| damage_view(damage, &capacities)).collect(),
    };
    run.progress.end(if result.damage_total == 0 {
        jobs::StepState::Done
    } else {
        jobs::StepState::Failed
    });
    Ok(RunResult::Verify(result))
}

fn damage_view(damage: &repository::Damage, capacities: &[u64]) -> Damage {
    let chunk = u64::from(CHUNK);
    let range = damage.disk.zip(damage.cells).map(|(disk, (first, end))| {
        let capacity = capacities.get(disk).copied().unwrap_or(u64::MAX);
        let offset = first.saturating_mul(chunk);
        let stop = end.saturating_mul(chunk).min(capacity);
        DiskRange { offset, length: stop.saturating_sub(offset) }
    });
    Damage {
        disk: damage.disk.and_then(|disk| u32::try_from(disk).ok()),
        range,
        reason: damage.what.clone(),
    }
}
