//! vCenter as a restore sees it: translation from orders to the client's calls.

use super::hypervisor::Vcenter;
use super::place::{self, Spot, refused};
use jobs::ports::{BoxFuture, PortError};
use jobs::restore::ports::{Found, Import, Order, OrderedDisk, Outlook, ReadBack, Target, Who};
use model::ErrorKind;
use tokio::sync::mpsc::{self, Receiver};
use vsphere::{
    Blueprint, Client, DatastoreFile, Identity, ImportSpec, Lease, MoRef, NewCard, NewDisk, Places,
    PowerState, Vm, VsphereError,
};

/// How disks are read back, for people.
const HOW: &str = "datastore HTTP";

/// A VM whose disks are being sent.
pub(crate) struct Sending {
    client: Client,
    lease: Lease,
    blueprint: Blueprint,
    temporary: String,
    sent: usize,
}

impl Target for Vcenter {
    type Import = Sending;

    async fn look(&self, order: &Order) -> Result<Outlook, PortError> {
        let blueprint = blueprint(order)?;
        let (_, vms) = self.all_vms().await?;
        let datastore = datastore(order, &blueprint);
        let stores = self.all_datastores().await?;
        let store = stores.iter().find(|store| store.name == datastore).ok_or_else(|| {
            refused(format!("there is no datastore '{datastore}'; name another one (--datastore)"))
        })?;
        let places = self.places().await?;
        let spot = place::find(&places, &order.request, &order.portrait)?;
        cards(&places, order, &blueprint)?;
        let existing = vms.iter().find(|vm| vm.instance_uuid.as_ref() == Some(&order.vm.uuid));
        Ok(Outlook {
            name_taken: vms.iter().any(|vm| vm.name == order.name()),
            existing: existing.map(found),
            free: store.free,
            needed: needed(order, &blueprint)?,
            identity: identity(&blueprint),
            left_out: blueprint.left_out.clone(),
            place: format!("{} on {datastore}", spot.text),
        })
    }

    async fn begin(&self, order: &Order) -> Result<Sending, PortError> {
        let blueprint = blueprint(order)?;
        let places = self.places().await?;
        let Spot { place, .. } = place::find(&places, &order.request, &order.portrait)?;
        let thin = |key| blueprint.disks.iter().any(|disk| disk.key == key && disk.thin);
        let disks = order.disks.iter().map(|disk| NewDisk {
            key: disk.key,
            capacity: disk.bytes.capacity(),
            thin: order.request.thin || thin(disk.key),
        });
        let spec = ImportSpec {
            name: order.temporary(),
            datastore: datastore(order, &blueprint),
            disks: disks.collect(),
            cards: cards(&places, order, &blueprint)?,
            blueprint,
        };
        let client = self.client().await?;
        let lease = client.import(&place, &spec).await;
        let lease = self.note(lease, format!("making the VM '{}'", spec.name))?;
        let (blueprint, temporary) = (spec.blueprint, spec.name);
        Ok(Sending { client, lease, blueprint, temporary, sent: 0 })
    }

    async fn named(&self, name: &str) -> Result<Vec<Found>, PortError> {
        let (_, vms) = self.all_vms().await?;
        Ok(vms.iter().filter(|vm| vm.name == name).map(found).collect())
    }

    async fn at(&self, reference: &str) -> Result<Option<Found>, PortError> {
        let client = self.client().await?;
        match client.vm(&vm_ref(reference)).await {
            Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
            vm => Ok(Some(found(&self.note(vm, "looking at a VM of a restore")?))),
        }
    }

