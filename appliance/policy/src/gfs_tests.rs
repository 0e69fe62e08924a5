use super::*;
use crate::calendar::tests::at;
use proptest::prelude::*;
use std::collections::BTreeSet;

const DAY: i64 = 24 * 3600;
const UTC: fn() -> Calendar = Calendar::default;

fn point(number: u32, at: RetentionTime, sound: bool) -> Candidate {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Candidate { id: RecoveryPointId(id), at, sound }
}

fn sound(times: &[RetentionTime]) -> Vec<Candidate> {
    (0u32..).zip(times).map(|(number, &at)| point(number, at, true)).collect()
}

fn kept(rules: &KeepRules, points: &[Candidate], now: RetentionTime) -> BTreeSet<RecoveryPointId> {
    let wishes = wishes(rules, points, now, UTC());
    assert_eq!(wishes.len(), points.len());
    wishes.into_iter().filter(|w| w.verdict != Verdict::Expire).map(|w| w.id).collect()
}

fn verdicts(rules: &KeepRules, points: &[Candidate], now: RetentionTime) -> Vec<Verdict> {
    wishes(rules, points, now, UTC()).into_iter().map(|wish| wish.verdict).collect()
}

fn keep(tiers: &[Tier], guard: Option<Guard>) -> Verdict {
    Verdict::Keep { tiers: tiers.to_vec(), guard }
}

#[test]
fn of_two_points_of_one_second_the_one_recorded_last_is_the_newer_whatever_their_ids() {
    let rules = KeepRules { last: 1, ..KeepRules::default() };
    let now = at("2025-01-01T22:00Z");
    for (first, second) in [(1, 2), (2, 1)] {
        let points = [point(first, now, true), point(second, now, true)];
        let expected = [Verdict::Expire, keep(&[Tier::Last], Some(Guard::Newest))];
        assert_eq!(verdicts(&rules, &points, now), expected);
    }
}

#[test]
fn the_first_of_each_period_is_kept() {
    let rules = KeepRules { daily: 2, weekly: 2, monthly: 2, yearly: 2, ..KeepRules::default() };
    let points = sound(&[
        at("2024-12-31T22:00Z"),
        at("2025-01-01T22:00Z"),
        at("2025-01-02T22:00Z"),
        at("2025-01-31T22:00Z"),
        at("2025-02-01T06:00Z"),
        at("2025-02-01T22:00Z"),
    ]);
    let now = at("2025-02-01T23:00Z");
    let expected = [
        keep(&[Tier::Weekly, Tier::Yearly], None),
        keep(&[Tier::Monthly, Tier::Yearly], None),
        Verdict::Expire,
        keep(&[Tier::Daily, Tier::Weekly], None),
        keep(&[Tier::Daily, Tier::Monthly], None),
        keep(&[], Some(Guard::Newest)),
    ];
    assert_eq!(verdicts(&rules, &points, now), expected);
}

#[test]
fn a_damaged_point_counts_for_nothing_and_stays_until_there_is_a_better_one() {
    let rules = KeepRules { daily: 1, ..KeepRules::default() };
    let old = point(1, at("2025-05-01T22:00Z"), true);
    let damaged = point(2, at("2025-05-02T22:00Z"), false);
    let newer = point(3, at("2025-05-03T22:00Z"), true);
    let before = verdicts(&rules, &[old, damaged], at("2025-05-03T00:00Z"));
    let newest = keep(&[Tier::Daily], Some(Guard::Newest));
    assert_eq!(before, [newest.clone(), keep(&[], Some(Guard::NoSuccessor))]);
    let after = verdicts(&rules, &[old, damaged, newer], at("2025-05-04T00:00Z"));
    assert_eq!(after, [Verdict::Expire, Verdict::Expire, newest]);
}

#[test]
fn the_future_neither_evicts_nor_expires() {
    let rules = KeepRules { last: 1, daily: 1, ..KeepRules::default() };
    let now = at("2025-05-01T23:00Z");
    let mut points = sound(&[at("2025-05-01T22:00Z")]);
    points.extend((1..100).map(|n| point(n, RetentionTime(now.0 + i64::from(n) * DAY), true)));
    let found = verdicts(&rules, &points, now);
    assert_eq!(found[0], keep(&[Tier::Last, Tier::Daily], Some(Guard::Newest)));
    assert!(found[1..].iter().all(|v| *v == keep(&[], Some(Guard::Future))));
}

