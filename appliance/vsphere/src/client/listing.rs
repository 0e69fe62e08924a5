//! Inventory: VMs, datastores, LUNs.

use super::Client;
use crate::error::VsphereError;
use crate::inventory::{
    DATASTORE_PROPERTIES, Datastore, HOST_PROPERTIES, ScsiLun, VM_PROPERTIES, Vm, decode_datastore,
    decode_luns, decode_vm,
};
use crate::wire::MoRef;

impl Client {
    /// All VMs, templates included. One that cannot be read whole is in the list with its
    /// [`Vm::problems`]; one that disappears meanwhile is not.
    pub async fn vms(&self) -> Result<Vec<Vm>, VsphereError> {
        let read = || self.read_all("VirtualMachine", VM_PROPERTIES, decode_vm);
        self.shared.session.keep(read).await
    }

    /// One VM; [`VsphereError::Gone`] when it is no longer there.
    pub async fn vm(&self, vm: &MoRef) -> Result<Vm, VsphereError> {
        let read = || self.read_one(vm, VM_PROPERTIES, |content| Ok(decode_vm(content)));
        self.shared.session.keep(read).await
    }

    /// All datastores.
    pub async fn datastores(&self) -> Result<Vec<Datastore>, VsphereError> {
        let read = || self.read_all("Datastore", DATASTORE_PROPERTIES, decode_datastore);
        self.shared.session.keep(read).await
    }

    /// The disk LUNs of all hosts: a LUN that three hosts see is listed three times.
    pub async fn scsi_luns(&self) -> Result<Vec<ScsiLun>, VsphereError> {
        let read = || self.read_all("HostSystem", HOST_PROPERTIES, decode_luns);
        let hosts = self.shared.session.keep(read).await?;
        Ok(hosts.into_iter().flatten().collect())
    }
}
