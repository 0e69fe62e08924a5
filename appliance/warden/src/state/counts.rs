//! One number per serial, in pages: no look-up is a search, and memory follows the serials that
//! are in use, wherever they lie.

const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;

/// How often each serial is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pages: Vec<Option<Box<[u32]>>>,
}

impl Counts {
    /// The number of `serial`.
    #[must_use]
    pub fn get(&self, serial: u32) -> u32 {
        let page = self.pages.get((serial >> PAGE_BITS) as usize);
        page.and_then(Option::as_ref).map_or(0, |page| page[serial as usize % PAGE])
    }

    /// One more for each serial of the run.
    pub fn add(&mut self, run: (u32, u32)) {
        self.each(run, |count| *count = count.saturating_add(1));
    }

    /// One less for each serial of the run; zero stays.
    pub fn take(&mut self, run: (u32, u32)) {
        self.each(run, |count| *count = count.saturating_sub(1));
    }

    fn each(&mut self, (first, last): (u32, u32), change: impl Fn(&mut u32)) {
        for page in first >> PAGE_BITS..=last >> PAGE_BITS {
            let low = if page == first >> PAGE_BITS { first as usize % PAGE } else { 0 };
            let high = if page == last >> PAGE_BITS { last as usize % PAGE } else { PAGE - 1 };
            let page = page as usize;
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            let counts = self.pages[page].get_or_insert_with(|| vec![0; PAGE].into_boxed_slice());
            counts[low..=high].iter_mut().for_each(&change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_over_pages_count_each_serial_once() {
        let mut counts = Counts::default();
        counts.add((4000, 9000));
        counts.add((u32::MAX - 1, u32::MAX));
        counts.add((5000, 5000));
        for (serial, expected) in
            [(3999, 0), (4000, 1), (4095, 1), (4096, 1), (5000, 2), (9000, 1), (9001, 0)]
        {
            assert_eq!(counts.get(serial), expected, "{serial}");
        }
        counts.take((4000, 9000));
        assert_eq!((counts.get(4000), counts.get(5000), counts.get(u32::MAX)), (0, 1, 1));
        counts.take((4000, 4000));
        assert_eq!(counts.get(4000), 0);
    }
}
