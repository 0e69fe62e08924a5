//! What a recovery point says of the VM itself, beside its disks: what it takes to build it anew.

use serde::{Deserialize, Serialize};

/// A VM in its inventory when the point was made; everything by names, which survive the server.
/// A fact that was not to be had is absent, and `missing` says why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Portrait {
    /// Its name.
    pub name: String,
    /// `config.instanceUuid`.
    pub instance_uuid: String,
    /// `config.guestId`.
    pub guest_id: Option<String>,
    /// `config.version`, such as `vmx-19`.
    pub hardware_version: Option<String>,
    /// `config.firmware`: `bios` or `efi`.
    pub firmware: Option<String>,
    /// `config.annotation`.
    pub notes: Option<String>,
    /// Its network cards.
    pub nics: Vec<PortraitNic>,
    /// The datacenter.
    pub datacenter: Option<String>,
    /// The folders, outermost first; empty: the datacenter's own.
    pub folder: Vec<String>,
    /// The cluster, or the single host's compute resource.
    pub compute: Option<String>,
    /// The resource pools and vApps, outermost first; empty: the root pool.
    pub resource_pool: Vec<String>,
    /// The host it ran on.
    pub host: Option<String>,
    /// Its datastores.
    pub datastores: Vec<String>,
    /// Its networks.
    pub networks: Vec<String>,
    /// Its tags.
    pub tags: Vec<PortraitTag>,
    /// Its custom attributes.
    pub custom_attributes: Vec<PortraitAttribute>,
    /// What could not be read, each in a sentence.
    pub missing: Vec<String>,
}

/// A virtual network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortraitNic {
    /// Such as `Network adapter 1`.
    pub label: String,
    /// Its MAC address.
    pub mac: String,
    /// `manual`, `generated` or `assigned`.
    pub address_type: Option<String>,
    /// Name of a standard port group, or key of a distributed one.
    pub network: Option<String>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortraitTag {
    /// Its category.
    pub category: String,
    /// Its name.
    pub name: String,
}

/// A custom attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortraitAttribute {
    /// Its name.
    pub name: String,
    /// Its value for this VM.
    pub value: String,
}

impl Portrait {
    /// Name of the file of a recovery point that holds it, as JSON.
    pub const FILE: &str = "holdfast-vm.json";
    /// Name of the file that holds the VM's whole configuration, as vSphere's XML.
    pub const CONFIGURATION: &str = "holdfast-config.xml";
}
