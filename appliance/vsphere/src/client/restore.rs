//! What a restore does in the inventory: finding places by name, making VMs, renaming, removing.

use super::{Client, Lease};
use crate::blueprint::{Blueprint, Identity, ImportPlace, ImportSpec, NewCard};
use crate::error::VsphereError;
use crate::restore_requests as requests;
use crate::wire::{MoRef, ObjectContent};

/// An object with its name and what it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The reference to use in calls.
    pub object: MoRef,
    /// Its name, as people see it.
    pub name: String,
    /// What it stands in.
    pub parent: Option<MoRef>,
    /// For a datacenter its folder of VMs, for a cluster or host its root pool, for a distributed
    /// port group its switch.
    pub inner: Option<MoRef>,
    /// For a distributed port group its key, for a distributed switch its UUID.
    pub key: Option<String>,
}

/// What the inventory consists of where VMs are put.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `Datacenter`, with the folder of VMs.
    pub datacenters: Vec<Named>,
    /// `Folder`, of every kind.
    pub folders: Vec<Named>,
    /// `ComputeResource`, clusters among them, with the root pool.
    pub computes: Vec<Named>,
    /// `ResourcePool`, vApps among them.
    pub pools: Vec<Named>,
    /// `HostSystem`.
    pub hosts: Vec<Named>,
    /// `Network`, distributed port groups among them, with key and switch.
    pub networks: Vec<Named>,
    /// `DistributedVirtualSwitch`, with its UUID.
    pub switches: Vec<Named>,
}

impl Client {
    /// The places of the inventory. A call or two for each kind.
    pub async fn places(&self) -> Result<Places, VsphereError> {
        self.shared.session.keep(|| self.read_places()).await
    }

    async fn read_places(&self) -> Result<Places, VsphereError> {
        let plain = &["name", "parent"];
        let vm_folder = &["name", "parent", "vmFolder"];
        let pool = &["name", "parent", "resourcePool"];
        let port_group = &["name", "parent", "config.distributedVirtualSwitch", "key"];
        let switch = "DistributedVirtualSwitch";
        let mut networks = self.read_all("Network", plain, named).await?;
        for network in &mut networks {
            if network.object.kind() == "DistributedVirtualPortgroup" {
                *network = self.read_one(&network.object, port_group, |c| Ok(named(c))).await?;
            }
        }
        Ok(Places {
            datacenters: self.read_all("Datacenter", vm_folder, named).await?,
            folders: self.read_all("Folder", plain, named).await?,
            computes: self.read_all("ComputeResource", pool, named).await?,
            pools: self.read_all("ResourcePool", plain, named).await?,
            hosts: self.read_all("HostSystem", plain, named).await?,
            networks,
            switches: self.read_all(switch, &["name", "parent", "uuid"], named).await?,
        })
    }

    /// A VM as it is configured now.
    pub async fn blueprint(&self, vm: &MoRef) -> Result<Blueprint, VsphereError> {
        let method = "RetrievePropertiesEx";
        let configuration = self.snapshot_configuration(vm).await?;
        Blueprint::parse(&configuration.xml).map_err(|source| VsphereError::Wire { method, source })
    }

    /// Begins to make a VM whose disks are then sent through the lease.
    pub async fn import(
        &self,
        place: &ImportPlace,
        spec: &ImportSpec,
    ) -> Result<Lease, VsphereError> {
        self.lease(&place.pool, requests::import_vapp(place, spec)).await
    }

    /// Gives an object another name.
    pub async fn rename(&self, object: &MoRef, name: &str) -> Result<(), VsphereError> {
        self.run_task(object, &requests::rename(object, name)).await.map(drop)
    }

    /// Removes a VM with all its files. It must be powered off.
    pub async fn destroy(&self, vm: &MoRef) -> Result<(), VsphereError> {
        self.run_task(vm, &requests::destroy(vm)).await.map(drop)
    }

    /// Powers a VM on.
    pub async fn power_on(&self, vm: &MoRef) -> Result<(), VsphereError> {
        self.run_task(vm, &requests::power_on(vm)).await.map(drop)
    }

    /// Gives a VM the UUIDs and network addresses of another one, which must be gone. `cards`:
    /// the keys of its cards, and what they shall be like.
    pub async fn become_identity(
        &self,
        vm: &MoRef,
        identity: &Identity,
        cards: &[(i32, NewCard)],
    ) -> Result<(), VsphereError> {
        self.run_task(vm, &requests::become_identity(vm, identity, cards)).await.map(drop)
    }

    /// Gives a VM a custom attribute, which must be defined.
    pub async fn set_custom_value(
        &self,
        vm: &MoRef,
        name: &str,
        value: &str,
    ) -> Result<(), VsphereError> {
        let request = requests::set_custom_value(vm, name, value);
        self.shared.session.keep(|| self.call(vm, &request)).await.map(drop)
    }
}

fn named(content: &ObjectContent<'_>) -> Named {
    let moref = |path: &str| content.get(path).and_then(|node| node.moref().ok());
    let inner = ["vmFolder", "resourcePool", "config.distributedVirtualSwitch"];
    let text = |path: &str| content.text(path).map(str::to_owned);
    Named {
        name: crate::wire::unescaped(content.text("name").unwrap_or_default()),
        parent: moref("parent"),
        inner: inner.into_iter().find_map(moref),
        key: text("key").or_else(|| text("uuid")),
        object: content.object.clone(),
    }
}
