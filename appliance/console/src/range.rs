//! The `Range` header (RFC 9110, section 14): which bytes of a disk a client wants.

use model::DiskRange;

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: no range was asked for, or not in a form that we serve.
    All,
    /// These bytes; not empty, within the length.
    Part(DiskRange),
    /// No byte lies in the range asked for.
    Unsatisfiable,
}

/// Reads a `Range` header against the length of what it is a part of.
///
/// One range of unit `bytes` is served. A header that is malformed, of another unit, or of
/// several ranges is ignored, as section 14.2 has it for a range that a server does not serve.
pub(crate) fn wanted(header: Option<&str>, length: u64) -> Wanted {
    let Some((unit, spec)) = header.and_then(|text| text.split_once('=')) else {
        return Wanted::All;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    match spec.trim().split_once('-') {
        Some(("", suffix)) => digits(suffix).map_or(Wanted::All, |n| from_end(n, length)),
        Some((first, "")) => digits(first).map_or(Wanted::All, |n| between(n, u64::MAX, length)),
        Some((first, last)) => match (digits(first), digits(last)) {
            (Some(first), Some(last)) if first <= last => between(first, last, length),
            _ => Wanted::All,
        },
        None => Wanted::All,
    }
}

/// Only digits, as the grammar has it; a number beyond 64 bits is as good as the largest.
fn digits(text: &str) -> Option<u64> {
    let right = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    right.then(|| text.parse().unwrap_or(u64::MAX))
}

fn from_end(count: u64, length: u64) -> Wanted {
    let length_wanted = count.min(length);
    part(length - length_wanted, length_wanted)
}

fn between(first: u64, last: u64, length: u64) -> Wanted {
    let end = last.saturating_add(1).min(length);
    part(first, end.saturating_sub(first))
}

fn part(offset: u64, length: u64) -> Wanted {
    if length == 0 { Wanted::Unsatisfiable } else { Wanted::Part(DiskRange { offset, length }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part_of(header: &str, length: u64) -> Option<(u64, u64)> {
        match wanted(Some(header), length) {
            Wanted::Part(range) => Some((range.offset, range.length)),
            _ => None,
        }
    }

    #[test]
    fn the_examples_of_rfc_9110_section_14_1_2() {
        assert_eq!(part_of("bytes=0-499", 10_000), Some((0, 500)));
        assert_eq!(part_of("bytes=500-999", 10_000), Some((500, 500)));
        assert_eq!(part_of("bytes=-500", 10_000), Some((9500, 500)));
        assert_eq!(part_of("bytes=9500-", 10_000), Some((9500, 500)));
        assert_eq!(part_of("bytes=0-0", 10_000), Some((0, 1)));
    }

    #[test]
    fn what_lies_behind_the_end_is_cut_off_or_unsatisfiable() {
        assert_eq!(part_of("bytes=90-200", 100), Some((90, 10)));
        assert_eq!(part_of("bytes=-200", 100), Some((0, 100)));
        for header in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(wanted(Some(header), 100), Wanted::Unsatisfiable, "{header}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn what_is_not_served_is_ignored() {
        for header in
            ["bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes", "bytes=", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(wanted(Some(header), 100), Wanted::All, "{header}");
        }
        assert_eq!(wanted(None, 100), Wanted::All);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_lies_within(
            header in "bytes=[0-9]{0,21}-[0-9]{0,21}",
            length in any::<u64>(),
        ) {
            if let Wanted::Part(range) = wanted(Some(&header), length) {
                prop_assert!(range.length > 0);
                prop_assert!(range.offset.checked_add(range.length).is_some_and(|e| e <= length));
            }
        }

        #[test]
        fn any_text_has_an_answer(header in ".*", length in any::<u64>()) {
            let _ = wanted(Some(&header), length);
        }
    }
}
