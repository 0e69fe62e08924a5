//! What must hold before a run begins, and which disks it can cover.

use crate::error::RunError;
use crate::locate::DatastorePath;
use crate::ports::{DatastoreView, DiskView, FaultTolerance, VmView};
use crate::record::NotContained;

/// Refuses a VM in whose state no run may begin. `consolidate`: one that needs consolidation gets
/// it first.
pub(crate) fn preflight(vm: &VmView, consolidate: bool) -> Result<(), RunError> {
    let refuse = |reason: &str| {
        Err(RunError::Preflight { vm: vm.identity.name.clone(), reason: reason.into() })
    };
    if let Some(problem) = vm.problems.first() {
        return refuse(problem);
    }
    if vm.template {
        return refuse("it is a template; templates have no change tracking and no snapshots");
    }
    if let Some(reason) = vm.fault_tolerance.as_ref().and_then(unfit) {
        return refuse(&reason);
    }
    if vm.consolidation_needed && !consolidate {
        return refuse("its disks need consolidation; consolidate them in vCenter first");
    }
    if !vm.cbt_enabled && vm.cbt_supported && !vm.snapshots.is_empty() {
        return refuse(
            "change tracking is off and the VM has snapshots: switching it on now would make \
             incrementals silently incomplete; remove the snapshots first",
        );
    }
    Ok(())
}

/// Why a VM of a fault-tolerant pair cannot be backed up now. A primary with its secondary can,
/// by a snapshot without memory.
fn unfit(pair: &FaultTolerance) -> Option<String> {
    let FaultTolerance { primary, orphaned, state } = pair;
    if *orphaned {
        return Some(
            "it is a fault-tolerant secondary whose primary is gone; repair the pair".into(),
        );
    }
    if !primary {
        return Some("it is the secondary of a fault-tolerant pair; back up the primary".into());
    }
    matches!(state.as_str(), "needSecondary" | "starting").then(|| {
        format!("its fault tolerance is in the state '{state}'; wait until the pair is whole")
    })
}

/// Refuses when a datastore of the VM has less free than its share: what the guest writes while
/// the snapshot exists needs room there, and all VMs stop on a datastore that is full.
pub(crate) fn room(
    vm: &VmView,
    views: &[DatastoreView],
    min_free_percent: u8,
) -> Result<(), RunError> {
    let paths = vm.disks.iter().filter(|disk| disk.not_covered.is_none());
    for path in paths.map(|disk| &disk.identity.path).chain([&vm.vmx_path]) {
        let view = find_datastore(views, &parse_path(path)?.datastore, path)?;
        let share = u128::from(view.capacity) * u128::from(min_free_percent) / 100;
        if u128::from(view.free) < share {
            let (free, wanted) = (view.free >> 20, share >> 20);
            let reason = format!(
                "datastore '{}' has {free} MiB free, and {min_free_percent} % of it ({wanted} MiB) \
                 are wanted for what the guest writes during a backup; make room there, or lower \
                 backup.min_free_percent",
                view.name
            );
            return Err(RunError::Preflight { vm: vm.identity.name.clone(), reason });
        }
    }
    Ok(())
}

/// What of a VM a recovery point holds.
pub(crate) struct Coverage {
    /// The disks to read.
    pub(crate) covered: Vec<DiskView>,
    /// The others; they are named in the point.
    pub(crate) not_contained: Vec<NotContained>,
}

/// Sorts the VM's disks into those the snapshot covers and the others. Refuses a point that
/// would hold no disk at all.
pub(crate) fn coverage(vm: &VmView, disks: &[DiskView]) -> Result<Coverage, RunError> {
    let mut covered = Vec::new();
    let mut not_contained = Vec::new();
    let mut leave_out = |disk: &DiskView, reason: &str| {
        not_contained.push(NotContained {
            key: disk.identity.key,
            label: disk.label.clone(),
            path: disk.identity.path.clone(),
            reason: reason.into(),
        });
    };
    for disk in disks {
        if let Some(reason) = &disk.not_covered {
            leave_out(disk, reason);
        } else {
            covered.push(disk.clone());
        }
    }
    let known = |key| disks.iter().any(|disk| disk.identity.key == key);
    for disk in vm.disks.iter().filter(|disk| !known(disk.identity.key)) {
        leave_out(disk, disk.not_covered.as_deref().unwrap_or("the snapshot does not have it"));
    }
    if covered.is_empty() {
        let reason = "no disk of it can be backed up through a snapshot".into();
        return Err(RunError::Preflight { vm: vm.identity.name.clone(), reason });
    }
    Ok(Coverage { covered, not_contained })
}

/// The path in two parts, or why it cannot be one on the SAN.
pub(crate) fn parse_path(path: &str) -> Result<DatastorePath, RunError> {
    DatastorePath::parse(path).ok_or_else(|| RunError::NoSanPath {
        disk: path.into(),
        reason: "its path is not of the form '[datastore] folder/file'".into(),
    })
}

