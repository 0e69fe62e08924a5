//! A disk of a point as a streamOptimized VMDK, made while it is sent; and the same bytes
//! compared with what comes back.

use super::error::RestoreError;
use super::ports::StoredDisk;
use crate::ports::PortError;
use crate::progress::Progress;
use model::ErrorKind;
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc::{Receiver, Sender};
use vmdk::{StreamSpec, StreamWriter};

/// Bytes of a piece that is handed on.
const PIECE: usize = 1 << 20;
/// Pieces under way.
pub(super) const AHEAD: usize = 4;
/// Who restores is waiting; the smaller stream of a higher level takes several times as long.
const LEVEL: u32 = 1;

/// Writes the disk to `output`. Cells of zeros are left out. `done` hears of each cell's bytes and
/// says whether to go on.
///
/// # Errors
/// [`RestoreError::Cancelled`] when `done` says no.
pub fn write<W: Write>(
    disk: &dyn StoredDisk,
    spec: StreamSpec,
    output: W,
    mut done: impl FnMut(u64) -> bool,
) -> Result<W, RestoreError> {
    let mut writer = StreamWriter::new(output, spec).map_err(RestoreError::Stream)?;
    let (size, capacity) = (disk.cell_size(), disk.capacity());
    for cell in 0..capacity.div_ceil(size) {
        let start = cell * size;
        if !done(size.min(capacity - start)) {
            return Err(RestoreError::Cancelled);
        }
        let Some(bytes) = disk.cell(cell)? else { continue };
        writer.grains(start, &bytes).map_err(RestoreError::Stream)?;
    }
    writer.finish().map_err(RestoreError::Stream)
}

/// As [`write`], into a channel whose last piece is empty. Blocks.
pub(super) fn send(
    disk: &dyn StoredDisk,
    index: u32,
    to: Sender<Vec<u8>>,
    progress: &Progress,
) -> Result<(), RestoreError> {
    let spec = StreamSpec {
        capacity: disk.capacity(),
        name: format!("disk-{index}.vmdk"),
        cid: 0x686f_6c64,
        adapter_type: "lsilogic".into(),
        level: LEVEL,
    };
    let output = BufWriter::with_capacity(PIECE, Pieces(to.clone()));
    write(disk, spec, output, |bytes| {
        progress.add_done(bytes, 0);
        !progress.is_cancelled()
    })?;
    // A receiver that is gone has its own error to tell.
    let _ = to.blocking_send(Vec::new());
    Ok(())
}

struct Pieces(Sender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty piece would be the end.
        if !bytes.is_empty() {
            let sent = self.0.blocking_send(bytes.to_vec());
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares what comes with the disk's own bytes; gives the first byte that differs. Blocks.
///
/// # Errors
/// When not exactly the disk's bytes come, or the point cannot be read.
pub(super) fn compare(
    disk: &dyn StoredDisk,
    mut from: Receiver<Result<Vec<u8>, PortError>>,
    progress: &Progress,
) -> Result<Option<u64>, RestoreError> {
    let mut held = Held { disk, cell: u64::MAX, bytes: None };
    let mut at = 0;
    while let Some(piece) = from.blocking_recv() {
        let piece = piece?;
        if progress.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        if piece.is_empty() {
            return if at == disk.capacity() { Ok(None) } else { Err(cut(at, disk)) };
        }
        if piece.len() as u64 > disk.capacity() - at {
            return Ok(Some(disk.capacity()));
        }
        if let Some(differs) = held.differs(at, &piece)? {
            return Ok(Some(differs));
        }
        at += piece.len() as u64;
        progress.add_done(piece.len() as u64, piece.len() as u64);
    }
    Err(cut(at, disk))
}

fn cut(at: u64, disk: &dyn StoredDisk) -> RestoreError {
    RestoreError::Port(PortError {
        kind: ErrorKind::Retryable,
        operation: "reading a restored disk back".into(),
        source: format!("it ended after {at} of {} bytes", disk.capacity()).into(),
    })
}

/// The cell that is compared at the moment.
struct Held<'a> {
    disk: &'a dyn StoredDisk,
    cell: u64,
    bytes: Option<Vec<u8>>,
}

impl Held<'_> {
    /// The first byte of `piece`, which lies at `at`, that is not the disk's.
    fn differs(&mut self, at: u64, piece: &[u8]) -> Result<Option<u64>, RestoreError> {
        let size = self.disk.cell_size();
        let (mut at, mut rest) = (at, piece);
        while !rest.is_empty() {
            let (cell, within) = (at / size, usize::try_from(at % size).unwrap_or(usize::MAX));
            let length = usize::try_from(size).unwrap_or(usize::MAX) - within;
            let (part, after) = rest.split_at(length.min(rest.len()));
            if self.cell != cell {
                (self.cell, self.bytes) = (cell, self.disk.cell(cell)?);
            }
            let wrong = match &self.bytes {
                None => part.iter().position(|byte| *byte != 0),
                Some(bytes) => {
                    let own = bytes.get(within..within + part.len()).unwrap_or_default();
                    if own == part {
                        None
                    } else {
                        Some(own.iter().zip(part).position(|(a, b)| a != b).unwrap_or(own.len()))
                    }
                }
            };
            if let Some(wrong) = wrong {
                return Ok(Some(at + wrong as u64));
            }
            (at, rest) = (at + part.len() as u64, after);
        }
        Ok(None)
    }
}
