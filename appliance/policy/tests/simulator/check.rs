//! The store's accounting against plain recomputation from the maps of all points.

use crate::churn::{Machine, Profile};
use crate::store::{NONE, Store};
use model::RetentionTime;
use policy::placement::{Cohort, Sharing, cohort, should_copy_forward};
use std::collections::{BTreeMap, BTreeSet};

const DAY: i64 = 24 * 3600;

/// Every point's map and lock end, kept in full.
type Points = BTreeMap<u16, (Vec<u32>, RetentionTime)>;

fn lock(day: u16) -> i64 {
    i64::from(day) + if day.is_multiple_of(10) { 60 } else { 5 }
}

fn backup(store: &mut Store, day: u16, changed: &[u32], copying: bool) {
    let now = RetentionTime(i64::from(day) * DAY);
    let until = RetentionTime(lock(day) * DAY);
    store.begin(day, now);
    for &cell in changed {
        let cohort = if copying { cohort(store.made(cell), now) } else { Cohort::Cold };
        store.put(cell, cohort);
    }
    for id in store.shared() {
        let segment = &store.segments[id as usize];
        let (size, reached) = (segment.chunks.len() as u64, u64::from(segment.current));
        let sharing = Sharing { size, reached, made: segment.made, until: segment.until };
        if copying && should_copy_forward(sharing, now, until) {
            store.copy_forward(id);
        }
    }
    store.commit(until);
}

/// What is stored, live, and locked until when, from nothing but the maps.
fn recompute(store: &Store, points: &Points, locks: bool) {
    let mut live = BTreeSet::new();
    let mut until: BTreeMap<u32, RetentionTime> = BTreeMap::new();
    for (map, lock) in points.values() {
        for &id in map.iter().filter(|&&id| id != NONE) {
            let end = until.entry(store.chunks[id as usize].segment).or_default();
            *end = (*end).max(*lock);
            live.insert(id);
        }
    }
    let size = |id: &u32| store.segments[*id as usize].chunks.len() as u64;
    assert_eq!(store.live, live.len() as u64);
    assert_eq!(store.stored, until.keys().map(size).sum::<u64>());
    assert_eq!(store.present, until.keys().copied().collect::<Vec<u32>>());
    for (id, end) in until.into_iter().filter(|_| locks) {
        assert_eq!(store.segments[id as usize].until, end);
    }
}

fn three_hundred_days(copying: bool) -> Store {
    let mut machine = Machine::new(Profile::Dev, 9);
    let mut store = Store::new(machine.cells());
    let mut points = Points::new();
    let mut changed = machine.full();
    for day in 0..300 {
        changed.sort_unstable();
        changed.dedup();
        backup(&mut store, day, &changed, copying);
        points.insert(day, (store.cells.clone(), RetentionTime(lock(day) * DAY)));
        let ended: Vec<u16> =
            points.keys().copied().filter(|&point| lock(point) <= i64::from(day)).collect();
        for point in ended {
            points.remove(&point);
            store.expire(point);
        }
        if !copying {
            store.compact(30);
        }
        store.tidy();
        if day % 7 == 0 {
            recompute(&store, &points, copying);
        }
        changed = machine.day(u32::from(day) + 1);
    }
    store
}

#[test]
fn space_is_counted_as_the_maps_say() {
    let copied = three_hundred_days(true).copied;
    let compacted = three_hundred_days(false).copied;
    assert!(copied > 0 && compacted > 0, "{copied} {compacted}: the test must copy something");
}
