//! The header of a further volume (FORMAT.md 3.1): which repository it belongs to, and as which.

use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::segment::check_version;
use crate::{BLOCK, FormatError};

const WHAT: &str = "volume header";
const VERSION: u16 = 2;
const USED: usize = 28;

/// What the file `volume` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeHeader {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// Its number, 1 to 255.
    pub number: u8,
}

impl VolumeHeader {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(b"HFVL");
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 2]);
        block.extend_from_slice(&self.repository.0);
        block.extend_from_slice(&u32::from(self.number).to_le_bytes());
        block.resize(BLOCK, 0);
        put_crc(&mut block);
        block
    }

    /// From the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != BLOCK {
            return Err(FormatError::corrupt(WHAT, format!("it has {} bytes", bytes.len())));
        }
        let mut fields = Fields::new(WHAT, bytes);
        fields.magic(b"HFVL")?;
        check_crc(WHAT, bytes)?;
        check_version(WHAT, VERSION, fields.u16()?)?;
        fields.zeros(2)?;
        let repository = RepositoryId(fields.array()?);
        let number = fields.u32()?;
        fields.zeros(BLOCK - 4 - USED)?;
        match u8::try_from(number) {
            Ok(number @ 1..) => Ok(Self { repository, number }),
            _ => Err(FormatError::corrupt(WHAT, format!("volume number {number}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let header = VolumeHeader { repository: RepositoryId([4; 16]), number: 255 };
        let block = header.encode();
        assert_eq!(VolumeHeader::decode(&block), Ok(header));
        for bit in 0..BLOCK * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(VolumeHeader::decode(&damaged).is_err(), "bit {bit}");
        }
        let zero = VolumeHeader { number: 0, ..header }.encode();
        assert!(VolumeHeader::decode(&zero).is_err());
        assert!(VolumeHeader::decode(&block[1..]).is_err());
    }
}
