//! The only way a parser sees a device.

use model::ErrorKind;
use std::sync::Arc;

/// A device, file or memory that can be read at any byte offset. It cannot be written.
///
/// Implementations read exactly what was asked for or fail; a short read is an error.
pub trait ReadAt: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// The `length` bytes from `offset` on, in a new buffer. The caller bounds `length`.
    fn read_vec(&self, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut buffer = vec![0; length];
        self.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }
}

/// A read that could not be done. The bytes are unknown: never zeros.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Beyond the end: usually a structure that points where nothing is.
    #[error("read of {length} bytes at {offset:#x} reaches beyond the end at {size:#x}")]
    OutOfRange {
        /// Asked offset.
        offset: u64,
        /// Asked length.
        length: u64,
        /// Size of what was read from.
        size: u64,
    },
    /// The device or the path to it failed.
    #[error("read of {length} bytes at {offset:#x} failed")]
    Device {
        /// Asked offset.
        offset: u64,
        /// Asked length.
        length: u64,
        /// What can be done about it.
        kind: ErrorKind,
        /// The driver's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ReadError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } => ErrorKind::Corrupt,
            Self::Device { kind, .. } => *kind,
        }
    }

    /// `Ok` when `[offset, offset + length)` lies within `size`.
    pub fn check(offset: u64, length: usize, size: u64) -> Result<(), Self> {
        let length = length as u64;
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Self::OutOfRange { offset, length, size }),
        }
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.size())?;
        let start = usize::try_from(offset).expect("within a Vec, checked above");
        buffer.copy_from_slice(&self[start..start + buffer.len()]);
        Ok(())
    }
}

/// A regular file; it is the tests' and the support tools' way to look at an image.
impl ReadAt for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), ReadAt::size(self))?;
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset).map_err(|source| {
            ReadError::Device {
                offset,
                length: buffer.len() as u64,
                kind: ErrorKind::Retryable,
                source: source.into(),
            }
        })
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_at(offset, buffer)
    }
}

/// A part of something readable, such as a partition of a LUN.
#[derive(Clone, Debug)]
pub struct Slice<R> {
    inner: R,
    start: u64,
    length: u64,
}

impl<R: ReadAt> Slice<R> {
    /// The `length` bytes of `inner` from `start` on; refused when they are not all there.
    pub fn new(inner: R, start: u64, length: u64) -> Result<Self, ReadError> {
        match start.checked_add(length) {
            Some(end) if end <= inner.size() => Ok(Self { inner, start, length }),
            _ => Err(ReadError::OutOfRange { offset: start, length, size: inner.size() }),
        }
    }
}

impl<R: ReadAt> ReadAt for Slice<R> {
    fn size(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.length)?;
        self.inner.read_at(self.start + offset, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_where_it_ends() {
        let slice = Slice::new(vec![1, 2, 3, 4, 5], 1, 3).unwrap();
        assert_eq!(slice.read_vec(1, 2).unwrap(), [3, 4]);
        assert!(matches!(slice.read_vec(1, 3), Err(ReadError::OutOfRange { .. })));
        assert!(matches!(slice.read_vec(u64::MAX, 3), Err(ReadError::OutOfRange { .. })));
        assert!(Slice::new(vec![0; 4], 3, 2).is_err());
    }
}