    fn read_back<'a>(
        &'a self,
        reference: &'a str,
        order: &'a Order,
        disk: &'a OrderedDisk,
    ) -> BoxFuture<'a, Result<ReadBack, PortError>> {
        Box::pin(self.read_disk(reference, order, disk))
    }

    async fn describe(
        &self,
        reference: &str,
        order: &Order,
    ) -> Result<(Vec<String>, Vec<String>), PortError> {
        let client = self.client().await?;
        let (mut restored, mut not) = (Vec::new(), Vec::new());
        let mut note = |what: String, done: Result<(), VsphereError>| match done {
            Ok(()) => restored.push(what),
            Err(error) => not.push(format!("{what} was not restored: {}", model::chain(&error))),
        };
        if let Some(bytes) = &order.nvram {
            let written = self.write_nvram(&client, reference, order, bytes).await;
            note("NVRAM".into(), written);
        }
        for attribute in &order.portrait.custom_attributes {
            let (name, value) = (&attribute.name, &attribute.value);
            let set = client.set_custom_value(&vm_ref(reference), name, value).await;
            note(format!("custom attribute '{name}'"), set);
        }
        for tag in &order.portrait.tags {
            let (name, category) = (&tag.name, &tag.category);
            not.push(format!("tag '{name}' of category '{category}': attach it yourself"));
        }
        Ok((restored, not))
    }

    async fn rename(&self, reference: &str, name: &str) -> Result<(), PortError> {
        let client = self.client().await?;
        let renamed = client.rename(&vm_ref(reference), name).await;
        self.note(renamed, format!("giving a VM the name '{name}'"))
    }

    async fn destroy(&self, reference: &str) -> Result<(), PortError> {
        let client = self.client().await?;
        match client.destroy(&vm_ref(reference)).await {
            Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
            removed => self.note(removed, "removing a VM"),
        }
    }

    async fn become_who(&self, reference: &str, who: &Who) -> Result<(), PortError> {
        let client = self.client().await?;
        let operation = "giving the restored VM its UUIDs and network addresses";
        let now = self.note(client.blueprint(&vm_ref(reference)).await, operation)?;
        if identity(&now) == *who {
            return Ok(());
        }
        let places = self.places().await?;
        let mut changes = Vec::new();
        for (card, address) in now.cards.iter().zip(&who.cards) {
            let network = place::network(&places, card.network.as_deref().unwrap_or_default())?;
            let address = Some(address.clone());
            changes
                .push((card.key, NewCard { kind: card.kind, network, connected: true, address }));
        }
        let identity =
            Identity { uuid: who.uuid.clone(), instance_uuid: who.instance_uuid.clone() };
        let done = client.become_identity(&vm_ref(reference), &identity, &changes).await;
        self.note(done, operation)
    }

    async fn power_on(&self, reference: &str) -> Result<(), PortError> {
        let client = self.client().await?;
        self.note(client.power_on(&vm_ref(reference)).await, "powering the restored VM on")
    }
}

impl Vcenter {
    async fn places(&self) -> Result<Places, PortError> {
        let client = self.client().await?;
        self.note(client.places().await, "reading the places of the inventory")
    }

    /// The flat file of a disk of a stopped VM, whole.
    async fn read_disk(
        &self,
        reference: &str,
        order: &Order,
        disk: &OrderedDisk,
    ) -> Result<ReadBack, PortError> {
        let client = self.client().await?;
        let operation = "reading a restored disk back";
        let file = match self.flat_file(&client, reference, order, disk).await? {
            Ok(file) => file,
            Err(reason) => return Ok(ReadBack::None(reason)),
        };
        match client.read_file(&file).await {
            Err(error @ VsphereError::Transfer { .. }) => Ok(ReadBack::None(model::chain(&error))),
            read => Ok(ReadBack::Bytes(HOW.into(), forwarded(self.note(read, operation)?))),
        }
    }

