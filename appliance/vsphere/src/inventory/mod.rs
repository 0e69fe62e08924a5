//! What vSphere says about VMs, disks, datastores and LUNs: the types, and their pure decoders.
//!
//! A fact that the server does not state stays unknown (`None`, `Other`, or a line in
//! [`Vm::problems`]); it is never guessed, and never fails the listing it stands in.

mod datastore;
mod disk;
mod host;
mod layout;
mod lun;
mod portrait;
mod vm;

pub use datastore::{Datastore, Extent, VmfsInfo};
pub use disk::{BackingKind, Disk, DiskMode};
pub use host::Host;
pub use layout::Layout;
pub use lun::ScsiLun;
pub use portrait::{Configuration, Nic, Placement};
pub use vm::{FaultTolerance, PowerState, SnapshotNode, Vm};

pub(crate) use datastore::{DATASTORE_PROPERTIES, decode_datastore};
pub(crate) use disk::decode_disks;
pub(crate) use host::{HOST_CONFIGURATION, decode_host};
pub(crate) use layout::{LAYOUT_PROPERTIES, decode_layout};
pub(crate) use lun::{HOST_PROPERTIES, decode_luns};
pub(crate) use portrait::{ROOT_PROPERTIES, Root, decode_configuration, decode_root};
pub(crate) use vm::{VM_PROPERTIES, decode_snapshots, decode_vm};

#[cfg(test)]
mod tests;
