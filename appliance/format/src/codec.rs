//! Plain bytes to a record and back, with contexts and buffers that are used again.

use crate::header::{Keys, RepositoryId};
use crate::map::Node;
use crate::record::{Encoding, Kind, RECORD_HEADER, RecordHeader};
use crate::{FormatError, Place, RECORD_MAX};
use model::ChunkId;
use zstd::bulk::{Compressor, Decompressor};

const WHAT: &str = "record";

/// Compresses records, one after another, into one buffer.
pub struct Sealer {
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
}

/// What [`Sealer::seal`] made.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// How.
    pub encoding: Encoding,
    /// The stored bytes.
    pub stored: &'a [u8],
    /// Their CRC-32.
    pub stored_crc: u32,
}

impl Sealer {
    /// Compresses with zstd at `level` (1 to 22, or negative for fast ones).
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self { compressor: Compressor::new(level)?, buffer: Vec::new() })
    }

    /// The stored form of `plain` (1 to [`RECORD_MAX`] bytes): raw when zstd gains nothing.
    pub fn seal<'a>(&'a mut self, plain: &'a [u8]) -> std::io::Result<Sealed<'a>> {
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, &mut self.buffer)?;
        let (encoding, stored) = if self.buffer.len() < plain.len() {
            (Encoding::Zstd, &self.buffer[..])
        } else {
            (Encoding::Raw, plain)
        };
        Ok(Sealed { encoding, stored, stored_crc: crc32fast::hash(stored) })
    }
}

/// Checks records and gives their plain bytes back.
pub struct Opener {
    repository: RepositoryId,
    keys: Keys,
    decompressor: Decompressor<'static>,
}

/// Which record is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Where it was read.
    pub place: Place,
    /// What it must be.
    pub kind: Kind,
    /// Which content.
    pub id: ChunkId,
}

impl Opener {
    /// Opens records of one repository.
    pub fn new(repository: RepositoryId, keys: Keys) -> std::io::Result<Self> {
        Ok(Self { repository, keys, decompressor: Decompressor::new()? })
    }

    /// The plain bytes of the record that fills `bytes`, put into `plain`. Everything is checked:
    /// header, position, CRC, padding, length and the id of the content.
    pub fn open(
        &mut self,
        bytes: &[u8],
        wanted: &Wanted,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let corrupt = |problem: &str| FormatError::corrupt(WHAT, problem);
        let header = RecordHeader::decode(bytes)?;
        if (header.repository, header.segment) != (self.repository, wanted.place.segment()) {
            return Err(corrupt("it belongs to another segment or repository"));
        }
        if (header.kind, header.id) != (wanted.kind, wanted.id) {
            return Err(corrupt("it is another record"));
        }
        let end = RECORD_HEADER + header.stored_length as usize;
        let (record, padding) =
            bytes.split_at_checked(end).ok_or_else(|| corrupt("it is cut off"))?;
        if RecordHeader::blocks(header.stored_length) as usize * crate::BLOCK != bytes.len() {
            return Err(corrupt("its length and its place differ"));
        }
        let stored = &record[RECORD_HEADER..];
        if crc32fast::hash(stored) != header.stored_crc {
            return Err(corrupt("the checksum of its content is wrong"));
        }
        self.unpack(&header, stored, plain)?;
        if self.identify(&header, plain) != wanted.id {
            return Err(corrupt("its content does not have the wanted id"));
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err(corrupt("its padding is not zero (the content is right)"));
        }
        Ok(())
    }

    fn unpack(
        &mut self,
        header: &RecordHeader,
        stored: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        plain.clear();
        let length = header.plain_length as usize; // at most RECORD_MAX, checked by decode
        debug_assert!(length <= RECORD_MAX);
        match header.encoding {
            Encoding::Raw => plain.extend_from_slice(stored),
            Encoding::Zstd => {
                plain.reserve(length);
                self.decompressor
                    .decompress_to_buffer(stored, plain)
                    .map_err(|error| FormatError::corrupt(WHAT, format!("zstd says: {error}")))?;
            }
        }
        if plain.len() == length {
            Ok(())
        } else {
            Err(FormatError::corrupt(WHAT, format!("{} bytes instead of {length}", plain.len())))
        }
    }