    /// The file that holds the disk's bytes; or why it cannot be read.
    async fn flat_file(
        &self,
        client: &Client,
        reference: &str,
        order: &Order,
        disk: &OrderedDisk,
    ) -> Result<Result<DatastoreFile, String>, PortError> {
        let operation = "finding the files of a restored VM";
        let now = self.note(client.blueprint(&vm_ref(reference)).await, operation)?;
        let place = place_of(&blueprint(order)?, disk.key)?;
        let Some(made) = now.disks.iter().find(|made| now.place(made).as_ref() == Some(&place))
        else {
            let why = format!("the VM that was made has no disk at {place}");
            return Err(misbehaved(operation, why));
        };
        if made.capacity != disk.bytes.capacity() {
            let (has, wanted) = (made.capacity, disk.bytes.capacity());
            let why = format!("the disk at {place} has {has} bytes, not {wanted}");
            return Err(misbehaved(operation, why));
        }
        let descriptor = self.datastore_file(client, order, &made.file).await?;
        let text = match client.read_small_file(&descriptor).await {
            Err(error @ (VsphereError::Transfer { .. } | VsphereError::Wire { .. })) => {
                return Ok(Err(format!("its descriptor is not served: {}", model::chain(&error))));
            }
            text => self.note(text, operation)?,
        };
        let parsed = vmdk::Disk::parse(&text).map_err(|error| model::chain(&error));
        Ok(parsed.and_then(|parsed| match (parsed.files.as_slice(), &*parsed.create_type) {
            ([flat], "vmfs") => {
                let folder = descriptor.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                Ok(DatastoreFile { path: format!("{folder}/{flat}"), ..descriptor })
            }
            (_, kind) => Err(format!("its storage keeps it as '{kind}', not as one flat file")),
        }))
    }

    async fn datastore_file(
        &self,
        client: &Client,
        order: &Order,
        file: &str,
    ) -> Result<DatastoreFile, PortError> {
        let operation = "finding the files of a restored VM";
        let path = jobs::locate::DatastorePath::parse(file)
            .ok_or_else(|| misbehaved(operation, format!("'{file}' is not a datastore path")))?;
        let places = self.note(client.places().await, operation)?;
        let datacenter = place::find(&places, &order.request, &order.portrait)?.datacenter;
        Ok(DatastoreFile { datacenter, datastore: path.datastore, path: path.path })
    }

    async fn write_nvram(
        &self,
        client: &Client,
        reference: &str,
        order: &Order,
        bytes: &[u8],
    ) -> Result<(), VsphereError> {
        let now = client.blueprint(&vm_ref(reference)).await?;
        let path = now.vmx_path.unwrap_or_default();
        let path = format!("{}.nvram", path.strip_suffix(".vmx").unwrap_or(&path));
        let unreadable = |error: PortError| VsphereError::Unreadable {
            object: vm_ref(reference),
            problem: model::chain(&error),
        };
        let file = self.datastore_file(client, order, &path).await.map_err(unreadable)?;
        client.write_file(&file, bytes).await
    }
}

impl Import for Sending {
    async fn send(
        &mut self,
        disk: &OrderedDisk,
        pieces: Receiver<Vec<u8>>,
    ) -> Result<u64, PortError> {
        let place = place_of(&self.blueprint, disk.key)?;
        let number = self.sent;
        self.sent += 1;
        let sent = self.lease.send(&place, number, pieces).await;
        sent.map_err(|error| port(error, format!("sending disk {} to vCenter", disk.index)))
    }

    /// The lease does not say which VM it made; its name does, which no other VM has.
    async fn complete(self) -> Result<String, PortError> {
        let operation = format!("completing the VM '{}'", self.temporary);
        let failed = |error| port(error, operation.clone());
        self.lease.complete().await.map_err(failed)?;
        let vms = self.client.vms().await.map_err(failed)?;
        let mut made = vms.iter().filter(|vm| vm.name == self.temporary);
        match (made.next(), made.next()) {
            (Some(vm), None) => Ok(vm.moref.value().to_owned()),
            _ => Err(misbehaved(&operation, "vCenter does not list it".into())),
        }
    }

    async fn abort(self, reason: &str) {
        if let Err(error) = self.lease.abort(reason).await {
            let error = model::chain(&error);
            tracing::warn!(vm = self.temporary, error, "an import was not broken off");
        }
    }
}

