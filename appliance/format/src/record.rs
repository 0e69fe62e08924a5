//! The record header (FORMAT.md 4.1).

use crate::cipher::{NONCE, TAG};
use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::{BLOCK, FormatError, RECORD_MAX};
use model::ChunkId;

const WHAT: &str = "record header";
const MAGIC: &[u8; 4] = b"HFRC";
const VERSION: u8 = 2;
const ZSTD: u16 = 1;
const ENCRYPTED: u16 = 2;

/// Bytes of a record header.
pub const RECORD_HEADER: usize = 128;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Content of a cell.
    Chunk = 1,
    /// Node of a DiskMap.
    Node = 2,
    /// Manifest of a recovery point.
    Manifest = 3,
    /// File that belongs to a VM, such as its `.vmx`.
    File = 4,
    /// Segments that a DiskMap refers to.
    Reach = 5,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Result<Self, FormatError> {
        match byte {
            1 => Ok(Self::Chunk),
            2 => Ok(Self::Node),
            3 => Ok(Self::Manifest),
            4 => Ok(Self::File),
            5 => Ok(Self::Reach),
            _ => Err(FormatError::unsupported(WHAT, format!("record kind {byte}"))),
        }
    }
}

/// How the plain bytes became the stored ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// They are the same.
    Raw,
    /// One zstd frame.
    Zstd,
}

pub(crate) fn to_flags(encoding: Encoding, encrypted: bool) -> u16 {
    let zstd = if encoding == Encoding::Zstd { ZSTD } else { 0 };
    zstd | if encrypted { ENCRYPTED } else { 0 }
}

pub(crate) fn from_flags(flags: u16) -> Result<(Encoding, bool), FormatError> {
    if flags & !(ZSTD | ENCRYPTED) != 0 {
        return Err(FormatError::unsupported(WHAT, format!("record flags {flags:#x}")));
    }
    let encoding = if flags & ZSTD == 0 { Encoding::Raw } else { Encoding::Zstd };
    Ok((encoding, flags & ENCRYPTED != 0))
}

/// How a record is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Epoch of the key, from 1.
    pub epoch: u32,
    /// Random.
    pub nonce: [u8; NONCE],
    /// Proves stored bytes and header to whoever has the key.
    pub tag: [u8; TAG],
}

/// What a record says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// Segment it was written to.
    pub segment: u32,
    /// Its number in the segment, from 0.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// How it is stored.
    pub encoding: Encoding,
    /// How it is encrypted, if it is.
    pub encryption: Option<Encryption>,
    /// Bytes before compression, 1 to [`RECORD_MAX`].
    pub plain_length: u32,
    /// Bytes after the header, 1 to [`RECORD_MAX`].
    pub stored_length: u32,
    /// ChunkId, node hash or content id.
    pub id: ChunkId,
    /// CRC-32 of the stored bytes.
    pub stored_crc: u32,
}

impl RecordHeader {
    /// Number of blocks of a record with `stored` bytes, header and padding included.
    #[must_use]
    pub fn blocks(stored: u32) -> u32 {
        let header = 128; // RECORD_HEADER
        (stored + header).div_ceil(4096)
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        let flags = to_flags(self.encoding, self.encryption.is_some());
        bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.repository.0);
        bytes[24..32].copy_from_slice(&u64::from(self.segment).to_le_bytes());
        bytes[32..36].copy_from_slice(&self.number.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.plain_length.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.stored_length.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.id.0);
        if let Some(Encryption { epoch, nonce, tag }) = self.encryption {
            bytes[44..48].copy_from_slice(&epoch.to_le_bytes());
            bytes[80..104].copy_from_slice(&nonce);
            bytes[104..120].copy_from_slice(&tag);
        }
        bytes[120..124].copy_from_slice(&self.stored_crc.to_le_bytes());
        put_crc(&mut bytes);
        bytes
    }

    /// What the tag proves beside the stored bytes: everything that is fixed before encryption,
    /// without the position, so that a record can be moved by somebody without the key.
    pub(crate) fn context(&self) -> [u8; 64] {
        let header = self.encode();
        let mut context = [0; 64];
        context[..20].copy_from_slice(&header[4..24]);
        context[20..].copy_from_slice(&header[36..80]);
        context
    }

    /// The header at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = Fields::new(WHAT, bytes).bytes(RECORD_HEADER)?;
        let mut fields = Fields::new(WHAT, bytes);
        fields.magic(MAGIC)?;
        check_crc(WHAT, bytes)?;
        let version = fields.u8()?;
        if version != VERSION {
            return Err(FormatError::unsupported(WHAT, format!("version {version}")));
        }
        let kind = Kind::from_byte(fields.u8()?)?;
        let (encoding, encrypted) = from_flags(fields.u16()?)?;
        let repository = RepositoryId(fields.array()?);
        let segment = crate::segment::serial(WHAT, fields.u64()?)?;
        let number = fields.u32()?;
        let plain_length = length(fields.u32()?)?;
        let stored_length = length(fields.u32()?)?;
        let epoch = fields.u32()?;
        let id = ChunkId(fields.array()?);
        let (nonce, tag) = (fields.array()?, fields.array()?);
        let stored_crc = fields.u32()?;
        if encrypted != (epoch != 0) || !encrypted && (nonce, tag) != ([0; NONCE], [0; TAG]) {
            return Err(FormatError::corrupt(WHAT, "encrypted or not, it contradicts itself"));
        }
        if encoding == Encoding::Raw && plain_length != stored_length {
            return Err(FormatError::corrupt(WHAT, "raw, and yet two lengths"));
        }
        Ok(Self {
            repository,
            segment,
            number,
            kind,
            encoding,
            encryption: encrypted.then_some(Encryption { epoch, nonce, tag }),
            plain_length,
            stored_length,
            id,
            stored_crc,
        })
    }
}

pub(crate) fn length(length: u32) -> Result<u32, FormatError> {
    if length == 0 || length as usize > RECORD_MAX {
        return Err(FormatError::corrupt(WHAT, format!("a length of {length}")));
    }
    Ok(length)
}

const _: () = assert!(RECORD_HEADER == 128 && BLOCK == 4096, "RecordHeader::blocks has them too");

#[cfg(test)]
pub(crate) fn sample() -> RecordHeader {
    RecordHeader {
        repository: RepositoryId([1; 16]),
        segment: 5,
        number: 3,
        kind: Kind::Chunk,
        encoding: Encoding::Zstd,
        encryption: None,
        plain_length: 4096,
        stored_length: 77,
        id: ChunkId([8; 32]),
        stored_crc: 0x0102_0304,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let encryption = Encryption { epoch: 7, nonce: [3; NONCE], tag: [4; TAG] };
        for encryption in [None, Some(encryption)] {
            let header = RecordHeader { encryption, ..sample() };
            let bytes = header.encode();
            assert_eq!(RecordHeader::decode(&bytes), Ok(header));
            for bit in 0..RECORD_HEADER * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(RecordHeader::decode(&damaged).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_later_versions_use_is_refused_now() {
        for at in [4, 5, 7, 44, 80, 119] {
            let mut bytes = sample().encode();
            bytes[at] = 0x55;
            put_crc(&mut bytes);
            assert!(RecordHeader::decode(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], b"HFRC\x02\x01\x01\x00");
        assert_eq!(
            bytes[24..48],
            hex::decode(
                "0500000000000000030000000010\
            00004d00000000000000"
            )
            .unwrap()[..]
        );
        assert_eq!(crc32fast::hash(&bytes[..124]).to_le_bytes(), bytes[124..]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = RecordHeader::decode(&bytes);
        }
    }
}
