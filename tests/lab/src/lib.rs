//! The outside world the appliance is tried against, made of real parts, all on loopback.
//!
//! | module | what |
//! |---|---|
//! | [`tgt`], [`tgtd`] | the SAN: Debian's tgtd, one of its own per lab |
//! | [`machine`] | guests in QEMU: arrays (LIO) and Fibre Channel, by the kernel's own drivers |
//! | [`datastore`] | a VMFS-6 volume on the LUN, with the VMs' files |
//! | [`guest`], [`files`] | the disks' content: partition table, ext4, real files |
//! | [`noise`] | content that shows every misplaced byte |
//! | [`virtual_machine`] | `.vmx`, descriptor, `.nvram` |
//! | [`vcenter`], [`control`] | the management side, and how guests write and faults happen |
//! | [`daemon`], [`mod@warden`] | the appliance under test, one process or two, and its commands |
//! | [`process`], [`place`] | children that never outlive us, directories, programs |
//!
//! [`Lab`] puts it together. Every process leaves with the test that started it, killed or not;
//! every directory is below `target/lab`. What it is not: a test, or an opinion about what the
//! appliance should do.

pub mod control;
pub mod daemon;
pub mod datastore;
pub mod files;
pub mod guest;
pub mod machine;
pub mod noise;
pub mod place;
pub mod process;
pub mod tgt;
pub mod tgtd;
pub mod vcenter;
pub mod virtual_machine;
pub mod warden;

mod whole;

pub use daemon::{Cli, Daemon, DaemonConfig};
pub use datastore::{Content, DiskSpec, Layout, Provisioning, VmSpec};
pub use guest::{GuestSpec, PartitionTable};
pub use warden::Warden;
pub use whole::{INITIATOR, Lab, LabSpec, PASSWORD, USER, appliance, vcenter_spec};
