//! Copies of the ledger on the further volumes (FORMAT.md 2): so that each volume, taken alone, can
//! be read. They may lag; they are completed, never believed over the ledger itself, and never
//! newer than it, or the ledger was set back.

use crate::reader::piece;
use crate::state::State;
use crate::storage::{self, Storage};
use crate::{WardenError, layout};
use ledger::Head;
use ledger::note::NOTE_MAX;
use std::io;

/// The copy on one volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mirror {
    pub(crate) volume: u8,
    /// Right bytes of the copy; `None`: it has not been compared yet.
    length: Option<u64>,
}

fn io_error(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> WardenError {
    WardenError::io(operation, path)
}

impl Mirror {
    pub(crate) fn new(volume: u8) -> Self {
        Self { volume, length: None }
    }

    /// A copy that was signed for more leaves than the ledger has proves that the ledger was set
    /// back.
    pub(crate) fn check(
        &self,
        storage: &dyn Storage,
        repository: [u8; 16],
        state: &State,
    ) -> Result<(), WardenError> {
        let path = layout::on(self.volume, layout::HEAD);
        let Ok(note) = storage::read_all(storage, &path, NOTE_MAX as u64) else { return Ok(()) };
        let Ok(head) = Head::peek(repository, &note) else { return Ok(()) };
        let signed = state.signer().is_some_and(|key| Head::open(repository, &note, key).is_ok());
        if signed && head.size > state.size() {
            let (size, known) = (state.size(), head.size);
            return Err(WardenError::RolledBack { size, known, witness: path });
        }
        Ok(())
    }

    /// Brings the copy up to `length` bytes of leaves and to `head`; `true` when something had to
    /// be done.
    pub(crate) fn complete(
        &mut self,
        storage: &dyn Storage,
        length: u64,
        head: &str,
    ) -> Result<bool, WardenError> {
        if self.length == Some(length) {
            return Ok(false);
        }
        let (from, first) = (layout::LEAVES, self.length.is_none());
        let to = layout::on(self.volume, layout::LEAVES);
        let right = match self.length {
            Some(right) => right,
            None => common(storage, from, &to, length)?,
        };
        self.length = None;
        let mut file = match storage.reopen(&to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(&to, 0),
            other => other,
        }
        .map_err(io_error("opening", &to))?;
        let behind = right != length || copy_length(storage, &to)? != length;
        if behind {
            file.cut(right).map_err(io_error("cutting", &to))?;
            let leaves = storage.open(from).map_err(io_error("opening", from))?;
            let mut offset = right;
            while let Some(bytes) = piece(&*leaves, offset, length)? {
                offset += bytes.len() as u64;
                file.append(&bytes).map_err(io_error("appending to", &to))?;
            }
            file.sync().map_err(io_error("syncing", &to))?;
        }
        let path = layout::on(self.volume, layout::HEAD);
        let old = storage::read_all(storage, &path, NOTE_MAX as u64).unwrap_or_default();
        let changed = behind || old != head.as_bytes();
        if changed {
            storage::replace(storage, &path, head.as_bytes())
                .map_err(io_error("writing", &path))?;
        }
        self.length = Some(length);
        Ok(changed && first)
    }
}

fn copy_length(storage: &dyn Storage, path: &str) -> Result<u64, WardenError> {
    match storage.open(path).and_then(|file| file.length()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other.map_err(io_error("reading", path)),
    }
}

/// How many bytes at the beginning of two files are the same.
fn common(storage: &dyn Storage, one: &str, other: &str, length: u64) -> Result<u64, WardenError> {
    let length = length.min(copy_length(storage, other)?);
    if length == 0 {
        return Ok(0);
    }
    let left = storage.open(one).map_err(io_error("opening", one))?;
    let right = storage.open(other).map_err(io_error("opening", other))?;
    let mut offset = 0;
    while let Some(bytes) = piece(&*left, offset, length)? {
        let Some(copy) = piece(&*right, offset, length)? else { break };
        if bytes != copy {
            let same = bytes.iter().zip(&copy).take_while(|(a, b)| a == b).count();
            return Ok(offset + same as u64);
        }
        offset += bytes.len() as u64;
    }
    Ok(offset)
}
