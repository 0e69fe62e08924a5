//! Datastores, and what a VMFS one says about its LUNs.

use crate::wire::{MoRef, Node, ObjectContent, WireError};

/// A datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datastore {
    /// The reference to use in calls.
    pub moref: MoRef,
    /// The name in brackets in file names; the reference's value when the server gives none.
    pub name: String,
    /// `summary.type`: `VMFS`, `NFS`, `vsan` …; empty when unknown.
    pub kind: String,
    /// Bytes; 0 when unknown.
    pub capacity: u64,
    /// Bytes; 0 when unknown.
    pub free: u64,
    /// Some host reaches it now.
    pub accessible: bool,
    /// Identity of the volume; absent for other kinds, and while the datastore is inaccessible.
    pub vmfs: Option<VmfsInfo>,
    /// What could not be read, for people: one line each.
    pub problems: Vec<String>,
}

/// A VMFS volume as vSphere knows it (`HostVmfsVolume`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmfsInfo {
    /// File system UUID in VMware's text form, such as `5d3f2a1c-8a6b9c0d-1e2f-001122334455`.
    pub uuid: String,
    /// Label.
    pub name: String,
    /// 5 or 6.
    pub major: u32,
    /// Such as `6.82`.
    pub version: String,
    /// The partitions that the volume consists of, in order.
    pub extents: Vec<Extent>,
}

/// One partition of a volume (`HostScsiDiskPartition`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Canonical name of the LUN, such as `naa.…`; `mpx.…` names identify nothing beyond the host.
    pub disk_name: String,
    /// Number of the partition.
    pub partition: u32,
}

/// What [`decode_datastore`] reads.
pub(crate) const DATASTORE_PROPERTIES: &[&str] = &["name", "summary", "info"];

/// Reads a datastore. A volume description that is not whole is left out, with a problem: without
/// it there is no direct path to the LUN, and half of it would be a guess.
pub(crate) fn decode_datastore(object: &ObjectContent<'_>) -> Datastore {
    let summary = object.get("summary");
    let text = |name: &str| summary.and_then(|node| node.get(name)).map(str::to_owned);
    let number =
        |name: &str| summary.and_then(|node| node.get_u64(name).ok().flatten()).unwrap_or_default();
    let name = object.text("name").map(str::to_owned).or_else(|| text("name"));
    let mut problems = object.problems();
    let vmfs = object.get("info").and_then(|info| info.child("vmfs")).and_then(|volume| {
        let unreadable = |error| problems.push(format!("its VMFS volume cannot be read: {error}"));
        vmfs(volume).map_err(unreadable).ok()
    });
    Datastore {
        moref: object.object.clone(),
        name: name.unwrap_or_else(|| object.object.value().to_owned()),
        kind: text("type").unwrap_or_default(),
        capacity: number("capacity"),
        free: number("freeSpace"),
        accessible: summary.and_then(|node| node.get_bool("accessible")).unwrap_or(false),
        vmfs,
        problems,
    }
}

fn vmfs(volume: Node<'_>) -> Result<VmfsInfo, WireError> {
    let extent = |node: Node<'_>| {
        Ok(Extent {
            disk_name: node.need_text("diskName")?.to_owned(),
            partition: small(node, "partition")?,
        })
    };
    Ok(VmfsInfo {
        uuid: volume.need_text("uuid")?.to_owned(),
        name: volume.get("name").unwrap_or_default().to_owned(),
        major: small(volume, "majorVersion")?,
        version: volume.get("version").unwrap_or_default().to_owned(),
        extents: volume.all("extent").map(extent).collect::<Result<_, WireError>>()?,
    })
}

fn small(node: Node<'_>, name: &str) -> Result<u32, WireError> {
    let number = node.need_u64(name)?;
    u32::try_from(number).map_err(|_| WireError::Value {
        element: name.to_owned(),
        text: number.to_string(),
        wanted: "a small number",
    })
}
