//! Plain bytes to a record and back, with contexts and buffers that are used again.
//!
//! Stored bytes come to be in this order: compressed (or raw), then encrypted when the repository
//! is. What is encrypted is written once, into the buffer that is handed on.

use crate::cipher::{Cipher, NONCE, TAG};
use crate::header::{Keys, RepositoryId};
use crate::keys::KeyRing;
use crate::map::Node;
use crate::record::{Encoding, Encryption, Kind, RECORD_HEADER, RecordHeader};
use crate::{FormatError, Place, RECORD_MAX};
use model::ChunkId;
use std::io;
use std::sync::Arc;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

const WHAT: &str = "record";

/// Where nonces come from: random bytes, new ones at each call.
pub type Nonces = Box<dyn FnMut() -> io::Result<[u8; NONCE]> + Send>;

/// Makes records, one after another, in one buffer.
pub struct Sealer {
    repository: RepositoryId,
    level: i32,
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
    encryption: Option<Encrypting>,
    /// The epoch to write under, when its key is lost: nothing is sealed.
    without_key: Option<u32>,
}

struct Encrypting {
    epoch: u32,
    cipher: Arc<Cipher>,
    nonces: Nonces,
}

/// What [`Sealer::seal`] made.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The header, but for segment and number, which are 0: they are the writer's.
    pub header: RecordHeader,
    /// The stored bytes.
    pub stored: &'a [u8],
}

impl Sealer {
    /// Makes records of one repository, compressed with zstd at `level` (1 to 22, or negative for
    /// fast ones).
    pub fn new(repository: RepositoryId, level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        tune(&mut compressor, level)?;
        Ok(Self {
            repository,
            level,
            compressor,
            buffer: Vec::new(),
            encryption: None,
            without_key: None,
        })
    }

    /// Encrypts from now on, under the key of `epoch`. [`FormatError::NoKey`]: `ring` has none.
    /// When it is known to be lost ([`KeyRing::lose`]), every sealing fails from now on.
    pub fn encrypt(
        &mut self,
        ring: &KeyRing,
        epoch: u32,
        nonces: Nonces,
    ) -> Result<(), FormatError> {
        if ring.is_lost(epoch) {
            self.without_key = Some(epoch);
            return Ok(());
        }
        let cipher = ring.get(epoch).ok_or(FormatError::NoKey { what: WHAT, epoch })?;
        self.encryption = Some(Encrypting { epoch, cipher: Arc::clone(cipher), nonces });
        Ok(())
    }

    /// Compresses with another level from now on.
    pub fn set_level(&mut self, level: i32) -> io::Result<()> {
        if level != self.level {
            self.compressor.set_parameter(CParameter::CompressionLevel(level))?;
            tune(&mut self.compressor, level)?;
            self.level = level;
        }
        Ok(())
    }

    /// The record of `plain` (1 to [`RECORD_MAX`] bytes): raw when zstd gains nothing. An error
    /// comes from zstd or from the source of nonces, or says that the key to write under is lost.
    pub fn seal<'a>(
        &'a mut self,
        kind: Kind,
        id: ChunkId,
        plain: &'a [u8],
    ) -> io::Result<Sealed<'a>> {
        if let Some(epoch) = self.without_key {
            return Err(io::Error::other(FormatError::NoKey { what: WHAT, epoch }));
        }
        let plain_length = u32::try_from(plain.len())
            .ok()
            .filter(|&length| crate::record::length(length).is_ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, &mut self.buffer)?;
        let smaller = self.buffer.len() < plain.len();
        let mut header = RecordHeader {
            repository: self.repository,
            segment: 0,
            number: 0,
            kind,
            encoding: if smaller { Encoding::Zstd } else { Encoding::Raw },
            encryption: None,
            plain_length,
            stored_length: if smaller {
                u32::try_from(self.buffer.len()).expect("smaller than the plain bytes")
            } else {
                plain_length
            },
            id,
            stored_crc: 0,
        };
        if let Some(encrypting) = &mut self.encryption {
            let nonce = (encrypting.nonces)()?;
            encrypting.seal(&mut header, nonce, plain, &mut self.buffer);
        }
        let in_buffer = smaller || header.encryption.is_some();
        let stored = if in_buffer { &self.buffer[..] } else { plain };
        header.stored_crc = crc32fast::hash(stored);
        Ok(Sealed { header, stored })
    }
}

