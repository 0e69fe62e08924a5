//! Where a record lies (FORMAT.md 5, "place"): a hint that no hash covers.

use crate::{BLOCK, FormatError};

/// A record's segment, first block and number of blocks, in 64 bits.
///
/// Invariants: `block < 2^20`, `1 <= blocks < 2^12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    segment: u32,
    block: u32,
    blocks: u32,
}

impl Place {
    /// `None` when a part does not fit.
    #[must_use]
    pub fn new(segment: u32, block: u32, blocks: u32) -> Option<Self> {
        let fits = block < 1 << 20 && (1..1 << 12).contains(&blocks);
        fits.then_some(Self { segment, block, blocks })
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.block) << 12 | u64::from(self.blocks)
    }

    /// From what is stored.
    pub fn from_bits(bits: u64) -> Result<Self, FormatError> {
        let [b0, b1, b2, b3, s0, s1, s2, s3] = bits.to_le_bytes();
        let low = u32::from_le_bytes([b0, b1, b2, b3]);
        Self::new(u32::from_le_bytes([s0, s1, s2, s3]), low >> 12, low & 0xfff)
            .ok_or_else(|| FormatError::corrupt("place", format!("{bits:#x} has no blocks")))
    }

    /// Serial of the segment.
    #[must_use]
    pub fn segment(self) -> u32 {
        self.segment
    }

    /// First byte in the segment.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.block) * BLOCK as u64
    }

    /// Bytes of the record with header and padding.
    #[must_use]
    pub fn length(self) -> usize {
        self.blocks as usize * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_survive() {
        for (segment, block, blocks) in [(0, 0, 1), (u32::MAX, (1 << 20) - 1, 4095), (3, 9, 257)] {
            let place = Place::new(segment, block, blocks).unwrap();
            assert_eq!(Place::from_bits(place.to_bits()), Ok(place));
        }
        assert_eq!(Place::new(1, 1 << 20, 1), None);
        assert_eq!(Place::new(1, 1, 4096), None);
        assert!(Place::from_bits(0).is_err());
    }
}
