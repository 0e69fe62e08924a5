//! A formatter for VMFS-6 volumes: test data only, never to be mounted by ESXi.
//!
//! What this is: a writer of whole-LUN images (GPT, LVM 6, VMFS-6) with folders, small files and
//! flat virtual disks, and of later 'guest' writes into those disks. Structures, bitmaps, lock
//! tokens and counters follow what was measured on volumes made by ESXi. What it is not: a file
//! system (nothing is ever deleted, there is no journal), and not the reader's twin: it shares
//! no code with the `vmfs` crate, so that the two can disagree.
//!
//! ```text
//! LUN   0        1 MiB           partition + 0x1100000
//!       | GPT .. | LVM header .. | logical volume: 256 MiB units ..        | .. backup GPT |
//! volume           blocks 0-6 heartbeats, header | 7 fdc | 8 root | 9 fbb | fdc pbc sbc pb2
//!                  sdd jbc unmap | blocks of users ..
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | [`spec`](VolumeSpec) | what a volume is to hold |
//! | `device`, `gpt` | partition table, LVM header and tables |
//! | `header`, `system` | file-system header, heartbeats, the system files of a new volume |
//! | `resource` | clusters, bitmaps, who is free |
//! | `descriptor`, `blocks` | file descriptors, pointer blocks |
//! | `directory`, `hash` | directories with hash table and link groups |
//! | `volume`, `disk` | the public face: folders, files, disks, writes |
//!
//! Everything is a function of the specification: identities come from a seed, times are given.

mod address;
mod blocks;
mod bytes;
mod descriptor;
mod device;
mod directory;
mod disk;
mod error;
mod gpt;
mod hash;
mod header;
mod resource;
mod spec;
mod system;
mod volume;

pub use disk::Provisioning;
pub use error::FormatError;
pub use spec::{Layout, VolumeSpec};
pub use volume::{AllocatedRange, Volume, VolumeFacts};