/// Level 1, the usual one, with a window of a whole chunk: a little smaller and a little faster
/// than zstd's own choice for it. 0: what the level says.
fn tune(compressor: &mut Compressor<'static>, level: i32) -> io::Result<()> {
    let (window, hash, shortest) = if level == 1 { (20, 14, 7) } else { (0, 0, 0) };
    compressor.set_parameter(CParameter::WindowLog(window))?;
    compressor.set_parameter(CParameter::HashLog(hash))?;
    compressor.set_parameter(CParameter::MinMatch(shortest))
}

impl Encrypting {
    /// Encrypts `compressed` in place, or `plain` into it when the record is raw.
    fn seal(
        &self,
        header: &mut RecordHeader,
        nonce: [u8; NONCE],
        plain: &[u8],
        compressed: &mut Vec<u8>,
    ) {
        let unsealed = Encryption { epoch: self.epoch, nonce, tag: [0; TAG] };
        header.encryption = Some(unsealed);
        let context = header.context();
        let tag = match header.encoding {
            Encoding::Zstd => self.cipher.seal_in_place(&nonce, &context, compressed),
            Encoding::Raw => {
                compressed.resize(plain.len(), 0);
                self.cipher.seal(&nonce, &context, plain, compressed)
            }
        };
        header.encryption = Some(Encryption { tag, ..unsealed });
    }
}

/// Checks records and gives their plain bytes back.
pub struct Opener {
    repository: RepositoryId,
    keys: Keys,
    ring: KeyRing,
    decompressor: Decompressor<'static>,
    decrypted: Vec<u8>,
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
    /// Opens records of one repository; `ring` has the keys of its encrypted ones.
    pub fn new(repository: RepositoryId, keys: Keys, ring: KeyRing) -> io::Result<Self> {
        let decompressor = Decompressor::new()?;
        Ok(Self { repository, keys, ring, decompressor, decrypted: Vec::new() })
    }

