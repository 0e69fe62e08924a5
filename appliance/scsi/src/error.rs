//! A reply that is not what the standard says it must be.

use model::ErrorKind;

/// A reply could not be decoded: the device's fault, never a reason to guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device's reply to {reply} is unusable")]
pub struct DecodeError {
    /// Which reply.
    pub reply: &'static str,
    /// What is wrong with it.
    pub source: Problem,
}

impl DecodeError {
    pub(crate) fn new(reply: &'static str, source: Problem) -> Self {
        Self { reply, source }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.source {
            Problem::BlockSize(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Misbehaved,
        }
    }
}

/// What is wrong with a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Too short.
    #[error("it ends after {got} bytes, at least {wanted} are needed")]
    Truncated {
        /// Bytes needed.
        wanted: usize,
        /// Bytes there.
        got: usize,
    },
    /// Another VPD page than the one that was asked for.
    #[error("VPD page {wanted:02x}h was asked for, {got:02x}h came")]
    WrongPage {
        /// Asked page.
        wanted: u8,
        /// Page that came.
        got: u8,
    },
    /// The response code of sense data is none of 70h to 73h.
    #[error("sense response code {0:02x}h is not known")]
    ResponseCode(u8),
    /// The size in bytes does not fit 64 bits.
    #[error("{blocks} blocks and one of {block_size} bytes do not fit 64 bits")]
    TooLarge {
        /// Number of the last block.
        blocks: u64,
        /// Bytes per block.
        block_size: u32,
    },
    /// A list whose parts do not follow one another.
    #[error("the part at block {at} does not fit what comes before it")]
    Disorder {
        /// First block of the part.
        at: u64,
    },
    /// Neither 512 nor 4096 bytes.
    #[error("blocks of {0} bytes; only 512 and 4096 are supported")]
    BlockSize(u32),
}
