//! Replacing a damaged segment's file by the right bytes: the only case in which the file of a
//! sealed segment is replaced (FORMAT.md 7).
//!
//! The seal names footer and data, and nothing else of the file. Parity, tables and trailers follow
//! from them and are computed here: else a daemon that was taken over could put a file without
//! working parity in the place of a good one, and the next bad sector would be lost.

use super::{FileFact, Keeper};
use crate::inspect::Inspected;
use crate::storage::Read;
use crate::wire::Outcome;
use crate::{WardenError, layout};
use format::BLOCK;
use format::parity::{ParityWriter, Protection};
use format::trailer::Trailer;
use ledger::Event;
use model::ErrorKind;
use retention::Reading;
use std::io;
use std::ops::Range;

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
        let problem = match blocks {
            None => Some(format!("the new file of segment {serial:08x} is not what was sealed")),
            Some(0) if !known.distrusted => {
                Some(format!("segment {serial:08x} is right as it is; there is nothing to repair"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(self.deny(None, "repair", problem, reading));
        }
        let blocks = blocks.unwrap_or(0);
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

    /// Blocks in which the old file differs; `None` when the new one is not what was sealed: its
    /// data is not what its footer says, or what lies behind does not follow from it.
    fn compare_whole(
        &self,
        volume: u8,
        serial: u32,
        inspected: &Inspected,
    ) -> Result<Option<u64>, WardenError> {
        let path = layout::open(volume, serial);
        let failed = |error| WardenError::io("reading", &*path)(error);
        let new = self.storage.open(&path).map_err(WardenError::io("opening", &*path))?;
        let old = self.storage.open(&layout::sealed(volume, serial)).ok();
        let Inspected { sealed, trailer, data_hash } = inspected;
        let protected = trailer.geometry.protected_length();
        let (mut hasher, mut parity, mut wrong) = (blake3::Hasher::new(), ParityWriter::new(), 0);
        each_piece(&*new, 0..protected, |at, bytes| {
            let data = trailer.footer_offset.saturating_sub(at).min(bytes.len() as u64);
            hasher.update(&bytes[..usize::try_from(data).unwrap_or(PIECE)]);
            parity.write(bytes);
            wrong += wrong_blocks(old.as_deref(), at, bytes);
        })
        .map_err(failed)?;
        let Some(tail) = parity.finish().and_then(|made| tail(trailer, &made)) else {
            return Ok(None);
        };
        let (mut expected, mut right) = (&*tail, true);
        each_piece(&*new, protected..sealed.bytes, |at, bytes| {
            let (now, later) = expected.split_at(bytes.len().min(expected.len()));
            right &= now == bytes;
            expected = later;
            wrong += wrong_blocks(old.as_deref(), at, bytes);
        })
        .map_err(failed)?;
        let right = right && expected.is_empty() && *hasher.finalize().as_bytes() == *data_hash;
        Ok(right.then_some(wrong))
    }
}

/// What must lie behind the protected bytes; `None`: the trailer names another table.
fn tail(trailer: &Trailer, made: &Protection) -> Option<Vec<u8>> {
    let same = *blake3::hash(&made.table).as_bytes() == trailer.table_hash;
    same.then(|| trailer.tail(made))
}

fn each_piece(
    file: &dyn Read,
    Range { start, end }: Range<u64>,
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let (mut at, mut buffer) = (start, vec![0; PIECE]);
    while at < end {
        let length = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
        file.read(at, &mut buffer[..length])?;
        take(at, &buffer[..length]);
        at += length as u64;
    }
    Ok(())
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
