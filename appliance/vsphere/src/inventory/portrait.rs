//! What it takes to build a VM anew elsewhere: its configuration and where it stands.

use crate::wire::{MoRef, Node, ObjectContent};

/// A VM's configuration at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The whole `VirtualMachineConfigInfo` as the server gives it, as XML.
    pub xml: String,
    /// `guestId`.
    pub guest_id: Option<String>,
    /// `version`, such as `vmx-19`.
    pub hardware_version: Option<String>,
    /// `firmware`: `bios` or `efi`.
    pub firmware: Option<String>,
    /// `annotation`.
    pub notes: Option<String>,
    /// Its network cards, in the order of the server.
    pub nics: Vec<Nic>,
}

/// A virtual network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `deviceInfo.label`.
    pub label: String,
    /// `macAddress`.
    pub mac: String,
    /// `addressType`: `manual`, `generated` or `assigned`.
    pub address_type: Option<String>,
    /// Name of a standard port group, or key of a distributed one.
    pub network: Option<String>,
}

/// Where a VM stands in the inventory, by names: references do not survive the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Name of the datacenter.
    pub datacenter: Option<String>,
    /// Names of the folders, outermost first, without the datacenter's own `vm` folder.
    pub folder: Vec<String>,
    /// Name of the cluster, or of the host's own compute resource.
    pub compute: Option<String>,
    /// Names of the resource pools and vApps, outermost first, without the root pool.
    pub resource_pool: Vec<String>,
    /// Name of the host.
    pub host: Option<String>,
    /// Names of its datastores.
    pub datastores: Vec<String>,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// Custom attributes: name and value.
    pub custom_attributes: Vec<(String, String)>,
}

/// What [`decode_root`] reads.
pub(crate) const ROOT_PROPERTIES: &[&str] = &[
    "parent",
    "parentVApp",
    "resourcePool",
    "runtime.host",
    "datastore",
    "network",
    "customValue",
    "availableField",
];

/// Where to begin to ask for names.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) folder: Option<MoRef>,
    pub(crate) pool: Option<MoRef>,
    pub(crate) host: Option<MoRef>,
    pub(crate) datastores: Vec<MoRef>,
    pub(crate) networks: Vec<MoRef>,
    pub(crate) custom_attributes: Vec<(String, String)>,
}

/// The references of a VM to what it stands in.
pub(crate) fn decode_root(object: &ObjectContent<'_>) -> Root {
    let one = |path: &str| object.get(path).and_then(|node| node.moref().ok());
    let many = |path: &str| -> Vec<MoRef> {
        let nodes = object.get(path).into_iter().flat_map(Node::children);
        nodes.filter_map(|node| node.moref().ok()).collect()
    };
    Root {
        folder: one("parent"),
        pool: one("parentVApp").or_else(|| one("resourcePool")),
        host: one("runtime.host"),
        datastores: many("datastore"),
        networks: many("network"),
        custom_attributes: custom_attributes(object),
    }
}

/// Values carry the key of a field whose name stands in another list.
fn custom_attributes(object: &ObjectContent<'_>) -> Vec<(String, String)> {
    let name_of = |key: &str| {
        let mut fields = object.get("availableField").into_iter().flat_map(Node::children);
        fields.find(|field| field.get("key") == Some(key))?.get("name")
    };
    let values = object.get("customValue").into_iter().flat_map(Node::children);
    let pairs = values.filter_map(|value| Some((value.get("key")?, value.get("value")?)));
    pairs.map(|(key, value)| (name_of(key).unwrap_or(key).to_owned(), value.to_owned())).collect()
}

/// Reads the configuration of a snapshot; `config` is its property of this name.
pub(crate) fn decode_configuration(config: Node<'_>) -> Configuration {
    let text = |name: &str| config.get(name).map(str::to_owned);
    let devices = config.child("hardware").into_iter().flat_map(|hardware| hardware.all("device"));
    Configuration {
        xml: config.to_xml("config"),
        guest_id: text("guestId"),
        hardware_version: text("version"),
        firmware: text("firmware"),
        notes: text("annotation"),
        nics: devices.filter_map(nic).collect(),
    }
}

/// A device with a MAC address is a network card, whatever its type is called.
fn nic(device: Node<'_>) -> Option<Nic> {
    let mac = device.get("macAddress")?.to_owned();
    let label = device.child("deviceInfo").and_then(|info| info.get("label")).unwrap_or_default();
    let backing = device.child("backing");
    let standard = backing.and_then(|backing| backing.get("deviceName"));
    let port = backing.and_then(|backing| backing.child("port"));
    let network = standard.or_else(|| port.and_then(|port| port.get("portgroupKey")));
    Some(Nic {
        label: label.to_owned(),
        mac,
        address_type: device.get("addressType").map(str::to_owned),
        network: network.map(str::to_owned),
    })
}
