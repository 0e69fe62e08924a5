//! From planned cells to the store: LUN reads in flight, each cell assembled once, everything
//! bounded.
//!
//! ```text
//! cells (LUN order) -> DEPTH reads in flight -> channel of READY cells -> put (a blocking thread)
//! ```
//! A full store makes `put` block, which fills the channel, which stops new reads.

use crate::error::RunError;
use crate::locate::blocking;
use crate::ports::{DiskSink, PortError, SourceLun};
use crate::progress::Progress;
use crate::window::PlannedWindow;
use block::{CellRead, Source};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Cells being read at once. Eight commands of 1 MiB keep a path of 10 Gbit/s and 5 ms busy.
const DEPTH: usize = 8;
/// Cells read and not yet taken by the store.
const READY: usize = 8;

/// A cell as it goes to the store; `None`: zeros.
type Cell = (u64, Option<Vec<u8>>);

/// Where the cells go, and what became of them so far.
pub(crate) struct Target<D> {
    /// The disk that is written.
    pub(crate) sink: D,
    /// Cells that were only compared, and are not as the parent has them.
    pub(crate) differing: Vec<u64>,
}

/// Reads all cells of the window and puts them into the target, or compares those that are not to
/// be stored. Gives the target back for the next window.
pub(crate) async fn transfer<D: DiskSink>(
    luns: Arc<[Arc<dyn SourceLun>]>,
    window: PlannedWindow,
    target: Target<D>,
    progress: Arc<Progress>,
) -> Result<Target<D>, RunError> {
    let (ready, taken) = mpsc::channel(READY);
    let PlannedWindow { plan, compared } = window;
    let putter = tokio::spawn(blocking("the writer", move || put_all(taken, &compared, target)));
    let read = read_all(luns, plan.into_cells(), &ready, &progress).await;
    drop(ready);
    // The putter's error comes first: a store that is full closes the channel, and the reader
    // then only knows that nobody listens.
    let put = putter
        .await
        .map_err(|source| RunError::Thread { what: "the writer", source: source.into() })??;
    let target = put?;
    read?;
    Ok(target)
}

/// `compared` ascends.
pub(crate) fn put_all<D: DiskSink>(
    mut cells: mpsc::Receiver<Cell>,
    compared: &[u64],
    mut target: Target<D>,
) -> Result<Target<D>, PortError> {
    let Target { sink, differing } = &mut target;
    while let Some((cell, bytes)) = cells.blocking_recv() {
        if compared.binary_search(&cell).is_ok() {
            if !sink.is_as_parent(cell, bytes.as_deref())? {
                differing.push(cell);
            }
            continue;
        }
        match bytes {
            Some(bytes) => sink.put(cell, bytes)?,
            None => sink.zero(cell)?,
        }
    }
    Ok(target)
}

async fn read_all(
    luns: Arc<[Arc<dyn SourceLun>]>,
    cells: Vec<CellRead>,
    ready: &mpsc::Sender<Cell>,
    progress: &Progress,
) -> Result<(), RunError> {
    let mut cells = cells.into_iter();
    let mut in_flight = JoinSet::new();
    loop {
        while in_flight.len() < DEPTH {
            let Some(cell) = cells.next() else { break };
            if progress.is_cancelled() {
                return Err(RunError::Cancelled);
            }
            in_flight.spawn(read_cell(Arc::clone(&luns), cell));
        }
        let Some(done) = in_flight.join_next().await else { return Ok(()) };
        let (cell, bytes) =
            done.map_err(|source| RunError::Thread { what: "a LUN read", source: source.into() })??;
        let (length, read) = (cell.length, cell.lun_bytes());
        if ready.send((cell.cell, bytes)).await.is_err() {
            return Ok(()); // the putter ended with the error that matters
        }
        progress.add_done(length, read);
    }
}

async fn read_cell(
    luns: Arc<[Arc<dyn SourceLun>]>,
    cell: CellRead,
) -> Result<(CellRead, Option<Vec<u8>>), RunError> {
    if cell.is_zero() {
        return Ok((cell, None));
    }
    // The usual case, one piece, moves the buffer of the read itself.
    if let [piece] = cell.pieces.as_slice()
        && let Source::Lun(extent) = piece.source
    {
        let bytes = luns[extent.device].read(extent.offset, to_usize(extent.length)).await?;
        return Ok((cell, Some(bytes)));
    }
    let mut whole = vec![0; to_usize(cell.length)];
    for piece in &cell.pieces {
        if let Source::Lun(extent) = piece.source {
            let bytes = luns[extent.device].read(extent.offset, to_usize(extent.length)).await?;
            let at = to_usize(piece.at);
            whole[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
    Ok((cell, Some(whole)))
}

/// Lengths within a cell; a cell has at most a few MiB.
fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("64-bit machine")
}
