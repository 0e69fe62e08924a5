//! The leaves: what happened, when by both clocks, as JSON (FORMAT.md 8).

use crate::LedgerError;
use crate::event::Event;
use model::{RetentionTime, WallTime};
use serde::{Deserialize, Serialize};

/// Version of all leaves that are written and read here.
const VERSION: u32 = 2;

/// Longest data of a leaf, in bytes (so that a tlog entry bundle can carry it).
pub const LEAF_MAX: usize = 65_535;

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    v: u32,
    /// The retention clock when it was written.
    pub clock: RetentionTime,
    /// The wall clock, for people.
    pub wall: WallTime,
    /// What happened.
    pub event: Event,
}

impl Leaf {
    /// A leaf of this version.
    #[must_use]
    pub fn new(clock: RetentionTime, wall: WallTime, event: Event) -> Self {
        Self { v: VERSION, clock, wall, event }
    }

    /// As JSON; refused when longer than [`LEAF_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        let bytes = serde_json::to_vec(self).expect("names, numbers and lists only: always JSON");
        if bytes.len() > LEAF_MAX {
            return Err(LedgerError::TooLong { length: bytes.len() });
        }
        Ok(bytes)
    }

    /// Leaf `number` from JSON. What is not known here is an error: it might be a lock.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, LedgerError> {
        let unknown = |problem: String| LedgerError::Unknown { number, problem };
        match serde_json::from_slice::<Self>(bytes) {
            Ok(leaf) if leaf.v == VERSION => Ok(leaf),
            Ok(Self { v, .. }) => Err(unknown(format!("version {v}"))),
            // A leaf of another version need not have the form of this one.
            Err(error) => Err(unknown(match serde_json::from_slice(bytes) {
                Ok(Version { v }) if v != VERSION => format!("version {v}"),
                _ => error.to_string(),
            })),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