/// The receiver's error becomes the port's.
fn forwarded(
    mut from: Receiver<Result<Vec<u8>, VsphereError>>,
) -> Receiver<Result<Vec<u8>, PortError>> {
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(piece) = from.recv().await {
            let piece = piece.map_err(|error| port(error, "reading a restored disk back".into()));
            if to.send(piece).await.is_err() {
                return;
            }
        }
    });
    pieces
}

fn blueprint(order: &Order) -> Result<Blueprint, PortError> {
    Blueprint::parse(&order.configuration).map_err(|source| PortError {
        kind: ErrorKind::Unsupported,
        operation: "reading the VM's configuration from the recovery point".into(),
        source: source.into(),
    })
}

fn datastore(order: &Order, blueprint: &Blueprint) -> String {
    let of = |file: &str| jobs::locate::DatastorePath::parse(file).map(|path| path.datastore);
    let first = || blueprint.disks.first().and_then(|disk| of(&disk.file));
    let vmx = || blueprint.vmx_path.as_deref().and_then(of);
    order.request.datastore.clone().or_else(first).or_else(vmx).unwrap_or_default()
}

/// A new VM's cards are disconnected unless somebody wants them connected: two machines with one
/// address are worse than one without.
fn cards(places: &Places, order: &Order, blueprint: &Blueprint) -> Result<Vec<NewCard>, PortError> {
    let connected = order.request.connect || order.in_place();
    let card = |card: &vsphere::Card| {
        let name = order.request.network.as_ref().or(card.network.as_ref());
        let network = place::network(places, name.map_or("", String::as_str))?;
        Ok(NewCard { kind: card.kind, network, connected, address: None })
    };
    blueprint.cards.iter().map(card).collect()
}

fn needed(order: &Order, blueprint: &Blueprint) -> Result<u64, PortError> {
    let mut bytes = 0_u64;
    for disk in &order.disks {
        place_of(blueprint, disk.key)?;
        if !disk.bytes.capacity().is_multiple_of(1024) {
            return Err(refused(format!("disk {} is not whole KiB", disk.index)));
        }
        let thin = blueprint.disks.iter().any(|had| had.key == disk.key && had.thin);
        let whole = !(thin || order.request.thin);
        let takes = if whole { disk.bytes.capacity() } else { disk.bytes.data_bytes()? };
        bytes = bytes.saturating_add(takes);
    }
    Ok(bytes)
}

fn place_of(blueprint: &Blueprint, key: i32) -> Result<String, PortError> {
    let disk = blueprint.disks.iter().find(|disk| disk.key == key);
    disk.and_then(|disk| blueprint.place(disk)).ok_or_else(|| {
        refused(format!("the kept configuration says nowhere where disk {key} hangs"))
    })
}

fn identity(blueprint: &Blueprint) -> Who {
    let address = |card: &vsphere::Card| {
        let kind = card.address_type.clone().unwrap_or_else(|| "manual".into());
        (kind, card.mac.clone())
    };
    Who {
        uuid: blueprint.uuid.clone(),
        instance_uuid: blueprint.instance_uuid.clone(),
        cards: blueprint.cards.iter().map(address).collect(),
    }
}

fn found(vm: &Vm) -> Found {
    let way = if vm.template {
        Some("it is a template")
    } else if !vm.snapshots.is_empty() {
        Some("it has snapshots")
    } else if vm.fault_tolerance.is_some() {
        Some("it is fault tolerant")
    } else {
        None
    };
    Found {
        reference: vm.moref.value().to_owned(),
        name: vm.name.clone(),
        instance_uuid: vm.instance_uuid.as_ref().map(|uuid| uuid.0.clone()),
        powered_off: vm.power_state == PowerState::Off,
        in_the_way: way.map(Into::into),
    }
}

fn vm_ref(reference: &str) -> MoRef {
    MoRef::new("VirtualMachine", reference)
}

fn port(error: VsphereError, operation: String) -> PortError {
    PortError { kind: error.kind(), operation, source: error.into() }
}

fn misbehaved(operation: &str, why: String) -> PortError {
    let kind = ErrorKind::Misbehaved;
    PortError { kind, operation: operation.to_owned(), source: why.into() }
}
