//! A growing set of serials that are never looked at one by one: those that were deleted.

use std::collections::BTreeMap;

/// Runs by their first serial.
///
/// Invariant: between two runs at least one serial is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serials(BTreeMap<u32, u32>);

impl Serials {
    /// Adds a run, both ends included.
    pub fn insert(&mut self, (mut first, mut last): (u32, u32)) {
        while let Some((&start, &end)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
    }

    /// Whether `serial` is in it.
    #[must_use]
    pub fn contains(&self, serial: u32) -> bool {
        self.0.range(..=serial).next_back().is_some_and(|(_, &last)| serial <= last)
    }

    /// The largest one.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.0.last_key_value().map(|(_, &last)| last)
    }

    /// Ascending runs.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(runs in prop::collection::vec((0u32..200, 0u32..20), 0..40)) {
            let (mut serials, mut model) = (Serials::default(), BTreeSet::new());
            for (first, more) in runs {
                serials.insert((first, first + more));
                model.extend(first..=first + more);
                let found: BTreeSet<u32> = serials.runs().flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(&found, &model);
                prop_assert_eq!(serials.last(), model.last().copied());
                let mut before = None;
                for (a, b) in serials.runs() {
                    prop_assert!(before.is_none_or(|end: u32| end + 1 < a));
                    before = Some(b);
                }
            }
            for serial in 0..230 {
                prop_assert_eq!(serials.contains(serial), model.contains(&serial));
            }
        }
    }

    #[test]
    fn the_last_serial_is_one_too() {
        let mut serials = Serials::default();
        serials.insert((u32::MAX, u32::MAX));
        serials.insert((u32::MAX - 1, u32::MAX - 1));
        serials.insert((0, 0));
        assert!(serials.contains(u32::MAX) && serials.contains(0) && !serials.contains(1));
        assert_eq!(serials.runs().count(), 2);
    }
}
