//! The segment header (FORMAT.md 4).

use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::{BLOCK, FormatError};
use serde::{Deserialize, Serialize};

const WHAT: &str = "segment header";
const MAGIC: &[u8; 4] = b"HFSG";
const VERSION: u16 = 2;
const USED: usize = 36;

/// What kind of records a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Class {
    /// Chunks.
    Data = 1,
    /// Map nodes, files, manifests, reaches.
    Metadata = 2,
}

impl Class {
    pub(crate) fn from_byte(what: &'static str, byte: u8) -> Result<Self, FormatError> {
        match byte {
            1 => Ok(Self::Data),
            2 => Ok(Self::Metadata),
            _ => Err(FormatError::unsupported(what, format!("segment class {byte}"))),
        }
    }
}

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// Its serial.
    pub serial: u32,
    /// What it holds.
    pub class: Class,
    /// How long its chunks are expected to live; for people and placement.
    pub cohort: u8,
    /// Epoch of its key; 0: not encrypted.
    pub epoch: u32,
}

impl SegmentHeader {
    /// The block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[self.class as u8, self.cohort]);
        block.extend_from_slice(&self.repository.0);
        block.extend_from_slice(&u64::from(self.serial).to_le_bytes());
        block.extend_from_slice(&self.epoch.to_le_bytes());
        block.resize(BLOCK, 0);
        put_crc(&mut block);
        block
    }

    /// The header from the first block of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let block = Fields::new(WHAT, bytes).bytes(BLOCK)?;
        let mut fields = Fields::new(WHAT, block);
        fields.magic(MAGIC)?;
        check_crc(WHAT, block)?;
        check_version(WHAT, VERSION, fields.u16()?)?;
        let class = Class::from_byte(WHAT, fields.u8()?)?;
        let cohort = fields.u8()?;
        let repository = RepositoryId(fields.array()?);
        let serial = serial(WHAT, fields.u64()?)?;
        let epoch = fields.u32()?;
        fields.zeros(BLOCK - 4 - USED)?;
        Ok(Self { repository, serial, class, cohort, epoch })
    }
}

pub(crate) fn check_version(what: &'static str, own: u16, found: u16) -> Result<(), FormatError> {
    if found == own {
        return Ok(());
    }
    Err(FormatError::unsupported(what, format!("version {found}")))
}

pub(crate) fn serial(what: &'static str, serial: u64) -> Result<u32, FormatError> {
    u32::try_from(serial)
        .map_err(|_| FormatError::corrupt(what, format!("a segment serial of {serial}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_survives_and_its_bits_are_checked() {
        let header = SegmentHeader {
            repository: RepositoryId([3; 16]),
            serial: 9,
            class: Class::Metadata,
            cohort: 4,
            epoch: 5,
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        for at in 0..BLOCK {
            let mut damaged = block.clone();
            damaged[at] ^= 0x20;
            assert!(SegmentHeader::decode(&damaged).is_err(), "byte {at}");
        }
        assert!(SegmentHeader::decode(&block[1..]).is_err());
    }
}
