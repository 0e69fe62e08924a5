//! The inventory of vCenter or a host as a tree, and the snapshots in it.

use crate::page::Listed;
use crate::vm::PowerState;
use jiff::Timestamp;
use model::VmUuid;
use serde::{Deserialize, Serialize};

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryObject {
    /// Its reference on the server, such as `VirtualMachine:vm-12`.
    pub id: String,
    /// What it is.
    pub kind: InventoryKind,
    /// Its name.
    pub name: String,
    /// What it stands in; `None`: the root, or the server does not say.
    pub parent: Option<String>,
    /// Of a VM: `config.instanceUuid`.
    #[serde(default)]
    pub uuid: Option<VmUuid>,
    /// Of a VM: whether it runs.
    #[serde(default)]
    pub power_state: Option<PowerState>,
    /// Of a VM: the host it is on.
    #[serde(default)]
    pub host: Option<String>,
    /// Of a VM: the resource pool it is in.
    #[serde(default)]
    pub resource_pool: Option<String>,
    /// Of a VM: how many snapshots it has.
    #[serde(default)]
    pub snapshots: u64,
    /// Of a datastore: `VMFS`, `NFS`, `vsan` and others.
    #[serde(default)]
    pub datastore_type: Option<String>,
    /// What a person should know of it, each in a few words.
    #[serde(default)]
    pub remarks: Vec<String>,
}

impl Listed for InventoryObject {
    fn cursor(&self) -> String {
        self.id.clone()
    }
}

/// What an object of the inventory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InventoryKind {
    /// A datacenter.
    Datacenter,
    /// A folder of anything.
    Folder,
    /// A cluster of hosts.
    Cluster,
    /// What stands around a host that is in no cluster.
    ComputeResource,
    /// A host.
    Host,
    /// A resource pool.
    ResourcePool,
    /// A vApp.
    VApp,
    /// A virtual machine.
    Vm,
    /// A template.
    Template,
    /// A cluster of datastores.
    DatastoreCluster,
    /// A datastore.
    Datastore,
    /// A network or port group.
    Network,
    /// Something else.
    Other,
}

/// Whether the inventory is followed, and how old it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryStatus {
    /// Changes come in as they happen.
    pub live: bool,
    /// Since when they do without a break; `None`: they do not now.
    pub since: Option<Timestamp>,
    /// When the server was heard last; what is shown is as of then. `None`: never.
    pub as_of: Option<Timestamp>,
    /// Objects that are known.
    pub objects: u64,
    /// Why it is not live.
    pub error: Option<String>,
}

/// A snapshot of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Its reference on the server.
    pub id: String,
    /// The VM's name.
    pub vm: String,
    /// The VM's `config.instanceUuid`, where the server states it.
    pub vm_uuid: Option<VmUuid>,
    /// Its name.
    pub name: String,
    /// Who seems to have made it.
    pub owner: SnapshotOwner,
    /// Such as the run that it belongs to, or the product that names its snapshots so.
    pub owner_detail: Option<String>,
    /// When it was made, as the server says it.
    pub created: Option<Timestamp>,
    /// Its age now.
    pub age_seconds: Option<i64>,
    /// Bytes of the delta files that the VM's disks got since; `None`: not known.
    pub delta_bytes: Option<u64>,
}

impl Listed for SnapshotView {
    fn cursor(&self) -> String {
        format!("{}\u{1}{}", self.vm, self.id)
    }
}

/// Who seems to have made a snapshot. Only those of `run` are ever removed by the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotOwner {
    /// A run of this appliance, which goes on or is being cleaned up.
    Run,
    /// Holdfast, and no run of this appliance: another appliance, or a journal that was lost.
    OtherHoldfast,
    /// Another backup product, by the name.
    OtherProduct,
    /// A person, or anybody.
    Unknown,
}
