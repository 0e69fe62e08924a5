//! vCenter as the jobs see it: one client, connected when it is needed and again when it was
//! lost.

use super::live::Live;
use jobs::ports::{
    Changes, Created, DatastoreView, DiskView, FaultTolerance, Hypervisor, LunView, PortError,
    Since, VmPortrait, VmView, VmfsView,
};
use model::{DiskIdentity, ErrorKind, VmIdentity, VmUuid};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use vsphere::{
    About, BackingKind, ChangedSince, Client, Datastore, Disk, DiskMode, Extent, FileBackup,
    Layout, MoRef, PowerState, ScsiLun, SnapshotNode, Vm, VsphereError,
};

/// How to reach vCenter, the connection when there is one, and what is known about it.
pub(crate) struct Vcenter {
    config: vsphere::Config,
    /// Where it writes its own backup, if it is to.
    pub(super) file_backup: Option<FileBackup>,
    client: Mutex<Option<Client>>,
    seen: StdMutex<Seen>,
    /// The inventory, followed by a task of its own.
    pub(crate) inventory: Arc<Live>,
}

/// The outcome of the last call, for the status page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) about: Option<About>,
    pub(crate) error: Option<String>,
}

impl Vcenter {
    pub(crate) fn new(config: vsphere::Config, file_backup: Option<FileBackup>) -> Self {
        let (client, seen, inventory) = (Mutex::default(), StdMutex::default(), Arc::default());
        Self { config, file_backup, client, seen, inventory }
    }

    /// Follows the inventory, with a session of its own, until it is told to end.
    pub(crate) async fn follow(&self) {
        Arc::clone(&self.inventory).follow(self.config.clone(), crate::clock::wall).await;
    }

    pub(crate) fn url(&self) -> &str {
        &self.config.url
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All VMs of the inventory.
    pub(crate) async fn all_vms(&self) -> Result<(About, Vec<Vm>), PortError> {
        let client = self.client().await?;
        let vms = self.note(client.vms().await, "listing the VMs")?;
        Ok((client.about().clone(), vms))
    }

    pub(crate) async fn all_datastores(&self) -> Result<Vec<Datastore>, PortError> {
        let client = self.client().await?;
        self.note(client.datastores().await, "listing the datastores")
    }

    pub(crate) async fn all_luns(&self) -> Result<Vec<ScsiLun>, PortError> {
        let client = self.client().await?;
        self.note(client.scsi_luns().await, "listing the LUNs of the hosts")
    }

    /// Ends the session; an unreachable server lets it expire.
    pub(crate) async fn logout(&self) {
        if let Some(client) = self.client.lock().await.take()
            && let Err(error) = client.logout().await
        {
            tracing::warn!(error = model::chain(&error), "vCenter logout");
        }
    }

    pub(crate) async fn client(&self) -> Result<Client, PortError> {
        let mut client = self.client.lock().await;
        if client.is_none() {
            let connected = Client::connect(self.config.clone()).await;
            *client = Some(self.note(connected, "connecting to vCenter")?);
        }
        let client = client.clone().expect("connected above");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).about =
            Some(client.about().clone());
        Ok(client)
    }

