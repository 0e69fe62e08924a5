//! The fixed grid of chunks that is laid over a virtual disk.

use model::DiskRange;

/// Cells of `chunk_size` bytes over a disk of `capacity` bytes; the last one may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    capacity: u64,
    chunk_size: u64,
}

impl Grid {
    /// A grid; `chunk_size` must be a power of two of at least 4 KiB (checked).
    #[must_use]
    pub fn new(capacity: u64, chunk_size: u64) -> Option<Self> {
        (chunk_size.is_power_of_two() && chunk_size >= 4096)
            .then_some(Self { capacity, chunk_size })
    }

    /// Bytes of a whole cell.
    #[must_use]
    pub fn chunk_size(self) -> u64 {
        self.chunk_size
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(self) -> u64 {
        self.capacity.div_ceil(self.chunk_size)
    }

    /// The bytes of cell `cell`, `None` beyond the disk.
    #[must_use]
    pub fn range(self, cell: u64) -> Option<DiskRange> {
        let offset = cell.checked_mul(self.chunk_size)?;
        (offset < self.capacity)
            .then(|| DiskRange { offset, length: self.chunk_size.min(self.capacity - offset) })
    }

    /// The cells that `areas` touch, ascending and each once, as half-open runs `(first, end)`.
    /// Parts of an area beyond the capacity touch nothing.
    #[must_use]
    pub fn round_out(self, areas: &[DiskRange]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = areas
            .iter()
            .filter(|area| !area.is_empty() && area.offset < self.capacity)
            .map(|area| {
                let end = area.end().min(self.capacity);
                (area.offset / self.chunk_size, end.div_ceil(self.chunk_size))
            })
            .collect();
        runs.sort_unstable();
        runs.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1;
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: u64 = 4096;

    #[test]
    fn the_last_cell_is_short() {
        let grid = Grid::new(CHUNK * 2 + 512, CHUNK).unwrap();
        assert_eq!(grid.cells(), 3);
        assert_eq!(grid.range(2), Some(DiskRange { offset: CHUNK * 2, length: 512 }));
        assert_eq!(grid.range(3), None);
        assert_eq!(Grid::new(1, 1000), None);
    }

    proptest! {
        #[test]
        fn every_touched_byte_lies_in_a_run_and_every_cell_is_touched(
            capacity in 1u64..200_000,
            areas in prop::collection::vec((0u64..250_000, 0u64..20_000), 0..12),
        ) {
            let grid = Grid::new(capacity, CHUNK).unwrap();
            let areas: Vec<_> =
                areas.iter().map(|&(offset, length)| DiskRange { offset, length }).collect();
            let runs = grid.round_out(&areas);
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for cell in 0..grid.cells() {
                let range = grid.range(cell).unwrap();
                let touched = areas.iter().any(|area| {
                    !area.is_empty() && area.offset < range.end() && area.end() > range.offset
                });
                let planned = runs.iter().any(|&(first, end)| (first..end).contains(&cell));
                prop_assert_eq!(touched, planned, "cell {}", cell);
            }
        }
    }
}
