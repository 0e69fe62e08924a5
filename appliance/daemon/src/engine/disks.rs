//! The bytes of a disk of a recovery point.

use super::from_store;
use api::{DataRanges, DataRangesQuery};
use bytes::Bytes;
use console::{Chunks, EngineResult};
use model::{DiskRange, RecoveryPointId};
use repository::{Cell, DiskReader, Repository};
use tokio::sync::mpsc::{self, Sender};

/// Chunks that a stream may hold in memory.
pub(super) const AHEAD: usize = 4;
/// Zeros are sent in pieces of this size, without a copy.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

pub(super) fn open(
    repository: &Repository,
    id: RecoveryPointId,
    disk: u32,
) -> EngineResult<DiskReader> {
    let disk = usize::try_from(disk).expect("64-bit machine");
    repository.open_disk(id, disk).map_err(|error| from_store(&error))
}

pub(super) fn capacity(
    repository: &Repository,
    id: RecoveryPointId,
    disk: u32,
) -> EngineResult<u64> {
    Ok(block::ReadAt::size(&open(repository, id, disk)?))
}

/// The bytes of `range`, read ahead by a thread of its own.
pub(super) fn stream(
    repository: &Repository,
    id: RecoveryPointId,
    disk: u32,
    range: DiskRange,
) -> EngineResult<Chunks> {
    let reader = open(repository, id, disk)?;
    let (sender, chunks) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || send(&reader, range, &sender));
    Ok(chunks)
}

fn send(reader: &DiskReader, range: DiskRange, to: &Sender<EngineResult<Bytes>>) {
    let grid = reader.grid();
    for &(first, end) in &grid.round_out(&[range]) {
        for cell in first..end {
            let Some(bounds) = grid.range(cell) else { return };
            let from = range.offset.max(bounds.offset);
            let until = range.end().min(bounds.end());
            let piece = reader
                .cell(cell)
                .map(|content| cut(content, bounds, from, until))
                .map_err(|error| from_store(&error));
            let failed = piece.is_err();
            // A receiver that is gone has lost its client: there is nobody to tell.
            if to.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    }
}

fn cut(content: Cell, bounds: DiskRange, from: u64, until: u64) -> Bytes {
    let index = |offset: u64| usize::try_from(offset - bounds.offset).expect("within a cell");
    match content {
        Cell::Data(bytes) => Bytes::from(bytes).slice(index(from)..index(until)),
        Cell::Zero => {
            let length = index(until) - index(from);
            match ZEROS.get(..length) {
                Some(zeros) => Bytes::from_static(zeros),
                None => Bytes::from(vec![0; length]),
            }
        }
    }
}

/// Where the disk has data, from the map alone, neighbours joined.
pub(super) fn data_ranges(
    repository: &Repository,
    id: RecoveryPointId,
    disk: u32,
    query: &DataRangesQuery,
) -> EngineResult<DataRanges> {
    let reader = open(repository, id, disk)?;
    let grid = reader.grid();
    let capacity_bytes = block::ReadAt::size(&reader);
    let from = query.from.unwrap_or(0);
    let mut ranges: Vec<DiskRange> = Vec::new();
    let mut next = None;
    let first = grid.round_out(&[DiskRange { offset: from, length: 1 }]);
    let first = first.first().map_or(grid.cells(), |&(cell, _)| cell);
    for cell in first..grid.cells() {
        let Some(range) = grid.range(cell) else { break };
        if !reader.has_data(cell).map_err(|error| from_store(&error))? {
            continue;
        }
        let full = ranges.len() == query.limit();
        match ranges.last_mut() {
            Some(last) if last.end() == range.offset => last.length += range.length,
            _ if full => {
                next = Some(range.offset);
                break;
            }
            _ => ranges.push(range),
        }
    }
    Ok(DataRanges { capacity_bytes, ranges, next })
}
