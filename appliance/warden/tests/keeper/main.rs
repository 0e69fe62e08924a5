//! The keeper with simulated and real disks: what it promises after whatever happened to it.

#![allow(clippy::unwrap_used)] // a test may

mod directory;
mod files;
mod forged;
mod hostile;
mod power;
mod requests;
mod scale;
mod support;
