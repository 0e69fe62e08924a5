//! One VM's timeline with one way of placing: what it costs in space, day by day.

use crate::store::Store;
use crate::timeline::{Run, Timeline};
use crate::variants::{Reached, Variant};
use policy::placement::Sharing;

/// Space in chunks (1 MiB each), by day; sums over VMs.
#[derive(Clone, Default)]
pub(crate) struct Usage {
    /// In segments that exist.
    pub(crate) stored: Vec<u64>,
    /// Of it, chunks that some point reaches.
    pub(crate) live: Vec<u64>,
    /// Chunks that were new to the repository.
    pub(crate) new: u64,
    /// What was there already and was stored again, by copying forward or compaction.
    pub(crate) copied: u64,
    /// Segments at the end.
    pub(crate) segments: u64,
    /// The largest share of a disk that one run copied.
    pub(crate) worst_run: f64,
}

impl Usage {
    pub(crate) fn new(days: u16) -> Self {
        let days = vec![0; usize::from(days)];
        Self { stored: days.clone(), live: days, ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, value) in [(&mut self.stored, &other.stored), (&mut self.live, &other.live)] {
            sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += value);
        }
        self.new += other.new;
        self.copied += other.copied;
        self.segments += other.segments;
        self.worst_run = self.worst_run.max(other.worst_run);
    }
}

pub(crate) fn replay(timeline: &Timeline, variant: &Variant, usage: &mut Usage) {
    let mut store = Store::new(timeline.cells);
    let mut worst = 0;
    let days = usage.stored.len();
    for (at, run) in timeline.runs.iter().enumerate() {
        let before = store.copied;
        backup(&mut store, run, variant);
        worst = worst.max(store.copied - before);
        let expired = if variant.locks { &run.unlocked } else { &run.unwanted };
        expired.iter().for_each(|&day| store.expire(day));
        if let Some(percent) = variant.compacted {
            store.compact(percent);
        }
        store.tidy();
        let next = timeline.runs.get(at + 1).map_or(days, |next| usize::from(next.day));
        for day in usize::from(run.day)..next {
            usage.stored[day] += store.stored;
            usage.live[day] += store.live;
        }
    }
    usage.new += timeline.runs.iter().map(|run| run.changed.len() as u64).sum::<u64>();
    usage.copied += store.copied;
    usage.segments += store.present.len() as u64;
    usage.worst_run = usage.worst_run.max(worst as f64 / f64::from(timeline.cells));
}

fn backup(store: &mut Store, run: &Run, variant: &Variant) {
    store.begin(run.day, run.at);
    for &cell in &run.changed {
        store.put(cell, (variant.cohort)(store.made(cell), run.at));
    }
    let limit = store.copied + store.cells() * variant.budget / 100;
    for id in store.shared() {
        let segment = &store.segments[id as usize];
        let sharing = Sharing {
            size: segment.chunks.len() as u64,
            reached: u64::from(segment.current),
            made: segment.made,
            until: segment.until,
        };
        let reached = Reached { sharing, now: run.at, lock: run.lock };
        if store.copied < limit && (variant.copies)(reached) {
            store.copy_forward(id);
        }
    }
    store.commit(run.lock);
}
