//! A small repository, disks made of numbered cells, and clocks that tests move.

use crate::{
    Cell, DiskDraft, DiskStats, Lock, Now, Options, ParentDisk, PointDraft, PointWriter,
    RecoveryPoint, Repository, StoreError,
};
use model::{
    ChangeId, Consistency, DiskIdentity, LockMode, ReadMode, RecoveryPointId, RunId, Transport,
    VmIdentity, VmUuid, WallTime,
};
use std::time::Duration;

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
    }
}

/// Both clocks `seconds` after the start.
pub(crate) fn at(seconds: i64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds.unsigned_abs()),
        wall: WallTime(1_700_000_000 + seconds),
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
    now: Now,
) -> Result<(RecoveryPoint, DiskStats), StoreError> {
    let mut point = repository.begin(draft(number))?;
    let base = base.map(|(image, point)| (image, ParentDisk { point, disk: 0 }));
    let stats = write_disk(&mut point, image, base)?;
    point.file("vm.vmx", b"config.version = \"8\"")?;
    Ok((point.commit(lock(lock_seconds), now)?, stats))
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
