//! The outside world the appliance is tried against: tgt, vCenter, datastore, guests.

pub mod control;
pub mod daemon;
pub mod files;
pub mod guest;
pub mod place;
pub mod process;
pub mod tgt;
pub mod vcenter;
