//! L1: VMFS-5 and VMFS-6, from a volume and a path to extents on the LUN.
//!
//! What this is: a reader of the metadata of VMware's cluster file system, through
//! [`block::ReadAt`] alone. It finds the partition, assembles the logical volume from one or
//! more LUNs, walks directories, and says for any range of a file where its bytes lie. What it
//! is not: a data path (parsers translate addresses, they never carry data, but for files as
//! small as a `.vmx`), and never a writer. No lock is taken on a volume that hosts are writing
//! to; [`File::verify`] before and [`File::recheck`] after the reading of data notice a file
//! that moved.
//!
//! ```text
//! LUN -> partition -> LVM (spans) -> logical volume -> header -> resource files
//!                                                         |
//!                        path -> directories -> descriptor -> pointer blocks -> Mapped
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | `partition` | GPT and MBR |
//! | `lvm`, `space`, `logical` | headers, volume and extent tables; logical bytes to LUN bytes |
//! | `superblock` | file-system header, what of it is supported |
//! | `address` | the types of block addresses and their bits |
//! | `resource`, `system` | clusters of numbered resources; the system files that hold them |
//! | `descriptor`, `pointers` | file descriptors, the walk from file offset to leaf |
//! | `directory`, `hash` | directories of both versions |
//! | `volume`, `file`, `map`, `parts`, `stat` | the public face |
//! | `check` | the whole volume: every block has one owner |
//! | `fuzz` | arbitrary bytes into every parser |
//!
//! Never silently wrong: what is not understood is [`Target::Unknown`] or an error that names
//! structure, offset and expectation. `CONFORMANCE.md` says which structure was proven on which
//! volume made by ESXi.

mod address;
mod bitmap;
mod bytes;
mod check;
mod descriptor;
mod directory;
mod error;
mod file;
mod fuzz;
mod hash;
mod logical;
mod lvm;
mod map;
mod partition;
mod parts;
mod pointers;
mod resource;
mod space;
mod stat;
mod superblock;
mod system;
mod volume;

pub use address::Reason;
pub use check::{CheckReport, Problem};
pub use descriptor::FileKind;
pub use error::VmfsError;
pub use file::{File, Fingerprint};
pub use fuzz::fuzz;
pub use logical::LogicalVolume;
pub use map::{Mapped, Target};
pub use partition::{Partition, find_partition};
pub use parts::Parts;
pub use stat::{Listed, Stat};
pub use volume::{DeviceInfo, DirEntry, Volume, VolumeInfo};