    /// Remembers the outcome for the status, and turns the error into the port's.
    pub(super) fn note<T>(
        &self,
        result: Result<T, VsphereError>,
        operation: impl Into<String>,
    ) -> Result<T, PortError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(value) => {
                seen.error = None;
                Ok(value)
            }
            Err(error) => {
                let (kind, operation) = (error.kind(), operation.into());
                // Only what concerns the connection as a whole is the status page's business.
                if matches!(kind, ErrorKind::Retryable | ErrorKind::Refused) {
                    seen.error = Some(model::chain(&error));
                }
                Err(PortError { kind, operation, source: error.into() })
            }
        }
    }

    /// The files of one VM; `None`: the server does not say now.
    pub(crate) async fn layout(&self, vm: &MoRef) -> Result<Option<Layout>, PortError> {
        let client = self.client().await?;
        self.note(client.layout(vm).await, "reading the files of a VM")
    }

    /// By the live inventory, where that names exactly one VM, which then says itself who it is.
    /// `None`: only a listing of all VMs tells.
    async fn find_live(&self, uuid: &VmUuid) -> Result<Option<(About, Vm)>, PortError> {
        let same = self.inventory.live(|tree| {
            let is_it = |vm: &vsphere::Object| vm.text("config.instanceUuid") == Some(&uuid.0);
            let mut same = tree.vms().filter(|(_, vm)| is_it(vm)).map(|(vm, _)| vm.clone());
            same.next().filter(|_| same.next().is_none())
        });
        let Some(reference) = same.flatten() else { return Ok(None) };
        let client = self.client().await?;
        match client.vm(&reference).await {
            Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
            read => {
                let vm = self.note(read, format!("reading the VM {uuid}"))?;
                let right = vm.instance_uuid.as_ref() == Some(uuid);
                Ok(right.then(|| (client.about().clone(), vm)))
            }
        }
    }

    async fn find(&self, uuid: &VmUuid) -> Result<(About, Vm), PortError> {
        if let Some(found) = self.find_live(uuid).await? {
            return Ok(found);
        }
        let (about, vms) = self.all_vms().await?;
        let mut same = vms.into_iter().filter(|vm| vm.instance_uuid.as_ref() == Some(uuid));
        match (same.next(), same.next()) {
            (Some(vm), None) => Ok((about, vm)),
            (Some(_), Some(_)) => Err(PortError {
                kind: ErrorKind::Refused,
                operation: format!("finding the VM {uuid}"),
                source: "several VMs have this instance UUID".into(),
            }),
            (None, _) => Err(PortError {
                kind: ErrorKind::NotFound,
                operation: format!("finding the VM {uuid}"),
                source: "no VM of the inventory has this instance UUID".into(),
            }),
        }
    }
}

impl Hypervisor for Vcenter {
    async fn vm(&self, uuid: &VmUuid) -> Result<VmView, PortError> {
        let (about, vm) = self.find(uuid).await?;
        Ok(vm_view(&about, uuid, vm))
    }

    /// Reads one VM, where `vm` reads all: that no other has the same instance UUID was seen there.
    async fn again(&self, vm: &VmView) -> Result<VmView, PortError> {
        let client = self.client().await?;
        let operation = format!("looking at VM '{}' again", vm.identity.name);
        let now = self.note(client.vm(&vm_ref(vm)).await, operation.clone())?;
        if now.instance_uuid.as_ref() != Some(&vm.identity.uuid) {
            let source = "another VM has its reference now".into();
            return Err(PortError { kind: ErrorKind::Refused, operation, source });
        }
        Ok(vm_view(client.about(), &vm.identity.uuid, now))
    }

    async fn is_gone(&self, reference: &str) -> Result<bool, PortError> {
        let client = self.client().await?;
        match client.vm(&MoRef::new("VirtualMachine", reference)).await {
            Err(error) if error.kind() == ErrorKind::Gone => Ok(true),
            state => self.note(state, "looking for a VM by its reference").map(|_| false),
        }
    }

    async fn consolidate(&self, vm: &VmView) -> Result<(), PortError> {
        let client = self.client().await?;
        let operation = format!("consolidating the disks of VM '{}'", vm.identity.name);
        self.note(client.consolidate(&vm_ref(vm)).await, operation)
    }

    async fn datastores(&self) -> Result<Vec<DatastoreView>, PortError> {
        let luns = self.all_luns().await?;
        let datastores = self.all_datastores().await?;
        Ok(datastores.into_iter().map(|datastore| datastore_view(datastore, &luns)).collect())
    }

    async fn enable_cbt(&self, vm: &VmView) -> Result<(), PortError> {
        let client = self.client().await?;
        let operation = format!("switching change tracking on for VM '{}'", vm.identity.name);
        self.note(client.enable_cbt(&vm_ref(vm)).await, operation)
    }

    async fn create_snapshot(
        &self,
        vm: &VmView,
        name: &str,
        description: &str,
        quiesce: bool,
    ) -> Result<Created, PortError> {
        let client = self.client().await?;
        let operation = format!("creating a snapshot of VM '{}'", vm.identity.name);
        match client.create_snapshot(&vm_ref(vm), name, description, quiesce).await {
            Err(error) if quiesce && error.means_not_quiesced() => {
                Ok(Created::NotQuiesced(model::chain(&error)))
            }
            created => Ok(Created::Snapshot(self.note(created, operation)?.value().to_owned())),
        }
    }

