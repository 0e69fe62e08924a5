use super::*;
use crate::{Batch, Event};
use model::{RetentionTime, WallTime};
use proptest::prelude::*;

const ID: [u8; 16] = [4; 16];

fn leaf(number: i64) -> Leaf {
    Leaf::new(RetentionTime(number), WallTime(0), Event::OverridesOff {})
}

/// `count` leaves, and where each frame ends.
fn log(count: i64) -> (Vec<u8>, Vec<usize>, Tree) {
    let (mut bytes, mut ends, mut tree) = (Vec::new(), Vec::new(), Tree::default());
    for number in 0..count {
        let mut batch = Batch::after(&tree);
        batch.push(&ID, &leaf(number)).unwrap();
        bytes.extend_from_slice(batch.bytes());
        tree = batch.tree().clone();
        ends.push(bytes.len());
    }
    (bytes, ends, tree)
}

fn read(bytes: &[u8], head: Option<Head>, piece: usize) -> Result<(Vec<Leaf>, Tail), LedgerError> {
    let (mut replay, mut leaves) = (Replay::new(ID, head)?, Vec::new());
    for piece in bytes.chunks(piece) {
        replay.push(piece);
        while let Some(leaf) = replay.next_leaf()? {
            leaves.push(leaf);
        }
    }
    let (frames, tail) = replay.finish()?;
    assert_eq!(frames.tree().size(), leaves.len() as u64);
    Ok((leaves, tail))
}

fn head(tree: &Tree) -> Option<Head> {
    Some(Head::new(ID, tree))
}

#[test]
fn every_cut_after_the_head_keeps_the_leaves_before_it() {
    let (_, _, acknowledged) = log(3);
    let (bytes, ends, _) = log(5);
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        for piece in [1, 100, 1 << 20] {
            let result = read(&bytes[..cut], head(&acknowledged), piece);
            if whole < 3 {
                assert!(matches!(result, Err(LedgerError::Damaged { .. })), "cut at {cut}");
                continue;
            }
            let (leaves, tail) = result.unwrap();
            assert_eq!(leaves, (0..5).map(leaf).take(whole).collect::<Vec<_>>(), "cut at {cut}");
            let at = whole.checked_sub(1).map_or(0, |last| ends[last]);
            let torn = Tail::Torn { at: at as u64, bytes: (cut - at) as u64 };
            assert_eq!(tail, if cut == at { Tail::Clean } else { torn }, "cut at {cut}");
        }
    }
}

#[test]
fn every_flipped_bit_below_the_head_is_damage() {
    let (bytes, _, tree) = log(4);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let result = read(&damaged, head(&tree), 1 << 20);
        assert!(matches!(result, Err(LedgerError::Damaged { .. })), "bit {bit}");
    }
}

#[test]
fn leaves_that_were_exchanged_repeated_or_left_out_are_damage() {
    let (bytes, ends, tree) = log(4);
    let frame = |n: usize| &bytes[n.checked_sub(1).map_or(0, |last| ends[last])..ends[n]];
    for order in [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 1, 3], [0, 1, 3, 3]] {
        let forged: Vec<u8> = order.iter().flat_map(|&n| frame(n)).copied().collect();
        assert!(read(&forged, head(&tree), 64).is_err(), "{order:?}");
    }
}

#[test]
fn a_past_that_was_rewritten_with_right_checksums_is_damage() {
    let (bytes, ends, tree) = log(4);
    // Leaf 3 of this log follows other leaves: its frame is right, its root is not.
    let mut other = Batch::after(&Tree::default());
    for number in 10..13 {
        other.push(&ID, &leaf(number)).unwrap();
    }
    let spliced = [other.bytes(), &bytes[ends[2]..]].concat();
    assert!(read(&spliced, head(&tree), 1000).is_err());
    // A whole other history of the same size has another root than the head names.
    other.push(&ID, &leaf(13)).unwrap();
    assert!(read(other.bytes(), head(&tree), 1000).is_err());
}

#[test]
fn a_missing_head_is_an_error_once_there_is_more_than_the_first_leaf() {
    let (bytes, ends, _) = log(2);
    assert!(read(&bytes[..ends[0]], None, 10).is_ok());
    assert!(matches!(read(&bytes, None, 10), Err(LedgerError::Head { .. })));
}

#[test]
fn a_torn_tail_of_any_length_takes_no_memory() {
    let (bytes, _, tree) = log(2);
    let mut replay = Replay::new(ID, head(&tree)).unwrap();
    replay.push(&bytes);
    while replay.next_leaf().unwrap().is_some() {}
    for _ in 0..100 {
        replay.push(&vec![7; FRAME_MAX]);
        assert_eq!(replay.next_leaf(), Ok(None));
        assert!(replay.frames.rest().len() <= FRAME_MAX);
    }
    let (_, tail) = replay.finish().unwrap();
    assert_eq!(tail, Tail::Torn { at: bytes.len() as u64, bytes: 100 * FRAME_MAX as u64 });
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>(),
    ) {
        if magic && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(b"HFLF");
        }
        let _ = read(&bytes, None, 50);
    }
}
