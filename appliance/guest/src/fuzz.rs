//! The entry for fuzzers: arbitrary bytes as a disk.

use crate::{Wanted, look};

/// Takes `bytes` for a disk and checks what this crate promises whatever comes: ranges on the
/// disk, in whole units, ascending, none twice; reasons with words.
///
/// # Panics
/// When a promise is broken, which is what a fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    let size = bytes.len() as u64;
    let disk = bytes.to_vec();
    for grain in [4096, 65536] {
        let found = look(&disk, Wanted { swap: true, grain });
        let mut all = Vec::new();
        for exclusion in &found.excluded {
            assert!(!exclusion.ranges.is_empty(), "an exclusion of nothing");
            all.extend(exclusion.ranges.iter().copied());
        }
        all.sort_unstable();
        for range in &all {
            assert!(range.length > 0 && range.offset % grain == 0, "not in whole units");
            assert!(range.end() == size || range.end() % grain == 0, "not in whole units");
            assert!(range.end() <= size, "beyond the end");
        }
        assert!(all.windows(2).all(|pair| pair[0].end() <= pair[1].offset), "an overlap");
        assert!(found.passed_over.iter().all(|passed| !passed.reason.is_empty()), "no words");
    }
}
