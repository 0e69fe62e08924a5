//! L1: SCSI for disks. Commands as bytes, replies as values, and the list of what may be sent.
//!
//! What this is: constructors of CDBs per role ([`disk`]), the allow-list that is looked up
//! again before a CDB leaves ([`Role::check`]), total decoders of the replies, and the table of
//! what a status means for the caller ([`advise`]). What it is not: a transport, a retry loop or
//! a clock; nothing here knows how a command travels.
//!
//! A LUN that ESXi hosts write to cannot be harmed through this crate: a [`Cdb`] has no public
//! constructor from bytes, the source disk's room has no function that builds a write, and the
//! table that is asked last does not hold one either.
//!
//! | module | content | source |
//! |---|---|---|
//! | [`disk`] | CDBs of the source disk role | SPC-4 clause 6, SBC-3 clause 5 |
//! | `role` | allow-list | |
//! | `inquiry`, `vpd` | standard INQUIRY, pages 00, 80, 83 | SPC-4, 6.4 and 7.8 |
//! | `block_vpd` | pages B0, B2 | SBC-3, 6.6 |
//! | `capacity`, `luns` | READ CAPACITY(16), REPORT LUNS | SBC-3, 5.16; SPC-4, 6.33 |
//! | `ports`, `provisioning` | path states, thin LUNs | SPC-4, 6.37; SBC-3, 5.4 |
//! | `mode`, `reservation` | write protection, who holds a LUN | SPC-4, 7.5.5 and 6.15 |
//! | `sense`, `status`, `advice` | what went wrong and what to do | SPC-4, 4.5; SAM-5, 5.3 |

mod advice;
mod block_vpd;
mod capacity;
mod cdb;
pub mod disk;
mod error;
mod field;
mod fuzz;
mod inquiry;
mod luns;
mod mode;
mod ports;
mod provisioning;
mod reservation;
mod role;
mod sense;
mod status;
mod vpd;

pub use advice::{Advice, advise};
pub use block_vpd::{BlockLimits, LogicalProvisioning};
pub use capacity::Capacity;
pub use cdb::Cdb;
pub use error::{DecodeError, Problem};
pub use fuzz::fuzz;
pub use inquiry::{Inquiry, PeripheralType, TargetPortGroups};
pub use luns::{LunId, LunList};
pub use mode::ModeHeader;
pub use ports::{AccessState, PortGroup, PortGroups};
pub use provisioning::{LbaExtent, LbaStatus, Provisioning};
pub use reservation::{Reservation, ReservationKeys, ReservationKind};
pub use role::{ForbiddenCdb, Role};
pub use sense::{Sense, SenseKey};
pub use status::Status;
pub use vpd::{Association, Designator, Designators, SerialNumber, SupportedPages};
