//! Attacks on the warden, by real processes under real users. The list with the outcomes is
//! `appliance/repository/ATTACKS.md`.
//!
//! The test itself is root; what "the daemon" does is done by threads that have become the
//! daemon's user for good. Without root the tests say SKIPPED: nothing of this can be shown then.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // tests

mod clocks;
mod daemon;
mod disks;
mod files;
mod kills;
mod officers;
mod older;
mod process;
mod requests;
mod stage;
