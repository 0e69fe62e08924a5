//! Ranges of a disk in whole units of a grid, few enough to be kept with a recovery point.

use model::DiskRange;

/// Most ranges of one exclusion: some 150 KiB in a manifest. Of more the largest are taken.
pub(crate) const RANGES_MAX: usize = 4096;

/// Collects ranges in any order. What touches the one before becomes one with it; each is rounded
/// inward to whole units, so that nothing beside it is left out with it.
pub(crate) struct Ranges {
    grain: u64,
    /// Bytes of the disk; its last unit may be short.
    size: u64,
    last: Option<DiskRange>,
    whole: Vec<DiskRange>,
}

impl Ranges {
    pub(crate) fn new(grain: u64, size: u64) -> Self {
        Self { grain: grain.max(1), size, last: None, whole: Vec::new() }
    }

    pub(crate) fn push(&mut self, range: DiskRange) {
        match &mut self.last {
            Some(last) if last.end() == range.offset => last.length += range.length,
            _ => {
                self.settle();
                self.last = Some(range);
            }
        }
    }

    fn settle(&mut self) {
        let Some(range) = self.last.take() else { return };
        let first = range.offset.div_ceil(self.grain).saturating_mul(self.grain);
        let end = if range.end() >= self.size {
            self.size
        } else {
            range.end() / self.grain * self.grain
        };
        if let Some(length) = end.checked_sub(first).filter(|&length| length > 0) {
            self.whole.push(DiskRange { offset: first, length });
        }
        if self.whole.len() >= 2 * RANGES_MAX {
            self.keep_the_largest();
        }
    }

    fn keep_the_largest(&mut self) {
        self.whole.sort_unstable_by_key(|range| (std::cmp::Reverse(range.length), range.offset));
        self.whole.truncate(RANGES_MAX);
    }

    /// The ranges, ascending; `None` when two overlap, which no sound structure says.
    pub(crate) fn finish(mut self) -> Option<Vec<DiskRange>> {
        self.settle();
        self.keep_the_largest();
        self.whole.sort_unstable();
        let apart = self.whole.windows(2).all(|pair| pair[0].end() <= pair[1].offset);
        apart.then_some(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_units_that_are_covered_are_given(
            parts in prop::collection::vec((0u64..30, 1u64..60), 0..30),
            grain in 1u64..20,
            cut in 1u64..2000,
        ) {
            let mut ranges = Ranges::new(grain, cut);
            let (mut at, mut covered) = (0, vec![false; 3000]);
            for (gap, length) in parts {
                at += gap;
                let length = length.min(cut.saturating_sub(at));
                if length == 0 {
                    break;
                }
                ranges.push(DiskRange { offset: at, length });
                (at..at + length).for_each(|byte| covered[usize::try_from(byte).unwrap()] = true);
                at += length;
            }
            let found = ranges.finish().unwrap();
            for unit in 0..cut.div_ceil(grain) {
                let bytes = unit * grain..cut.min((unit + 1) * grain);
                let whole = bytes.clone().all(|byte| covered[usize::try_from(byte).unwrap()]);
                let inside = |byte| found.iter().any(|r| r.offset <= byte && byte < r.end());
                prop_assert!(bytes.clone().all(|byte| inside(byte) == whole), "unit {}", unit);
            }
        }
    }

    #[test]
    fn of_too_many_the_largest_are_taken() {
        let mut ranges = Ranges::new(10, u64::MAX);
        for number in 0..50_000 {
            let length = if number % 100 == 7 { 30 } else { 10 };
            ranges.push(DiskRange { offset: number * 100, length });
        }
        let found = ranges.finish().unwrap();
        assert_eq!(found.len(), RANGES_MAX);
        assert_eq!(found.iter().filter(|range| range.length == 30).count(), 500);
    }

    #[test]
    fn what_overlaps_is_no_answer() {
        let mut ranges = Ranges::new(1, 100);
        ranges.push(DiskRange { offset: 10, length: 10 });
        ranges.push(DiskRange { offset: 5, length: 6 });
        assert_eq!(ranges.finish(), None);
    }
}
