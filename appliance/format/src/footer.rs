//! The footer of a sealed segment (FORMAT.md 4.2): its index, and the seal.

use crate::fields::Fields;
use crate::header::RepositoryId;
use crate::parity::{Geometry, Protection};
use crate::record::{Encoding, Kind, RecordHeader, from_flags, length, to_flags};
use crate::segment::{Class, check_version, serial};
use crate::trailer::Trailer;
use crate::{BLOCK, FormatError, Place};
use model::ChunkId;

const FOOTER: &str = "segment footer";
const VERSION: u16 = 2;
pub(crate) const FOOTER_HEAD: usize = 96;
pub(crate) const ENTRY: usize = 56;
/// Where the hash of the data stands in a footer.
pub(crate) const DATA_HASH_AT: std::ops::Range<usize> = 48..80;

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
    /// It is encrypted, under the epoch of the segment.
    pub encrypted: bool,
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
    /// How long its chunks were expected to live.
    pub cohort: u8,
    /// Epoch of its key; 0: not encrypted.
    pub epoch: u32,
    /// Bytes before the footer.
    pub data_length: u64,
    /// BLAKE3 of these bytes.
    pub data_hash: [u8; 32],
    /// Sum of the plain lengths.
    pub plain_bytes: u64,
    /// Ascending by (id, block).
    pub entries: Vec<Entry>,
}

/// Bytes that a footer takes for `records` records, without its padding.
#[must_use]
pub fn footer_bytes(records: usize) -> u64 {
    (FOOTER_HEAD + ENTRY * records) as u64
}

/// Bytes of the file of a segment with `data` bytes and `records` records; `None` when no segment
/// can be so long.
#[must_use]
pub fn sealed_bytes(data: u64, records: usize) -> Option<u64> {
    let protected = data.checked_add(footer_bytes(records).next_multiple_of(BLOCK as u64))?;
    Geometry::new(protected).map(|geometry| geometry.file_length())
}

/// A footer as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFooter {
    /// Footer and zeros up to the next block.
    pub bytes: Vec<u8>,
    /// Bytes of the footer.
    pub length: u64,
    /// Its BLAKE3: the seal of the segment.
    pub seal: [u8; 32],
}

impl Footer {
    /// Its bytes and the seal. Sorts the entries.
    #[must_use]
    pub fn encode(&mut self) -> EncodedFooter {
        self.entries.sort_unstable_by_key(|entry| (entry.id, entry.block));
        let length = FOOTER_HEAD + ENTRY * self.entries.len();
        let mut bytes = Vec::with_capacity(length.next_multiple_of(BLOCK));
        bytes.extend_from_slice(b"HFFT");
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.class as u8, self.cohort]);
        bytes.extend_from_slice(&self.repository.0);
        bytes.extend_from_slice(&u64::from(self.serial).to_le_bytes());
        let count = u32::try_from(self.entries.len()).expect("a segment has at most 2^20 blocks");
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.data_length.to_le_bytes());
        bytes.extend_from_slice(&self.data_hash);
        bytes.extend_from_slice(&self.plain_bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for entry in &self.entries {
            encode_entry(entry, &mut bytes);
        }
        let seal = *blake3::hash(&bytes).as_bytes();
        bytes.resize(length.next_multiple_of(BLOCK), 0);
        EncodedFooter { bytes, length: length as u64, seal }
    }

    /// The trailer that goes with this footer, `encoded` by [`Self::encode`], and its protection.
    #[must_use]
    pub fn trailer(&self, encoded: &EncodedFooter, protection: &Protection) -> Trailer {
        Trailer {
            repository: self.repository,
            serial: self.serial,
            class: self.class,
            cohort: self.cohort,
            epoch: self.epoch,
            footer_offset: self.data_length,
            footer_length: encoded.length,
            seal: encoded.seal,
            geometry: protection.geometry,
            table_hash: *blake3::hash(&protection.table).as_bytes(),
        }
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
        let cohort = fields.u8()?;
        let repository = RepositoryId(fields.array()?);
        let serial = serial(FOOTER, fields.u64()?)?;
        let count = fields.u32()? as usize;
        let epoch = fields.u32()?;
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
        if entries.iter().any(|entry| entry.encrypted != (epoch != 0)) {
            return Err(corrupt("some records are encrypted and some are not"));
        }
        let footer = Self {
            repository,
            serial,
            class,
            cohort,
            epoch,
            data_length,
            data_hash,
            plain_bytes,
            entries,
        };
        let same = (repository, serial, class, cohort, epoch, data_length)
            == (
                trailer.repository,
                trailer.serial,
                trailer.class,
                trailer.cohort,
                trailer.epoch,
                trailer.footer_offset,
            );
        if same { Ok(footer) } else { Err(corrupt("it and the trailer differ")) }
    }
}

