//! The read plan of one window of a disk: map, compare with the hypervisor, plan.

use crate::error::RunError;
use crate::locate::{FlatDisk, blocking};
use crate::plan::{self, Stretch};
use block::{Grid, ReadPlan};
use model::DiskRange;
use std::sync::Arc;
use std::time::Duration;

/// Cells planned at a time: 64 GiB of disk, some 8 MiB of plan. Bounds the memory of a run
/// whatever the size of the disk.
pub(crate) const WINDOW_CELLS: u64 = 65_536;

/// How often metadata that does not fit is looked at, at the most: it may reach its place on
/// the LUN a little late.
const ATTEMPTS_MAX: u32 = 4;

/// Waits between looks at metadata that does not fit: longer each time, and not for ever.
pub(crate) struct Patience {
    pause: Duration,
    looks: u32,
}

impl Patience {
    /// The first wait takes `pause`.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, looks: 1 }
    }

    /// Waits; false when it is time to give up.
    pub(crate) async fn wait(&mut self) -> bool {
        if self.looks == ATTEMPTS_MAX {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        self.looks += 1;
        true
    }
}

/// What to plan.
pub(crate) struct Window<'a> {
    /// The disk's grid.
    pub(crate) grid: Grid,
    /// Cells `first..end`.
    pub(crate) cells: (u64, u64),
    /// The areas to read; `None`: everything that the block map backs.
    pub(crate) changed: Option<&'a [DiskRange]>,
    /// What the hypervisor calls allocated; `None`: it does not say.
    pub(crate) allocated: Option<&'a [DiskRange]>,
    /// The first wait of [`Patience`].
    pub(crate) pause: Duration,
}

/// Plans one window. Builds the map again while it disagrees with the hypervisor, and gives up
/// with an error: never with zeros that nobody vouches for.
pub(crate) async fn plan_window(
    window: &Window<'_>,
    flat: &Arc<FlatDisk>,
) -> Result<ReadPlan, RunError> {
    let runs = match window.changed {
        None => vec![window.cells],
        Some(changed) => {
            let range = bytes_of(window.grid, window.cells);
            window.grid.round_out(&plan::within(changed, range))
        }
    };
    let mut patience = Patience::new(window.pause);
    loop {
        let mapped = map_runs(window.grid, &runs, flat).await?;
        let unbacked = unbacked(window.allocated, &mapped);
        let Some(&first) = unbacked.first() else {
            return plan_runs(window, &runs, &mapped, flat);
        };
        tracing::warn!(path = flat.descriptor_path, ?first, "the block map disagrees");
        if !patience.wait().await {
            let path = flat.descriptor_path.clone();
            return Err(RunError::Disagreement { path, count: unbacked.len(), first });
        }
    }
}

fn bytes_of(grid: Grid, (first, end): (u64, u64)) -> DiskRange {
    let start = grid.range(first).map_or(0, |range| range.offset);
    let stop = end.checked_sub(1).and_then(|last| grid.range(last)).map_or(start, DiskRange::end);
    DiskRange { offset: start, length: stop - start }
}

async fn map_runs(
    grid: Grid,
    runs: &[(u64, u64)],
    flat: &Arc<FlatDisk>,
) -> Result<Vec<Vec<Stretch>>, RunError> {
    let ranges: Vec<_> = runs.iter().map(|&run| bytes_of(grid, run)).collect();
    let flat = Arc::clone(flat);
    blocking("the parser", move || ranges.into_iter().map(|range| flat.map(range)).collect())
        .await?
}

fn unbacked(allocated: Option<&[DiskRange]>, mapped: &[Vec<Stretch>]) -> Vec<DiskRange> {
    let Some(allocated) = allocated else { return Vec::new() };
    mapped.iter().flat_map(|stretches| plan::unbacked(allocated, stretches)).collect()
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
