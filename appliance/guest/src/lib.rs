//! L1: what of a guest's disk need not be stored.
//!
//! What this is: a look at a whole disk through [`block::ReadAt`] that finds swap partitions. What
//! it is not: a file system. Where anything is not as it must be it finds nothing.
//!
//! ```text
//! disk -> table (GPT, MBR) -> partition -> content -> swap -> pages
//! ```
//!
//! The rule of this crate: **what is excluded is zeros after a restore.** So whatever is
//! inconsistent, unknown, encrypted, hibernated or not cleanly written back is passed over with its
//! reason ([`PassedOver`]), and is then stored like everything else. Each module says which
//! structures it reads, and what makes them believed.

mod bytes;
mod content;
mod disk;
mod fuzz;
mod look;
mod ranges;
mod swap;
mod table;

pub use fuzz::fuzz;
pub use look::{Found, PassedOver, Wanted, look};

/// Why something was passed over: words for a person.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Reason(String);

impl Reason {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<block::ReadError> for Reason {
    fn from(error: block::ReadError) -> Self {
        Self(model::chain(&error))
    }
}
