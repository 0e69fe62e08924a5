//! The outside world the appliance is tried against: tgt, vCenter, datastore, guests.

pub mod place;
pub mod process;
pub mod tgt;
