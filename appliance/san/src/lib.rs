//! L2: SAN drivers. Paths to LUNs that can only be read: iSCSI over TCP, and the kernel's FC, SAS
//! and iSCSI devices.
//!
//! What this is: login to portals ([`San`]), the inventory of their LUNs ([`LunInfo`]), reads of
//! any length at any offset over whatever paths there are ([`Lun::read`]), and the same for code
//! that blocks ([`LunReader`]). What it is not: something that writes. There is no call that
//! could, the commands come from [`scsi::Role::SourceDisk`], and its table is asked again before
//! a command leaves.
//!
//! ```text
//!  San -- scan: log in, ask, compare, group --> Lun
//!  Lun::read -- split --> multipath: which path --> Path -- depth limit --> Transport
//!      ^                                             |         iSCSI: Session --> Link --> socket
//!      +-- again, by another path <-- scsi::advise --+         kernel: SG_IO, O_DIRECT
//! ```
//!
//! A read ends in one of two ways: every byte came from the LUN that was identified, or an
//! error. After a path was lost, or announced a change, the LUN's identity is checked again by
//! that path before any byte that came by it since is handed out.

mod alua;
mod config;
mod counters;
mod depth;
mod discover;
mod error;
mod facts;
mod inventory;
mod job;
pub mod kernel;
mod link;
mod lun;
mod measure;
mod memory;
mod multipath;
mod own;
mod path;
mod reader;
mod reply;
mod san;
mod scan;
mod session;
mod socket;
mod transport;

pub use config::{Chap, PortalConfig, Reconnect};
pub use counters::Counters;
pub use discover::{Addresses, Discovery, TargetPortal, discover, discover_all};
pub use error::SanError;
pub use inventory::{LunInfo, Skipped};
pub use iscsi::{ChapAlgorithm, DiscoveredTarget, IscsiError, Secret, TargetAddress};
pub use lun::{Lun, PathInfo, PathState, READ_MAX};
pub use measure::{Measured, measure};
pub use own::{OwnDisk, own_disks};
pub use reader::LunReader;
pub use san::{San, SanConfig, SessionInfo};
pub use scsi::{AccessState, LunId};
