//! GET LBA STATUS (SBC-3, 5.4): which blocks of a thin LUN have anything behind them.

use crate::error::{DecodeError, Problem};
use crate::field::Reply;

/// What is behind a run of blocks (SBC-4, table 63).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provisioning {
    /// 0h and 3h: mapped, or the device does not know.
    Mapped,
    /// 1h: nothing is behind them.
    Deallocated,
    /// 2h: space is reserved, nothing was written.
    Anchored,
    /// Anything else counts as 'not known'.
    Other(u8),
}

impl From<u8> for Provisioning {
    fn from(nibble: u8) -> Self {
        match nibble {
            0 | 3 => Self::Mapped,
            1 => Self::Deallocated,
            2 => Self::Anchored,
            other => Self::Other(other),
        }
    }
}

/// A run of blocks in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaExtent {
    /// First block.
    pub lba: u64,
    /// Number of blocks. Invariant: not 0, and `lba + blocks` fits 64 bits.
    pub blocks: u32,
    /// What is behind them.
    pub state: Provisioning,
}

impl LbaExtent {
    /// The first block after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.lba + u64::from(self.blocks)
    }
}

/// The extents from a block on. Invariant: each begins where the one before ends, and the first
/// holds the block that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LbaStatus {
    extents: Vec<LbaExtent>,
}

const HEADER: usize = 8;
const EXTENT: usize = 16;

impl LbaStatus {
    /// Decodes the reply to a question from block `start` on. A device may tell less than the
    /// rest of the LUN; a list with a gap, an overlap or another beginning is refused.
    pub fn decode(bytes: &[u8], start: u64) -> Result<Self, DecodeError> {
        let reply = Reply::new("GET LBA STATUS", bytes);
        let listed = usize::try_from(reply.u32(0)?).unwrap_or(usize::MAX);
        let end = listed.saturating_add(4).min(reply.len()).max(HEADER);
        let entries = reply.slice(HEADER, end - HEADER)?;
        let mut extents: Vec<LbaExtent> = Vec::new();
        for number in 0..entries.len() / EXTENT {
            let extent = extent(reply, HEADER + number * EXTENT)?;
            let fits = match extents.last() {
                Some(before) => extent.lba == before.end(),
                None => extent.lba <= start && extent.end() > start,
            };
            if !fits {
                return Err(reply.error(Problem::Disorder { at: extent.lba }));
            }
            extents.push(extent);
        }
        Ok(Self { extents })
    }

    /// The extents, ascending. Empty when the device told nothing.
    #[must_use]
    pub fn extents(&self) -> &[LbaExtent] {
        &self.extents
    }
}

fn extent(reply: Reply<'_>, at: usize) -> Result<LbaExtent, DecodeError> {
    let (lba, blocks) = (reply.u64(at)?, reply.u32(at + 8)?);
    if blocks == 0 || lba.checked_add(blocks.into()).is_none() {
        return Err(reply.error(Problem::Disorder { at: lba }));
    }
    Ok(LbaExtent { lba, blocks, state: Provisioning::from(reply.u8(at + 12)? & 0x0f) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(extents: &[(u64, u32, u8)]) -> Vec<u8> {
        let length = u32::try_from(4 + extents.len() * EXTENT).unwrap();
        let mut bytes = [&length.to_be_bytes()[..], &[0; 4]].concat();
        for (lba, blocks, state) in extents {
            bytes.extend(lba.to_be_bytes());
            bytes.extend(blocks.to_be_bytes());
            bytes.extend([*state, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn extents_follow_one_another() {
        let bytes = reply(&[(90, 20, 1), (110, 5, 0), (115, 1, 2)]);
        let status = LbaStatus::decode(&bytes, 100).unwrap();
        let states: Vec<_> = status.extents().iter().map(|extent| extent.state).collect();
        assert_eq!(
            states,
            [Provisioning::Deallocated, Provisioning::Mapped, Provisioning::Anchored]
        );
        assert_eq!(status.extents()[2].end(), 116);
        // A buffer that ends early: what is whole counts.
        assert_eq!(LbaStatus::decode(&bytes[..30], 100).unwrap().extents().len(), 1);
        assert!(LbaStatus::decode(&bytes[..7], 100).is_err());
        assert!(LbaStatus::decode(&reply(&[]), 100).unwrap().extents().is_empty());
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        for extents in [
            &[(101, 5, 0)][..],          // begins after the question
            &[(90, 10, 0)],              // ends before it
            &[(100, 5, 0), (106, 1, 0)], // a gap
            &[(100, 5, 0), (104, 1, 0)], // an overlap
            &[(100, 0, 0)],              // nothing
            &[(u64::MAX - 1, 2, 1)],     // beyond 64 bits
        ] {
            let start = if extents[0].0 > 1000 { u64::MAX - 1 } else { 100 };
            assert!(LbaStatus::decode(&reply(extents), start).is_err(), "{extents:?}");
        }
    }
}
