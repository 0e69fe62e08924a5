//! Reading many chunks to see whether they are right: several threads take neighbours in turn.

use crate::StoreError;
use crate::core::{Core, Files, Scratch, locked, wanted};
use format::Place;
use format::record::Kind;
use model::ChunkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cells that a thread takes at once: neighbours on the disk.
const CELLS_AT_ONCE: usize = 8;

/// A cell that is to be read.
pub(crate) struct Read {
    pub(crate) place: Place,
    pub(crate) cell: u64,
    pub(crate) length: u32,
    pub(crate) id: ChunkId,
}

/// Reads all of `batch` through `files`; what went wrong, by index.
pub(crate) fn read(
    core: &Core,
    files: &Arc<Files>,
    batch: &[Read],
) -> Result<Vec<(usize, StoreError)>, StoreError> {
    let threads = core.options.workers.clamp(1, 16);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| read_some(core, files, batch, &next))).collect();
        let mut failures = Vec::new();
        for reader in readers {
            match reader.join() {
                Ok(result) => failures.extend(result?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, StoreError>(failures)
    })
}

/// Whether a compaction has moved what the point needed of a segment, which may be removed then.
pub(crate) fn is_emptied(core: &Core, serial: u32) -> bool {
    let catalog = locked(&core.catalog);
    catalog.moves.has(serial) || catalog.state.segment(serial).is_none()
}

/// Reads slices of the batch until none is left; what went wrong, by index.
fn read_some(
    core: &Core,
    files: &Arc<Files>,
    batch: &[Read],
    next: &AtomicUsize,
) -> Result<Vec<(usize, StoreError)>, StoreError> {
    let mut scratch = Scratch::from_medium(core, Arc::clone(files))?;
    let mut failures = Vec::new();
    loop {
        let first = next.fetch_add(CELLS_AT_ONCE, Ordering::Relaxed);
        if first >= batch.len() {
            return Ok(failures);
        }
        let end = (first + CELLS_AT_ONCE).min(batch.len());
        for (index, read) in (first..).zip(&batch[first..end]) {
            let mut outcome = check_cell(core, read, &mut scratch);
            if outcome.is_err() && is_emptied(core, read.place.segment()) {
                outcome = check_cell(core, read, &mut scratch); // it is elsewhere by now
            }
            failures.extend(outcome.err().map(|error| (index, error)));
        }
    }
}

fn check_cell(core: &Core, read: &Read, scratch: &mut Scratch) -> Result<(), StoreError> {
    core.read_record(&wanted(Kind::Chunk, read.id, read.place), scratch)?;
    if scratch.plain.len() as u64 == u64::from(read.length) {
        return Ok(());
    }
    let problem = format!("{} bytes instead of {}", scratch.plain.len(), read.length);
    let source = format::FormatError::Corrupt { what: "chunk", problem };
    Err(StoreError::Damaged { what: format!("cell {}", read.cell), source })
}
