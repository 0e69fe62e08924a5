//! REPORT LUNS (SPC-4, 6.33) and the 8-byte LUN (SAM-5, 4.7).

use crate::error::DecodeError;
use crate::field::Reply;
use std::fmt;

/// A logical unit number exactly as REPORT LUNS gave it; never a small integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LunId(pub [u8; 8]);

impl LunId {
    /// LUN 0, which every target answers REPORT LUNS on.
    pub const ZERO: Self = Self([0; 8]);

    /// The number people use for it, for peripheral (bus 0) and flat addressing of one level.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        let [first, second, rest @ ..] = self.0;
        if rest != [0; 6] {
            return None;
        }
        match first >> 6 {
            0 if first == 0 => Some(second.into()),
            1 => Some(u16::from_be_bytes([first & 0x3f, second])),
            _ => None,
        }
    }
}

impl fmt::Display for LunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// The LUNs that a target shows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunList {
    /// As many as fitted into the buffer.
    pub luns: Vec<LunId>,
    /// Bytes that the whole list needs. The list is complete when the buffer had that many.
    pub needed: u32,
}

impl LunList {
    /// Decodes the reply. Half an entry at the end (a buffer too small) is not an entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("REPORT LUNS", bytes);
        let listed = reply.u32(0)?;
        let needed = listed.saturating_add(8);
        let end = usize::try_from(needed).unwrap_or(usize::MAX).min(reply.len()).max(8);
        let entries = reply.slice(8, end - 8)?;
        let luns = entries
            .chunks_exact(8)
            .map(|entry| LunId(entry.try_into().expect("chunks of exactly 8 bytes")));
        Ok(Self { luns: luns.collect(), needed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_did_not_fit_says_what_it_needs() {
        let mut bytes = vec![0, 0, 0, 24, 0, 0, 0, 0];
        bytes.extend([0; 8]);
        bytes.extend([0, 5, 0, 0, 0, 0, 0, 0]);
        let list = LunList::decode(&bytes).unwrap();
        assert_eq!(list.luns.len(), 2);
        assert_eq!(list.needed, 32);
        assert!(LunList::decode(&bytes[..7]).is_err());
    }

    #[test]
    fn lun_numbers_for_people() {
        assert_eq!(LunId([0, 5, 0, 0, 0, 0, 0, 0]).to_string(), "5");
        assert_eq!(LunId([0x41, 0x02, 0, 0, 0, 0, 0, 0]).to_string(), "258");
        assert_eq!(LunId([0xc1, 1, 0, 0, 0, 0, 0, 0]).to_string(), "c101000000000000");
        assert_eq!(LunId([0, 5, 0, 1, 0, 0, 0, 0]).number(), None);
    }
}
