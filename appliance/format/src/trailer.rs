//! The trailer of a sealed segment (FORMAT.md 4.4): where the footer is, what it must hash to, and
//! what the table of block checksums must hash to. It stands on both sides of the parity.

use crate::fields::{Fields, check_crc, put_crc};
use crate::footer::{ENTRY, FOOTER_HEAD};
use crate::header::RepositoryId;
use crate::parity::{Geometry, Protection};
use crate::segment::{Class, check_version, serial};
use crate::{BLOCK, FormatError};

const WHAT: &str = "segment trailer";
const VERSION: u16 = 2;
const USED: usize = 140;

/// What the trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// The segment's serial.
    pub serial: u32,
    /// What the segment holds.
    pub class: Class,
    /// How long its chunks were expected to live.
    pub cohort: u8,
    /// Epoch of its key; 0: not encrypted.
    pub epoch: u32,
    /// Where the footer begins: the length of the data.
    pub footer_offset: u64,
    /// Its length in bytes.
    pub footer_length: u64,
    /// Its BLAKE3: the seal of the segment.
    pub seal: [u8; 32],
    /// Where everything after the footer is.
    pub geometry: Geometry,
    /// BLAKE3 of the table.
    pub table_hash: [u8; 32],
}

/// Which of the two trailers were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailerCopies {
    /// The one before the parity; `None`: it was not needed and not read.
    pub first: Option<bool>,
    /// The last block of the file.
    pub last: bool,
}

/// A read that failed, or what was read is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E: std::error::Error + 'static> {
    /// The caller's read failed.
    #[error(transparent)]
    Read(E),
    /// What was read cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Trailer {
    /// The block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(b"HFTR");
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[self.class as u8, self.cohort]);
        block.extend_from_slice(&self.repository.0);
        block.extend_from_slice(&u64::from(self.serial).to_le_bytes());
        block.extend_from_slice(&self.footer_offset.to_le_bytes());
        block.extend_from_slice(&self.footer_length.to_le_bytes());
        block.extend_from_slice(&self.seal);
        for length in [
            self.geometry.protected_length(),
            self.geometry.parity_length(),
            self.geometry.table_length(),
        ] {
            block.extend_from_slice(&length.to_le_bytes());
        }
        block.extend_from_slice(&self.table_hash);
        block.extend_from_slice(&self.epoch.to_le_bytes());
        block.resize(BLOCK, 0);
        put_crc(&mut block);
        block
    }

    /// The trailer from one of its blocks in a file that is `file_length` bytes long.
    pub fn decode(block: &[u8], file_length: u64) -> Result<Self, FormatError> {
        let corrupt = |problem: &str| FormatError::corrupt(WHAT, problem);
        let block = Fields::new(WHAT, block).bytes(BLOCK)?;
        let mut fields = Fields::new(WHAT, block);
        fields.magic(b"HFTR")?;
        check_crc(WHAT, block)?;
        check_version(WHAT, VERSION, fields.u16()?)?;
        let class = Class::from_byte(WHAT, fields.u8()?)?;
        let cohort = fields.u8()?;
        let repository = RepositoryId(fields.array()?);
        let serial = serial(WHAT, fields.u64()?)?;
        let footer_offset = fields.u64()?;
        let footer_length = fields.u64()?;
        let seal = fields.array()?;
        let geometry = Geometry::new(fields.u64()?)
            .filter(|geometry| geometry.file_length() == file_length)
            .ok_or_else(|| corrupt("the lengths it names are not those of the file"))?;
        if (fields.u64()?, fields.u64()?) != (geometry.parity_length(), geometry.table_length()) {
            return Err(corrupt("the lengths of parity and table do not follow from the data's"));
        }
        let table_hash = fields.array()?;
        let epoch = fields.u32()?;
        fields.zeros(BLOCK - 4 - USED)?;
        // Behind the segment's header each entry's record has at least one block: this bounds what
        // a reader of the footer has to take into memory.
        let records = (footer_offset / BLOCK as u64).checked_sub(1);
        let entries = footer_length.checked_sub(FOOTER_HEAD as u64);
        let entries = entries.filter(|bytes| bytes.is_multiple_of(ENTRY as u64));
        let fits = footer_offset.is_multiple_of(BLOCK as u64)
            && entries.is_some_and(|bytes| records.is_some_and(|all| bytes / ENTRY as u64 <= all))
            && footer_length.checked_next_multiple_of(BLOCK as u64)
                == geometry.protected_length().checked_sub(footer_offset);
        if !fits {
            return Err(corrupt("the footer it names does not fit the data"));
        }
        Ok(Self {
            repository,
            serial,
            class,
            cohort,
            epoch,
            footer_offset,
            footer_length,
            seal,
            geometry,
            table_hash,
        })
    }

    /// The trailer of a file that is `file_length` bytes long and read by `read`: the last block,
    /// or, when that is wrong, the one before the parity.
    pub fn read<E: std::error::Error>(
        file_length: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(Self, TrailerCopies), ReadError<E>> {
        let geometry = Geometry::of_file(file_length)
            .ok_or_else(|| FormatError::corrupt("segment", "its length is impossible"))?;
        let [first, last] = geometry.trailers();
        let mut block = vec![0; BLOCK];
        read(last, &mut block).map_err(ReadError::Read)?;
        let wrong = match Self::decode(&block, file_length) {
            Ok(trailer) => return Ok((trailer, TrailerCopies { first: None, last: true })),
            Err(wrong) => wrong,
        };
        read(first, &mut block).map_err(ReadError::Read)?;
        match Self::decode(&block, file_length) {
            Ok(trailer) => Ok((trailer, TrailerCopies { first: Some(true), last: false })),
            Err(_) => Err(wrong.into()),
        }
    }

    /// Everything that follows the protected bytes: trailer, table, parity, table, trailer.
    #[must_use]
    pub fn tail(&self, protection: &Protection) -> Vec<u8> {
        let Protection { geometry, parity, table } = protection;
        let length = geometry.file_length() - geometry.protected_length();
        let mut tail = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let put_table = |tail: &mut Vec<u8>| {
            tail.extend_from_slice(table);
            tail.resize(tail.len().next_multiple_of(BLOCK), 0);
        };
        tail.extend_from_slice(&self.encode());
        put_table(&mut tail);
        tail.extend_from_slice(parity);
        put_table(&mut tail);
        tail.extend_from_slice(&self.encode());
        tail
    }
}
