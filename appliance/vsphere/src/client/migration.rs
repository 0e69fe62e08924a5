//! Holding off storage migration while a disk is read from its LUN.
//!
//! vCenter has an internal call for it, which backup products use: a method of a VM is disabled
//! under the name of who asks, and enabled again under the same name. A single host has no
//! storage migration of its own to hold off.

use super::Client;
use crate::error::VsphereError;
use crate::requests;
use crate::wire::MoRef;

/// What moves a VM's disks.
const RELOCATE: &str = "RelocateVM_Task";

impl Client {
    /// Nobody can migrate the VM until [`Client::allow_migration`] is called with the same
    /// `source`, also after this client has ended: the caller has written down that it must be.
    /// `false`: the server has no such thing, and nothing was done.
    pub async fn block_migration(&self, vm: &MoRef, source: &str) -> Result<bool, VsphereError> {
        let Some(manager) = self.method_manager() else { return Ok(false) };
        let reason = "a backup reads the disks";
        let request = requests::disable_method(manager, vm, RELOCATE, reason, source);
        self.shared.session.keep(|| self.call(vm, &request)).await.map(|_| true)
    }

    /// Ends a block of this `source`; without one nothing happens.
    pub async fn allow_migration(&self, vm: &MoRef, source: &str) -> Result<(), VsphereError> {
        let Some(manager) = self.method_manager() else { return Ok(()) };
        let request = requests::enable_method(manager, vm, RELOCATE, source);
        self.shared.session.keep(|| self.call(vm, &request)).await.map(drop)
    }

    fn method_manager(&self) -> Option<&MoRef> {
        let manager = self.shared.authorization_manager.as_ref();
        manager.filter(|_| self.shared.about.api_type == "VirtualCenter")
    }
}