    async fn block_migration(&self, vm: &VmView, source: &str) -> Result<bool, PortError> {
        let client = self.client().await?;
        let operation = format!("holding off migration of VM '{}'", vm.identity.name);
        self.note(client.block_migration(&vm_ref(vm), source).await, operation)
    }

    async fn allow_migration(&self, vm: &VmView, source: &str) -> Result<(), PortError> {
        let client = self.client().await?;
        let operation = format!("allowing migration of VM '{}' again", vm.identity.name);
        self.note(client.allow_migration(&vm_ref(vm), source).await, operation)
    }

    async fn find_snapshots(&self, vm: &VmView, name: &str) -> Result<Vec<String>, PortError> {
        let client = self.client().await?;
        let operation = format!("listing the snapshots of VM '{}'", vm.identity.name);
        let found = self.note(client.find_snapshots(&vm_ref(vm), name).await, operation)?;
        Ok(found.iter().map(|snapshot| snapshot.moref.value().to_owned()).collect())
    }

    async fn snapshot_disks(
        &self,
        vm: &VmView,
        snapshot: &str,
    ) -> Result<Vec<DiskView>, PortError> {
        let client = self.client().await?;
        let operation = format!("reading the snapshot's disks of VM '{}'", vm.identity.name);
        let disks = client.snapshot_disks(&snapshot_ref(snapshot)).await;
        Ok(self.note(disks, operation)?.into_iter().map(disk_view).collect())
    }

    /// The configuration is needed. What else cannot be read is named, and the backup goes on.
    async fn portrait(&self, vm: &VmView, snapshot: &str) -> Result<VmPortrait, PortError> {
        let client = self.client().await?;
        let operation = format!("reading the configuration of VM '{}'", vm.identity.name);
        let configuration = client.snapshot_configuration(&snapshot_ref(snapshot)).await;
        let configuration = self.note(configuration, operation)?;
        let (placement, tags) =
            (client.placement(&vm_ref(vm)).await, client.tags(&vm_ref(vm)).await);
        Ok(super::portrait::portrait(vm, configuration, placement, tags))
    }

    async fn changes(
        &self,
        vm: &VmView,
        snapshot: &str,
        disk: &DiskIdentity,
        since: &Since,
    ) -> Result<Changes, PortError> {
        let client = self.client().await?;
        let since = match since {
            Since::Allocated => ChangedSince::All,
            Since::Change(id) => ChangedSince::Id(id.clone()),
        };
        let (vm_ref, snapshot) = (vm_ref(vm), snapshot_ref(snapshot));
        let areas = client.changed_areas(&vm_ref, &snapshot, disk.key, disk.capacity, &since).await;
        match areas {
            Err(error) if error.means_full_read() => Ok(Changes::Unusable(model::chain(&error))),
            areas => {
                let operation = format!("asking for the changed areas of {}", disk.path);
                Ok(Changes::Areas(self.note(areas, operation)?))
            }
        }
    }

    async fn delta_bytes(&self, vm: &VmView, snapshot: &str) -> Result<Option<u64>, PortError> {
        let layout = self.layout(&vm_ref(vm)).await?;
        Ok(layout.and_then(|layout| layout.bytes_since(&snapshot_ref(snapshot))))
    }

    async fn remove_snapshot(&self, vm: &VmView, snapshot: &str) -> Result<(), PortError> {
        let client = self.client().await?;
        let operation = format!("removing a snapshot of VM '{}'", vm.identity.name);
        match client.remove_snapshot(&snapshot_ref(snapshot)).await {
            Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
            removed => self.note(removed, operation),
        }
    }
}

fn vm_ref(vm: &VmView) -> MoRef {
    MoRef::new("VirtualMachine", &vm.reference)
}

fn snapshot_ref(snapshot: &str) -> MoRef {
    MoRef::new("VirtualMachineSnapshot", snapshot)
}