fn encode_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&entry.id.0);
    for number in [entry.block, entry.stored_length, entry.plain_length, entry.number] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[entry.kind as u8, 0]);
    bytes.extend_from_slice(&to_flags(entry.encoding, entry.encrypted).to_le_bytes());
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
    let (encoding, encrypted) = from_flags(fields.u16()?)?;
    let stored_crc = fields.u32()?;
    Ok(Entry {
        id,
        block,
        stored_length,
        plain_length,
        number,
        kind,
        encoding,
        encrypted,
        stored_crc,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::ParityWriter;
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
            encrypted: true,
            stored_crc: number,
        };
        Footer {
            repository: RepositoryId([1; 16]),
            serial: 4,
            class: Class::Data,
            cohort: 2,
            epoch: 9,
            data_length: BLOCK as u64 * (1 + u64::from(records)),
            data_hash: [5; 32],
            plain_bytes: 4096 * u64::from(records),
            entries: (0..records).map(entry).collect(),
        }
    }

    fn trailer(footer: &Footer, encoded: &EncodedFooter) -> Trailer {
        let mut writer = ParityWriter::new();
        writer.write(&vec![0; usize::try_from(footer.data_length).unwrap()]);
        writer.write(&encoded.bytes);
        footer.trailer(encoded, &writer.finish().unwrap())
    }

    #[test]
    fn footers_of_all_sizes_survive() {
        for records in [0, 1, 2, 71, 72, 200] {
            let mut footer = sample(records);
            let encoded = footer.encode();
            assert_eq!(encoded.bytes.len() % BLOCK, 0);
            let trailer = trailer(&footer, &encoded);
            let length = trailer.geometry.file_length();
            assert_eq!(sealed_bytes(footer.data_length, records as usize), Some(length));
            assert_eq!(Trailer::decode(&trailer.encode(), length), Ok(trailer));
            let bytes = &encoded.bytes[..usize::try_from(encoded.length).unwrap()];
            assert_eq!(Footer::decode(bytes, &trailer), Ok(footer));
        }
    }

    #[test]
    fn a_trailer_names_no_more_entries_than_there_is_room_for_records() {
        let mut footer = sample(200);
        let encoded = footer.encode();
        let right = trailer(&footer, &encoded);
        let length = right.geometry.file_length();
        // Nearly the whole file as its footer: a reader would take all of it into memory.
        let footer_offset = BLOCK as u64;
        let room = right.geometry.protected_length() - footer_offset;
        let footer_length = (room - FOOTER_HEAD as u64) / ENTRY as u64 * ENTRY as u64;
        let footer_length = footer_length + FOOTER_HEAD as u64;
        let greedy = Trailer { footer_offset, footer_length, ..right };
        assert_eq!(footer_length.next_multiple_of(BLOCK as u64), room, "it fits the lengths");
        assert!(Trailer::decode(&greedy.encode(), length).is_err());
        assert_eq!(Trailer::decode(&right.encode(), length), Ok(right));
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let mut footer = sample(3);
        let encoded = footer.encode();
        let trailer = trailer(&footer, &encoded);
        for at in 0..96 + 3 * 56 {
            let mut damaged = encoded.bytes[..96 + 3 * 56].to_vec();
            damaged[at] ^= 0x10;
            assert!(Footer::decode(&damaged, &trailer).is_err(), "byte {at}");
        }
    }

    #[test]
    fn plain_records_in_an_encrypted_segment_are_refused() {
        let mut footer = sample(3);
        footer.entries[1].encrypted = false;
        let encoded = footer.encode();
        let trailer = trailer(&footer, &encoded);
        assert!(Footer::decode(&encoded.bytes[..96 + 3 * 56], &trailer).is_err());
    }

    proptest! {
        #[test]
        fn any_footer_gives_a_value_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 96..600), offset in any::<u64>(),
        ) {
            bytes[..7].copy_from_slice(b"HFFT\x02\x00\x01");
            let mut footer = sample(0);
            let encoded = footer.encode();
            let trailer = Trailer {
                footer_offset: offset,
                footer_length: bytes.len() as u64,
                seal: *blake3::hash(&bytes).as_bytes(),
                ..trailer(&footer, &encoded)
            };
            let _ = Footer::decode(&bytes, &trailer);
        }
    }
}
