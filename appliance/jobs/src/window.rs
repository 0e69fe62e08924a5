//! The read plan of one window of a disk.

use crate::error::RunError;
use crate::locate::{FlatDisk, blocking};
use crate::plan::{self, Stretch};
use block::{Grid, ReadPlan};
use model::DiskRange;
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
    /// The areas to read; `None`: everything that the block map backs.
    pub(crate) changed: Option<&'a [DiskRange]>,
}

/// Plans one window.
pub(crate) async fn plan_window(
    window: &Window<'_>,
    flat: &Arc<FlatDisk>,
) -> Result<ReadPlan, RunError> {
    let runs = match window.changed {
        None => vec![window.cells],
        Some(changed) => {
            let range = plan::bytes_of(window.grid, window.cells);
            window.grid.round_out(&plan::within(changed, range))
        }
    };
    let mapped = map_runs(window.grid, &runs, flat).await?;
    plan_runs(window, &runs, &mapped, flat)
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
    let skip_zero = window.changed.is_none();
    let mut cells = Vec::new();
    for (&run, stretches) in runs.iter().zip(mapped) {
        let planned = plan::cells(window.grid, run, stretches)
            .map_err(|source| RunError::Plan { path: flat.descriptor_path.clone(), source })?;
        cells.extend(planned.into_iter().filter(|cell| !(skip_zero && cell.is_zero())));
    }
    Ok(ReadPlan::new(cells))
}