fn vm_view(about: &About, uuid: &VmUuid, vm: Vm) -> VmView {
    let mut problems = vm.problems;
    if !vm.connected {
        problems.push("its host is not connected to vCenter".into());
    }
    let mut snapshots = Vec::new();
    names(&vm.snapshots, &mut snapshots);
    VmView {
        reference: vm.moref.value().to_owned(),
        identity: VmIdentity {
            uuid: uuid.clone(),
            name: vm.name,
            server_uuid: about.instance_uuid.clone().unwrap_or_default(),
        },
        template: vm.template,
        fault_tolerance: vm.fault_tolerance.map(|pair| FaultTolerance {
            primary: pair.role == 1,
            orphaned: pair.orphaned,
            state: pair.state,
        }),
        tools_running: vm.tools_running,
        powered_off: vm.power_state == PowerState::Off,
        cbt_supported: vm.cbt_supported,
        cbt_enabled: vm.cbt_enabled,
        consolidation_needed: vm.consolidation_needed,
        snapshots,
        vmx_path: vm.vmx_path.unwrap_or_default(),
        disks: vm.disks.into_iter().map(disk_view).collect(),
        problems,
    }
}

fn names(nodes: &[SnapshotNode], into: &mut Vec<String>) {
    for node in nodes {
        into.push(node.name.clone());
        names(&node.children, into);
    }
}

/// Why a snapshot leaves this disk out; `None`: it does not.
pub(crate) fn not_covered(disk: &Disk) -> Option<String> {
    let reason = match (&disk.mode, &disk.backing_kind) {
        _ if disk.encrypted => "it is encrypted by vSphere: the SAN shows its ciphertext only",
        _ if disk.shared => "it is shared with other VMs (multi-writer)",
        (_, BackingKind::RawMapping { physical: true }) => "it is a physical raw device mapping",
        (DiskMode::IndependentPersistent | DiskMode::IndependentNonpersistent, _) => {
            "it is independent: snapshots leave it out"
        }
        (DiskMode::Other(mode), _) => return Some(format!("its mode '{mode}' is not known")),
        (DiskMode::Persistent, _) => return None,
    };
    Some(reason.into())
}

fn disk_view(disk: Disk) -> DiskView {
    DiskView {
        not_covered: not_covered(&disk),
        parents: disk.parents,
        label: disk.label,
        identity: DiskIdentity {
            key: disk.key,
            uuid: disk.uuid.unwrap_or_default(),
            path: disk.file_name,
            capacity: disk.capacity,
            change_id: disk.change_id,
        },
    }
}

fn datastore_view(datastore: Datastore, luns: &[ScsiLun]) -> DatastoreView {
    let lun_view = |extent: Extent| LunView {
        capacity: capacity_of(&extent.disk_name, luns),
        name: extent.disk_name,
    };
    DatastoreView {
        name: datastore.name,
        kind: datastore.kind,
        capacity: datastore.capacity,
        free: datastore.free,
        vmfs: datastore.vmfs.map(|vmfs| VmfsView {
            uuid: vmfs.uuid,
            luns: vmfs.extents.into_iter().map(lun_view).collect(),
        }),
    }
}

/// The LUN's size when all hosts that list it agree.
fn capacity_of(name: &str, luns: &[ScsiLun]) -> Option<u64> {
    let mut sizes = luns.iter().filter(|lun| lun.canonical_name == name).map(|lun| lun.capacity);
    let first = sizes.next()?;
    sizes.all(|size| size == first).then_some(first)
}

/// The client's configuration from ours.
pub(crate) fn client_config(
    config: &crate::config::Vcenter,
    password: String,
) -> Result<vsphere::Config, crate::config::ConfigError> {
    let thumbprint =
        config.thumbprint.parse().map_err(|error: vsphere::ParseThumbprintError| {
            crate::config::ConfigError::Value {
                key: "vcenter.thumbprint",
                value: config.thumbprint.clone(),
                reason: error.to_string(),
            }
        })?;
    Ok(vsphere::Config {
        url: config.url.clone(),
        user: config.user.clone(),
        password: vsphere::Secret::new(password),
        thumbprint,
        call_timeout: Duration::from_secs(config.call_timeout_seconds),
        task_timeout: Duration::from_secs(config.task_timeout_seconds),
    })
}
