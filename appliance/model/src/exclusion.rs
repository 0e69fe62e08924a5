//! What of a disk is not kept.

use crate::DiskRange;
use serde::{Deserialize, Serialize};

/// Why a part of a disk is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExclusionKind {
    /// The guest keeps memory there, which it does not need after a start.
    Swap,
    /// Something that a later version leaves out. Whatever it is, it is zeros in the point.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for ExclusionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Swap => "swap",
            Self::Other => "other",
        })
    }
}

/// A part of a disk that a recovery point does not keep: a restore gives zeros there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Why.
    pub kind: ExclusionKind,
    /// What it is, such as 'swap partition 2'; for people.
    pub what: String,
    /// Where: ascending, without overlaps.
    pub ranges: Vec<DiskRange>,
}

impl Exclusion {
    /// Sum of the ranges.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.length))
    }
}
