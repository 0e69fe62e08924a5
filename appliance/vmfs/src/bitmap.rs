//! Sets of numbers that come in runs: blocks in use, blocks seen.

use std::collections::BTreeMap;

const WORDS: usize = 64;
const BITS: u64 = 64 * WORDS as u64;

/// A set of numbers; a page of 4096 takes 512 bytes once one of them is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseBits {
    pages: BTreeMap<u64, Box<[u64; WORDS]>>,
}

impl SparseBits {
    /// Adds a number; false when it was there already.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let page = self.pages.entry(number / BITS).or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = Self::position(number);
        let fresh = page[word] & bit == 0;
        page[word] |= bit;
        fresh
    }

    /// True when the number is in the set.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let (word, bit) = Self::position(number);
        self.pages.get(&(number / BITS)).is_some_and(|page| page[word] & bit != 0)
    }

    fn position(number: u64) -> (usize, u64) {
        (crate::bytes::index(number % BITS / 64), 1 << (number % 64))
    }
}
