//! Footer and trailer of a sealed segment (FORMAT.md 4.2).

use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::record::{Encoding, Kind, RecordHeader, length};
use crate::segment::{Class, check_version, serial};
use crate::{BLOCK, FormatError, Place, SEGMENT_MAX};
use model::ChunkId;

const FOOTER: &str = "segment footer";
const TRAILER: &str = "segment trailer";
const VERSION: u16 = 1;
pub(crate) const FOOTER_HEAD: usize = 96;
pub(crate) const ENTRY: usize = 56;
/// Where the hash of the data stands in a footer.
pub(crate) const DATA_HASH_AT: std::ops::Range<usize> = 48..80;

/// Bytes of the trailer, the last ones of the file.
pub const TRAILER_BYTES: usize = 128;

/// One record, as the footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Id of its content.
    pub id: ChunkId,
    /// First block in the segment.
    pub block: u32,
    /// Bytes after the header.
    pub stored_length: u32,
    /// Bytes before compression.
    pub plain_length: u32,
    /// Number in the segment.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// How it is stored.
    pub encoding: Encoding,
    /// CRC-32 of the stored bytes.
    pub stored_crc: u32,
}

impl Entry {
    /// Where the record lies in segment `segment`; `None` when it cannot lie there.
    #[must_use]
    pub fn place(&self, segment: u32) -> Option<Place> {
        Place::new(segment, self.block, RecordHeader::blocks(self.stored_length))
    }
}

/// Index of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// The segment's serial.
    pub serial: u32,
    /// What the segment holds.
    pub class: Class,
    /// Bytes before the footer.
    pub data_length: u64,
    /// BLAKE3 of these bytes.
    pub data_hash: [u8; 32],
    /// Sum of the plain lengths.
    pub plain_bytes: u64,
    /// Ascending by (id, block).
    pub entries: Vec<Entry>,
}

/// What the trailer says: where the footer is and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// The segment's serial.
    pub serial: u32,
    /// What the segment holds.
    pub class: Class,
    /// Where the footer begins.
    pub footer_offset: u64,
    /// Its length in bytes.
    pub footer_length: u64,
    /// Its BLAKE3: the seal of the segment.
    pub seal: [u8; 32],
}

/// Bytes that footer, zeros and trailer take for `records` records.
#[must_use]
pub fn tail_bytes(records: usize) -> usize {
    (FOOTER_HEAD + ENTRY * records + TRAILER_BYTES).next_multiple_of(BLOCK)
}

impl Footer {
    /// Footer, zeros and trailer, and the seal. Sorts the entries.
    #[must_use]
    pub fn encode(&mut self) -> (Vec<u8>, [u8; 32]) {
        self.entries.sort_unstable_by_key(|entry| (entry.id, entry.block));
        let total = tail_bytes(self.entries.len());
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(b"HFFT");
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.class as u8, 0]);
        bytes.extend_from_slice(&self.repository.0);
        bytes.extend_from_slice(&u64::from(self.serial).to_le_bytes());
        let count = u32::try_from(self.entries.len()).expect("a segment has at most 2^20 blocks");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.data_length.to_le_bytes());
        bytes.extend_from_slice(&self.data_hash);
        bytes.extend_from_slice(&self.plain_bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for entry in &self.entries {
            encode_entry(entry, &mut bytes);
        }
        let trailer = Trailer {
            repository: self.repository,
            serial: self.serial,
            class: self.class,
            footer_offset: self.data_length,
            footer_length: bytes.len() as u64,
            seal: *blake3::hash(&bytes).as_bytes(),
        };
        bytes.resize(total - TRAILER_BYTES, 0);
        bytes.extend_from_slice(&trailer.encode());
        (bytes, trailer.seal)
    }

    /// The footer that `trailer` points at.
    pub fn decode(bytes: &[u8], trailer: &Trailer) -> Result<Self, FormatError> {
        let corrupt = |problem: &str| FormatError::corrupt(FOOTER, problem);
        if *blake3::hash(bytes).as_bytes() != trailer.seal {
            return Err(corrupt("its hash is not the seal"));
        }
        let mut fields = Fields::new(FOOTER, bytes);
        fields.magic(b"HFFT")?;
        check_version(FOOTER, VERSION, fields.u16()?)?;
        let class = Class::from_byte(FOOTER, fields.u8()?)?;
        fields.zeros(1)?;
        let repository = RepositoryId(fields.array()?);
        let serial = serial(FOOTER, fields.u64()?)?;
        let count = fields.u32()? as usize;
        fields.zeros(4)?;
        let data_length = fields.u64()?;
        let data_hash = fields.array()?;
        let plain_bytes = fields.u64()?;
        fields.zeros(8)?;
        if Some(bytes.len()) != count.checked_mul(ENTRY).and_then(|b| b.checked_add(FOOTER_HEAD)) {
            return Err(corrupt("its length and its count differ"));
        }
        let entries: Vec<Entry> =
            (0..count).map(|_| decode_entry(&mut fields)).collect::<Result<_, _>>()?;
        let ends_in_data = |entry: &Entry| {
            entry.place(serial).is_some_and(|p| p.offset() + p.length() as u64 <= data_length)
        };
        if !entries.iter().all(ends_in_data) {
            return Err(corrupt("a record lies outside of the data"));
        }
        let footer =
            Self { repository, serial, class, data_length, data_hash, plain_bytes, entries };
        let same = (repository, serial, class, data_length)
            == (trailer.repository, trailer.serial, trailer.class, trailer.footer_offset);
        if same { Ok(footer) } else { Err(corrupt("it and the trailer differ")) }
    }
}

