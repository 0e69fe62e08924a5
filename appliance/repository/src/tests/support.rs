//! A small repository, disks made of numbered cells, and clocks that tests move.

use crate::{
    Cell, Clocks, Created, DiskDraft, DiskStats, Lock, Options, ParentDisk, PointDraft,
    PointWriter, Recovery, RecoveryPoint, Repository, StoreError,
};
use fakes::disk::Sim;
use model::{
    ChangeId, Consistency, DiskIdentity, LockMode, ReadMode, RecoveryPointId, RunId, Transport,
    VmIdentity, VmUuid, WallTime,
};
use retention::Reading;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use warden::storage::Storage;
use warden::{Local, Warden};

pub(crate) const CHUNK: usize = 64 << 10;

/// Segments of a few chunks, so that small workloads have many.
pub(crate) fn options(workers: usize) -> Options {
    Options {
        chunk_size: u32::try_from(CHUNK).unwrap(),
        segment_size: 512 << 10,
        zstd_level: 1,
        workers,
        reserve_bytes: 0,
        immutable: false,
        encryption: None,
        ..Options::default()
    }
}

/// System time at the start.
pub(crate) const START: i64 = 1_700_000_000;

/// Clocks that agree and that a test moves, in seconds since the start.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn reading(&self) -> Reading {
        let seconds = self.seconds();
        Reading {
            monotonic: Duration::from_secs(seconds.unsigned_abs()),
            wall: WallTime(START + seconds),
            rtc: None,
            network: None,
        }
    }

    pub(crate) fn read(&self) -> Clocks {
        let clock = self.clone();
        Box::new(move || clock.reading())
    }
}

/// A simulated disk with a repository, the disk that its warden keeps its own state on, clocks.
#[derive(Clone, Default)]
pub(crate) struct Rig {
    pub(crate) disk: Sim,
    pub(crate) state: Sim,
    pub(crate) clock: Clock,
}

impl Rig {
    /// With a repository.
    pub(crate) fn new(options: &Options) -> Self {
        let rig = Self::default();
        rig.create(options).unwrap();
        rig
    }

    /// With another disk and a state of its own, as both are now.
    pub(crate) fn with(&self, disk: Sim) -> Self {
        Self { disk, state: self.state.copy(), clock: Clock::default() }.at(self.clock.seconds())
    }

    fn at(self, seconds: i64) -> Self {
        self.clock.set(seconds);
        self
    }

    fn disks(&self) -> (Arc<dyn Storage>, Arc<dyn Storage>) {
        (Arc::new(self.disk.clone()), Arc::new(self.state.clone()))
    }

    pub(crate) fn create(&self, options: &Options) -> Result<Created, StoreError> {
        let (disk, state) = self.disks();
        crate::local::create_on(disk, &state, options, self.clock.reading())
    }

    pub(crate) fn try_open(&self, options: &Options) -> Result<(Repository, Recovery), StoreError> {
        let (disk, state) = self.disks();
        Repository::open_local_on(disk, &state, options, self.clock.read())
    }

    /// With a warden that somebody stands in front of.
    pub(crate) fn open_behind<W: Warden + 'static>(
        &self,
        options: &Options,
        before: impl FnOnce(Local) -> W,
    ) -> Repository {
        let (disk, state) = self.disks();
        let warden = crate::local::warden_on(&disk, &state, self.clock.read()).unwrap();
        Repository::open_on(disk, options, Arc::new(before(warden))).unwrap().0
    }

    pub(crate) fn open(&self, options: &Options) -> Repository {
        self.try_open(options).unwrap_or_else(|error| panic!("{}", model::chain(&error))).0
    }
}

pub(crate) fn vm(number: u8) -> VmIdentity {
    VmIdentity {
        uuid: VmUuid(format!("vm-{number}")),
        name: format!("vm {number}"),
        server_uuid: "vcenter".into(),
    }
}

pub(crate) fn draft(number: u8) -> PointDraft {
    PointDraft {
        vm: vm(number),
        run: RunId([number; 16]),
        consistency: Consistency::Crash,
        started: WallTime(0),
        chunk_size: None,
        zstd_level: None,
    }
}

pub(crate) fn disk_draft(capacity: u64, parent: Option<ParentDisk>) -> DiskDraft {
    DiskDraft {
        identity: DiskIdentity {
            key: 2000,
            uuid: "disk".into(),
            path: "[ds] vm/vm.vmdk".into(),
            capacity,
            change_id: Some(ChangeId("e/1".into())),
        },
        mode: ReadMode::Incremental,
        transport: Transport::San,
        parent,
        excluded: Vec::new(),
    }
}

pub(crate) fn lock(seconds: u64) -> Lock {
    Lock { mode: LockMode::Compliance, duration_seconds: seconds }
}

/// The bytes of a cell with content `number` (0: zeros): half of them compressible.
pub(crate) fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    if number > 0 {
        let mut reader = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
        reader.fill(&mut bytes[..length / 2]);
        bytes[length / 2..].fill(u8::try_from(number % 250).unwrap() + 1);
    }
    bytes
}

/// What a disk holds: the number of each cell's content.
pub(crate) type Image = Vec<u64>;

pub(crate) fn capacity(image: &Image) -> u64 {
    (image.len() * CHUNK) as u64
}

/// Writes the cells in which `image` differs from `base` (all that are not zero without one).
pub(crate) fn write_disk(
    point: &mut PointWriter,
    image: &Image,
    base: Option<(&Image, ParentDisk)>,
) -> Result<DiskStats, StoreError> {
    let parent = base.map(|(_, parent)| parent);
    let disk = point.disk(disk_draft(capacity(image), parent))?;
    for (cell, &number) in (0..).zip(image) {
        let old = base.map_or(0, |(base, _)| base[usize::try_from(cell).unwrap()]);
        if number == old {
            continue;
        }
        if number == 0 {
            disk.zero(cell)?;
        } else {
            disk.put(cell, content(number, CHUNK))?;
        }
    }
    disk.finish()
}

/// A committed point of one disk.
pub(crate) fn backup(
    repository: &Repository,
    number: u8,
    image: &Image,
    base: Option<(&Image, RecoveryPointId)>,
    lock_seconds: u64,
) -> Result<(RecoveryPoint, DiskStats), StoreError> {
    let mut point = repository.begin(draft(number))?;
    let base = base.map(|(image, point)| (image, ParentDisk { point, disk: 0 }));
    let stats = write_disk(&mut point, image, base)?;
    point.file("vm.vmx", b"config.version = \"8\"")?;
    Ok((point.commit(lock(lock_seconds), WallTime(0))?, stats))
}

/// True when disk 0 of the point holds exactly `image`.
pub(crate) fn restores(repository: &Repository, id: RecoveryPointId, image: &Image) -> bool {
    let disk = repository.open_disk(id, 0).unwrap();
    let mut count = 0;
    for (cell, number) in disk.cells().zip(image) {
        let right = match cell.unwrap().1 {
            Cell::Zero => *number == 0,
            Cell::Data(bytes) => bytes == content(*number, CHUNK),
        };
        if !right {
            return false;
        }
        count += 1;
    }
    count == image.len() && disk.cells().count() == count
}
