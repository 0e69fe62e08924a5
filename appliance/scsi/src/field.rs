//! Big-endian fields of a reply; out of range is an error, never a panic.

use crate::error::{DecodeError, Problem};

/// A reply with its name for errors.
#[derive(Clone, Copy)]
pub(crate) struct Reply<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reply<'a> {
    pub(crate) fn new(name: &'static str, bytes: &'a [u8]) -> Self {
        Self { name, bytes }
    }

    pub(crate) fn error(self, problem: Problem) -> DecodeError {
        DecodeError::new(self.name, problem)
    }

    pub(crate) fn len(self) -> usize {
        self.bytes.len()
    }

    /// The `length` bytes from `at` on.
    pub(crate) fn slice(self, at: usize, length: usize) -> Result<&'a [u8], DecodeError> {
        let wanted = at.saturating_add(length);
        self.bytes
            .get(at..wanted)
            .ok_or_else(|| self.error(Problem::Truncated { wanted, got: self.bytes.len() }))
    }

    pub(crate) fn u8(self, at: usize) -> Result<u8, DecodeError> {
        self.slice(at, 1).map(|bytes| bytes[0])
    }

    pub(crate) fn u16(self, at: usize) -> Result<u16, DecodeError> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Result<u32, DecodeError> {
        self.array(at).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Result<u64, DecodeError> {
        self.array(at).map(u64::from_be_bytes)
    }

    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], DecodeError> {
        let bytes = self.slice(at, N)?;
        Ok(bytes.try_into().expect("slice returns exactly N bytes"))
    }
}

/// Text of a fixed-width field for people: padding removed, anything unprintable as `?`.
pub(crate) fn ascii(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| match byte {
        0 => ' ',
        0x20..=0x7e => char::from(byte),
        _ => '?',
    };
    bytes.iter().map(shown).collect::<String>().trim().to_owned()
}
