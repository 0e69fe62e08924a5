//! Change tracking and snapshots.

use super::Client;
use super::caller::odd;
use super::properties::withheld;
use crate::error::VsphereError;
use crate::inventory::{
    Disk, LAYOUT_PROPERTIES, Layout, SnapshotNode, decode_disks, decode_layout,
};
use crate::requests::{self, Request};
use crate::wire::{MoRef, ObjectContent, WireError};

/// Where a snapshot keeps its own copy of the VM's devices.
const SNAPSHOT_DEVICES: &str = "config.hardware.device";

impl Client {
    /// Switches change tracking on, if it is not yet. It acts after the VM's next stun: the next
    /// snapshot gives the first cursor.
    ///
    /// # Errors
    /// [`VsphereError::TrackingRefused`] when the VM cannot do it or has snapshots: servers since
    /// 6.5 would accept the latter, and report too few changes ever after.
    pub async fn enable_cbt(&self, vm: &MoRef) -> Result<(), VsphereError> {
        let state = self.vm(vm).await?;
        let refused = |why| Err(VsphereError::TrackingRefused { vm: vm.clone(), why });
        if state.cbt_enabled {
            return Ok(());
        }
        if !state.cbt_supported {
            return refused(
                "the server says that this VM cannot do it (hardware version 7 or later?)",
            );
        }
        if !state.snapshots.is_empty() {
            return refused("it has snapshots; remove them first, or changes would be missed");
        }
        self.run_task(vm, &requests::enable_change_tracking(vm)).await.map(drop)
    }

    /// Takes a snapshot without memory. The caller has already written down that it has to go.
    ///
    /// `quiesce` acts only on a running VM with VMware Tools and is silently ignored otherwise: see
    /// [`crate::Vm::tools_running`].
    ///
    /// # Errors
    /// After an error of the kind `Retryable` or `Busy` the snapshot may exist, or come to exist,
    /// all the same: [`Client::find_snapshots`] tells.
    pub async fn create_snapshot(
        &self,
        vm: &MoRef,
        name: &str,
        description: &str,
        quiesce: bool,
    ) -> Result<MoRef, VsphereError> {
        let request = requests::create_snapshot(vm, name, description, quiesce);
        let snapshot = self.run_task(vm, &request).await?;
        snapshot.ok_or_else(|| {
            let missing = WireError::Missing { parent: "info".into(), element: "result".into() };
            odd(request.method)(missing)
        })
    }

    /// The disks as they were when the snapshot was taken, from its own configuration: file names
    /// name the head of the chain at that moment, change ids are those to keep.
    ///
    /// # Errors
    /// Unlike in a listing, a disk that cannot be read is an error here
    /// ([`VsphereError::Unreadable`]): a backup must not leave it out.
    pub async fn snapshot_disks(&self, snapshot: &MoRef) -> Result<Vec<Disk>, VsphereError> {
        let read = || self.read_one(snapshot, &[SNAPSHOT_DEVICES], disks);
        self.shared.session.keep(read).await
    }

    /// The snapshots of a VM that carry `name`, wherever they are in the tree.
    pub async fn find_snapshots(
        &self,
        vm: &MoRef,
        name: &str,
    ) -> Result<Vec<SnapshotNode>, VsphereError> {
        let state = self.vm(vm).await?;
        // A tree that could not be read looks like an empty one, and is not.
        if let Some(problem) = state.problems.into_iter().next() {
            return Err(VsphereError::Unreadable { object: vm.clone(), problem });
        }
        Ok(SnapshotNode::find_all(&state.snapshots, name).into_iter().cloned().collect())
    }

    /// Which files the VM consists of; `None`: the server does not say now.
    pub async fn layout(&self, vm: &MoRef) -> Result<Option<Layout>, VsphereError> {
        let read = || {
            self.read_one(vm, LAYOUT_PROPERTIES, |content| {
                let layout = content.get("layoutEx").map(decode_layout).transpose();
                layout.map_err(odd("RetrievePropertiesEx"))
            })
        };
        self.shared.session.keep(read).await
    }

    /// Removes this snapshot, not its children, and writes its delta back. It may take hours.
    ///
    /// # Errors
    /// The kind is `Gone` when it no longer exists; the caller decides whether that is fine.
    pub async fn remove_snapshot(&self, snapshot: &MoRef) -> Result<(), VsphereError> {
        self.run_void_task(snapshot, requests::remove_snapshot(snapshot)).await
    }

    /// Writes back deltas that a removal left over ([`crate::Vm::consolidation_needed`]).
    pub async fn consolidate(&self, vm: &MoRef) -> Result<(), VsphereError> {
        self.run_void_task(vm, requests::consolidate(vm)).await
    }

    async fn run_void_task(&self, object: &MoRef, request: Request) -> Result<(), VsphereError> {
        self.run_task(object, &request).await.map(drop)
    }
}

fn disks(content: &ObjectContent<'_>) -> Result<Vec<Disk>, VsphereError> {
    let devices =
        content.get(SNAPSHOT_DEVICES).ok_or_else(|| withheld(content, SNAPSHOT_DEVICES))?;
    let (disks, problems) = decode_disks(devices);
    match problems.into_iter().next() {
        Some(problem) => Err(VsphereError::Unreadable { object: content.object.clone(), problem }),
        None => Ok(disks),
    }
}
