//! L2: SAN drivers. iSCSI over TCP, and the kernel's FC, SAS and iSCSI devices, to LUNs that can
//! only be read.
//!
//! What this is: login to portals ([`San`]), the inventory of their LUNs ([`LunInfo`]), reads of
//! any length at any offset ([`Lun::read`]), and the same for code that blocks ([`LunReader`]).
//! What it is not: something that writes. There is no call that could, the commands come from
//! [`scsi::Role::SourceDisk`], and its table is asked again before a command leaves.
//!
//! ```text
//!  Lun::read -- split, depth limit --> Session (one task per portal) --> Link --> socket
//!      ^                                   |  reinstates a lost session      iscsi::Connection
//!      +---- retries by scsi::advise <-----+  gives lost commands back
//! ```
//!
//! A read ends in one of two ways: every byte came from the LUN that was identified, or an
//! error. After a session was reinstated, or a LUN announced a change, its identity is checked
//! again before any byte read since is handed out.

mod config;
mod counters;
mod depth;
mod discover;
mod error;
mod inventory;
mod job;
#[allow(dead_code, reason = "its disks become paths with the multipath that is on its way")]
pub mod kernel;
mod link;
mod lun;
#[allow(dead_code, reason = "as kernel")]
mod memory;
mod path;
mod reader;
mod san;
mod session;
mod transport;

pub use config::{Chap, PortalConfig, Reconnect};
pub use counters::Counters;
pub use discover::{Addresses, Discovery, TargetPortal, discover, discover_all};
pub use error::SanError;
pub use inventory::{LunInfo, Skipped};
pub use iscsi::{ChapAlgorithm, DiscoveredTarget, IscsiError, Secret, TargetAddress};
pub use lun::{Lun, READ_MAX};
pub use reader::LunReader;
pub use san::{San, SessionInfo};
pub use scsi::LunId;
