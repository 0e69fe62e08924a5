//! The disks and arrays of the repository, and its data keys.

use serde::{Deserialize, Serialize};

/// A disk or array of the repository. What a point adds lies on one of them, so that a lost disk
/// loses its own points and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// 0 is the repository's own directory; others are mounted at `volumes/<number>` in it.
    pub number: u8,
    /// How it stands.
    pub state: VolumeState,
    /// Free bytes; absent: it is not used now, or does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Sealed segments on it.
    pub segments: u64,
    /// Their bytes.
    pub used_bytes: u64,
    /// Recovery points that its loss would take.
    pub points: u64,
}

/// How a volume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    /// It is where it belongs.
    Present,
    /// It was there, and does not answer any more.
    Silent,
    /// It was not mounted when the appliance was started: its points cannot be read.
    Missing,
    /// It was added, and is used from the next start of the appliance on.
    Added,
}

/// All of them, by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// Volume 0 is always there.
    pub volumes: Vec<Volume>,
}

/// Takes a disk into the repository, from the next start on. It cannot be taken out again while a
/// point lies on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRequest {
    /// 1 to 255; the disk is mounted at `volumes/<number>` in the repository's directory.
    pub number: u8,
}

/// The data key that segments are written under from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEpoch {
    /// Its number; each rotation makes the next one.
    pub epoch: u32,
}