#[test]
fn without_rules_nothing_expires() {
    let points = sound(&[at("1980-01-01T00:00Z"), at("2025-01-01T00:00Z")]);
    let found = verdicts(&KeepRules::default(), &points, at("2026-01-01T00:00Z"));
    assert_eq!(found, [keep(&[], Some(Guard::NoRules)), keep(&[], Some(Guard::NoRules))]);
    assert_eq!(lock_duration(&KeepRules::default(), RetentionTime(0), &[], UTC()), 0);
}

#[test]
fn the_lock_is_that_of_the_longest_tier_which_is_still_free() {
    let rules = KeepRules { daily: 7, weekly: 4, monthly: 12, yearly: 2, ..KeepRules::default() };
    let first = at("2025-12-31T22:00Z");
    let days = |time, existing: &[Candidate]| {
        lock_duration(&rules, time, existing, UTC()).div_euclid(DAY.unsigned_abs())
    };
    assert_eq!(days(first, &[]), 730);
    let existing = sound(&[first]);
    assert_eq!(days(at("2025-12-31T23:00Z"), &existing), 0, "everything is taken");
    assert_eq!(days(at("2026-01-01T22:00Z"), &existing), 730, "a new year, in the same ISO week");
    let existing = sound(&[first, at("2026-01-01T22:00Z")]);
    assert_eq!(days(at("2026-01-02T22:00Z"), &existing), 7);
    assert_eq!(days(at("2026-01-05T22:00Z"), &existing), 28, "a Monday");
    assert_eq!(days(at("2026-02-01T22:00Z"), &existing), 365);
    let damaged = [existing[0], Candidate { sound: false, ..existing[1] }];
    assert_eq!(days(at("2026-01-02T22:00Z"), &damaged), 730, "a damaged one fills no tier");
}

