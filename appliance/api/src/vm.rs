//! Virtual machines as the inventory shows them, and how their disks would be read now.

use crate::page::Listed;
use crate::point::PointRef;
use model::VmUuid;
use serde::{Deserialize, Serialize};

/// Which VM, for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRef {
    /// `config.instanceUuid`.
    pub uuid: VmUuid,
    /// Its name; it may change and need not be unique.
    pub name: String,
}

/// One VM of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSummary {
    /// `config.instanceUuid`.
    pub uuid: VmUuid,
    /// Its name now.
    pub name: String,
    /// `about.instanceUuid` of the vCenter or host that knows it.
    pub server_uuid: String,
    /// Whether it runs.
    pub power_state: PowerState,
    /// Its virtual disks, by device key.
    pub disks: Vec<VmDisk>,
    /// Changed block tracking.
    pub cbt: Cbt,
    /// Its newest recovery point.
    pub last_point: Option<PointRef>,
}

impl Listed for VmSummary {
    fn cursor(&self) -> String {
        format!("{}\u{1}{}", self.name, self.uuid)
    }
}

/// `runtime.powerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerState {
    /// It runs.
    PoweredOn,
    /// It does not.
    PoweredOff,
    /// Its memory lies on disk.
    Suspended,
    /// The server does not say.
    Unknown,
}

/// Changed block tracking of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cbt {
    /// The virtual hardware can do it.
    pub supported: bool,
    /// It is on; incrementals are possible.
    pub enabled: bool,
}

/// One virtual disk and the way it would be read now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmDisk {
    /// `VirtualDevice.key`.
    pub key: i32,
    /// `deviceInfo.label`, such as `Hard disk 1`.
    pub label: String,
    /// Size as the guest sees it.
    pub capacity_bytes: u64,
    /// `backing.fileName`.
    pub path: String,
    /// Name of the datastore.
    pub datastore: String,
    /// The way the bytes would come.
    pub transport: DiskTransport,
    /// Why not straight from the LUN, or why not at all; `None` for `san`.
    pub reason: Option<String>,
}

/// The way to a disk's bytes, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskTransport {
    /// Straight from the LUN.
    San,
    /// Through the public vSphere API.
    Network,
    /// It cannot be backed up; the reason says why.
    None,
}
