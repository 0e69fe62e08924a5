//! Pace and coverage, without a repository.

use super::{Aged, DAY, choose, coverage, due, in_order};
use model::RetentionTime;
use proptest::prelude::*;

fn aged(serial: u32, bytes: u64, recorded: i64, scrubbed: Option<i64>) -> Aged {
    let (recorded, scrubbed) = (RetentionTime(recorded), scrubbed.map(RetentionTime));
    Aged { serial, volume: 0, bytes, recorded, scrubbed }
}

fn chosen(all: &[Aged], budget: u64) -> Vec<Aged> {
    choose(&mut in_order(all.to_vec()).into(), budget)
}

#[test]
fn never_scrubbed_first_then_longest_ago() {
    let all = vec![aged(1, 10, 0, Some(50)), aged(2, 10, 7, None), aged(3, 10, 0, Some(40))];
    let order: Vec<u32> = in_order(all.clone()).iter().map(|aged| aged.serial).collect();
    assert_eq!(order, [2, 3, 1]);
    let serials = |budget| chosen(&all, budget).iter().map(|a| a.serial).collect::<Vec<_>>();
    assert_eq!(serials(0), [0u32; 0]);
    assert_eq!(serials(1), [2], "one at least");
    assert_eq!(serials(19), [2]);
    assert_eq!(serials(20), [2, 3]);
    assert_eq!(serials(1000), [1, 2, 3]);
    let mut order = in_order(all).into();
    assert_eq!((choose(&mut order, 25).len(), order.len()), (2, 1), "the rest stays");
}

#[test]
fn coverage_counts_the_bytes_of_the_last_goal() {
    let now = RetentionTime(100 * DAY);
    let all = [aged(1, 10, 0, Some(95 * DAY)), aged(2, 7, 0, Some(60 * DAY)), aged(3, 5, 99, None)];
    let found = coverage(&all, 30, now);
    assert_eq!((found.bytes_within, found.bytes_total, found.bytes_never), (10, 22, 5));
    assert_eq!((found.oldest, found.on_track), (Some(RetentionTime(99)), false));
    assert!(coverage(&all, 1000, now).on_track && coverage(&[], 1, now).on_track);
    let due = due(all.to_vec(), 30, now);
    assert_eq!((due.overdue, due.bytes), (12, 12), "the third is not older than its sealing");
}

proptest! {
    /// Who reads what is due every day is always on track, whatever comes in, and does not read
    /// much more than he must.
    #[test]
    fn the_pace_keeps_the_goal(
        incoming in prop::collection::vec(prop::collection::vec(1u64..100, 0..6), 1..120),
        goal in 2u32..40,
    ) {
        let (mut all, mut serial, mut read, mut total) = (Vec::<Aged>::new(), 0, 0, 0);
        let days = incoming.len() + 2 * goal as usize;
        let mut incoming = incoming.into_iter();
        for day in 0..i64::try_from(days).unwrap() {
            let now = RetentionTime(day * DAY);
            for bytes in incoming.next().unwrap_or_default() {
                serial += 1;
                total += bytes;
                all.push(aged(serial, bytes, now.0, None));
            }
            let due = due(all.clone(), goal, now);
            prop_assert_eq!(due.overdue, 0);
            for chosen in chosen(&all, due.bytes) {
                read += chosen.bytes;
                let found = all.iter_mut().find(|aged| aged.serial == chosen.serial);
                found.unwrap().scrubbed = Some(now);
            }
            prop_assert!(coverage(&all, goal, now).on_track);
        }
        let rounds = days as u64 / u64::from(goal - 1) + 2;
        let most = total * rounds * 2 + 100 * days as u64;
        prop_assert!(read <= most, "{read} of {total} in {rounds} rounds");
    }
}
