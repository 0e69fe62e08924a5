//! Little-endian fields one after another, without a panic on short input.

use crate::FormatError;

/// Takes fields from the front of a byte string.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| FormatError::corrupt(self.what, "it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The magic, or what stands in its place.
    pub(crate) fn magic(&mut self, magic: &[u8]) -> Result<(), FormatError> {
        if self.bytes(magic.len())? == magic {
            Ok(())
        } else {
            Err(FormatError::corrupt(self.what, "its magic is missing"))
        }
    }

    /// Bytes that this version requires to be zero.
    pub(crate) fn zeros(&mut self, length: usize) -> Result<(), FormatError> {
        if self.bytes(length)?.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(FormatError::corrupt(self.what, "a byte that must be zero is not"))
        }
    }
}

/// `bytes` with the CRC-32 of all but its last four as its last four.
pub(crate) fn put_crc(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks what [`put_crc`] wrote.
pub(crate) fn check_crc(what: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or_else(|| FormatError::corrupt(what, "it is too short"))?;
    if crc32fast::hash(body) == u32::from_le_bytes(*crc) {
        Ok(())
    } else {
        Err(FormatError::corrupt(what, "its checksum is wrong"))
    }
}
