//! Why a disk cannot be resolved or written.

use block::ReadError;
use model::{DiskRange, ErrorKind};

/// A descriptor, an extent file or a chain of disks that cannot be used.
#[derive(Debug, thiserror::Error)]
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
    /// The bytes of a structure could not be read.
    #[error("cannot read the {structure} at {offset:#x} of {file:?}")]
    Read {
        /// Which structure.
        structure: &'static str,
        /// Where it lies in the file.
        offset: u64,
        /// The file.
        file: String,
        /// The file's own error.
        source: ReadError,
    },
    /// A structure of a sparse file contradicts itself, another one or the file.
    #[error(
        "the {structure} at {offset:#x} of {file:?} is damaged or being changed: {field} is \
         {found}, expected {expected}"
    )]
    Damaged {
        /// Which structure.
        structure: &'static str,
        /// Where it lies in the file.
        offset: u64,
        /// The file.
        file: String,
        /// Which field or property.
        field: &'static str,
        /// What was read.
        found: Box<str>,
        /// What it had to be.
        expected: &'static str,
    },
    /// The parent was written to after the child was made: the chain has no right content.
    #[error(
        "disk {child} of the chain was made upon a parent with CID {expected:08x}, the parent has \
         {found:08x}; it was changed since, or it is another disk"
    )]
    ParentChanged {
        /// Which disk, counted from the top of the chain (0).
        child: usize,
        /// The parent's CID as the child knows it.
        expected: u32,
        /// The CID that the parent has.
        found: u32,
    },
    /// The disks that were given do not make up one chain.
    #[error("the disks do not make up one chain: {problem}")]
    Chain {
        /// What does not fit.
        problem: String,
    },
    /// Metadata is no longer what it was when it was used.
    #[error("the metadata of {file:?} changed while it was used; map the disk again")]
    Moved {
        /// The file.
        file: String,
    },
    /// What was asked of a writer cannot become a disk.
    #[error("the disk cannot be written: {problem}")]
    Write {
        /// What is wrong.
        problem: String,
    },
    /// The receiver of a written disk failed.
    #[error("cannot write the disk at {offset:#x}")]
    Output {
        /// Bytes that were written before.
        offset: u64,
        /// The receiver's own error.
        source: std::io::Error,
    },
}

impl VmdkError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::BeyondEnd { .. } | Self::Write { .. } => ErrorKind::Refused,
            Self::Read { source, .. } => source.kind(),
            Self::Moved { .. } | Self::Output { .. } => ErrorKind::Retryable,
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Length { .. }
            | Self::Capacity { .. }
            | Self::Damaged { .. }
            | Self::ParentChanged { .. }
            | Self::Chain { .. } => ErrorKind::Corrupt,
        }
    }

    pub(crate) fn unsupported(feature: impl Into<String>) -> Self {
        Self::Unsupported { feature: feature.into() }
    }
}

/// A structure under examination: says once where it lies, then checks field after field.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) file: &'a str,
    pub(crate) structure: &'static str,
    pub(crate) offset: u64,
}

impl At<'_> {
    pub(crate) fn damaged(
        self,
        field: &'static str,
        found: impl ToString,
        expected: &'static str,
    ) -> VmdkError {
        VmdkError::Damaged {
            structure: self.structure,
            offset: self.offset,
            file: self.file.into(),
            field,
            found: found.to_string().into(),
            expected,
        }
    }

    /// Refuses a structure with a property that does not hold.
    pub(crate) fn require(
        self,
        holds: bool,
        field: &'static str,
        found: impl ToString,
        expected: &'static str,
    ) -> Result<(), VmdkError> {
        if holds { Ok(()) } else { Err(self.damaged(field, found, expected)) }
    }

    /// Refuses by name what another version or product may mean by the field.
    pub(crate) fn known(
        self,
        holds: bool,
        field: &'static str,
        found: u64,
    ) -> Result<(), VmdkError> {
        if holds {
            return Ok(());
        }
        let (file, structure) = (self.file, self.structure);
        Err(VmdkError::unsupported(format!("{field} {found:#x} in the {structure} of {file:?}")))
    }

    pub(crate) fn unreadable(self, source: ReadError) -> VmdkError {
        let (structure, offset, file) = (self.structure, self.offset, self.file.into());
        VmdkError::Read { structure, offset, file, source }
    }
}
