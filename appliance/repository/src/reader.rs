//! Reading a disk of a recovery point. Every chunk is checked against its id.

use crate::StoreError;
use crate::core::{Scratch, locked, wanted};
use crate::map::MapReader;
use crate::repo::{Inner, PinnedPoint};
use block::{Grid, ReadAt, ReadError};
use format::map::{Below, Shape};
use format::record::Kind;
use model::{DiskRange, RecoveryPointId};
use std::sync::{Arc, Mutex};

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Zeros, as many as the cell has bytes.
    Zero,
    /// These bytes.
    Data(Vec<u8>),
}

/// Reads one disk. The point cannot be deleted while this lives.
pub struct DiskReader {
    inner: Arc<Inner>,
    map: MapReader,
    grid: Grid,
    chunk_size: u64,
    capacity: u64,
    last: Mutex<Last>,
    _pin: PinnedPoint,
}

/// The cell that was read last, for readers of small pieces.
struct Last {
    scratch: Scratch,
    cell: Option<(u64, Cell)>,
}

impl DiskReader {
    pub(crate) fn open(
        inner: &Arc<Inner>,
        point: RecoveryPointId,
        disk: usize,
    ) -> Result<Self, StoreError> {
        let pin = PinnedPoint::new(inner, point)?;
        let manifest = inner.manifest(point)?;
        let entry = manifest.disks.get(disk).ok_or_else(|| StoreError::NotFound {
            what: format!("disk {disk} of recovery point {point}"),
        })?;
        let capacity = entry.identity.capacity;
        let chunk_size = u64::from(manifest.chunk_size);
        let grid = Grid::new(capacity, chunk_size)
            .ok_or_else(|| StoreError::misuse("a grid that does not exist"))?;
        let map = MapReader::new(Arc::clone(&inner.core), Shape::new(grid.cells()), entry.map)?;
        let last = Last { scratch: Scratch::new(&inner.core)?, cell: None };
        Ok(Self {
            inner: Arc::clone(inner),
            map,
            grid,
            chunk_size,
            capacity,
            last: Mutex::new(last),
            _pin: pin,
        })
    }

    /// The grid of its cells.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The content of a cell. May be called from several threads at once.
    pub fn cell(&self, cell: u64) -> Result<Cell, StoreError> {
        let mut scratch = Scratch::new(&self.inner.core)?;
        self.read(cell, &mut scratch)
    }

    /// All cells in ascending order, each with its range.
    #[must_use]
    pub fn cells(&self) -> Cells<'_> {
        Cells { reader: self, next: 0, scratch: None }
    }

    /// True when the cell holds data, false when it is zeros. Reads the map, not the data.
    pub fn has_data(&self, cell: u64) -> Result<bool, StoreError> {
        Ok(matches!(self.map.cell(cell)?, Below::Chunk { .. }))
    }

    fn read(&self, cell: u64, scratch: &mut Scratch) -> Result<Cell, StoreError> {
        let range = self
            .grid
            .range(cell)
            .ok_or_else(|| StoreError::NotFound { what: format!("cell {cell} on this disk") })?;
        let Below::Chunk { length, id, place } = self.map.cell(cell)? else {
            return Ok(Cell::Zero);
        };
        self.inner.core.read_record(&wanted(Kind::Chunk, id, place), scratch)?;
        let bytes = std::mem::take(&mut scratch.plain);
        if bytes.len() as u64 != range.length || u64::from(length) != range.length {
            return Err(StoreError::Damaged {
                what: format!("cell {cell}"),
                source: format::FormatError::Corrupt {
                    what: "the disk map",
                    problem: format!("a chunk of {length} bytes in a cell of {}", range.length),
                },
            });
        }
        Ok(Cell::Data(bytes))
    }
}

/// Iterator over the cells of a disk.
pub struct Cells<'a> {
    reader: &'a DiskReader,
    next: u64,
    scratch: Option<Scratch>,
}

impl Cells<'_> {
    fn read(&mut self, cell: u64) -> Result<Cell, StoreError> {
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(Scratch::new(&self.reader.inner.core)?),
        };
        self.reader.read(cell, scratch)
    }
}

impl Iterator for Cells<'_> {
    type Item = Result<(DiskRange, Cell), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (cell, range) = (self.next, self.reader.grid.range(self.next)?);
        self.next += 1;
        Some(self.read(cell).map(|content| (range, content)))
    }
}

impl ReadAt for DiskReader {
    fn size(&self) -> u64 {
        self.capacity
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.capacity)?;
        let mut last = locked(&self.last);
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let cell = at / self.chunk_size;
            let range = self.grid.range(cell).expect("within the disk, checked above");
            let count =
                usize::try_from(range.end() - at).unwrap_or(usize::MAX).min(buffer.len() - filled);
            let target = &mut buffer[filled..filled + count];
            self.copy(&mut last, cell, at - range.offset, target).map_err(|error| {
                ReadError::Device {
                    offset,
                    length: target.len() as u64,
                    kind: error.kind(),
                    source: error.into(),
                }
            })?;
            filled += count;
        }
        Ok(())
    }
}

impl DiskReader {
    fn copy(
        &self,
        last: &mut Last,
        cell: u64,
        skip: u64,
        target: &mut [u8],
    ) -> Result<(), StoreError> {
        if last.cell.as_ref().is_none_or(|(number, _)| *number != cell) {
            last.cell = None;
            let content = self.read(cell, &mut last.scratch)?;
            last.cell = Some((cell, content));
        }
        match &last.cell {
            Some((_, Cell::Data(bytes))) => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                target.copy_from_slice(&bytes[skip..skip + target.len()]);
            }
            Some((_, Cell::Zero)) | None => target.fill(0),
        }
        Ok(())
    }
}
