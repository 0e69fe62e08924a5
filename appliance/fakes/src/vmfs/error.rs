//! What can go wrong while a volume is made or written.

use model::ErrorKind;
use std::path::PathBuf;

/// An operation on an image that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The image or an input file cannot be opened or measured.
    #[error("cannot open {path:?}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// Reading or writing the image or an input file failed.
    #[error("cannot {operation} {length} bytes at {offset:#x}")]
    Io {
        /// "read" or "write".
        operation: &'static str,
        /// Offset in the file.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The specification asks for what this formatter cannot make.
    #[error("the volume cannot be made: {0}")]
    Spec(String),
    /// The image was not made by this formatter, or is damaged.
    #[error("{structure} at {offset:#x}: {problem}")]
    NotOurs {
        /// Which structure.
        structure: &'static str,
        /// Its offset in the image or volume.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The volume has none left of some resource.
    #[error("the volume has no free {0} left; make it larger")]
    Full(&'static str),
    /// The path does not exist.
    #[error("{0:?} does not exist on the volume")]
    NotFound(String),
    /// The path exists already.
    #[error("{0:?} exists already on the volume")]
    Exists(String),
    /// The path is not of the needed type.
    #[error("{path:?} is not a {wanted}")]
    WrongType {
        /// The path.
        path: String,
        /// "directory" or "file".
        wanted: &'static str,
    },
    /// A write beyond the end of a file; files keep their length.
    #[error("the write ends at {end}, but {path:?} is {length} bytes long")]
    BeyondEnd {
        /// The path.
        path: String,
        /// First byte after the write.
        end: u64,
        /// The file's length.
        length: u64,
    },
}

impl FormatError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } | Self::Io { .. } => ErrorKind::Retryable,
            Self::Spec(_) => ErrorKind::Unsupported,
            Self::NotOurs { .. } => ErrorKind::Corrupt,
            Self::Full(_) => ErrorKind::Full,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::WrongType { .. } | Self::BeyondEnd { .. } => ErrorKind::Refused,
        }
    }
}
