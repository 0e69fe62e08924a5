//! The forecast against a simulation, second by second of a small world.

use super::{DAY, Forecast, Question, Size, Stored, forecast};
use model::RetentionTime;
use proptest::prelude::*;

fn stored(day: i64, bytes: u64, until_day: i64) -> Stored {
    Stored { at: RetentionTime(day * DAY), bytes, until: RetentionTime(until_day * DAY) }
}

fn ask(day: i64, usable: u64, window_days: u32) -> Question {
    Question { now: RetentionTime(day * DAY), usable, window_days, lock_seconds: None }
}

fn day(found: Option<RetentionTime>) -> Option<i64> {
    found.map(|at| at.0 / DAY)
}

/// 100 bytes a day, each locked for 30 days, for 60 days.
fn steady() -> Vec<Stored> {
    (0..60).map(|day| stored(day, 100, day + 30)).collect()
}

#[test]
fn a_steady_box_with_room_for_its_locks_never_fills_with_locked_data() {
    let found = forecast(&steady(), &ask(60, 10_000, 20));
    assert_eq!((found.used, found.locked, found.bytes_per_day), (6000, 2900, 100));
    assert_eq!((day(found.full), found.locked_full), (Some(100), None));
    assert_eq!((found.steady, found.is_certain()), (3000, false));
}

#[test]
fn a_longer_lock_makes_it_certain() {
    let question = Question { lock_seconds: Some(200 * 24 * 3600), ..ask(60, 10_000, 20) };
    let found = forecast(&steady(), &question);
    assert_eq!((found.steady, found.is_certain()), (20_000, true));
    // The old locks go meanwhile: 100 a day come, after 29 days no old one is left.
    assert_eq!(day(found.locked_full), Some(160));
    let text = found.to_string();
    assert!(text.contains("in 100 days locked data alone") && text.contains("certain"), "{text}");
}

#[test]
fn an_empty_box_a_full_one_and_holds() {
    let empty = forecast(&[], &ask(5, 1000, 7));
    assert_eq!((empty.full, empty.locked_full, empty.is_certain()), (None, None, false));
    let held = [Stored { until: RetentionTime(i64::MAX), ..stored(0, 2000, 0) }];
    let found = forecast(&held, &ask(5, 1000, 7));
    assert_eq!((day(found.locked_full), found.locked), (Some(5), 2000), "full already");
    assert!(!found.is_certain(), "a hold says nothing about what comes");
    assert_eq!(day(found.full), Some(5));
    assert_eq!(Size(1536).to_string(), "1.5 KiB");
    assert_eq!(Size(u64::MAX).to_string(), "15.9 EiB");
    assert_eq!(Size(17).to_string(), "17 bytes");
}

/// Bytes locked `days` from now, by the definition.
fn locked_after(all: &[Stored], question: &Question, days: i64) -> f64 {
    let now = question.now.0;
    let at = now + days * DAY;
    let since = now - i64::from(question.window_days) * DAY;
    let oldest = all.iter().map(|stored| stored.at.0).min().unwrap_or(since).max(since);
    let span = (now - oldest).max(DAY) as f64;
    let still = all.iter().filter(|stored| stored.until.0 > at && stored.until.0 > now);
    let old: u64 = still.map(|stored| stored.bytes).sum();
    let new = all.iter().filter(|stored| stored.at.0 >= since).map(|stored| {
        let lock = question.lock_seconds.map_or(stored.until.0 - stored.at.0, |s| s as i64);
        stored.bytes as f64 / span * (days * DAY).min(lock.max(0)) as f64
    });
    old as f64 + new.sum::<f64>()
}

#[test]
fn more_bytes_than_64_bits_can_count_are_still_counted() {
    let now = i64::MIN / 2;
    let stored = |at: i64, until: i64, bytes| Stored {
        at: RetentionTime(at),
        bytes,
        until: RetentionTime(until),
    };
    let all = [
        stored(now - 10, now - 5, u64::MAX),
        stored(now - 10, now - 4, u64::MAX),
        stored(i64::MIN, i64::MAX - 1, 1),
    ];
    let (now, usable) = (RetentionTime(now), u64::MAX);
    let question = Question { now, usable, window_days: 1, lock_seconds: None };
    assert_eq!(forecast(&all, &question).locked_full, None);
}

proptest! {
    #[test]
    fn locked_data_reaches_the_limit_when_it_says_and_not_before(
        all in prop::collection::vec((0i64..50, 1u64..1000, 0i64..200), 0..40),
        usable in 1u64..60_000, window in 1u32..60, lock in prop::option::of(0u64..300),
    ) {
        let all = all.into_iter().map(|(at, bytes, lock)| stored(at, bytes, at + lock));
        let all: Vec<Stored> = all.collect();
        let lock_seconds = lock.map(|days| days * 24 * 3600);
        let question = Question { lock_seconds, ..ask(50, usable, window) };
        let found: Forecast = forecast(&all, &question);
        let first = (0..1000).find(|days| locked_after(&all, &question, *days) >= usable as f64);
        match found.locked_full {
            // Between two whole days it may have been above and, as locks ended, below again.
            Some(at) => {
                let days = (at.0 - question.now.0 + DAY - 1) / DAY;
                prop_assert!(first.is_none_or(|first| days <= first), "{found:?}, first {first:?}");
                let over = |d: &i64| locked_after(&all, &question, *d) > usable as f64 + 1.0;
                let before = (0..days).find(over);
                prop_assert_eq!(before, None);
            }
            None => prop_assert_eq!(first, None, "{:?}", found),
        }
        if found.is_certain() {
            prop_assert!(found.locked_full.is_some());
        }
        if let Some(full) = found.full {
            let locked_later = |locked| locked >= full || found.used >= usable;
            prop_assert!(found.locked_full.is_none_or(locked_later));
        }
    }

    #[test]
    fn any_numbers_give_an_answer(
        all in prop::collection::vec((any::<i64>(), any::<u64>(), any::<i64>()), 0..20),
        now in any::<i64>(), usable in any::<u64>(), window_days in any::<u32>(),
        lock_seconds in any::<Option<u64>>(),
    ) {
        let all: Vec<Stored> = all.into_iter().map(|(at, bytes, until)| {
            Stored { at: RetentionTime(at), bytes, until: RetentionTime(until) }
        }).collect();
        let question = Question { now: RetentionTime(now), usable, window_days, lock_seconds };
        let _ = forecast(&all, &question).to_string();
    }
}
