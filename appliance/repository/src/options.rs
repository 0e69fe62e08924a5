//! How a repository is created and run.

use crate::StoreError;
use format::header::RepositoryHeader;
use format::{BLOCK, SEGMENT_MAX};
use model::LockMode;

/// How a repository is created and run. `chunk_size` is fixed at creation; the rest may change
/// with every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a cell; a power of two, 64 KiB to 8 MiB. Read from the repository when it exists.
    pub chunk_size: u32,
    /// A segment is sealed when the next record would make it longer than this, in bytes.
    pub segment_size: u64,
    /// Level of zstd, 1 to 19.
    pub zstd_level: i32,
    /// Threads that hash and compress. 0: everything happens in the calling thread.
    pub workers: usize,
    /// Bytes of free space below which nothing more is taken in.
    pub reserve_bytes: u64,
    /// Set the immutable attribute on sealed segments (needs a capability and a file system that
    /// has it; without them it is reported and goes on). Such files cannot be removed by hand.
    pub immutable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk_size: 1 << 20,
            segment_size: 256 << 20,
            zstd_level: 1,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            reserve_bytes: 1 << 30,
            immutable: true,
        }
    }
}

impl Options {
    /// Chunks that a segment must have room for, so that footers stay a small part.
    const CHUNKS_PER_SEGMENT: u64 = 4;

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let chunk = u64::from(self.chunk_size);
        let smallest = Self::CHUNKS_PER_SEGMENT * (chunk + 2 * BLOCK as u64);
        if !RepositoryHeader::allows_chunk_size(self.chunk_size) {
            return Err(StoreError::misuse(format!(
                "chunk_size is {}; it must be a power of two from 65536 to 8388608",
                self.chunk_size
            )));
        }
        if !(smallest..=SEGMENT_MAX).contains(&self.segment_size) {
            return Err(StoreError::misuse(format!(
                "segment_size is {}; it must be {smallest} to {SEGMENT_MAX} with this chunk_size",
                self.segment_size
            )));
        }
        if !(1..=19).contains(&self.zstd_level) || self.workers > 64 {
            return Err(StoreError::misuse(
                "zstd_level must be 1 to 19, and workers at most 64".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The lock that a new recovery point gets; its end is counted from the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who may end it early.
    pub mode: LockMode,
    /// How long it holds at least.
    pub duration_seconds: u64,
}
