//! A VM read from its configuration (the XML that a recovery point keeps), to be built anew.
//!
//! What this is: what is carried over - processors, memory, firmware, disk controllers, disks,
//! network cards - and a line for each device that is not. What it is not: a copy of every
//! setting. What hosts and vCenter make by themselves (PCI bus, keyboard, video card) is not in
//! here at all.

mod decode;
mod spec;

pub use spec::{CardNetwork, Identity, ImportPlace, ImportSpec, NewCard, NewDisk};
pub(crate) use spec::{write_identity, write_import};

/// A VM as its configuration describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blueprint {
    /// Its name.
    pub name: String,
    /// `version`, such as `vmx-19`.
    pub hardware_version: Option<String>,
    /// `guestId`.
    pub guest_id: Option<String>,
    /// `annotation`.
    pub notes: Option<String>,
    /// `firmware`: `bios` or `efi`.
    pub firmware: Option<String>,
    /// `bootOptions.efiSecureBootEnabled`.
    pub secure_boot: Option<bool>,
    /// `uuid` (BIOS).
    pub uuid: Option<String>,
    /// `instanceUuid`.
    pub instance_uuid: Option<String>,
    /// Virtual processors.
    pub cpus: u32,
    /// Of each socket; `None`: the server chooses.
    pub cores_per_socket: Option<u32>,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Processors can be added while it runs.
    pub cpu_hot_add: Option<bool>,
    /// Memory can be added while it runs.
    pub memory_hot_add: Option<bool>,
    /// Hardware virtualisation is shown to the guest.
    pub nested: Option<bool>,
    /// Controllers that disks hang on.
    pub controllers: Vec<Controller>,
    /// Disks, in the order of the configuration.
    pub disks: Vec<BlueprintDisk>,
    /// Network cards.
    pub cards: Vec<Card>,
    /// `[datastore] folder/name.vmx`.
    pub vmx_path: Option<String>,
    /// Devices and settings that are not carried over, each in a sentence.
    pub left_out: Vec<String>,
}

/// A controller of disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `key`: what disks name it by.
    pub key: i32,
    /// Its type; one of the known ones.
    pub kind: &'static str,
    /// `busNumber`.
    pub bus: i32,
    /// `sharedBus`, of SCSI controllers.
    pub sharing: Option<String>,
}

/// A disk, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlueprintDisk {
    /// `key`.
    pub key: i32,
    /// Such as `Hard disk 1`.
    pub label: String,
    /// Key of its controller.
    pub controller: i32,
    /// Its place at the controller.
    pub unit: i32,
    /// Bytes.
    pub capacity: u64,
    /// Thin provisioned.
    pub thin: bool,
    /// `[datastore] folder/name.vmdk`.
    pub file: String,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `key`.
    pub key: i32,
    /// Its type; one of the known ones.
    pub kind: &'static str,
    /// Such as `Network adapter 1`.
    pub label: String,
    /// Its MAC address.
    pub mac: String,
    /// `manual`, `generated` or `assigned`.
    pub address_type: Option<String>,
    /// Name of a standard network, or key of a distributed port group.
    pub network: Option<String>,
}

impl Blueprint {
    /// Where a disk hangs, as leases name it: `ParaVirtualSCSIController0:1`.
    #[must_use]
    pub fn place(&self, disk: &BlueprintDisk) -> Option<String> {
        let controller = self.controllers.iter().find(|found| found.key == disk.controller)?;
        Some(format!("{}{}:{}", controller.kind, controller.bus, disk.unit))
    }
}
