//! Where bytes lie. The type names the address space; all numbers are bytes.

use serde::{Deserialize, Serialize};

/// A half-open range `[offset, offset + length)` of a virtual disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// A range that the hypervisor's change tracking reports (CBT).
pub type ChangedArea = DiskRange;

impl DiskRange {
    /// The range of `length` bytes from `offset` on; `None` when its end does not fit 64 bits.
    #[must_use]
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        offset.checked_add(length).map(|_| Self { offset, length })
    }

    /// The first byte after the range. Saturates, so that a hand-made range cannot wrap.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// True when no byte lies in the range.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }
}

/// Bytes of a file that holds (a part of) a virtual disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileExtent {
    /// Index of the file in the disk's list of extent files.
    pub file: usize,
    /// Where the bytes begin in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Bytes on a LUN. `device` counts the members of a volume that spans several LUNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LunExtent {
    /// Index of the LUN in the volume's list of members.
    pub device: usize,
    /// Where the bytes begin on the LUN (not: in its partition).
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl LunExtent {
    /// The first byte after the extent. Saturates, as [`DiskRange::end`].
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_beyond_64_bits_does_not_exist() {
        assert_eq!(DiskRange::new(u64::MAX, 1), None);
        assert_eq!(DiskRange::new(u64::MAX, 0).map(DiskRange::end), Some(u64::MAX));
    }
}
