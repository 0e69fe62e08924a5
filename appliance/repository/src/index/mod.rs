//! Which chunk lies where, and which segments are being read or referred to right now.
//!
//! A cache: built from footers at every start. 32 bytes a slot, between 70 % and 87.5 % of the
//! slots in use, so at most 46 bytes a chunk. The first 192 bits of a ChunkId stand for it; that
//! two chunks share them is as unlikely as a broken hash, and a reader checks all 256.

mod build;

pub(crate) use build::Builder;

use format::Place;
use model::ChunkId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Tables that grow one after another and not all at once.
const SHARDS: usize = 64;
const KEY: usize = 24;

#[derive(Clone, Copy)]
struct Slot {
    key: [u8; KEY],
    /// `Place::to_bits`; 0: the slot is free (a place has at least one block).
    place: u64,
}

const FREE: Slot = Slot { key: [0; KEY], place: 0 };

/// An open-addressing table that grows by a quarter.
///
/// Invariant: `used * 8 <= slots.len() * 7`, so a search always meets a free slot.
#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    used: usize,
}

impl Shard {
    /// Index of the slot of `key`, or of the free slot where it belongs; `None` without slots.
    fn find(&self, key: &[u8; KEY]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = home(key, self.slots.len());
        while self.slots[at].place != 0 && self.slots[at].key != *key {
            at = (at + 1) % self.slots.len();
        }
        Some(at)
    }

    /// Without chunks, with room for `count` and a tenth more.
    fn with_room(count: usize) -> Self {
        Self { slots: vec![FREE; roomy(count)], used: 0 }
    }

    /// Gives room back when a quarter of the slots is not used.
    fn shrink(&mut self) {
        if self.used * 4 < self.slots.len() * 3 {
            self.rebuild(roomy(self.used));
        }
    }

    fn insert(&mut self, slot: Slot) -> bool {
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.rebuild(roomy(self.slots.len()));
        }
        let at = self.find(&slot.key).expect("there are free slots, see above");
        let absent = self.slots[at].place == 0;
        self.used += usize::from(absent);
        if absent || segment_of(self.slots[at].place) < segment_of(slot.place) {
            self.slots[at] = slot;
        }
        absent
    }

    /// Frees the slots that `gone` says, in place.
    fn free_all(&mut self, gone: impl Fn(&Slot) -> bool) {
        for at in 0..self.slots.len() {
            // What is moved up into the slot may have to go too.
            while self.slots[at].place != 0 && gone(&self.slots[at]) {
                self.free(at);
            }
        }
    }

    /// Frees a slot and moves up what a search would not find behind it any more.
    fn free(&mut self, mut hole: usize) {
        let count = self.slots.len();
        let distance = |from: usize, to: usize| (to + count - from) % count;
        self.used -= 1;
        let mut at = (hole + 1) % count;
        while self.slots[at].place != 0 {
            let start = home(&self.slots[at].key, count);
            if distance(start, at) >= distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = (at + 1) % count;
        }
        self.slots[hole] = FREE;
    }

    fn rebuild(&mut self, size: usize) {
        let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.place != 0) {
            let at = self.find(&slot.key).expect("no smaller than before");
            self.slots[at] = slot;
            self.used += 1;
        }
    }
}

/// A quarter more.
fn roomy(count: usize) -> usize {
    count * 5 / 4 + 2
}

/// Where a search for `key` begins among `slots`: the keyed hash is spread evenly by itself.
fn home(key: &[u8; KEY], slots: usize) -> usize {
    let [_, k1, k2, k3, k4, k5, k6, k7, k8, ..] = *key;
    let hash = u128::from(u64::from_le_bytes([k1, k2, k3, k4, k5, k6, k7, k8]));
    usize::try_from((hash * slots as u128) >> 64).expect("smaller than the number of slots")
}

fn key(id: &ChunkId) -> [u8; KEY] {
    let mut key = [0; KEY];
    key.copy_from_slice(&id.0[..KEY]);
    key
}

