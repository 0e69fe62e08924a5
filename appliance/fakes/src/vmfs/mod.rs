//! A formatter for VMFS-5 and VMFS-6 volumes: test data only, never to be mounted by ESXi.
//!
//! What this is: a writer of whole-LUN images (GPT, LVM, VMFS) with folders, small files and
//! flat virtual disks, and of later 'guest' writes into those disks; a volume lies on one LUN or
//! spans several. Structures, bitmaps, lock tokens and counters follow what was measured on
//! volumes made by ESXi. What it is not: a file system (nothing is ever deleted, there is no
//! journal), and not the reader's twin: it shares no code with the `vmfs` crate, so that the two
//! can disagree.
//!
//! ```text
//! LUN      0        1 MiB           partition + 0x1100000
//!          | GPT .. | LVM header .. | logical volume: 256 MiB units ..        | .. backup GPT |
//! VMFS-6   blocks 0-6 heartbeats, header | 7 fdc | 8 root | 9 fbb | fdc pbc sbc pb2 sdd jbc
//!          unmap | blocks of users ..
//! VMFS-5   blocks 0-3 heartbeats, header | 4 fdc | 5 root | 6 fbb | fdc pbc sbc pb2 sdd |
//!          journal | blocks of users ..
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | [`spec`](VolumeSpec), [`version`](Version) | what a volume holds; how versions differ |
//! | `device`, `gpt`, `lvm` | partition table, LVM structures, the LUNs as one volume |
//! | `header`, `system`, `fbb` | file-system header, heartbeats, the system files of a new volume |
//! | `cluster`, `resource`, `pools` | clusters, bitmaps, who is free |
//! | `descriptor`, `blocks` | file descriptors, pointer blocks |
//! | `directory`, `hashed`, `hash` | directories; those with hash table and link groups |
//! | `volume`, `disk`, `special` | the public face: folders, files, disks, writes, oddities |
//!
//! Everything is a function of the specification: identities come from a seed, times are given.

mod blocks;
mod bytes;
mod cluster;
mod descriptor;
mod device;
mod directory;
mod disk;
mod error;
mod fbb;
mod gpt;
mod hash;
mod hashed;
mod header;
mod lvm;
mod pools;
mod resource;
mod spec;
mod special;
mod system;
mod version;
mod volume;

pub use disk::Provisioning;
pub use error::FormatError;
pub use spec::{Layout, VolumeSpec};
pub use special::Mark;
pub use version::Version;
pub use volume::{AllocatedRange, Volume, VolumeFacts};
