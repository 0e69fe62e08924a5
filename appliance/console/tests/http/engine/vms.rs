//! An inventory of three VMs, and the status.

use api::{
    Cbt, DiskTransport, Health, LunStatus, PointRef, PowerState, Reason, RepositoryStatus,
    SanStatus, Status, VcenterStatus, VmDisk, VmRef, VmSummary, WardenStatus,
};
use console::{EngineError, EngineResult};
use model::{ErrorKind, VmUuid};

pub const SERVER: &str = "f1d2d2f9-0000-4000-8000-00000000beef";
pub const NAMES: [&str; 3] = ["web01", "db01", "legacy"];

pub fn reference(vm: usize) -> VmRef {
    VmRef {
        uuid: VmUuid(format!("5025a1b2-0000-4000-8000-00000000000{vm}")),
        name: NAMES[vm].into(),
    }
}

pub fn find(name: &str) -> EngineResult<VmRef> {
    let all = (0..NAMES.len()).map(reference);
    all.into_iter().find(|vm| vm.name == name || vm.uuid.0 == name).ok_or_else(|| {
        EngineError::new(
            ErrorKind::NotFound,
            "vm-unknown",
            "There is no such VM",
            format!("The inventory has no VM with the name or uuid '{name}'."),
        )
        .next_step("Take the name from 'holdfast vm list'.")
    })
}

pub fn all() -> Vec<VmSummary> {
    let ways = [
        (DiskTransport::San, None),
        (DiskTransport::Network, Some("the datastore lies on NFS, not on a LUN")),
        (DiskTransport::None, Some("the disk is a raw device mapping in physical mode")),
    ];
    (0..NAMES.len()).zip(ways).map(|(vm, (transport, reason))| one(vm, transport, reason)).collect()
}

fn one(vm: usize, transport: DiskTransport, reason: Option<&str>) -> VmSummary {
    let VmRef { uuid, name } = reference(vm);
    let path = format!("[datastore1] {name}/{name}.vmdk");
    let created = "2026-05-28T20:26:40Z".parse().unwrap();
    VmSummary {
        uuid,
        name,
        server_uuid: SERVER.into(),
        power_state: if vm == 2 { PowerState::PoweredOff } else { PowerState::PoweredOn },
        disks: vec![VmDisk {
            key: 2000,
            label: "Hard disk 1".into(),
            capacity_bytes: 40 << 30,
            path,
            datastore: "datastore1".into(),
            transport,
            reason: reason.map(Into::into),
        }],
        cbt: Cbt { supported: vm < 2, enabled: vm == 0 },
        last_point: (vm == 0).then_some(PointRef { id: super::points::FREE, created }),
    }
}

pub fn status(points: u64) -> Status {
    Status {
        version: "0.1.0".into(),
        state: Health::Degraded,
        reasons: vec![Reason {
            code: "lun-not-ready".into(),
            text: "LUN naa.60000000000000000e00000000010002 cannot be read: no path.".into(),
            next_step: "Check the switch port and the target's access list.".into(),
        }],
        repository: RepositoryStatus {
            path: "/srv/holdfast".into(),
            capacity_bytes: 8 << 40,
            free_bytes: 5 << 40,
            stored_bytes: 2_900_000_000_000,
            points,
            segments: 1234,
            kept_points: points,
            kept_bytes: 2_000_000_000_000,
            encrypted: false,
            care: super::care::status(),
            warden: WardenStatus {
                own_process: true,
                answers: true,
                error: None,
                not_enforced: vec!["the hardware clock: this machine has none".into()],
                officers: vec!["ann".into(), "bob".into()],
                lock_min_seconds: 0,
                lock_max_seconds: 316_224_000,
            },
        },
        vcenter: VcenterStatus {
            url: "https://vcenter.example/sdk".into(),
            connected: true,
            full_name: Some("VMware vCenter Server 8.0.3 build-24022515".into()),
            error: None,
            inventory: super::inventory::status(),
        },
        san: SanStatus { luns: vec![lun(1, None), lun(2, Some("no path"))] },
        retention_now: "2026-06-01T11:59:30Z".parse().unwrap(),
        wall_now: "2026-06-01T12:00:00Z".parse().unwrap(),
        retention_lag_seconds: 30,
        retention_doubt: None,
    }
}

fn lun(number: u8, error: Option<&str>) -> LunStatus {
    LunStatus {
        naa: format!("naa.60000000000000000e0000000001000{number}").parse().unwrap(),
        target: format!("iqn.2026-01.example:array, LUN {number} at 10.0.0.1:3260"),
        capacity_bytes: 4 << 40,
        ready: error.is_none(),
        datastore: Some(format!("datastore{number}")),
        error: error.map(Into::into),
        write_protected: Some(number == 1),
        acknowledged: None,
        paths: 2,
        paths_usable: u64::from(error.is_none()),
    }
}