/// The datastore of this name. Names are unique within a datacenter only: where two datastores
/// share one, nothing says which is meant, so neither is read.
pub(crate) fn find_datastore<'a>(
    views: &'a [DatastoreView],
    name: &str,
    path: &str,
) -> Result<&'a DatastoreView, RunError> {
    let no_path = |reason: String| Err(RunError::NoSanPath { disk: path.into(), reason });
    let mut same = views.iter().filter(|view| view.name == name);
    match (same.next(), same.next()) {
        (Some(view), None) => Ok(view),
        (Some(_), Some(_)) => no_path(format!(
            "several datastores are called '{name}'; give them names of their own in vCenter"
        )),
        (None, _) => no_path(format!("the hypervisor lists no datastore '{name}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DiskIdentity, VmIdentity, VmUuid};

    fn disk(key: i32, not_covered: Option<&str>) -> DiskView {
        let path = format!("[san01] web01/{key}.vmdk");
        DiskView {
            identity: DiskIdentity { key, uuid: String::new(), path, capacity: 1, change_id: None },
            label: format!("Hard disk {key}"),
            not_covered: not_covered.map(Into::into),
            parents: Vec::new(),
        }
    }

    fn vm(disks: Vec<DiskView>) -> VmView {
        VmView {
            reference: "vm-1".into(),
            identity: VmIdentity {
                uuid: VmUuid("50".into()),
                name: "web01".into(),
                server_uuid: String::new(),
            },
            template: false,
            powered_off: false,
            fault_tolerance: None,
            tools_running: true,
            cbt_supported: true,
            cbt_enabled: true,
            consolidation_needed: false,
            snapshots: Vec::new(),
            vmx_path: String::new(),
            disks,
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_disk_that_the_snapshot_leaves_out_is_named_and_one_at_least_is_contained() {
        let disks = [disk(2000, None), disk(2001, Some("independent"))];
        let whole = vm(vec![disk(2000, None), disk(2001, None), disk(2002, None)]);
        let coverage = coverage(&whole, &disks).unwrap();
        assert_eq!(coverage.covered, [disk(2000, None)]);
        let keys: Vec<_> = coverage.not_contained.iter().map(|disk| disk.key).collect();
        assert_eq!(keys, [2001, 2002], "also the one that the snapshot does not know");
        let none = super::coverage(&whole, &[disk(2001, Some("independent"))]);
        assert!(matches!(none, Err(RunError::Preflight { .. })));
    }

    #[test]
    fn a_vm_in_a_doubtful_state_is_refused_with_the_reason() {
        let refused = |change: fn(&mut VmView)| {
            let mut vm = vm(vec![disk(2000, None)]);
            change(&mut vm);
            preflight(&vm, false).unwrap_err().to_string()
        };
        assert!(preflight(&vm(vec![disk(2000, None)]), false).is_ok());
        assert!(refused(|vm| vm.template = true).contains("template"));
        assert!(refused(|vm| vm.consolidation_needed = true).contains("consolidat"));
        assert!(refused(|vm| vm.problems.push("no devices".into())).contains("no devices"));
        let cbt_over_snapshots = refused(|vm| {
            vm.cbt_enabled = false;
            vm.snapshots.push("before the update".into());
        });
        assert!(cbt_over_snapshots.contains("silently incomplete"), "{cbt_over_snapshots}");
    }

    fn datastore(kind: &str, capacity: u64, free: u64) -> DatastoreView {
        DatastoreView { name: "san01".into(), kind: kind.into(), capacity, free, vmfs: None }
    }

    #[test]
    fn a_datastore_without_room_for_the_delta_is_named() {
        let mut vm = vm(vec![disk(2000, None)]);
        vm.vmx_path = "[san01] web01/web01.vmx".into();
        let try_with = |capacity, free| room(&vm, &[datastore("VMFS", capacity, free)], 10);
        assert!(try_with(1000 << 20, 100 << 20).is_ok());
        assert!(try_with(0, 0).is_ok(), "unknown is not full");
        assert!(try_with(u64::MAX, u64::MAX / 10).is_ok());
        let refused = try_with(1000 << 20, (100 << 20) - 1).unwrap_err().to_string();
        assert!(refused.contains("san01") && refused.contains("99 MiB free"), "{refused}");
    }

    #[test]
    fn of_a_fault_tolerant_pair_the_whole_primary_alone_is_backed_up() {
        let judge = |primary, orphaned, state: &str| {
            let mut vm = vm(vec![disk(2000, None)]);
            let state = state.into();
            vm.fault_tolerance = Some(FaultTolerance { primary, orphaned, state });
            preflight(&vm, false).map_err(|error| error.to_string())
        };
        assert!(judge(true, false, "running").is_ok());
        assert!(judge(true, false, "needSecondary").unwrap_err().contains("needSecondary"));
        assert!(judge(false, false, "running").unwrap_err().contains("back up the primary"));
        assert!(judge(false, true, "running").unwrap_err().contains("repair"));
    }

    #[test]
    fn two_datastores_of_one_name_are_no_datastore() {
        let view = |kind: &str| datastore(kind, 0, 0);
        assert!(find_datastore(&[view("VMFS")], "san01", "x").is_ok());
        let twice = find_datastore(&[view("VMFS"), view("NFS")], "san01", "x").unwrap_err();
        assert!(twice.to_string().contains("several"), "{twice}");
        assert!(find_datastore(&[], "san01", "x").is_err());
    }
}
