//! The read plan of one window of a disk.

use crate::error::RunError;
use crate::locate::{FlatDisk, blocking};
use crate::plan::{self, Stretch};
use crate::reading::Reading;
use block::{CellRead, Grid, ReadPlan};
use std::sync::Arc;

/// Cells planned at a time: 64 GiB of disk, some 8 MiB of plan. Bounds the memory of a run
/// whatever the size of the disk.
pub(crate) const WINDOW_CELLS: u64 = 65_536;

/// What to plan.
pub(crate) struct Window<'a> {
    /// The disk's grid.
    pub(crate) grid: Grid,
    /// Cells `first..end`.
    pub(crate) cells: (u64, u64),
    /// What is read of the disk.
    pub(crate) reading: &'a Reading,
}

/// A window's plan.
pub(crate) struct PlannedWindow {
    /// What is read.
    pub(crate) plan: ReadPlan,
    /// Of these, the cells that are only compared with the parent's, ascending.
    pub(crate) compared: Vec<u64>,
}

impl PlannedWindow {
    /// Bytes that are read from LUNs only to be compared.
    pub(crate) fn compared_bytes(&self) -> u64 {
        let compared = |cell: &&CellRead| self.compared.binary_search(&cell.cell).is_ok();
        self.plan.cells().iter().filter(compared).map(CellRead::lun_bytes).sum()
    }
}

/// Plans one window.
pub(crate) async fn plan_window(
    window: &Window<'_>,
    flat: &Arc<FlatDisk>,
) -> Result<PlannedWindow, RunError> {
    let part = window.reading.part(window.grid, window.cells);
    let runs = part.runs();
    let mapped = map_runs(window.grid, &runs, flat).await?;
    let plan = plan_runs(window, &runs, &mapped, flat)?;
    Ok(PlannedWindow { plan, compared: part.compared })
}

async fn map_runs(
    grid: Grid,
    runs: &[(u64, u64)],
    flat: &Arc<FlatDisk>,
) -> Result<Vec<Vec<Stretch>>, RunError> {
    let ranges: Vec<_> = runs.iter().map(|&run| plan::bytes_of(grid, run)).collect();
    let flat = Arc::clone(flat);
    blocking("the parser", move || ranges.into_iter().map(|range| flat.map(range)).collect())
        .await?
}

/// The cells of all runs. In a full without a parent a hole needs no word: the cell is zeros.
/// In an incremental a hole replaces what the parent had, so it is said.
fn plan_runs(
    window: &Window<'_>,
    runs: &[(u64, u64)],
    mapped: &[Vec<Stretch>],
    flat: &FlatDisk,
) -> Result<ReadPlan, RunError> {
    let skip_zero = window.reading.changed.is_none();
    let mut cells = Vec::new();
    for (&run, stretches) in runs.iter().zip(mapped) {
        let planned = plan::cells(window.grid, run, stretches)
            .map_err(|source| RunError::Plan { path: flat.descriptor_path.clone(), source })?;
        cells.extend(planned.into_iter().filter(|cell| !(skip_zero && cell.is_zero())));
    }
    Ok(ReadPlan::new(cells))
}
