//! Recovery points, some of which behave badly.

use super::{disks, vms};
use api::{
    DiskStats, LockView, PointDetail, PointDisk, PointFile, PointMode, PointSummary, Verification,
};
use jiff::Timestamp;
use model::{ChangeId, Consistency, LockMode, ReadMode, RecoveryPointId, RunId, Transport};

/// Never locked.
pub const FREE: RecoveryPointId = RecoveryPointId([0xa1; 16]);
/// Locked for a long time.
pub const LOCKED: RecoveryPointId = RecoveryPointId([0xa2; 16]);
/// Not locked; its deletion takes a while.
pub const SLOW_DELETE: RecoveryPointId = RecoveryPointId([0xb3; 16]);
/// Not in the list; asking for it makes the engine panic.
pub const PANIC: RecoveryPointId = RecoveryPointId([0xee; 16]);
pub const VMX_NAME: &str = "web 01.vmx";
pub const VMX: &[u8] = b"displayName = \"web01\"\n";

/// `others` more points of a second VM, besides those above.
pub fn all(others: u8) -> Vec<PointDetail> {
    let known = [(FREE, 0, None), (LOCKED, 1, Some(lock())), (SLOW_DELETE, 2, None)];
    let first = known.map(|(id, vm, lock)| point(id, vm, at(vm as i64 * 3600), lock));
    let other = |n: u8| {
        let mut id = [0x40; 16];
        id[0] = n;
        point(RecoveryPointId(id), 1, at(100_000 + i64::from(n) * 60), Some(lock()))
    };
    first.into_iter().chain((0..others).map(other)).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

pub fn lock() -> LockView {
    let until = "2031-05-01T12:00:00Z".parse().unwrap();
    LockView { mode: LockMode::Governance, until, locked: true }
}

fn point(
    id: RecoveryPointId,
    vm: usize,
    created: Timestamp,
    lock: Option<LockView>,
) -> PointDetail {
    let disks: Vec<PointDisk> = (0..).zip(&disks::DISKS).map(|(n, disk)| one(n, disk)).collect();
    let verified = lock.is_none().then_some(Verification { at: created, intact: true });
    PointDetail {
        summary: PointSummary {
            id,
            vm: vms::reference(vm),
            created,
            size_bytes: disks.iter().map(|disk| disk.capacity_bytes).sum(),
            stored_new_bytes: 123_456_789,
            configuration: false,
            mode: if vm == 0 { PointMode::Full } else { PointMode::Incremental },
            transport: Transport::San,
            consistency: Consistency::Crash,
            lock,
            verified,
            lost_segments: if vm == 2 { vec![9] } else { Vec::new() },
            suspected_by: (vm == 2).then_some(RunId([8; 16])),
        },
        server_uuid: vms::SERVER.into(),
        run: RunId([9; 16]),
        previous: None,
        disks,
        not_contained: Vec::new(),
        files: vec![PointFile { name: VMX_NAME.into(), size_bytes: VMX.len() as u64 }],
        portrait: None,
        holds: Vec::new(),
    }
}

fn one(index: u32, disk: &disks::Disk) -> PointDisk {
    let stored = disk.data.iter().map(|&(_, length)| length).sum();
    PointDisk {
        index,
        key: 2000 + i32::try_from(index).unwrap(),
        uuid: format!("6000c29{index}-0000-0000-0000-000000000000"),
        path: format!("[datastore1] web01/web01_{index}.vmdk"),
        capacity_bytes: disk.capacity,
        change_id: Some(ChangeId(format!("52 ab cd/{index}"))),
        read: ReadMode::Full { reason: "it is the VM's first recovery point".into() },
        transport: Transport::San,
        excluded: Vec::new(),
        passed_over: Vec::new(),
        stats: DiskStats { read_bytes: stored, stored_bytes: stored / 2, ..Default::default() },
    }
}