    /// The plain bytes of the record that fills `bytes`, put into `plain`. Everything is checked:
    /// header, position, CRC, tag, padding, length and the id of the content.
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
            Encoding::Raw => self.decrypt(header, stored, plain)?,
            Encoding::Zstd => {
                let mut decrypted = std::mem::take(&mut self.decrypted);
                let compressed = if header.encryption.is_some() {
                    self.decrypt(header, stored, &mut decrypted)?;
                    &decrypted[..]
                } else {
                    stored
                };
                plain.reserve(length);
                let unpacked = self.decompressor.decompress_to_buffer(compressed, plain);
                self.decrypted = decrypted;
                unpacked
                    .map_err(|error| FormatError::corrupt(WHAT, format!("zstd says: {error}")))?;
            }
        }
        if plain.len() == length {
            Ok(())
        } else {
            Err(FormatError::corrupt(WHAT, format!("{} bytes instead of {length}", plain.len())))
        }
    }

    /// What was encrypted, or the same bytes when nothing was.
    fn decrypt(
        &self,
        header: &RecordHeader,
        stored: &[u8],
        into: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let Some(Encryption { epoch, nonce, tag }) = header.encryption else {
            into.clear();
            into.extend_from_slice(stored);
            return Ok(());
        };
        let cipher = self.ring.get(epoch).ok_or(FormatError::NoKey { what: WHAT, epoch })?;
        into.resize(stored.len(), 0);
        if cipher.open(&nonce, &header.context(), stored, &tag, into) {
            Ok(())
        } else {
            into.clear();
            Err(FormatError::corrupt(WHAT, "its tag is wrong: it was altered, or has another key"))
        }
    }

    fn identify(&self, header: &RecordHeader, plain: &[u8]) -> ChunkId {
        match header.kind {
            Kind::Chunk => self.keys.chunk_id(plain),
            Kind::Node => Node::hash(&self.keys, plain),
            Kind::Manifest | Kind::File | Kind::Reach => self.keys.content_id(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{DataKey, Secret};
    use proptest::prelude::*;

    const SEGMENT: u32 = 3;
    const REPOSITORY: RepositoryId = RepositoryId([1; 16]);

    fn keys() -> Keys {
        Keys::derive(&Secret::new(&[2; 32]))
    }

    #[test]
    fn without_the_newest_key_nothing_is_written_and_the_rest_is_read() {
        let mut sealer = Sealer::new(REPOSITORY, 1).unwrap();
        let mut short = ring();
        short.lose(3);
        assert_eq!(short.latest(), Some(5), "an older one is no matter");
        short.lose(6);
        assert_eq!(short.latest(), Some(6));
        sealer.encrypt(&short, 6, nonces()).unwrap();
        let error = sealer.seal(Kind::Chunk, ChunkId([1; 32]), b"plain").unwrap_err();
        assert!(error.to_string().contains('6'), "{error}");
        assert!(short.get(5).is_some());
    }

    fn ring() -> KeyRing {
        let mut ring = KeyRing::new();
        ring.insert(4, &DataKey::new(&[4; 32]));
        ring.insert(5, &DataKey::new(&[5; 32]));
        ring
    }

    /// Nonces that count: only for tests.
    fn nonces() -> Nonces {
        let mut count = 0;
        Box::new(move || {
            count += 1;
            Ok([count; NONCE])
        })
    }

    /// A record as a writer lays it out: `plain` under the name `id`, all checksums right.
    fn record(plain: &[u8], id: ChunkId, epoch: Option<u32>) -> (Vec<u8>, Wanted) {
        let mut sealer = Sealer::new(REPOSITORY, 1).unwrap();
        if let Some(epoch) = epoch {
            sealer.encrypt(&ring(), epoch, nonces()).unwrap();
        }
        let sealed = sealer.seal(Kind::Chunk, id, plain).unwrap();
        let header = RecordHeader { segment: SEGMENT, ..sealed.header };
        let mut bytes = [&header.encode()[..], sealed.stored].concat();
        bytes.resize(bytes.len().next_multiple_of(crate::BLOCK), 0);
        let blocks = RecordHeader::blocks(header.stored_length);
        let place = Place::new(SEGMENT, 1, blocks).unwrap();
        (bytes, Wanted { place, kind: Kind::Chunk, id })
    }

    fn open(bytes: &[u8], wanted: &Wanted) -> Result<Vec<u8>, FormatError> {
        let mut opener = Opener::new(REPOSITORY, keys(), ring()).unwrap();
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
            for epoch in [None, Some(4)] {
                let (bytes, wanted) = record(&plain, keys().chunk_id(&plain), epoch);
                let header = RecordHeader::decode(&bytes).unwrap();
                assert_eq!(header.encoding, encoding);
                assert_eq!(header.encryption.map(|encryption| encryption.epoch), epoch);
                assert_eq!(open(&bytes, &wanted).as_ref(), Ok(&plain));
            }
        }
    }

    #[test]
    fn right_checksums_over_other_content_are_not_enough() {
        let id = keys().chunk_id(b"the right content");
        for plain in [&b"other content here"[..], &[7; 5000]] {
            let (bytes, wanted) = record(plain, id, None);
            let error = open(&bytes, &wanted).unwrap_err().to_string();
            assert!(error.contains("does not have the wanted id"), "{error}");
        }
    }

    #[test]
    fn every_flipped_byte_of_a_record_is_found_padding_too() {
        let plains = [vec![7; 20_000], noise(5000)];
        for (plain, epoch) in plains.iter().flat_map(|p| [(p, None), (p, Some(5))]) {
            let (bytes, wanted) = record(plain, keys().chunk_id(plain), epoch);
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
        let (bytes, wanted) = record(&plain, keys().chunk_id(&plain), None);
        let blocks = u32::try_from(bytes.len() / crate::BLOCK).unwrap();
        let elsewhere = Place::new(SEGMENT + 1, 1, blocks).unwrap();
        assert!(open(&bytes, &Wanted { place: elsewhere, ..wanted }).is_err());
        assert!(open(&bytes, &Wanted { kind: Kind::File, ..wanted }).is_err());
        assert!(open(&bytes[..crate::BLOCK], &wanted).is_err());
        assert!(open(&[&bytes[..], &[0; crate::BLOCK]].concat(), &wanted).is_err());
        let mut foreign = Opener::new(RepositoryId([9; 16]), keys(), ring()).unwrap();
        assert!(foreign.open(&bytes, &wanted, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_frame_that_grows_beyond_its_length_is_refused() {
        let plain = vec![7; 60_000];
        let (mut bytes, wanted) = record(&plain, keys().chunk_id(&plain), None);
        let mut forged = RecordHeader::decode(&bytes).unwrap();
        forged.plain_length = 100;
        bytes[..RECORD_HEADER].copy_from_slice(&forged.encode());
        assert!(open(&bytes, &wanted).is_err());
    }

    #[test]
    fn an_altered_encrypted_record_is_refused_even_with_right_checksums() {
        for plain in [vec![7; 20_000], noise(5000)] {
            let (bytes, wanted) = record(&plain, keys().chunk_id(&plain), Some(4));
            let header = RecordHeader::decode(&bytes).unwrap();
            let encryption = header.encryption.unwrap();
            let end = RECORD_HEADER + header.stored_length as usize;
            let refused = |header: RecordHeader, stored: &[u8]| {
                let stored_crc = crc32fast::hash(stored);
                let header = RecordHeader { stored_crc, ..header }.encode();
                let mut forged = [&header[..], stored].concat();
                forged.resize(bytes.len(), 0);
                let error = open(&forged, &wanted).unwrap_err().to_string();
                assert!(error.contains("tag") || error.contains("epoch"), "{error}");
            };
            let mut stored = bytes[RECORD_HEADER..end].to_vec();
            let with = |encryption| RecordHeader { encryption: Some(encryption), ..header };
            refused(with(Encryption { epoch: 5, ..encryption }), &stored);
            refused(with(Encryption { epoch: 6, ..encryption }), &stored);
            refused(with(Encryption { nonce: [9; NONCE], ..encryption }), &stored);
            refused(with(Encryption { tag: [9; TAG], ..encryption }), &stored);
            stored[3] ^= 1;
            refused(header, &stored);
        }
    }

    #[test]
    fn an_encrypted_record_can_be_moved_without_its_key() {
        let plain = noise(3000);
        let (mut bytes, wanted) = record(&plain, keys().chunk_id(&plain), Some(4));
        let moved =
            RecordHeader { segment: 77, number: 8, ..RecordHeader::decode(&bytes).unwrap() };
        bytes[..RECORD_HEADER].copy_from_slice(&moved.encode());
        let blocks = u32::try_from(bytes.len() / crate::BLOCK).unwrap();
        let wanted = Wanted { place: Place::new(77, 5, blocks).unwrap(), ..wanted };
        assert_eq!(open(&bytes, &wanted), Ok(plain));
    }

    #[test]
    fn after_a_change_of_level_a_record_is_as_a_new_sealer_makes_it() {
        let plain: Vec<u8> = noise(100_000).iter().map(|byte| byte % 5).collect();
        let make = |sealer: &mut Sealer| {
            sealer.seal(Kind::File, ChunkId([0; 32]), &plain).unwrap().stored.to_vec()
        };
        let mut changed = Sealer::new(REPOSITORY, 1).unwrap();
        for level in [1, 3, 19, 1, 5] {
            changed.set_level(level).unwrap();
            let mut fresh = Sealer::new(REPOSITORY, level).unwrap();
            assert!(make(&mut changed) == make(&mut fresh), "level {level}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_an_empty_record_is_refused() {
        let mut sealer = Sealer::new(REPOSITORY, 1).unwrap();
        let error = sealer.encrypt(&KeyRing::new(), 1, nonces()).unwrap_err();
        assert_eq!(error, FormatError::NoKey { what: WHAT, epoch: 1 });
        assert!(sealer.seal(Kind::Chunk, ChunkId([0; 32]), &[]).is_err());
        sealer.encrypt(&ring(), 4, Box::new(|| Err(io::Error::other("no entropy")))).unwrap();
        assert!(sealer.seal(Kind::Chunk, ChunkId([0; 32]), &[1]).is_err());
    }

    proptest! {
        #[test]
        fn any_content_survives(
            plain in prop::collection::vec(0u8..4, 1..20_000), encrypted: bool, level in 1..4,
        ) {
            let epoch = encrypted.then_some(5);
            let mut sealer = Sealer::new(REPOSITORY, 1).unwrap();
            sealer.set_level(level).unwrap();
            let (bytes, wanted) = record(&plain, keys().chunk_id(&plain), epoch);
            prop_assert_eq!(open(&bytes, &wanted), Ok(plain));
        }

        #[test]
        fn any_record_gives_a_value_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 4096), kind in 1u8..6,
        ) {
            // A right header before arbitrary stored bytes: the frame and the tag must hold out.
            let header = RecordHeader {
                kind: Kind::from_byte(kind).unwrap(),
                segment: SEGMENT,
                repository: REPOSITORY,
                encoding: if bytes[0] < 128 { Encoding::Zstd } else { Encoding::Raw },
                stored_length: 3968,
                plain_length: if bytes[0] < 128 { 8 << 20 } else { 3968 },
                stored_crc: crc32fast::hash(&bytes[RECORD_HEADER..]),
                ..crate::record::sample()
            };
            bytes[..RECORD_HEADER].copy_from_slice(&header.encode());
            let place = Place::new(SEGMENT, 1, 1).unwrap();
            let wanted = Wanted { place, kind: header.kind, id: header.id };
            prop_assert!(open(&bytes, &wanted).is_err());
        }
    }
}
