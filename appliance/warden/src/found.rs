//! What was found when a repository was opened, after whatever happened to it.

use ledger::Runs;
use model::RetentionTime;
use serde::{Deserialize, Serialize};

/// The findings. Nothing in it needs a hand, but damage needs an eye.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Leaves in the ledger.
    pub size: u64,
    /// Where the retention clock went on.
    pub clock: RetentionTime,
    /// Bytes of a last batch that was never acknowledged; they were moved aside.
    pub torn_bytes: u64,
    /// Leaves beyond the head: a crash came between the two.
    pub head_lag: u64,
    /// Files of segments and keys whose deletion had been interrupted and is complete now.
    pub deletions_completed: u64,
    /// Sealed segments without a leaf that can be used.
    pub orphans: Runs,
    /// Immutable attributes that were missing and are set now.
    pub attributes_set: u64,
    /// What is missing or not what it was.
    pub damaged: Vec<Damaged>,
    /// Files that are none of the repository's; left alone.
    pub foreign: Vec<String>,
    /// One of the two copies of the repository header is damaged.
    pub header_damaged: bool,
    /// Volumes that are not there.
    pub volumes_missing: Vec<u8>,
    /// Volumes whose copy of the ledger was behind or wrong and is complete now.
    pub copies_completed: Vec<u8>,
    /// Copies of key files that were missing or wrong on a volume and are there now.
    #[serde(default)]
    pub keys_completed: u64,
    /// There was no head outside of the repository to compare with.
    pub without_witness: bool,
    /// Another box kept the ledger before.
    pub signer_changed: bool,
}

/// A file that is missing or not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The file.
    pub path: String,
    /// What is wrong.
    pub what: String,
}
