//! What must hold before a run begins, and which disks it can cover.

use crate::error::RunError;
use crate::locate::DatastorePath;
use crate::ports::{DatastoreView, DiskView, VmView};
use crate::progress::Progress;

/// Refuses a VM in whose state no run may begin.
pub(crate) fn preflight(vm: &VmView) -> Result<(), RunError> {
    let refuse = |reason: &str| {
        Err(RunError::Preflight { vm: vm.identity.name.clone(), reason: reason.into() })
    };
    if let Some(problem) = vm.problems.first() {
        return refuse(problem);
    }
    if vm.template {
        return refuse("it is a template; templates have no change tracking and no snapshots");
    }
    if vm.consolidation_needed {
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

/// The disks that the snapshot covers; the others are named as not contained.
pub(crate) fn covered(disks: &[DiskView], progress: &Progress) -> Result<Vec<DiskView>, RunError> {
    let mut covered = Vec::new();
    for disk in disks {
        if let Some(reason) = &disk.not_covered {
            progress.warn(format!("{} is not contained: {reason}", disk.label));
        } else if disk.has_parent {
            return Err(RunError::NoSanPath {
                disk: disk.identity.path.clone(),
                reason: "it is a delta over another disk (the VM has other snapshots); \
                         remove them first"
                    .into(),
            });
        } else {
            covered.push(disk.clone());
        }
    }
    Ok(covered)
}

/// The path in two parts, or why it cannot be one on the SAN.
pub(crate) fn parse_path(path: &str) -> Result<DatastorePath, RunError> {
    DatastorePath::parse(path).ok_or_else(|| RunError::NoSanPath {
        disk: path.into(),
        reason: "its path is not of the form '[datastore] folder/file'".into(),
    })
}

/// The datastore of this name.
pub(crate) fn find_datastore<'a>(
    views: &'a [DatastoreView],
    name: &str,
    path: &str,
) -> Result<&'a DatastoreView, RunError> {
    views.iter().find(|view| view.name == name).ok_or_else(|| RunError::NoSanPath {
        disk: path.into(),
        reason: format!("the hypervisor lists no datastore '{name}'"),
    })
}
