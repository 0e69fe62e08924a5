//! The drivers of L2 behind the traits that `jobs` declares. A driver may not know `jobs`, and
//! `jobs` no driver, so the two meet here: translation only, no decisions.

pub(crate) mod configuration;
pub(crate) mod fabric;
pub(crate) mod hypervisor;
pub(crate) mod journal_file;
pub(crate) mod live;
pub(crate) mod network;
mod place;
mod portrait;
pub(crate) mod restorer;
pub(crate) mod store;
pub(crate) mod stored;
