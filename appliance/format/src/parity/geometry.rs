//! Where data, parity, tables and trailers lie: all of it follows from the protected length.

use super::{COLUMN, COLUMNS, PARITY_COLUMNS, ZONE};
use crate::{BLOCK, SEGMENT_MAX};
use std::collections::BTreeMap;

const BLOCK_U64: u64 = BLOCK as u64;
const ZONE_U64: u64 = ZONE as u64;

/// The layout of a sealed segment.
///
/// Invariant: the protected length is a multiple of [`BLOCK`], not zero, and the whole file is no
/// longer than [`SEGMENT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    protected: u64,
}

/// A zone: the bytes that share two columns of parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its first byte in the file.
    pub start: u64,
    /// Its bytes, 4096 to [`ZONE`].
    pub length: usize,
    /// The first byte of its parity in the file.
    pub parity_at: u64,
}

/// What a block of the file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Data or footer.
    Protected,
    /// Parity.
    Parity,
    /// One of the two tables.
    Table,
    /// One of the two trailers.
    Trailer,
}

impl Zone {
    /// Bytes of each of its columns.
    #[must_use]
    pub fn column(&self) -> usize {
        column(self.length)
    }

    /// Number of its data columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.length.div_ceil(self.column())
    }

    /// Number of its rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.column() / BLOCK
    }

    /// Bytes of its parity.
    #[must_use]
    pub fn parity_length(&self) -> usize {
        PARITY_COLUMNS * self.column()
    }
}

fn column(length: usize) -> usize {
    length.div_ceil(COLUMNS).next_multiple_of(BLOCK).min(COLUMN)
}

impl Geometry {
    /// The layout around `protected` bytes; `None` when no segment can have so many.
    #[must_use]
    pub fn new(protected: u64) -> Option<Self> {
        let possible =
            (BLOCK_U64..=SEGMENT_MAX).contains(&protected) && protected.is_multiple_of(BLOCK_U64);
        let geometry = Self { protected };
        (possible && geometry.file_length() <= SEGMENT_MAX).then_some(geometry)
    }

    /// The layout of a file that is `length` bytes long. There is at most one.
    #[must_use]
    pub fn of_file(length: u64) -> Option<Self> {
        // The length grows with the protected length, so it can be searched for.
        let (mut low, mut high) = (1, length.min(SEGMENT_MAX) / BLOCK_U64);
        while low <= high {
            let middle = low + (high - low) / 2;
            let geometry = Self { protected: middle * BLOCK_U64 };
            match geometry.file_length().cmp(&length) {
                std::cmp::Ordering::Equal => return Self::new(geometry.protected),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle - 1,
            }
        }
        None
    }

    /// Bytes of data and footer with its padding; also where the first trailer is.
    #[must_use]
    pub fn protected_length(&self) -> u64 {
        self.protected
    }

    /// Bytes of the parity of all zones.
    #[must_use]
    pub fn parity_length(&self) -> u64 {
        let rest = self.protected % ZONE_U64;
        let last = usize::try_from(rest).map_or(0, column) * PARITY_COLUMNS;
        self.protected / ZONE_U64 * (PARITY_COLUMNS * COLUMN) as u64 + last as u64
    }

    /// Bytes of one table, without its padding.
    #[must_use]
    pub fn table_length(&self) -> u64 {
        (self.protected + self.parity_length()) / BLOCK_U64 * 4
    }

    /// Where the two trailers are.
    #[must_use]
    pub fn trailers(&self) -> [u64; 2] {
        [self.protected, self.file_length() - BLOCK_U64]
    }

    /// Where the two tables are.
    #[must_use]
    pub fn tables(&self) -> [u64; 2] {
        [self.protected + BLOCK_U64, self.parity_offset() + self.parity_length()]
    }

    /// Where the parity is.
    #[must_use]
    pub fn parity_offset(&self) -> u64 {
        self.protected + BLOCK_U64 + self.padded_table()
    }

