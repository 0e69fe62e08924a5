//! What the state says of one point, segment, key or officer.

use super::Reach;
use format::segment::Class;
use ledger::event::{Commit, Right};
use model::{RetentionTime, WallTime};
use std::collections::BTreeSet;

/// Copies of one point that are remembered.
pub(super) const EXPORTS: usize = 100;
/// Alarms that are remembered.
pub(super) const ALARMS: usize = 100;

/// A recovery point. Its lock and its holds are in [`State::retention`](super::State::retention).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What its commit leaf says; the reach there is empty, and the lock is the first one.
    pub commit: Commit,
    /// Number of its commit leaf.
    pub leaf: u64,
    /// The clock when it was committed.
    pub committed: RetentionTime,
    /// The segments that it needs.
    pub reach: Reach,
    /// When it was last read back as a whole, and what was found.
    pub verified: Option<Verified>,
    /// Segments in which verifications found damage that no repair has removed since.
    pub unmended: BTreeSet<u32>,
    /// Copies elsewhere, the last 100.
    pub exports: Vec<Export>,
}

/// The outcome of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When, by the wall clock.
    pub at: WallTime,
    /// When, by the retention clock.
    pub clock: RetentionTime,
    /// Damaged places found; 0: the point was whole.
    pub damage: u64,
    /// Every segment in which there was damage was repaired since: the damage is explained, and
    /// gone.
    pub mended: bool,
}

impl Verified {
    /// Damage is on record that nothing has explained so far.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.damage > 0 && !self.mended
    }
}

/// A copy of a point elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// When, by the wall clock.
    pub at: WallTime,
    /// On what.
    pub medium: String,
    /// For people.
    pub detail: String,
}

/// A sealed segment that a leaf names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The volume on which it was; it may have moved.
    pub volume: u8,
    /// What it holds.
    pub class: Class,
    /// How long its chunks were expected to live.
    pub cohort: u8,
    /// Length of the file.
    pub bytes: u64,
    /// Its seal.
    pub seal: [u8; 32],
    /// Key epoch; 0: not encrypted.
    pub epoch: u32,
    /// The clock when it was recorded.
    pub recorded: RetentionTime,
    /// The clock when it was last read as a whole.
    pub scrubbed: Option<RetentionTime>,
    /// Damage was found in it: no new chunk refers to it.
    pub distrusted: bool,
    /// The damage is beyond the parity.
    pub quarantined: bool,
}

/// A key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
    /// Recorded segments that are written under it.
    pub segments: u32,
}

/// Somebody whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Officer {
    /// Public Ed25519 key.
    pub key: [u8; 32],
    /// What it can free.
    pub rights: BTreeSet<Right>,
}

/// Something that should not happen was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Number of its leaf.
    pub leaf: u64,
    /// When, by the wall clock.
    pub at: WallTime,
    /// What, in a word or two.
    pub what: String,
    /// For people.
    pub detail: String,
}

/// A removal that a `delete` leaf announced and no `deleted` leaf has closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Segments.
    pub segments: ledger::Runs,
    /// Length of those that were recorded.
    pub bytes: u64,
    /// Epochs of keys.
    pub keys: Vec<u32>,
}

/// What a deletion would free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Segments.
    pub segments: ledger::Runs,
    /// Their length.
    pub bytes: u64,
    /// Epochs whose last recorded segment is among them.
    pub keys: Vec<u32>,
}
