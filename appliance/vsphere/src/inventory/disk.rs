//! Virtual disks: `VirtualDisk` devices and their backings.

use crate::wire::{MoRef, Node, WireError};
use model::ChangeId;

/// A virtual disk, as a VM's or a snapshot's configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// `VirtualDevice.key`: unique within the VM now, re-used after a disk is removed.
    pub key: i32,
    /// The label that people see, such as `Hard disk 1`.
    pub label: String,
    /// Bytes.
    pub capacity: u64,
    /// The head of the chain, such as `[datastore1] web01/web01.vmdk`.
    pub file_name: String,
    /// `backing.uuid`; survives snapshots and migrations.
    pub uuid: Option<String>,
    /// How writes and snapshots treat it.
    pub mode: DiskMode,
    /// Thin provisioned.
    pub thin: bool,
    /// Shared with other VMs (multi-writer): no snapshot covers it.
    pub shared: bool,
    /// Its file is encrypted by vSphere (`backing.keyId`): what lies on the LUN is no use.
    pub encrypted: bool,
    /// Cursor of change tracking; only in a snapshot's configuration is it worth keeping.
    pub change_id: Option<ChangeId>,
    /// What the disk is made of.
    pub backing_kind: BackingKind,
    /// File names of the parents, nearest first; the base is the last. Empty: no chain.
    pub parents: Vec<String>,
    /// The datastore of the head of the chain.
    pub datastore: Option<MoRef>,
}

impl Disk {
    /// The base of the chain: the file that holds what was written before any snapshot.
    #[must_use]
    pub fn base_file(&self) -> &str {
        self.parents.last().unwrap_or(&self.file_name)
    }
}

/// `diskMode` of a backing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskMode {
    /// Written at once; snapshots cover it. The only mode that can be backed up by a snapshot.
    Persistent,
    /// Written at once; snapshots leave it out.
    IndependentPersistent,
    /// Changes are lost at power-off; snapshots leave it out.
    IndependentNonpersistent,
    /// Another mode, as the server writes it; empty when it did not say.
    Other(String),
}

/// The kind of a backing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackingKind {
    /// `FlatVer2`: a flat file, or a delta above one.
    Flat,
    /// `SparseVer2`: a hosted sparse file.
    Sparse,
    /// `SeSparse`.
    SeSparse,
    /// A raw device mapping; a physical one has no snapshots and no change tracking.
    RawMapping {
        /// Physical compatibility; false: virtual.
        physical: bool,
    },
    /// Another kind, by its vim25 name.
    Other(String),
}

/// The disks among the devices, and a line for each that could not be read.
pub(crate) fn decode_disks(devices: Node<'_>) -> (Vec<Disk>, Vec<String>) {
    let (mut disks, mut problems) = (Vec::new(), Vec::new());
    for device in devices.children().filter(|device| device.xsi_type() == Some("VirtualDisk")) {
        match decode_disk(device) {
            Ok(disk) => disks.push(disk),
            Err(error) => {
                let key = device.get("key").unwrap_or("without key");
                problems.push(format!("disk {key} cannot be read: {error}"));
            }
        }
    }
    (disks, problems)
}

fn decode_disk(device: Node<'_>) -> Result<Disk, WireError> {
    let backing = device.need("backing")?;
    let label = device.child("deviceInfo").and_then(|info| info.get("label"));
    Ok(Disk {
        key: device.need_i32("key")?,
        label: label.unwrap_or_default().to_owned(),
        capacity: capacity(device)?,
        file_name: backing.need_text("fileName")?.to_owned(),
        uuid: backing.get("uuid").map(str::to_owned),
        mode: mode(backing.get("diskMode").unwrap_or_default()),
        thin: backing.get_bool("thinProvisioned").unwrap_or(false),
        shared: backing.get("sharing").is_some_and(|sharing| sharing != "sharingNone"),
        encrypted: backing.child("keyId").is_some(),
        change_id: backing.get("changeId").map(|id| ChangeId(id.to_owned())),
        backing_kind: kind(backing),
        parents: parents(backing)?,
        datastore: backing.child("datastore").and_then(|node| node.moref().ok()),
    })
}

/// `capacityInBytes` exists since 5.5; before it, and in some answers still, only KiB are there.
fn capacity(device: Node<'_>) -> Result<u64, WireError> {
    if let Some(bytes) = device.get_u64("capacityInBytes")? {
        return Ok(bytes);
    }
    let kib = device.need_u64("capacityInKB")?;
    kib.checked_mul(1024).ok_or_else(|| WireError::Value {
        element: "capacityInKB".into(),
        text: kib.to_string(),
        wanted: "a capacity below 2^64 bytes",
    })
}

fn mode(text: &str) -> DiskMode {
    match text {
        "persistent" => DiskMode::Persistent,
        "independent_persistent" => DiskMode::IndependentPersistent,
        "independent_nonpersistent" => DiskMode::IndependentNonpersistent,
        other => DiskMode::Other(other.to_owned()),
    }
}

fn kind(backing: Node<'_>) -> BackingKind {
    match backing.xsi_type().unwrap_or_default() {
        "VirtualDiskFlatVer2BackingInfo" => BackingKind::Flat,
        "VirtualDiskSparseVer2BackingInfo" => BackingKind::Sparse,
        "VirtualDiskSeSparseBackingInfo" => BackingKind::SeSparse,
        "VirtualDiskRawDiskMappingVer1BackingInfo" => BackingKind::RawMapping {
            // Unknown counts as physical: that kind has fewer abilities.
            physical: backing.get("compatibilityMode") != Some("virtualMode"),
        },
        other => BackingKind::Other(other.to_owned()),
    }
}

/// The chain, iteratively; its length is bounded by the depth limit of the reader.
fn parents(backing: Node<'_>) -> Result<Vec<String>, WireError> {
    let mut names = Vec::new();
    let mut next = backing.child("parent");
    while let Some(parent) = next {
        names.push(parent.need_text("fileName")?.to_owned());
        next = parent.child("parent");
    }
    Ok(names)
}
