//! Replacing a damaged segment's file by the right bytes: the only case in which the file of a
//! sealed segment is replaced (FORMAT.md 7).

use super::{FileFact, Keeper};
use crate::inspect::Inspected;
use crate::storage::Read;
use crate::wire::Outcome;
use crate::{WardenError, layout};
use format::BLOCK;
use ledger::Event;
use model::ErrorKind;
use retention::Reading;
use std::io;

/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

impl Keeper {
    pub(super) fn repair(
        &mut self,
        volume: u8,
        serial: u32,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        self.has_volume(volume)?;
        let Some(known) = self.state.segment(serial).cloned() else {
            let problem = format!("there is no segment {serial:08x} on record");
            return Err(WardenError::Denied { problem, kind: ErrorKind::NotFound });
        };
        let damaged = self.files.get(&serial).copied();
        if damaged.is_some_and(|file| file.volume != volume) {
            let problem = format!("segment {serial:08x} lies on another volume than {volume}");
            return Err(self.deny(None, "repair", problem, reading));
        }
        let inspected = self.take_over(volume, serial)?;
        let same = (inspected.sealed.seal, inspected.sealed.bytes) == (known.seal, known.bytes);
        let blocks = if same { self.compare_whole(volume, serial, &inspected)? } else { None };
        let Some(blocks) = blocks else {
            let problem = format!("the new file of segment {serial:08x} is not what was sealed");
            return Err(self.deny(None, "repair", problem, reading));
        };
        // The leaf comes last: it says that the segment is trusted again. After a crash in between
        // the right file is there and not trusted, and the next scrub repeats this.
        self.put_in_place(volume, serial, damaged.is_some())?;
        self.files.insert(serial, FileFact { volume, bytes: known.bytes });
        self.record(vec![Event::Repaired { serial, blocks }], reading)?;
        Ok(Outcome::Repaired { blocks })
    }

    fn put_in_place(&self, volume: u8, serial: u32, replaces: bool) -> Result<(), WardenError> {
        let (from, to) = (layout::open(volume, serial), layout::sealed(volume, serial));
        if replaces {
            match self.storage.set_immutable(&to, false) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WardenError::io("unprotecting", to)(error));
                }
                _ => {}
            }
        }
        self.storage.rename(&from, &to).map_err(WardenError::io("renaming", from))?;
        self.sync_dir(&layout::segments_dir(volume))?;
        self.sync_dir(&layout::open_dir(volume))?;
        self.protect(&to)?;
        Ok(())
    }

    /// Blocks in which the old file differs; `None` when the new one's data is not what its footer
    /// says.
    fn compare_whole(
        &self,
        volume: u8,
        serial: u32,
        inspected: &Inspected,
    ) -> Result<Option<u64>, WardenError> {
        let path = layout::open(volume, serial);
        let new = self.storage.open(&path).map_err(WardenError::io("opening", &*path))?;
        let old = self.storage.open(&layout::sealed(volume, serial)).ok();
        let (mut hasher, mut wrong, mut at) = (blake3::Hasher::new(), 0, 0);
        let mut buffer = vec![0; PIECE];
        while at < inspected.sealed.bytes {
            let length = (inspected.sealed.bytes - at).min(PIECE as u64);
            let bytes = &mut buffer[..usize::try_from(length).unwrap_or(PIECE)];
            new.read(at, bytes).map_err(WardenError::io("reading", &*path))?;
            let hashed = inspected.data_length.saturating_sub(at).min(length);
            hasher.update(&bytes[..usize::try_from(hashed).unwrap_or(PIECE)]);
            wrong += wrong_blocks(old.as_deref(), at, bytes);
            at += length;
        }
        let right = *hasher.finalize().as_bytes() == inspected.data_hash;
        Ok(right.then_some(wrong))
    }
}

/// Blocks of `right`, which lies at `offset`, that the old file does not have.
fn wrong_blocks(old: Option<&dyn Read>, offset: u64, right: &[u8]) -> u64 {
    let mut block = [0; BLOCK];
    let differs = |(number, right): (u64, &[u8])| {
        let block = &mut block[..right.len()];
        let at = offset + number * BLOCK as u64;
        !old.is_some_and(|old| old.read(at, block).is_ok() && *block == *right)
    };
    (0..).zip(right.chunks(BLOCK)).map(differs).filter(|differs| *differs).count() as u64
}
