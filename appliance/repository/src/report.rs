//! What a verification tells.

use std::collections::BTreeSet;

/// Damages listed; more are counted.
const LISTED: usize = 1000;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of disks looked at, zeros included.
    pub done: u64,
    /// Bytes of all disks.
    pub total: u64,
}

/// A part of a point that cannot be restored, or a stored byte that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the disk; `None`: a file, the manifest or a whole segment.
    pub disk: Option<usize>,
    /// The cells concerned, `[first, end)`.
    pub cells: Option<(u64, u64)>,
    /// The segment that holds it.
    pub segment: u32,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Chunks read and found right or wrong.
    pub chunks: u64,
    /// Bytes of these chunks, before compression.
    pub bytes: u64,
    /// Cells that are zeros.
    pub zero_cells: u64,
    /// What is wrong; at most 1000 entries.
    pub damage: Vec<Damage>,
    /// Further damages that are not listed.
    pub more_damage: u64,
    /// Every segment in which something is wrong, whether it is listed or not.
    pub segments: BTreeSet<u32>,
}

impl VerifyReport {
    /// True when every byte of the point is right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// How many places are wrong.
    #[must_use]
    pub fn damage_total(&self) -> u64 {
        self.damage.len() as u64 + self.more_damage
    }

    pub(crate) fn add(&mut self, damage: Damage) {
        self.segments.insert(damage.segment);
        if self.damage.len() < LISTED {
            self.damage.push(damage);
        } else {
            self.more_damage += 1;
        }
    }
}
