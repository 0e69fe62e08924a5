//! The read plan of one window of a disk.

use crate::error::RunError;
use crate::locate::{FlatDisk, blocking};
use crate::plan::{self, Stretch};
use crate::reading::Reading;
use block::{CellRead, Grid, Piece, ReadPlan, Source};
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
        let planned = planned.into_iter().map(|cell| leave_out(window, cell));
        cells.extend(planned.filter(|cell| !(skip_zero && cell.is_zero())));
    }
    Ok(ReadPlan::new(cells))
}

/// A cell that the point does not keep is zeros, whatever the map has for it.
fn leave_out(window: &Window<'_>, mut cell: CellRead) -> CellRead {
    let range = window.grid.range(cell.cell);
    if range.is_some_and(|range| window.reading.leaves_out(range)) {
        cell.pieces = vec![Piece { at: 0, length: cell.length, source: Source::Zero }];
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::DatastorePath;
    use block::{ReadAt, ReadError};
    use fakes::vmfs::VolumeSpec;
    use std::fs::File;
    use std::sync::atomic::{AtomicU64, Ordering};

    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;
    const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\n\
        parentCID=ffffffff\ncreateType=\"vmfs\"\nRW 2147483648 VMFS \"thin-flat.vmdk\"\n";

    struct Counted {
        image: File,
        reads: AtomicU64,
    }

    impl ReadAt for Counted {
        fn size(&self) -> u64 {
            ReadAt::size(&self.image)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.image.read_at(offset, buffer)
        }
    }

    /// A first full, as `session` plans it: the windows together cost no more reads of metadata
    /// than one walk over what is allocated, and nothing is planned where nothing is.
    #[tokio::test]
    async fn of_a_thin_tebibyte_only_what_exists_is_planned_and_only_its_pointers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("lun.img");
        let mut volume = VolumeSpec::new(2 << 30, "thin").create(&image).unwrap();
        volume.add_file("thin.vmdk", DESCRIPTOR.as_bytes()).unwrap();
        volume.add_empty_disk("thin-flat.vmdk", TIB).unwrap();
        let written = [0, 3, 65_535, 65_536, 400_000, 1_048_575];
        for block in written {
            volume.write("thin-flat.vmdk", block * MIB, b"data").unwrap();
        }
        volume.flush().unwrap();

        let (image, reads) = (File::open(&image).unwrap(), AtomicU64::new(0));
        let device = Arc::new(Counted { image, reads });
        let volume = vmfs::Volume::open(vec![Arc::clone(&device) as Arc<dyn ReadAt>]).unwrap();
        let path = DatastorePath { datastore: "thin".into(), path: "thin.vmdk".into() };
        let flat = Arc::new(FlatDisk::open(&volume, &path).unwrap());
        let file = volume.open_file("thin-flat.vmdk").unwrap();
        device.reads.store(0, Ordering::Relaxed);
        let allocated: Vec<_> = file.allocated().map(Result::unwrap).collect();
        let walk = device.reads.swap(0, Ordering::Relaxed);
        let bytes: u64 = allocated.iter().map(|part| part.length).sum();
        assert_eq!(bytes, written.len() as u64 * MIB);

        let grid = Grid::new(TIB, MIB).unwrap();
        let everything = Reading::default();
        let (mut cells, mut first) = (Vec::new(), 0);
        while first < grid.cells() {
            let end = grid.cells().min(first + flat.window_cells(grid));
            let window = Window { grid, cells: (first, end), reading: &everything };
            let window = plan_window(&window, &flat).await.unwrap();
            cells.extend(window.plan.cells().iter().map(|cell| cell.cell));
            first = end;
        }
        assert_eq!(cells, written);
        let planned = device.reads.load(Ordering::Relaxed);
        assert!(planned <= walk, "{planned} reads for the windows, {walk} for one walk");
    }
}
