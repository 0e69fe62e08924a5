//! The loop against honest servers of every page size, and against servers that lie.

use super::*;
use crate::wire::parse_fragment;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn answer(start: u64, length: u64, areas: &[(u64, u64)]) -> AreasAnswer {
    AreasAnswer { start, length, areas: areas.to_vec() }
}

/// Feeds the answers in order; the first error, or the areas when the disk is covered.
fn run(capacity: u64, answers: &[AreasAnswer]) -> Result<Option<Vec<ChangedArea>>, AreasError> {
    let mut query = AreasQuery::new(capacity);
    for answer in answers {
        assert!(query.question().is_some(), "asked on after the end");
        query.answer(answer)?;
    }
    Ok(query.question().is_none().then(|| query.finish()))
}

#[test]
fn it_asks_on_until_the_disk_is_covered_and_never_at_its_end() {
    let mut query = AreasQuery::new(10 * MIB);
    assert_eq!(query.question(), Some(0));
    query.answer(&answer(0, 4 * MIB, &[(MIB, MIB)])).unwrap();
    assert_eq!(query.question(), Some(4 * MIB));
    query.answer(&answer(4 * MIB, 6 * MIB, &[])).unwrap();
    assert_eq!(query.question(), None);
    assert_eq!(query.finish(), [DiskRange { offset: MIB, length: MIB }]);
}

#[test]
fn an_empty_disk_needs_no_question() {
    assert_eq!(AreasQuery::new(0).question(), None);
}

#[test]
fn each_lie_is_noticed() {
    let first = answer(0, 4 * MIB, &[(MIB, MIB)]);
    let lie = |second: AreasAnswer| run(10 * MIB, &[first.clone(), second]).unwrap_err();
    let at = 4 * MIB;
    assert_eq!(lie(answer(0, 4 * MIB, &[])), AreasError::OtherStart { asked: at, returned: 0 });
    let ahead = AreasError::OtherStart { asked: at, returned: 5 * MIB };
    assert_eq!(lie(answer(5 * MIB, MIB, &[])), ahead);
    assert_eq!(lie(answer(at, 0, &[])), AreasError::NoProgress { start: at });
    let beyond = |length| AreasError::BeyondDisk { start: at, length, capacity: 10 * MIB };
    assert_eq!(lie(answer(at, 7 * MIB, &[])), beyond(7 * MIB));
    assert_eq!(lie(answer(at, u64::MAX, &[])), beyond(u64::MAX));
    for (start, length) in [(0, 1), (at - 1, 2), (at + MIB - 1, 2), (9 * MIB, 1), (at, 0)] {
        let outside = AreasError::AreaOutside { start, length };
        assert_eq!(lie(answer(at, MIB, &[(start, length)])), outside);
    }
    let wraps = (at, u64::MAX);
    let outside = AreasError::AreaOutside { start: wraps.0, length: wraps.1 };
    assert_eq!(lie(answer(at, MIB, &[wraps])), outside);
    for second in [(at, 512), (at + 511, 2), (at + 256, 8)] {
        let disorder = lie(answer(at, MIB, &[(at, 512), second]));
        assert_eq!(disorder, AreasError::OutOfOrder { start: second.0, previous_end: at + 512 });
    }
}

#[test]
fn adjacent_areas_are_fine() {
    let areas = run(MIB, &[answer(0, MIB, &[(0, 512), (512, 512)])]).unwrap().unwrap();
    assert_eq!(areas.len(), 2);
}

#[test]
fn endless_answers_and_endless_areas_have_a_bound() {
    let mut query = AreasQuery::bounded(MIB, 3, 100);
    for start in 0..3 {
        query.answer(&answer(start, 1, &[])).unwrap();
    }
    let limit = AreasError::TooMany { what: "answers", limit: 3 };
    assert_eq!(query.answer(&answer(3, 1, &[])), Err(limit));

    let mut query = AreasQuery::bounded(MIB, 3, 2);
    let limit = AreasError::TooMany { what: "changed areas", limit: 2 };
    assert_eq!(query.answer(&answer(0, 9, &[(0, 1), (2, 1), (4, 1)])), Err(limit));
}

#[test]
fn an_answer_is_decoded_and_negative_numbers_are_refused() {
    let text = "<r><startOffset>0</startOffset><length>1048576</length>\
        <changedArea><start>512</start><length>1024</length></changedArea></r>";
    let document = parse_fragment(text);
    assert_eq!(decode_answer(document.root()), Ok(answer(0, MIB, &[(512, 1024)])));
    for wrong in [
        text.replace("512", "-512"),
        text.replace("1048576", ""),
        text.replace("<length>1024</length>", ""),
        text.replace("1024", "18446744073709551616"),
    ] {
        assert!(decode_answer(parse_fragment(&wrong).root()).is_err(), "{wrong}");
    }
}

/// Ascending areas with gaps, and the capacity behind them.
fn areas() -> impl Strategy<Value = (u64, Vec<(u64, u64)>)> {
    let steps = prop::collection::vec((0_u64..MIB, 1_u64..MIB), 0..40);
    (steps, 1_u64..MIB).prop_map(|(steps, rest)| {
        let mut at = 0;
        let mut areas = Vec::new();
        for (gap, length) in steps {
            areas.push((at + gap, length));
            at += gap + length;
        }
        (at + rest, areas)
    })
}

/// What an honest server says that covers at most `window` bytes in one answer.
fn honest(capacity: u64, areas: &[(u64, u64)], start: u64, window: u64) -> AreasAnswer {
    let end = capacity.min(start + window);
    let cut = |&(from, length): &(u64, u64)| {
        let (low, high) = (from.max(start), (from + length).min(end));
        (low < high).then(|| (low, high - low))
    };
    answer(start, end - start, &areas.iter().filter_map(cut).collect::<Vec<_>>())
}

/// Joins areas that a page border cut in two.
fn joined(areas: &[ChangedArea]) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    for area in areas {
        match out.last_mut() {
            Some(last) if last.0 + last.1 == area.offset => last.1 += area.length,
            _ => out.push((area.offset, area.length)),
        }
    }
    out
}

proptest! {
    #[test]
    fn an_honest_server_is_believed_at_any_page_size(
        (capacity, areas) in areas(),
        window in 1_u64..3 * MIB,
    ) {
        let window = window.max(capacity / 500);
        let mut query = AreasQuery::new(capacity);
        while let Some(start) = query.question() {
            prop_assert!(start < capacity);
            query.answer(&honest(capacity, &areas, start, window)).unwrap();
        }
        let whole: Vec<ChangedArea> = areas
            .iter()
            .map(|&(offset, length)| DiskRange { offset, length })
            .collect();
        prop_assert_eq!(joined(&query.finish()), joined(&whole));
    }

    /// Whatever a server says, the result is an error or a list that keeps the promises.
    #[test]
    fn any_answers_give_an_error_or_a_sound_list(
        capacity in 1_u64..64,
        answers in prop::collection::vec(
            (0_u64..64, 0_u64..64, prop::collection::vec((0_u64..64, 0_u64..16), 0..4)),
            0..8,
        ),
    ) {
        let mut query = AreasQuery::new(capacity);
        for (start, length, areas) in answers {
            if query.question().is_none() || query.answer(&answer(start, length, &areas)).is_err() {
                break;
            }
        }
        for pair in query.areas.windows(2) {
            prop_assert!(pair[0].end() <= pair[1].offset);
        }
        prop_assert!(query.areas.iter().all(|area| area.length > 0 && area.end() <= capacity));
    }
}
