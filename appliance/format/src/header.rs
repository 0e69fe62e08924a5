//! The repository header (FORMAT.md 3) and the keys that derive from its secret.

use crate::fields::{Fields, check_crc, put_crc};
use crate::keys::Secret;
use crate::{BLOCK, FormatError};
use model::{ChunkId, WallTime};
use std::fmt;
use zeroize::Zeroizing;

const WHAT: &str = "repository header";
const MAGIC: &[u8; 8] = b"HOLDFAST";
const VERSION: u32 = 2;
/// Feature bit: records are encrypted, and the secret is in `keys/master`.
const ENCRYPTED: u64 = 1;

const USED: usize = 88;

/// Bytes of the header file: two copies of one block.
pub const HEADER_BYTES: usize = 2 * BLOCK;

/// Names a repository for ever (random).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepositoryId(pub [u8; 16]);

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryId({self})")
    }
}

/// What is fixed when a repository is created.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryHeader {
    /// Its name.
    pub id: RepositoryId,
    /// All keys of hashes derive from it. `None`: the repository is encrypted, and the secret is in
    /// its [`crate::keys::MasterFile`].
    pub secret: Option<Secret>,
    /// Bytes of a cell unless a point says otherwise: a power of two, 64 KiB to 8 MiB.
    pub chunk_size: u32,
    /// By the wall clock, for people.
    pub created: WallTime,
}

impl fmt::Debug for RepositoryHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryHeader")
            .field("id", &self.id)
            .field("encrypted", &self.secret.is_none())
            .field("chunk_size", &self.chunk_size)
            .field("created", &self.created)
            .finish_non_exhaustive() // the secret stays one
    }
}

/// Which of the two copies were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The block at 0.
    pub first: bool,
    /// The block at 4096.
    pub second: bool,
}

impl RepositoryHeader {
    /// True for a chunk size that the format allows.
    #[must_use]
    pub fn allows_chunk_size(bytes: u32) -> bool {
        bytes.is_power_of_two() && (64 << 10..=8 << 20).contains(&bytes)
    }

    /// Both copies.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_BYTES);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&self.chunk_size.to_le_bytes());
        let required = if self.secret.is_some() { 0 } else { ENCRYPTED };
        block.extend_from_slice(&required.to_le_bytes());
        block.extend_from_slice(&[0; 8]); // features that may be ignored
        block.extend_from_slice(&self.id.0);
        block.extend_from_slice(self.secret.as_ref().map_or(&[0; 32], |secret| secret.bytes()));
        block.extend_from_slice(&self.created.0.to_le_bytes());
        block.resize(BLOCK, 0);
        put_crc(&mut block);
        block.extend_from_within(..);
        block
    }

    /// The header from the first right copy. A copy that is whole and says that it is not to be
    /// read here is obeyed, whatever the other one says.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Copies), FormatError> {
        if bytes.len() != HEADER_BYTES {
            return Err(FormatError::corrupt(WHAT, format!("it has {} bytes", bytes.len())));
        }
        let (first, second) = bytes.split_at(BLOCK);
        let (first, second) = (Self::decode_block(first), Self::decode_block(second));
        let copies = Copies { first: first.is_ok(), second: second.is_ok() };
        if matches!(first, Err(FormatError::Unsupported { .. })) {
            return first.map(|header| (header, copies));
        }
        first.or(second).map(|header| (header, copies))
    }

    fn decode_block(block: &[u8]) -> Result<Self, FormatError> {
        check_crc(WHAT, block)?;
        let mut fields = Fields::new(WHAT, block);
        fields.magic(MAGIC)?;
        let version = fields.u32()?;
        if version != VERSION {
            return Err(FormatError::unsupported(WHAT, format!("version {version}")));
        }
        let chunk_size = fields.u32()?;
        if !Self::allows_chunk_size(chunk_size) {
            return Err(FormatError::corrupt(WHAT, format!("chunk size {chunk_size}")));
        }
        let required = fields.u64()?;
        if required & !ENCRYPTED != 0 {
            return Err(FormatError::unsupported(WHAT, format!("features {required:#x}")));
        }
        let _optional = fields.u64()?;
        let id = RepositoryId(fields.array()?);
        let secret = if required & ENCRYPTED == 0 {
            Some(Secret::new(&fields.array()?))
        } else {
            fields.zeros(32)?;
            None
        };
        let created = WallTime(i64::from_le_bytes(fields.array()?));
        fields.zeros(BLOCK - 4 - USED)?;
        Ok(Self { id, secret, chunk_size, created })
    }
}

/// The keyed hashes of a repository. Its keys are not shown.
#[derive(Clone)]
pub struct Keys {
    chunk: Zeroizing<[u8; 32]>,
    node: Zeroizing<[u8; 32]>,
    content: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// The keys that derive from `secret`.
    #[must_use]
    pub fn derive(secret: &Secret) -> Self {
        let derive = |context| Zeroizing::new(blake3::derive_key(context, secret.bytes()));
        Self {
            chunk: derive("holdfast format 1 chunk id"),
            node: derive("holdfast format 1 map node"),
            content: derive("holdfast format 1 content"),
        }
    }

    /// Id of a chunk's plain bytes.
    #[must_use]
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk, plain).as_bytes())
    }

    /// Id of a manifest's, file's or reach's plain bytes.
    #[must_use]
    pub fn content_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.content, plain).as_bytes())
    }

    pub(crate) fn node_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RepositoryHeader {
        RepositoryHeader {
            id: RepositoryId([7; 16]),
            secret: Some(Secret::new(&[9; 32])),
            chunk_size: 1 << 20,
            created: WallTime(-5),
        }
    }

    #[test]
    fn one_damaged_copy_is_reported_and_survived() {
        let bytes = header().encode();
        let whole = Copies { first: true, second: true };
        assert_eq!(RepositoryHeader::decode(&bytes), Ok((header(), whole)));
        for at in [0, 40, BLOCK - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let copies = Copies { first: false, second: true };
            assert_eq!(RepositoryHeader::decode(&damaged), Ok((header(), copies)));
            damaged[BLOCK + at] ^= 4;
            assert!(RepositoryHeader::decode(&damaged).is_err());
        }
    }

    #[test]
    fn newer_versions_and_unknown_features_are_refused() {
        for at in [8, 16] {
            let mut bytes = header().encode();
            bytes[at] += 2;
            put_crc(&mut bytes[..BLOCK]);
            for _ in 0..2 {
                // The second copy says the same, or not.
                let error = RepositoryHeader::decode(&bytes).unwrap_err();
                assert!(matches!(error, FormatError::Unsupported { .. }), "{error}");
                bytes.copy_within(..BLOCK, BLOCK);
            }
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let keys = Keys::derive(&Secret::new(&[9; 32]));
        let text = format!("{:?}{keys:?}", header());
        assert!(!text.contains("9, 9") && !text.contains("0909"), "{text}");
    }

    #[test]
    fn an_encrypted_repository_has_no_secret_in_its_header() {
        let encrypted = RepositoryHeader { secret: None, ..header() };
        let mut bytes = encrypted.encode();
        assert_eq!(bytes[16..32], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[48..80], [0; 32]);
        assert_eq!(RepositoryHeader::decode(&bytes).unwrap().0, encrypted);
        bytes[50] = 1;
        put_crc(&mut bytes[..BLOCK]);
        bytes.copy_within(..BLOCK, BLOCK);
        assert!(RepositoryHeader::decode(&bytes).is_err(), "a secret where none may be");
    }
}
