//! The ledger: its signed head, its leaves as they stand there, and proofs over them.
//!
//! What a client shows of it can be checked without believing the appliance: the head is a C2SP
//! checkpoint, the hash of a leaf is SHA-256 of a zero byte and the leaf's data, and proofs are
//! those of RFC 9162, sections 2.1.3 and 2.1.4.

use crate::page::limit_in_force;
use serde::{Deserialize, Serialize};

/// The newest signed head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// Number of leaves.
    pub size: u64,
    /// The signed note. Kept elsewhere, it shows later whether the ledger was cut or forged.
    pub note: String,
    /// The key that signed it (vkey). It is worth as much as the way it came to you.
    pub signer: String,
}

/// Which leaves are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeavesQuery {
    /// Number of the first one; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// As [`crate::PageQuery::limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl LeavesQuery {
    /// The limit in force: 1 to [`crate::LIMIT_MAX`].
    #[must_use]
    pub fn limit(&self) -> usize {
        limit_in_force(self.limit)
    }
}

/// Some leaves, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaves {
    /// Leaves in the ledger.
    pub size: u64,
    /// These ones.
    pub leaves: Vec<LeafView>,
    /// What to give as `from` for those behind them; `None`: these were the last.
    pub next: Option<u64>,
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafView {
    /// Its number, from 0.
    pub number: u64,
    /// Its data, byte for byte: JSON, defined in the repository's format.
    pub data: String,
}

/// Which leaf in a ledger of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    /// Number of the leaf.
    pub leaf: u64,
    /// Leaves of the ledger that it is in: the size in a head.
    pub size: u64,
}

/// Which two sizes of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    /// Leaves in the older head.
    pub old: u64,
    /// Leaves in the newer one.
    pub new: u64,
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// SHA-256 hashes in the order of RFC 9162, hex.
    pub hashes: Vec<String>,
}
