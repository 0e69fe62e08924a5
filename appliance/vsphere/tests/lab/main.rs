//! The client against servers: the lab's vCenter (govmomi's simulator with change tracking), and
//! impostors of our own that break what a server must keep.
//!
//! The lab tests need Go; without it each of them says loudly that it was skipped.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the failure")]

mod areas;
mod faults;
mod impostor;
mod inventory;
mod lease;
mod portrait;
mod script;
mod sequence;
mod session;
mod site;