    fn identify(&self, header: &RecordHeader, plain: &[u8]) -> ChunkId {
        match header.kind {
            Kind::Chunk => self.keys.chunk_id(plain),
            Kind::Node => Node::hash(&self.keys, plain),
            Kind::Manifest | Kind::File => self.keys.content_id(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::RepositoryHeader;
    use model::WallTime;

    const SEGMENT: u32 = 3;

    fn header() -> RepositoryHeader {
        RepositoryHeader {
            id: RepositoryId([1; 16]),
            secret: [2; 32],
            chunk_size: 1 << 16,
            created: WallTime(0),
        }
    }

    /// A record as a writer lays it out: `plain` under the name `id`, all checksums right.
    fn record(plain: &[u8], id: ChunkId) -> (Vec<u8>, Wanted) {
        let mut sealer = Sealer::new(1).unwrap();
        let sealed = sealer.seal(plain).unwrap();
        let header = RecordHeader {
            repository: header().id,
            segment: SEGMENT,
            number: 0,
            kind: Kind::Chunk,
            encoding: sealed.encoding,
            plain_length: u32::try_from(plain.len()).unwrap(),
            stored_length: u32::try_from(sealed.stored.len()).unwrap(),
            id,
            stored_crc: sealed.stored_crc,
        };
        let mut bytes = [&header.encode()[..], sealed.stored].concat();
        bytes.resize(bytes.len().next_multiple_of(crate::BLOCK), 0);
        let blocks = RecordHeader::blocks(header.stored_length);
        let place = Place::new(SEGMENT, 1, blocks).unwrap();
        (bytes, Wanted { place, kind: Kind::Chunk, id })
    }

    fn open(bytes: &[u8], wanted: &Wanted) -> Result<Vec<u8>, FormatError> {
        let mut opener = Opener::new(header().id, header().keys()).unwrap();
        let mut plain = Vec::new();
        opener.open(bytes, wanted, &mut plain).map(|()| plain)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_shrinks_is_compressed_and_what_does_not_is_raw() {
        for (plain, encoding) in [(vec![7; 65_536], Encoding::Zstd), (noise(65_536), Encoding::Raw)]
        {
            let (bytes, wanted) = record(&plain, header().keys().chunk_id(&plain));
            assert_eq!(RecordHeader::decode(&bytes).unwrap().encoding, encoding);
            assert_eq!(open(&bytes, &wanted), Ok(plain));
        }
    }

    #[test]
    fn right_checksums_over_other_content_are_not_enough() {
        let id = header().keys().chunk_id(b"the right content");
        for plain in [&b"other content here"[..], &[7; 5000]] {
            let (bytes, wanted) = record(plain, id);
            let error = open(&bytes, &wanted).unwrap_err().to_string();
            assert!(error.contains("does not have the wanted id"), "{error}");
        }
    }

    #[test]
    fn every_flipped_byte_of_a_record_is_found_padding_too() {
        for plain in [vec![7; 20_000], noise(5000)] {
            let (bytes, wanted) = record(&plain, header().keys().chunk_id(&plain));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x40;
                assert!(open(&damaged, &wanted).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_record_of_another_segment_repository_kind_or_length_is_refused() {
        let plain = noise(9000);
        let (bytes, wanted) = record(&plain, header().keys().chunk_id(&plain));
        let blocks = u32::try_from(bytes.len() / crate::BLOCK).unwrap();
        let elsewhere = Place::new(SEGMENT + 1, 1, blocks).unwrap();
        assert!(open(&bytes, &Wanted { place: elsewhere, ..wanted }).is_err());
        assert!(open(&bytes, &Wanted { kind: Kind::File, ..wanted }).is_err());
        assert!(open(&bytes[..crate::BLOCK], &wanted).is_err());
        assert!(open(&[&bytes[..], &[0; crate::BLOCK]].concat(), &wanted).is_err());
        let mut foreign = Opener::new(RepositoryId([9; 16]), header().keys()).unwrap();
        assert!(foreign.open(&bytes, &wanted, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_frame_that_grows_beyond_its_length_is_refused() {
        let plain = vec![7; 60_000];
        let (mut bytes, wanted) = record(&plain, header().keys().chunk_id(&plain));
        let mut forged = RecordHeader::decode(&bytes).unwrap();
        forged.plain_length = 100;
        bytes[..RECORD_HEADER].copy_from_slice(&forged.encode());
        assert!(open(&bytes, &wanted).is_err());
    }
}
