//! The reach of a disk (FORMAT.md 5.1): which segments its map refers to, and how often.

use crate::fields::Fields;
use crate::{FormatError, RECORD_MAX};
use std::collections::BTreeMap;

const WHAT: &str = "reach";
const HEAD: usize = 8;
const ENTRY: usize = 8;

/// Most segments that one reach can name.
pub const REACH_MAX: usize = (RECORD_MAX - HEAD) / ENTRY;

/// References of one DiskMap, by serial of the segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    segments: BTreeMap<u32, u32>,
}

impl Reach {
    /// Counts one more reference to `segment`; `false` when it can count no further.
    pub fn add(&mut self, segment: u32) -> bool {
        let count = self.segments.entry(segment).or_default();
        count.checked_add(1).map(|more| *count = more).is_some()
    }

    /// Counts one reference less; `false` when there was none.
    pub fn remove(&mut self, segment: u32) -> bool {
        let Some(count) = self.segments.get_mut(&segment) else { return false };
        *count -= 1;
        if *count == 0 {
            self.segments.remove(&segment);
        }
        true
    }

    /// Serials in ascending order, each with the number of references.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.segments.iter().map(|(&serial, &references)| (serial, references))
    }

    /// True when nothing is referred to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The record's bytes; `None` with more than [`REACH_MAX`] segments.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let count = u32::try_from(self.segments.len()).ok()?;
        if self.segments.len() > REACH_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEAD + ENTRY * self.segments.len());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for (serial, references) in self.iter() {
            bytes.extend_from_slice(&serial.to_le_bytes());
            bytes.extend_from_slice(&references.to_le_bytes());
        }
        Some(bytes)
    }

    /// From the record's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(WHAT, bytes);
        let count = fields.u32()? as usize;
        fields.zeros(4)?;
        if count.checked_mul(ENTRY).and_then(|b| b.checked_add(HEAD)) != Some(bytes.len()) {
            return Err(FormatError::corrupt(WHAT, "its length and its count differ"));
        }
        let mut segments = BTreeMap::new();
        for _ in 0..count {
            let (serial, references) = (fields.u32()?, fields.u32()?);
            let ascends = segments.last_key_value().is_none_or(|(&last, _)| last < serial);
            if !ascends || references == 0 {
                return Err(FormatError::corrupt(WHAT, "its entries are not ascending, or zero"));
            }
            segments.insert(serial, references);
        }
        Ok(Self { segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_counted_up_and_down() {
        let mut reach = Reach::default();
        assert!(reach.add(7) && reach.add(7) && reach.add(3));
        assert_eq!(reach.iter().collect::<Vec<_>>(), [(3, 1), (7, 2)]);
        assert!(reach.remove(3) && !reach.remove(3) && !reach.remove(9));
        assert_eq!(
            reach.encode().unwrap(),
            hex::decode("01000000000000000700000002000000").unwrap()
        );
    }

    #[test]
    fn what_is_not_ascending_or_counts_nothing_is_refused() {
        for wrong in [
            "02000000000000000700000001000000",
            "0200000000000000070000000100000007000000 01000000",
            "01000000000000000700000000000000",
            "01000000010000000700000001000000",
            "010000000000000007000000010000",
        ] {
            assert!(Reach::decode(&hex::decode(wrong.replace(' ', "")).unwrap()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_reach_survives(
            segments in prop::collection::btree_map(any::<u32>(), 1u32.., 0..50),
        ) {
            let reach = Reach { segments };
            prop_assert_eq!(Reach::decode(&reach.encode().unwrap()), Ok(reach));
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(reach) = Reach::decode(&bytes) {
                prop_assert_eq!(reach.encode().unwrap(), bytes);
            }
        }
    }
}