    /// Bytes of one table with its padding.
    #[must_use]
    pub fn padded_table(&self) -> u64 {
        self.table_length().next_multiple_of(BLOCK_U64)
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_length(&self) -> u64 {
        self.protected + self.parity_length() + 2 * (self.padded_table() + BLOCK_U64)
    }

    /// The zones in ascending order.
    pub fn zones(self) -> impl Iterator<Item = Zone> {
        let parity = (PARITY_COLUMNS * COLUMN) as u64;
        (0..self.protected.div_ceil(ZONE_U64)).map(move |number| Zone {
            start: number * ZONE_U64,
            length: usize::try_from((self.protected - number * ZONE_U64).min(ZONE_U64))
                .expect("at most a zone"),
            parity_at: self.parity_offset() + number * parity,
        })
    }

    /// What block `block` of the file belongs to.
    #[must_use]
    pub fn part(&self, block: u32) -> Part {
        let at = u64::from(block) * BLOCK_U64;
        if at < self.protected {
            Part::Protected
        } else if self.trailers().contains(&at) {
            Part::Trailer
        } else if at >= self.parity_offset() && at < self.tables()[1] {
            Part::Parity
        } else {
            Part::Table
        }
    }

    /// Index into the table of the block that begins at `offset`; `None` for tables and trailers.
    #[must_use]
    pub fn entry(&self, offset: u64) -> Option<usize> {
        let within = if offset < self.protected {
            offset
        } else {
            let parity = offset.checked_sub(self.parity_offset())?;
            if parity >= self.parity_length() {
                return None;
            }
            self.protected + parity
        };
        usize::try_from(within / BLOCK_U64).ok()
    }

    /// Of the wrong blocks of a file, those that lie in rows with more of them than the parity
    /// can compute.
    #[must_use]
    pub fn beyond(&self, wrong: &[u32]) -> Vec<u32> {
        let mut rows: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
        for &block in wrong {
            if let Some(row) = self.row_of(block) {
                rows.entry(row).or_default().push(block);
            }
        }
        let mut lost: Vec<u32> =
            rows.into_values().filter(|row| row.len() > PARITY_COLUMNS).flatten().collect();
        lost.sort_unstable();
        lost
    }

    /// Zone and row of a block.
    fn row_of(&self, block: u32) -> Option<(u64, u64)> {
        let at = u64::from(block) * BLOCK_U64;
        let (zone, within) = match self.part(block) {
            Part::Protected => (at / ZONE_U64, at % ZONE_U64),
            Part::Parity => {
                let (parity, whole) = (at - self.parity_offset(), (2 * COLUMN) as u64);
                (parity / whole, parity % whole)
            }
            Part::Table | Part::Trailer => return None,
        };
        let length = (self.protected - zone * ZONE_U64).min(ZONE_U64);
        let column = column(usize::try_from(length).ok()?) as u64;
        Some((zone, within % column / BLOCK_U64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_numbers_of_the_document() {
        let whole = Geometry::new(ZONE_U64).unwrap();
        assert_eq!((ZONE, whole.parity_length()), (15_728_640, 131_072));
        assert_eq!(whole.table_length(), 4 * (3840 + 32));
        assert_eq!(whole.file_length(), ZONE_U64 + 131_072 + 2 * 16_384 + 8192);
        let small = Geometry::new(BLOCK_U64).unwrap();
        assert_eq!((small.parity_length(), small.table_length()), (8192, 12));
        let next = Geometry::new(ZONE_U64 + BLOCK_U64).unwrap();
        assert_eq!(next.parity_length(), 131_072 + 8192);
        assert_eq!(Geometry::new(0), None);
        assert_eq!(Geometry::new(4097), None);
        assert_eq!(Geometry::new(SEGMENT_MAX), None);
        assert_eq!(Geometry::new(u64::MAX - 4095), None);
    }

    proptest! {
        #[test]
        fn the_file_length_tells_the_protected_length(blocks in 1u64..1 << 20) {
            let Some(geometry) = Geometry::new(blocks * BLOCK_U64) else { return Ok(()) };
            prop_assert_eq!(Geometry::of_file(geometry.file_length()), Some(geometry));
            let zones: Vec<Zone> = geometry.zones().collect();
            let data: u64 = zones.iter().map(|zone| zone.length as u64).sum();
            let parity: u64 = zones.iter().map(|zone| zone.parity_length() as u64).sum();
            prop_assert_eq!((data, parity), (geometry.protected, geometry.parity_length()));
            let last = zones.last().unwrap();
            prop_assert_eq!(last.parity_at + last.parity_length() as u64, geometry.tables()[1]);
        }

        #[test]
        fn any_length_gives_a_layout_or_none(length in any::<u64>()) {
            if let Some(geometry) = Geometry::of_file(length) {
                prop_assert_eq!(geometry.file_length(), length);
            }
        }
    }
}
