//! Bytes on their way into a segment.

use crate::segment::WRITE;
use format::BLOCK;
use std::ops::Deref;

/// What a buffer takes without moving: what makes it full, and a chunk of the usual size.
const ROOM: usize = WRITE + (1 << 20) + 2 * BLOCK;

/// Bytes whose first one lies at a block's boundary in memory, so that direct writes need no copy.
/// (One that a longer record makes grow may move: then they copy.)
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(ROOM + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK) % BLOCK;
        bytes.resize(start, 0);
        Self { bytes, start }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Zeros up to the end of the block.
    pub(crate) fn pad(&mut self) {
        self.bytes.resize(self.start + self.len().next_multiple_of(BLOCK), 0);
    }

    /// Empty again.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_block_and_stays_there_until_it_is_full() {
        let mut buffer = Buffer::new();
        for _ in 0..2 {
            while buffer.len() < WRITE {
                buffer.push(&[1; 1000]);
                buffer.pad();
                assert!(buffer.len().is_multiple_of(BLOCK));
                assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK));
            }
            assert!(buffer[..1000].iter().all(|&byte| byte == 1));
            assert!(buffer[1000..BLOCK].iter().all(|&byte| byte == 0));
            buffer.clear();
            assert!(buffer.is_empty());
        }
    }
}
