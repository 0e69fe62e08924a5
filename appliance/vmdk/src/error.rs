//! Why a disk cannot be resolved.

use model::{DiskRange, ErrorKind};

/// A descriptor, or a disk, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmdkError {
    /// More bytes than a descriptor has.
    #[error("the disk descriptor has {bytes} bytes, more than the {limit} that one can have")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The text is not a descriptor.
    #[error("line {line} of the disk descriptor: {problem}")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A key that every descriptor has is not there.
    #[error("the disk descriptor has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value that is not of its kind.
    #[error("the disk descriptor says {key} = {value:?}; {wanted} is needed")]
    Value {
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A kind of disk, extent or feature that is not read directly.
    #[error("{feature} is not supported here; read this disk over the network")]
    Unsupported {
        /// What was found.
        feature: String,
    },
    /// A file is not as long as its extent says.
    #[error("the extent file {file:?} has {found} bytes, its disk needs {expected}")]
    Length {
        /// The file.
        file: String,
        /// Its length.
        found: u64,
        /// The length it must have.
        expected: u64,
    },
    /// The extents are not as long as the disk.
    #[error("the extents of the disk have {found} bytes, the disk has {expected}")]
    Capacity {
        /// Sum of the extents.
        found: u64,
        /// Capacity of the disk, as vSphere says.
        expected: u64,
    },
    /// A range that does not lie on the disk.
    #[error(
        "bytes {} to {} are beyond the end of the disk at {capacity}", .range.offset, .range.end()
    )]
    BeyondEnd {
        /// The range.
        range: DiskRange,
        /// Bytes of the disk.
        capacity: u64,
    },
}

impl VmdkError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::BeyondEnd { .. } => ErrorKind::Refused,
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Length { .. }
            | Self::Capacity { .. } => ErrorKind::Corrupt,
        }
    }

    pub(crate) fn unsupported(feature: impl Into<String>) -> Self {
        Self::Unsupported { feature: feature.into() }
    }
}
