//! Numbers out of bytes. Whatever the bytes are, nothing panics.

use crate::Reason;

/// Bytes of a structure, and what it is called when it is too short.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    /// The bytes `at..at + length`.
    pub(crate) fn part(self, at: usize, length: usize) -> Result<&'a [u8], Reason> {
        let part = at.checked_add(length).and_then(|end| self.bytes.get(at..end));
        part.ok_or_else(|| Reason::new(format!("the {} is shorter than it says", self.what)))
    }

    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Reason> {
        Ok(self.part(at, N)?.try_into().expect("a part has the length asked for"))
    }

    pub(crate) fn u8(self, at: usize) -> Result<u8, Reason> {
        Ok(self.array::<1>(at)?[0])
    }

    /// Little-endian, as the following.
    pub(crate) fn u32(self, at: usize) -> Result<u32, Reason> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Result<u64, Reason> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// Whether this text stands there; it does not when the bytes end before.
    pub(crate) fn has(self, at: usize, text: &[u8]) -> bool {
        self.part(at, text.len()).is_ok_and(|part| part == text)
    }
}

/// A size or number of bytes that must be held in memory.
pub(crate) fn index(number: impl Into<u64>) -> usize {
    usize::try_from(number.into()).expect("64-bit machine")
}
