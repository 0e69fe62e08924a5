//! How a repository is created and run.

use crate::StoreError;
use format::footer::sealed_bytes;
use format::header::RepositoryHeader;
use format::keys::KeyEncryptionKey;
use format::{BLOCK, SEGMENT_MAX};
use ledger::event::LockBounds;
use model::LockMode;
use std::fmt;

/// How a repository is created and run. `chunk_size` is fixed at creation; the rest may change
/// with every start.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a cell unless a point says otherwise; a power of two, 64 KiB to 8 MiB. Read from
    /// the repository when it exists.
    pub chunk_size: u32,
    /// A segment is sealed when the next record would make it longer than this, in bytes.
    pub segment_size: u64,
    /// Level of zstd unless a point says otherwise, 1 to 19.
    pub zstd_level: i32,
    /// Threads that hash and compress. 0: everything happens in the calling thread.
    pub workers: usize,
    /// Bytes of free space below which nothing more is taken in.
    pub reserve_bytes: u64,
    /// Set the immutable attribute on sealed segments (needs a capability and a file system that
    /// has it; without them it is reported and goes on). Such files cannot be removed by hand.
    pub immutable: bool,
    /// Opens an encrypted repository; at its creation: encrypts it. `None`: not encrypted.
    pub encryption: Option<KeyEncryptionKey>,
    /// Shortest and longest lock of a repository that is created with [`Repository::create_local`];
    /// later ones are the officers' to set.
    ///
    /// [`Repository::create_local`]: crate::Repository::create_local
    pub bounds: LockBounds,
}

/// Longest lock unless told otherwise: 100 years.
const LONGEST: u64 = 100 * 366 * 24 * 3600;

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("chunk_size", &self.chunk_size)
            .field("segment_size", &self.segment_size)
            .field("zstd_level", &self.zstd_level)
            .field("workers", &self.workers)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("immutable", &self.immutable)
            .field("encryption", &self.encryption.is_some()) // never the key
            .field("bounds", &self.bounds)
            .finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk_size: 1 << 20,
            segment_size: 256 << 20,
            zstd_level: 1,
            // One more than there are processors: each waits now and then.
            workers: std::thread::available_parallelism()
                .map_or(3, |count| count.get() + 1)
                .min(64),
            reserve_bytes: 1 << 30,
            immutable: true,
            encryption: None,
            bounds: LockBounds { min_seconds: 0, max_seconds: LONGEST },
        }
    }
}

impl Options {
    /// Chunks that a segment must have room for, so that footers stay a small part.
    const CHUNKS_PER_SEGMENT: usize = 4;

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.check_chunk_size(self.chunk_size)?;
        check_level(self.zstd_level)?;
        if self.workers > 64 {
            return Err(StoreError::misuse("workers must be at most 64"));
        }
        Ok(())
    }

    /// Refuses a chunk size that the format or the size of segments does not allow.
    pub(crate) fn check_chunk_size(&self, chunk_size: u32) -> Result<(), StoreError> {
        if !RepositoryHeader::allows_chunk_size(chunk_size) {
            return Err(StoreError::misuse(format!(
                "chunk_size is {chunk_size}; it must be a power of two from 65536 to 8388608"
            )));
        }
        let record = u64::from(chunk_size) + BLOCK as u64;
        let data = BLOCK as u64 + Self::CHUNKS_PER_SEGMENT as u64 * record;
        let smallest = sealed_bytes(data, Self::CHUNKS_PER_SEGMENT).unwrap_or(SEGMENT_MAX);
        if !(smallest..=SEGMENT_MAX).contains(&self.segment_size) {
            return Err(StoreError::misuse(format!(
                "segment_size is {}; it must be {smallest} to {SEGMENT_MAX} with a chunk_size of \
                 {chunk_size}",
                self.segment_size
            )));
        }
        Ok(())
    }
}

/// Refuses a level that is none of zstd's ordinary ones.
pub(crate) fn check_level(level: i32) -> Result<(), StoreError> {
    if (1..=19).contains(&level) {
        return Ok(());
    }
    Err(StoreError::misuse(format!("zstd_level is {level}; it must be 1 to 19")))
}

/// The lock that a new recovery point gets; its end is counted from the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who may end it early.
    pub mode: LockMode,
    /// How long it holds at least.
    pub duration_seconds: u64,
}
