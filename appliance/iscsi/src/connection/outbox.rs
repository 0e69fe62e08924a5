//! Bytes waiting to be written: many small PDUs leave in one write.

use crate::digest;
use crate::pdu::HEADER;

/// A peer that makes us answer but never reads what we say is cut off at this many bytes.
const BACKLOG_MAX: usize = 1 << 20;

/// Invariant: `bytes[sent..]` is a whole number of PDUs, less what was written of the first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes among them that the peer asked for or is bound to take: commands' data.
    data: usize,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
}

impl Outbox {
    /// Appends a PDU with its digests; the data length is set here.
    pub(crate) fn push(&mut self, mut header: [u8; HEADER], data: &[u8]) {
        let length = u32::try_from(data.len()).expect("texts are checked against 24 bits");
        debug_assert!(length < 1 << 24, "a data segment has 24 bits of length");
        header[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        self.bytes.extend_from_slice(&header);
        if self.header_digest {
            self.bytes.extend_from_slice(&digest::of(&header));
        }
        if data.is_empty() {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        let padded = (self.bytes.len() - start).next_multiple_of(4);
        self.bytes.resize(start + padded, 0);
        if self.data_digest {
            let crc = digest::of(&self.bytes[start..]);
            self.bytes.extend_from_slice(&crc);
        }
    }

    /// Appends a PDU that carries a part of a command's data. Commands in flight are its limit.
    pub(crate) fn push_data(&mut self, header: [u8; HEADER], data: &[u8]) {
        let before = self.bytes.len();
        self.push(header, data);
        self.data += self.bytes.len() - before;
    }

    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(crate) fn written(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            (self.sent, self.data) = (0, 0);
        }
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.pending().len() > BACKLOG_MAX + self.data
    }
}
