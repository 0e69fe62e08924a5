//! A file that is mostly holes.

use block::{ReadAt, ReadError};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes at some offsets, zeros elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Image {
    length: u64,
    /// Offset -> bytes; pieces do not overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    /// Puts bytes where none were put before; the file becomes as long as it must.
    pub(super) fn put(&mut self, offset: u64, bytes: Vec<u8>) {
        let end = offset + bytes.len() as u64;
        let before = self.pieces.range(..end).next_back();
        assert!(before.is_none_or(|(at, piece)| at + piece.len() as u64 <= offset), "an overlap");
        self.extend(end);
        self.pieces.insert(offset, bytes);
    }

    /// Makes the file at least this long.
    pub(super) fn extend(&mut self, length: u64) {
        self.length = self.length.max(length);
    }

    /// The whole file; only for small ones.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let length = usize::try_from(self.length).expect("a small file");
        self.read_vec(0, length).expect("all of it is there")
    }

    /// Writes a sparse file.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.length)?;
        self.pieces.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
    }
}

impl ReadAt for Image {
    fn size(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.length)?;
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let index = |value: u64| usize::try_from(value).expect("within the buffer or a piece");
        let first = self.pieces.range(..=offset).next_back().map_or(offset, |(at, _)| *at);
        for (at, piece) in self.pieces.range(first..end) {
            let (from, to) = (offset.max(*at), end.min(at + piece.len() as u64));
            if from < to {
                buffer[index(from - offset)..index(to - offset)]
                    .copy_from_slice(&piece[index(from - at)..index(to - at)]);
            }
        }
        Ok(())
    }
}
