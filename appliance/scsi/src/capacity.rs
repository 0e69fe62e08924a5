//! READ CAPACITY(16) (SBC-3, 5.16).

use crate::error::{DecodeError, Problem};
use crate::field::Reply;

/// Size and shape of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of logical blocks. Invariant: `blocks * block_size` fits 64 bits.
    blocks: u64,
    /// Bytes per logical block: 512 or 4096.
    block_size: u32,
    /// Bytes per physical block (4096 with 512-byte logical blocks is '512e').
    pub physical_block_size: u64,
    /// LBPME: the device is thin.
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub unmapped_reads_zero: bool,
}

impl Capacity {
    /// Decodes the reply.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("READ CAPACITY(16)", bytes);
        let last = reply.u64(0)?;
        let block_size = reply.u32(8)?;
        let exponent = reply.u8(13)? & 0x0f;
        let provisioning = reply.u8(14)?;
        if !matches!(block_size, 512 | 4096) {
            return Err(reply.error(Problem::BlockSize(block_size)));
        }
        let blocks = last
            .checked_add(1)
            .filter(|blocks| blocks.checked_mul(block_size.into()).is_some())
            .ok_or_else(|| reply.error(Problem::TooLarge { blocks: last, block_size }))?;
        Ok(Self {
            blocks,
            block_size,
            physical_block_size: u64::from(block_size) << exponent,
            thin: provisioning & 0x80 != 0,
            unmapped_reads_zero: provisioning & 0x40 != 0,
        })
    }

    /// Number of logical blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes per logical block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(last: u64, block_size: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&last.to_be_bytes());
        bytes[8..12].copy_from_slice(&block_size.to_be_bytes());
        bytes[13] = 3;
        bytes[14] = 0xc0;
        bytes
    }

    #[test]
    fn the_last_block_counts() {
        let capacity = Capacity::decode(&reply(0x1f_ffff, 512)).unwrap();
        assert_eq!(capacity.bytes(), 1 << 30);
        assert_eq!(capacity.physical_block_size, 4096);
        assert!(capacity.thin && capacity.unmapped_reads_zero);
    }

    #[test]
    fn sizes_beyond_reason_are_refused() {
        for (last, block_size) in [(u64::MAX, 512), (u64::MAX / 512 + 1, 512), (9, 0), (9, 520)] {
            assert!(Capacity::decode(&reply(last, block_size)).is_err(), "{last} {block_size}");
        }
        assert!(Capacity::decode(&reply(9, 512)[..14]).is_err());
    }
}
