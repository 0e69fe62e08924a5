//! A disk of a recovery point as a streamOptimized VMDK: what hypervisors and their tools take.

use super::disks::{AHEAD, open};
use super::from_store;
use bytes::Bytes;
use console::{Chunks, EngineError, EngineResult};
use model::{ErrorKind, RecoveryPointId};
use repository::{Cell, DiskReader, Repository};
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc::{self, Sender};
use vmdk::{StreamSpec, StreamWriter, VmdkError};

/// Bytes of a piece that is handed on.
const PIECE: usize = 1 << 20;
/// Who exports is waiting; the smaller file of a higher level takes several times as long.
const LEVEL: u32 = 1;

/// Pieces of at most [`PIECE`] bytes or one grain, the last one empty; a thread of its own makes
/// them.
pub(super) fn stream(
    repository: &Repository,
    id: RecoveryPointId,
    disk: u32,
) -> EngineResult<Chunks> {
    let reader = open(repository, id, disk)?;
    let [a, b, c, d, ..] = id.0;
    let spec = StreamSpec {
        capacity: block::ReadAt::size(&reader),
        name: format!("disk-{disk}.vmdk"),
        // The highest bit off: all ones would mean that there is no disk.
        cid: u32::from_be_bytes([a & 0x7f, b, c, d]),
        adapter_type: "lsilogic".into(),
        level: LEVEL,
    };
    let (sender, chunks) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let end = write(&reader, spec, Pieces(sender.clone())).map(|()| Bytes::new());
        // A receiver that is gone has lost its client: there is nobody to tell.
        let _ = sender.blocking_send(end);
    });
    Ok(chunks)
}

fn write(reader: &DiskReader, spec: StreamSpec, to: Pieces) -> EngineResult<()> {
    let output = BufWriter::with_capacity(PIECE, to);
    let mut writer = StreamWriter::new(output, spec).map_err(|error| failed(&error))?;
    let grid = reader.grid();
    for cell in 0..grid.cells() {
        let Some(bounds) = grid.range(cell) else { break };
        if !reader.has_data(cell).map_err(|error| from_store(&error))? {
            continue;
        }
        let Cell::Data(bytes) = reader.cell(cell).map_err(|error| from_store(&error))? else {
            continue;
        };
        writer.grains(bounds.offset, &bytes).map_err(|error| failed(&error))?;
    }
    writer.finish().map_err(|error| failed(&error))?;
    Ok(())
}

/// Where the writer's bytes go.
struct Pieces(Sender<EngineResult<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty piece would be the end.
        if !bytes.is_empty() {
            let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(error: &VmdkError) -> EngineError {
    let title = "The disk cannot be written as a VMDK";
    EngineError::new(ErrorKind::Unsupported, "vmdk", title, model::chain(error))
        .next_step("Restore it as a raw image.")
}
