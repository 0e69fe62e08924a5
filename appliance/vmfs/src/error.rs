//! What can go wrong when a volume is read. Each error names the structure and where it lies.

use block::ReadError;
use model::ErrorKind;

/// A volume, path or file that cannot be read, and why.
///
/// Offsets are on the logical volume, but for partition tables and LVM structures, which lie on
/// the LUN.
#[derive(Debug, thiserror::Error)]
pub enum VmfsError {
    /// The bytes of a structure could not be read.
    #[error("cannot read the {structure} at {offset:#x}")]
    Read {
        /// Which structure.
        structure: &'static str,
        /// Where it lies.
        offset: u64,
        /// The device's own error.
        source: ReadError,
    },
    /// A structure contradicts itself or another one: damaged, or changed while it was read.
    #[error(
        "the {structure} at {offset:#x} is damaged or being changed: {field} is {found}, \
         expected {expected}"
    )]
    Damaged {
        /// Which structure.
        structure: &'static str,
        /// Where it lies.
        offset: u64,
        /// Which field or property.
        field: &'static str,
        /// What was read.
        found: String,
        /// What it had to be.
        expected: String,
    },
    /// A version or feature that this reader does not know and does not guess about.
    #[error("{feature} is not supported here; read this datastore over the network")]
    Unsupported {
        /// What was found.
        feature: String,
    },
    /// No partition table with a VMFS partition, and no LVM header.
    #[error("there is no VMFS volume on this device: {reason}")]
    NoVolume {
        /// What was looked for and not found.
        reason: &'static str,
    },
    /// The devices that were given do not make up one whole volume.
    #[error("the devices do not make up one volume: {problem}; give exactly its LUNs")]
    Incomplete {
        /// What does not fit.
        problem: String,
    },
    /// The path does not exist.
    #[error("{path:?} does not exist on the volume")]
    NotFound {
        /// The path as it was asked for.
        path: String,
    },
    /// The path leads to something else than was asked for.
    #[error("{path:?} is a {found}, not a {wanted}")]
    WrongType {
        /// The path as it was asked for.
        path: String,
        /// What it is.
        found: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A range that ends beyond the file.
    #[error("bytes {offset} to {end} were asked for, but the file has {length}")]
    BeyondEnd {
        /// First byte asked for.
        offset: u64,
        /// First byte after the range.
        end: u64,
        /// Length of the file.
        length: u64,
    },
    /// A file larger than the caller, or this reader, is willing to hold in memory.
    #[error("the {what} has {length} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What was to be read.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A small file has bytes whose place is not understood.
    #[error("the content at offset {offset} cannot be read: {reason}")]
    UnknownContent {
        /// Offset in the file.
        offset: u64,
        /// Why.
        reason: crate::Reason,
    },
    /// Metadata is no longer what it was when the file was opened or mapped.
    #[error("the {structure} at {offset:#x} changed while the file was read; map it again")]
    Moved {
        /// Which structure.
        structure: &'static str,
        /// Where it lies.
        offset: u64,
    },
}

impl VmfsError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => source.kind(),
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } | Self::UnknownContent { .. } => ErrorKind::Unsupported,
            Self::NoVolume { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Incomplete { .. }
            | Self::WrongType { .. }
            | Self::BeyondEnd { .. }
            | Self::TooLarge { .. } => ErrorKind::Refused,
            Self::Moved { .. } => ErrorKind::Retryable,
        }
    }

    pub(crate) fn unsupported(feature: impl Into<String>) -> Self {
        Self::Unsupported { feature: feature.into() }
    }
}

/// A structure under examination: says once where it lies, then checks field after field.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) structure: &'static str,
    pub(crate) offset: u64,
}

impl At {
    pub(crate) fn damaged(
        self,
        field: &'static str,
        found: impl ToString,
        expected: impl ToString,
    ) -> VmfsError {
        VmfsError::Damaged {
            structure: self.structure,
            offset: self.offset,
            field,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Refuses a field that is not exactly `expected`.
    pub(crate) fn expect(
        self,
        field: &'static str,
        found: impl Into<u64>,
        expected: impl Into<u64>,
    ) -> Result<(), VmfsError> {
        let (found, expected) = (found.into(), expected.into());
        if found == expected {
            return Ok(());
        }
        Err(self.damaged(field, format_args!("{found:#x}"), format_args!("{expected:#x}")))
    }

    /// Refuses a structure with a property that does not hold.
    pub(crate) fn require(
        self,
        holds: bool,
        field: &'static str,
        found: impl ToString,
        expected: &'static str,
    ) -> Result<(), VmfsError> {
        if holds { Ok(()) } else { Err(self.damaged(field, found, expected)) }
    }

    pub(crate) fn unreadable(self, source: ReadError) -> VmfsError {
        VmfsError::Read { structure: self.structure, offset: self.offset, source }
    }
}
