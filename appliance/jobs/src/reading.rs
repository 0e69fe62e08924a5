//! What a run reads of a disk: the cells it stores, and those it only compares.

use crate::crosscheck::Sample;
use crate::plan;
use block::Grid;
use model::DiskRange;

/// What is read of a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The areas to store; `None`: everything that the block map backs.
    pub(crate) changed: Option<Vec<DiskRange>>,
    /// What of the rest is compared with the parent.
    pub(crate) sample: Option<Sample>,
    /// Ascending: where the point and its parent differ in what they leave out. It is stored
    /// although change tracking may call it unchanged.
    pub(crate) turned: Vec<DiskRange>,
    /// Left out, ascending, in whole cells: zeros that nobody reads.
    pub(crate) excluded: Vec<DiskRange>,
}

/// What is read of some of its cells.
pub(crate) struct Part {
    /// To be stored: runs `first..end`, ascending.
    stored: Vec<(u64, u64)>,
    /// To be compared: ascending, none of those that are stored.
    pub(crate) compared: Vec<u64>,
}

impl Reading {
    /// What is read of the cells `first..end`.
    pub(crate) fn part(&self, grid: Grid, cells: (u64, u64)) -> Part {
        let Some(changed) = &self.changed else {
            return Part { stored: vec![cells], compared: Vec::new() };
        };
        let bytes = plan::bytes_of(grid, cells);
        let stored = [plan::within(changed, bytes), plan::within(&self.turned, bytes)].concat();
        let stored = grid.round_out(&stored);
        let is_stored = |cell: u64| {
            let next = stored.partition_point(|&(_, end)| end <= cell);
            stored.get(next).is_some_and(|&(first, _)| first <= cell)
        };
        let sampled = self.sample.iter().flat_map(|sample| sample.cells(cells));
        let compared = sampled.filter(|&cell| !is_stored(cell)).collect();
        Part { stored, compared }
    }

    /// Whether these bytes of a cell are left out.
    pub(crate) fn leaves_out(&self, cell: DiskRange) -> bool {
        let next = self.excluded.partition_point(|range| range.end() <= cell.offset);
        let inside = |range: &DiskRange| range.offset <= cell.offset && cell.end() <= range.end();
        self.excluded.get(next).is_some_and(inside)
    }
}

impl Part {
    /// All cells that are read, as runs `first..end`, ascending.
    pub(crate) fn runs(&self) -> Vec<(u64, u64)> {
        let single = self.compared.iter().map(|&cell| (cell, cell + 1));
        let mut runs: Vec<_> = self.stored.iter().copied().chain(single).collect();
        runs.sort_unstable();
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crosscheck::Rotation;
    use model::RunId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_cell_is_stored_when_it_changed_and_else_compared_in_its_turn(
            areas in prop::collection::vec((0u64..60_000, 1u64..9000), 0..12),
            window in (0u64..64, 0u64..64),
            percent in 1u8..=100,
        ) {
            let grid = Grid::new(64 * 4096 - 100, 4096).unwrap();
            let window = (window.0.min(window.1), window.0.max(window.1));
            let mut changed: Vec<DiskRange> = Vec::new();
            for (gap, length) in areas {
                let offset = changed.last().map_or(0, |last| last.end()) + gap;
                changed.push(DiskRange { offset, length });
            }
            let sample = Rotation::next(None, percent, RunId([3; 16])).unwrap().sample("a");
            let (all, sampled) = (Some(changed.clone()), Some(sample.clone()));
            let reading = Reading { changed: all, sample: sampled, ..Reading::default() };
            let part = reading.part(grid, window);
            let runs = part.runs();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            for cell in 0..grid.cells() {
                let inside = (window.0..window.1).contains(&cell);
                let range = grid.range(cell).unwrap();
                let touches = |a: &DiskRange| a.offset < range.end() && a.end() > range.offset;
                let touched = changed.iter().any(touches);
                let taken = sample.cells((0, 64)).any(|taken| taken == cell);
                let compared = inside && taken && !touched;
                prop_assert_eq!(part.compared.contains(&cell), compared, "cell {}", cell);
                let read = runs.iter().any(|&(first, end)| (first..end).contains(&cell));
                prop_assert_eq!(read, compared || inside && touched, "cell {}", cell);
            }
        }
    }
}
