//! LUNs as the hosts see them.

use crate::wire::{MoRef, Node, ObjectContent};

/// A disk LUN on one host (`HostScsiDisk`). The same LUN is listed once for each host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiLun {
    /// Such as `naa.6001405…`: equal to the NAA designator in VPD page 83h of the LUN.
    pub canonical_name: String,
    /// Bytes (block size times blocks).
    pub capacity: u64,
    /// The host that sees it.
    pub host: MoRef,
    /// That host's name, for people.
    pub host_name: String,
}

/// What [`decode_luns`] reads.
pub(crate) const HOST_PROPERTIES: &[&str] = &["name", "config.storageDevice.scsiLun"];

/// The disks of a host. LUNs without a name or a capacity are no disks one could read.
pub(crate) fn decode_luns(host: &ObjectContent<'_>) -> Vec<ScsiLun> {
    let luns = host.get("config.storageDevice.scsiLun");
    let disks = luns.into_iter().flat_map(Node::children);
    disks.filter_map(|lun| decode_lun(lun, host)).collect()
}

fn decode_lun(lun: Node<'_>, host: &ObjectContent<'_>) -> Option<ScsiLun> {
    let capacity = lun.child("capacity")?;
    let block_size = capacity.need_u64("blockSize").ok()?;
    let blocks = capacity.need_u64("block").ok()?;
    Some(ScsiLun {
        canonical_name: lun.get("canonicalName")?.to_owned(),
        capacity: block_size.checked_mul(blocks)?,
        host: host.object.clone(),
        host_name: host.text("name").unwrap_or(host.object.value()).to_owned(),
    })
}