#[test]
fn rules_are_read_with_every_tier_optional_and_no_misspelling() {
    let rules: KeepRules = serde_json::from_str(r#"{"daily": 7}"#).unwrap();
    assert_eq!(rules, KeepRules { daily: 7, ..KeepRules::default() });
    assert!(serde_json::from_str::<KeepRules>(r#"{"dayly": 7}"#).is_err());
}

/// One point a night for five years, over leap days and years of 53 weeks: a point is wanted
/// exactly as long as it is locked. (The very first is the first of a year that is nearly over:
/// its lock outlasts the wish by less than a year.)
#[test]
fn five_years_of_nights_keep_what_was_promised() {
    let rules = KeepRules { daily: 14, weekly: 8, monthly: 12, yearly: 3, ..KeepRules::default() };
    let start = at("2019-12-20T22:00Z");
    let mut points: Vec<(Candidate, i64)> = Vec::new();
    for day in 0..5 * 366 {
        let now = RetentionTime(start.0 + i64::from(day) * DAY);
        let existing: Vec<Candidate> = points.iter().map(|p| p.0).collect();
        let lock = i64::try_from(lock_duration(&rules, now, &existing, UTC())).unwrap();
        points.push((point(day, now, true), now.0 + lock));
        let all: Vec<Candidate> = points.iter().map(|p| p.0).collect();
        let kept = kept(&rules, &all, now);
        for (point, until) in &points {
            let wanted = kept.contains(&point.id);
            let first = point.id == all[0].id && day < 4 * 366;
            assert!(first || wanted == (*until > now.0), "{point:?} {until}");
        }
        points.retain(|(point, _)| kept.contains(&point.id));
        assert!(kept.len() <= 14 + 8 + 12 + 3);
    }
    assert!(points.len() > 14 + 6 + 11, "{}", points.len());
}

/// Whether the text of the module wants `point`, said once more without any sorting or counting
/// up: a second opinion for the small scope.
fn wanted(rules: &KeepRules, point: &Candidate, all: &[Candidate], now: RetentionTime) -> bool {
    let sound: Vec<&Candidate> = all.iter().filter(|p| p.sound && p.at <= now).collect();
    if !sound.iter().any(|other| other.at > point.at) || *rules == KeepRules::default() {
        return true;
    }
    let newer = sound.iter().filter(|other| other.at > point.at);
    let last = newer.clone().count() < rules.last as usize;
    let by_period = rules.periods().any(|(_, period, count)| {
        let number = |p: &Candidate| UTC().number(period, p.at);
        let first = !sound.iter().any(|p| number(p) == number(point) && p.at < point.at);
        let newer: BTreeSet<i64> = newer.clone().map(|p| number(p)).collect();
        let newer = newer.into_iter().filter(|&n| n != number(point)).count();
        first && newer < count as usize
    });
    point.sound && (last || by_period)
}

/// Eight half days from a Friday before the end of a month: each empty, sound or damaged; every
/// combination, with 54 sets of rules.
#[test]
fn every_small_case_is_as_written() {
    let start = at("2025-05-30T06:00Z").0;
    let now = RetentionTime(start + 4 * DAY);
    for case in 0..3u32.pow(8) {
        let slot = |n: u32| (n, case / 3u32.pow(n) % 3);
        let made = (0..8).map(slot).filter(|&(_, state)| state > 0);
        let at = |n: u32| RetentionTime(start + i64::from(n) * DAY / 2);
        let points: Vec<Candidate> = made.map(|(n, state)| point(n, at(n), state == 1)).collect();
        for set in 0..54 {
            let [last, daily, weekly, monthly] = [set % 2, set / 2 % 3, set / 6 % 3, set / 18 % 3];
            let rules = KeepRules { last, daily, weekly, monthly, ..KeepRules::default() };
            let kept = kept(&rules, &points, now);
            for point in &points {
                let expected = wanted(&rules, point, &points, now);
                assert_eq!(kept.contains(&point.id), expected, "{point:?} {rules:?} {points:?}");
            }
        }
    }
}

fn rules() -> impl Strategy<Value = KeepRules> {
    (0u32..4, 0u32..5, 0u32..5, 0u32..5, 0u32..5, 0u32..4).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly)| KeepRules {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        },
    )
}

/// Times close together, days apart and years apart, in any order.
fn points(most: usize) -> impl Strategy<Value = Vec<Candidate>> {
    let base = at("2023-11-15T00:00Z").0;
    let near = 0..3 * DAY;
    let far = 0..900 * DAY;
    let time = prop_oneof![near, far].prop_map(move |offset| RetentionTime(base + offset));
    prop::collection::vec((time, prop::bool::weighted(0.9)), 0..most).prop_map(|times| {
        (0u32..).zip(times).map(|(number, (at, sound))| point(number, at, sound)).collect()
    })
}

fn somewhen() -> impl Strategy<Value = RetentionTime> {
    let base = at("2023-11-15T00:00Z").0;
    (0..900 * DAY).prop_map(move |offset| RetentionTime(base + offset))
}

proptest! {
    #[test]
    fn never_fewer_than_promised(rules in rules(), points in points(60), now in somewhen()) {
        let kept = kept(&rules, &points, now);
        let past: Vec<&Candidate> = points.iter().filter(|p| p.sound && p.at <= now).collect();
        prop_assert!(kept.len() >= past.len().min(rules.last as usize));
        for (_, period, count) in rules.periods() {
            let number = |p: &&Candidate| UTC().number(period, p.at);
            let wanted: BTreeSet<i64> = past.iter().map(number).collect();
            let got: BTreeSet<i64> =
                past.iter().filter(|p| kept.contains(&p.id)).map(number).collect();
            for number in wanted.iter().rev().take(count as usize) {
                prop_assert!(got.contains(number), "{period:?} {number}");
            }
        }
        let newest = past.iter().max_by_key(|p| (p.at, p.id));
        prop_assert!(newest.is_none_or(|newest| kept.contains(&newest.id)));
    }

    #[test]
    fn the_order_of_the_points_does_not_matter(
        rules in rules(), points in points(40).prop_shuffle(), now in somewhen(),
    ) {
        let mut sorted = points.clone();
        sorted.sort_by_key(|point| point.id);
        let wishes = |points: &[Candidate]| wishes(&rules, points, now, UTC());
        prop_assert_eq!(wishes(&points), wishes(&sorted));
    }

    #[test]
    fn what_expired_is_not_wanted_later(
        rules in rules(), points in points(40), now in somewhen(), more in 0..400 * DAY,
        gone in any::<u64>(),
    ) {
        let later = RetentionTime(now.0 + more);
        let (then, coming): (Vec<Candidate>, Vec<Candidate>) =
            points.iter().partition(|point| point.at <= now);
        let first = kept(&rules, &then, now);
        // Some of what expired is deleted, some stays for a while because it is locked.
        let stays = |p: &Candidate| first.contains(&p.id) || (gone >> (p.id.0[3] % 64)) & 1 == 0;
        let mut left: Vec<Candidate> = then.iter().copied().filter(stays).collect();
        prop_assert_eq!(&kept(&rules, &left, now), &first, "deleting changes no other wish");
        left.extend(coming);
        let second = kept(&rules, &left, later);
        for point in &then {
            prop_assert!(first.contains(&point.id) || !second.contains(&point.id));
        }
    }

    /// Whatever is added at whatever time up to now: what represents one of the newest calendar
    /// periods stays, unless the flood is older than it in the same period, which time by the
    /// retention clock does not allow.
    #[test]
    fn a_flood_evicts_nothing_that_is_within_its_calendar_time(
        rules in rules(), points in points(30), flood in points(200), now in somewhen(),
    ) {
        let mut all = points.clone();
        let later = |(n, p): (u32, &Candidate)| point(1000 + n, p.at, p.sound);
        all.extend((0u32..).zip(&flood).map(later));
        let kept = kept(&rules, &all, now);
        let past: Vec<&Candidate> = all.iter().filter(|p| p.sound && p.at <= now).collect();
        for (_, period, count) in rules.periods() {
            let number = |at| UTC().number(period, at);
            for point in points.iter().filter(|p| p.sound && p.at <= now) {
                let same = past.iter().filter(|other| number(other.at) == number(point.at));
                let first = same.min_by_key(|p| (p.at, p.id)).is_some_and(|p| p.id == point.id);
                if first && number(now) - number(point.at) < i64::from(count) {
                    prop_assert!(kept.contains(&point.id));
                }
            }
        }
    }

    #[test]
    fn a_lock_lasts_as_long_as_the_tiers_that_the_point_fills(
        rules in rules(), points in points(40), now in somewhen(),
    ) {
        let seconds = lock_duration(&rules, now, &points, UTC());
        let mut all = points.clone();
        all.push(point(9999, now, true));
        let wishes = wishes(&rules, &all, now, UTC());
        let own = wishes.into_iter().find(|w| w.id == point(9999, now, true).id);
        let Some(Wish { verdict: Verdict::Keep { tiers, .. }, .. }) = own else {
            return Err(TestCaseError::fail("a new sound point is always kept"));
        };
        let until = promised_until(&rules, now, tiers, UTC());
        prop_assert_eq!(until.0 - now.0, i64::try_from(seconds).unwrap());
        let most = [1, 24, 24 * 7, 24 * 31, 24 * 366].map(|hours: u64| hours * 3600);
        let counts = [rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
        let bound = most.iter().zip(counts).map(|(unit, count)| unit * u64::from(count)).max();
        prop_assert!(seconds <= bound.unwrap_or(0));
    }

    #[test]
    fn any_time_gets_a_verdict(
        rules in rules(), times in prop::collection::vec(any::<i64>(), 0..20), now: i64,
        east in -90_000i32..90_000,
    ) {
        let times: Vec<RetentionTime> = times.into_iter().map(RetentionTime).collect();
        let calendar = Calendar::east_of_utc(east).unwrap_or_default();
        let now = RetentionTime(now);
        let points = sound(&times);
        prop_assert_eq!(wishes(&rules, &points, now, calendar).len(), points.len());
        let lock = lock_duration(&rules, now, &points, calendar);
        prop_assert!(now.0.checked_add_unsigned(lock).is_some(), "{lock}");
        prop_assert_eq!(burst(&points, now, calendar), None);
    }
}

#[test]
fn a_burst_is_told_and_last_counts_no_more_of_it() {
    let rules = KeepRules { last: 60, ..KeepRules::default() };
    let day = at("2025-05-05T00:00Z").0;
    let mut times: Vec<RetentionTime> = (1..=20).map(|n| RetentionTime(day - n * DAY)).collect();
    times.extend((0..1000).map(|n| RetentionTime(day + n * 60)));
    let points = sound(&times);
    let now = RetentionTime(day + DAY);
    let expected = Burst { from: RetentionTime(day), points: 1000 };
    assert_eq!(burst(&points, now, UTC()), Some(expected));
    assert_eq!(burst(&points, RetentionTime(day - 1), UTC()), None);
    assert_eq!(burst(&points[..20 + BURST], now, UTC()), None);
    let kept = kept(&rules, &points, now);
    let old = points[..20].iter().filter(|point| kept.contains(&point.id)).count();
    assert_eq!(old, 60 - BURST, "all but the capped share of one day");
}

#[test]
fn daylight_saving_does_not_take_the_newest_or_fewer_than_promised() {
    let rules = KeepRules { hourly: 3, daily: 3, ..KeepRules::default() };
    // The night of 26 October 2025, when Central Europe went from +2 to +1: a point every hour.
    let start = at("2025-10-25T20:00Z").0;
    let times: Vec<RetentionTime> = (0..8).map(|n| RetentionTime(start + n * 3600)).collect();
    let points = sound(&times);
    for east in [3600, 7200] {
        let calendar = Calendar::east_of_utc(east).unwrap();
        let wishes = wishes(&rules, &points, times[7], calendar);
        let kept = wishes.iter().filter(|wish| wish.verdict != Verdict::Expire).count();
        assert!((4..=5).contains(&kept), "three hours and two days, one of them both: {kept}");
        assert_ne!(wishes[7].verdict, Verdict::Expire);
    }
}