fn shard_of(id: &ChunkId) -> usize {
    usize::from(id.0[0]) % SHARDS
}

fn segment_of(bits: u64) -> u32 {
    Place::from_bits(bits).map_or(u32::MAX, Place::segment)
}

/// Chunks of the sealed segments of one volume.
struct Table {
    shards: Vec<Shard>,
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

/// Chunks of all sealed segments, and the segments that may not be removed now. A chunk is looked
/// for on one volume only: what a point refers to lies on its own volume.
///
/// Invariant: no slot has a place in a segment of `hidden`.
#[derive(Default)]
pub(crate) struct Index {
    volumes: BTreeMap<u8, Table>,
    pins: HashMap<u32, usize>,
    /// Segments that nobody finds a chunk in: a compaction has emptied them or is about to, or
    /// they are about to be removed.
    hidden: BTreeSet<u32>,
}

impl Index {
    /// Adds a chunk; `false` when it is there, or its segment is hidden. Of two places the one in
    /// the younger segment stays: a chunk that was copied forward is expected to live longer there.
    pub(crate) fn insert(&mut self, volume: u8, id: &ChunkId, place: Place) -> bool {
        if self.hidden.contains(&place.segment()) {
            return false;
        }
        let slot = Slot { key: key(id), place: place.to_bits() };
        self.volumes.entry(volume).or_default().shards[shard_of(id)].insert(slot)
    }

    pub(crate) fn find(&self, volume: u8, id: &ChunkId) -> Option<Place> {
        let shard = &self.volumes.get(&volume)?.shards[shard_of(id)];
        let slot = shard.slots[shard.find(&key(id))?];
        Place::from_bits(slot.place).ok()
    }

    /// Keeps `segment` from being removed until [`Self::unpin`].
    pub(crate) fn pin(&mut self, segment: u32) {
        *self.pins.entry(segment).or_default() += 1;
    }

    pub(crate) fn unpin(&mut self, segments: &BTreeSet<u32>) {
        for segment in segments {
            if let Some(count) = self.pins.get_mut(segment) {
                *count -= 1;
                if *count == 0 {
                    self.pins.remove(segment);
                }
            }
        }
    }

    /// The segments that may not be removed now.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = u32> {
        self.pins.keys().copied()
    }

    /// Forgets all chunks of `segments`: they are stored anew when they come again.
    pub(crate) fn forget(&mut self, segments: &BTreeSet<u32>) {
        if segments.is_empty() {
            return;
        }
        for shard in self.volumes.values_mut().flat_map(|table| &mut table.shards) {
            shard.free_all(|slot| segments.contains(&segment_of(slot.place)));
        }
    }

    /// Forgets all chunks of `segments` and takes no more of them, until [`Self::reveal`].
    pub(crate) fn hide(&mut self, segments: &BTreeSet<u32>) {
        self.forget(&(segments - &self.hidden));
        self.hidden.extend(segments);
    }

    /// The segments that nobody finds a chunk in.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = u32> {
        self.hidden.iter().copied()
    }

    /// Chunks of `segments` can be added again.
    pub(crate) fn reveal(&mut self, segments: &[u32]) {
        self.hidden.retain(|serial| !segments.contains(serial));
    }

    /// These exist no more, so that nobody adds chunks of them.
    pub(crate) fn removed(&mut self, segments: &BTreeSet<u32>) {
        self.hide(segments);
        self.hidden.retain(|serial| !segments.contains(serial));
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.shards().map(|shard| shard.used as u64).sum()
    }

    /// Bytes of memory of the tables.
    pub(crate) fn memory(&self) -> u64 {
        let bytes = |shard: &Shard| size_of::<Shard>() + shard.slots.capacity() * size_of::<Slot>();
        self.shards().map(|shard| bytes(shard) as u64).sum()
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.volumes.values().flat_map(|table| &table.shards)
    }
}

#[cfg(test)]
mod tests;
