//! The command as its user sees it, against the console with a scripted engine.
#![allow(missing_docs)]

#[path = "../../../console/tests/http/engine/mod.rs"]
mod engine;
#[path = "../../../vmfs/tests/common/mod.rs"]
mod volumes;
#[path = "../../../console/tests/http/wire/mod.rs"]
mod wire;

mod commands;
mod restore;
mod tool;
mod vmfs;
