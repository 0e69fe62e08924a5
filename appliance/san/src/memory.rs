//! Buffers whose memory begins on a page, as direct I/O wants it.

use bytes::{Buf as _, BytesMut};

/// Alignment of [`aligned`]; no device wants more.
pub(crate) const PAGE: usize = 4096;

/// `length` bytes of zeros that begin on a page. The buffer owns its memory alone, so it can go
/// round like any other.
pub(crate) fn aligned(length: usize) -> BytesMut {
    let mut buffer = BytesMut::zeroed(length + PAGE - 1);
    buffer.advance(buffer.as_ptr().align_offset(PAGE));
    buffer.truncate(length);
    buffer
}

/// Whether the memory begins where a device with this mask (alignment minus one) can reach it.
pub(crate) fn fits(buffer: &BytesMut, mask: usize) -> bool {
    buffer.as_ptr().addr() & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_on_a_page_and_stays_there() {
        for length in [0, 1, 512, 4096, 262_144, 1 << 20] {
            let mut buffer = aligned(length);
            assert_eq!(buffer.len(), length);
            assert!(fits(&buffer, PAGE - 1));
            let first = buffer.as_ptr();
            buffer.resize(length / 2, 0);
            buffer.resize(length, 0);
            assert_eq!(buffer.as_ptr(), first, "going round does not move it");
        }
    }
}
