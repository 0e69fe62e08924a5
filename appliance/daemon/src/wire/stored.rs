//! A disk of a recovery point as a restore sees it.

use jobs::ports::PortError;
use jobs::restore::ports::StoredDisk;
use model::DiskRange;
use repository::{Cell, DiskReader, StoreError};

/// A disk of the repository.
pub(crate) struct Stored(pub(crate) DiskReader);

impl StoredDisk for Stored {
    fn capacity(&self) -> u64 {
        block::ReadAt::size(&self.0)
    }

    fn data_bytes(&self) -> Result<u64, PortError> {
        let grid = self.0.grid();
        let mut bytes = 0;
        for cell in 0..grid.cells() {
            if self.0.has_data(cell).map_err(failed)? {
                bytes += grid.range(cell).map_or(0, |range| range.length);
            }
        }
        Ok(bytes)
    }

    fn cell_size(&self) -> u64 {
        self.0.grid().range(0).map_or(1, |first: DiskRange| first.length)
    }

    fn cell(&self, cell: u64) -> Result<Option<Vec<u8>>, PortError> {
        if !self.0.has_data(cell).map_err(failed)? {
            return Ok(None);
        }
        match self.0.cell(cell).map_err(failed)? {
            Cell::Data(bytes) => Ok(Some(bytes)),
            Cell::Zero => Ok(None),
        }
    }
}

fn failed(error: StoreError) -> PortError {
    let operation = "reading a disk of the recovery point".into();
    PortError { kind: error.kind(), operation, source: error.into() }
}