fn encode_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&entry.id.0);
    for number in [entry.block, entry.stored_length, entry.plain_length, entry.number] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[entry.kind as u8, 0]);
    bytes.extend_from_slice(&entry.encoding.flags().to_le_bytes());
    bytes.extend_from_slice(&entry.stored_crc.to_le_bytes());
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<Entry, FormatError> {
    let id = ChunkId(fields.array()?);
    let block = fields.u32()?;
    let stored_length = length(fields.u32()?)?;
    let plain_length = length(fields.u32()?)?;
    let number = fields.u32()?;
    let kind = Kind::from_byte(fields.u8()?)?;
    fields.zeros(1)?;
    let encoding = Encoding::from_flags(fields.u16()?)?;
    let stored_crc = fields.u32()?;
    Ok(Entry { id, block, stored_length, plain_length, number, kind, encoding, stored_crc })
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..4].copy_from_slice(b"HFTR");
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = self.class as u8;
        bytes[8..24].copy_from_slice(&self.repository.0);
        bytes[24..32].copy_from_slice(&u64::from(self.serial).to_le_bytes());
        bytes[32..40].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.footer_length.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.seal);
        put_crc(&mut bytes);
        bytes
    }

    /// The trailer from the last bytes of a file that is `file_length` bytes long.
    pub fn decode(bytes: &[u8], file_length: u64) -> Result<Self, FormatError> {
        let bytes = Fields::new(TRAILER, bytes).bytes(TRAILER_BYTES)?;
        let mut fields = Fields::new(TRAILER, bytes);
        fields.magic(b"HFTR")?;
        check_crc(TRAILER, bytes)?;
        check_version(TRAILER, VERSION, fields.u16()?)?;
        let class = Class::from_byte(TRAILER, fields.u8()?)?;
        fields.zeros(1)?;
        let repository = RepositoryId(fields.array()?);
        let serial = serial(TRAILER, fields.u64()?)?;
        let footer_offset = fields.u64()?;
        let footer_length = fields.u64()?;
        let seal = fields.array()?;
        fields.zeros(44)?;
        let records = footer_length.checked_sub(FOOTER_HEAD as u64).map(|b| b / ENTRY as u64);
        let tail = records
            .filter(|&records| records <= SEGMENT_MAX / BLOCK as u64)
            .and_then(|records| usize::try_from(records).ok())
            .map(|records| tail_bytes(records) as u64);
        let fits = tail.and_then(|tail| footer_offset.checked_add(tail)) == Some(file_length);
        if !fits || footer_offset % BLOCK as u64 != 0 || file_length > SEGMENT_MAX {
            return Err(FormatError::corrupt(TRAILER, "the footer it names does not fit the file"));
        }
        Ok(Self { repository, serial, class, footer_offset, footer_length, seal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(records: u32) -> Footer {
        let entry = |number: u32| Entry {
            id: ChunkId([u8::try_from(number * 37 % 251).unwrap(); 32]),
            block: 1 + number,
            stored_length: 100,
            plain_length: 4096,
            number,
            kind: Kind::Chunk,
            encoding: Encoding::Zstd,
            stored_crc: number,
        };
        Footer {
            repository: RepositoryId([1; 16]),
            serial: 4,
            class: Class::Data,
            data_length: BLOCK as u64 * (1 + u64::from(records)),
            data_hash: [5; 32],
            plain_bytes: 4096 * u64::from(records),
            entries: (0..records).map(entry).collect(),
        }
    }

    fn decode(bytes: &[u8], data_length: u64) -> Result<Footer, FormatError> {
        let last = &bytes[bytes.len() - TRAILER_BYTES..];
        let trailer = Trailer::decode(last, data_length + bytes.len() as u64)?;
        let length = usize::try_from(trailer.footer_length).unwrap();
        Footer::decode(&bytes[..length], &trailer)
    }

    #[test]
    fn footers_of_all_sizes_survive() {
        for records in [0, 1, 2, 69, 70, 71, 200] {
            let mut footer = sample(records);
            let (bytes, _) = footer.encode();
            assert_eq!(bytes.len() % BLOCK, 0);
            assert_eq!(bytes.len(), tail_bytes(records as usize));
            assert_eq!(decode(&bytes, footer.data_length), Ok(footer));
        }
    }

    #[test]
    fn every_flipped_byte_but_those_between_is_found() {
        let mut footer = sample(3);
        let (bytes, _) = footer.encode();
        let footer_end = 96 + 3 * 56;
        for at in (0..footer_end).chain(bytes.len() - TRAILER_BYTES..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged, footer.data_length).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_trailer_and_footer_give_a_value_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 128..600), length in any::<u64>(),
        ) {
            bytes[..4].copy_from_slice(b"HFTR");
            put_crc(&mut bytes[..TRAILER_BYTES]);
            let _ = Trailer::decode(&bytes, length);
            bytes[..4].copy_from_slice(b"HFFT");
            let trailer = Trailer {
                repository: RepositoryId([0; 16]), serial: 0, class: Class::Data,
                footer_offset: length, footer_length: bytes.len() as u64,
                seal: *blake3::hash(&bytes).as_bytes(),
            };
            let _ = Footer::decode(&bytes, &trailer);
        }
    }
}
