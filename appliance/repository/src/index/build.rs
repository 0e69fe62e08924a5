//! The index of a whole repository, built at once.
//!
//! Chunk by chunk it would be a cache miss each in tables of gigabytes, and tables that grow again
//! and again. So the slots are first collected by table, in the order in which they come, and then
//! each table is made in its final size, from its beginning to its end.

use super::{FREE, Index, SHARDS, Shard, Slot, Table, home, key, shard_of};
use crate::core::locked;
use format::Place;
use model::ChunkId;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Slots of a page: 256 KiB, which the allocator gives back to the system once it is free.
const PAGE: usize = 8192;
/// Parts of a table that are filled one after another: each fits the fastest cache.
const NEIGHBOURHOODS: usize = 1024;

/// Slots of one table, in pages: they need not move when there are more.
#[derive(Default)]
struct Staged {
    pages: Vec<Vec<Slot>>,
}

impl Staged {
    fn push(&mut self, slot: Slot) {
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => page.push(slot),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(slot);
                self.pages.push(page);
            }
        }
    }

    /// The table, with room for a few more.
    fn into_shard(self) -> Shard {
        let count: usize = self.pages.iter().map(Vec::len).sum();
        let mut shard = Shard::with_room(count);
        for slot in by_neighbourhood(&self.pages, count) {
            shard.insert(slot);
        }
        shard.shrink(); // some came twice
        shard
    }
}

/// The slots, those with neighbouring homes together.
fn by_neighbourhood(pages: &[Vec<Slot>], count: usize) -> Vec<Slot> {
    let slots = || pages.iter().flatten();
    let mut starts = vec![0; NEIGHBOURHOODS + 1];
    for slot in slots() {
        starts[home(&slot.key, NEIGHBOURHOODS) + 1] += 1;
    }
    for number in 0..NEIGHBOURHOODS {
        starts[number + 1] += starts[number];
    }
    let mut sorted = vec![FREE; count];
    for slot in slots() {
        let next = &mut starts[home(&slot.key, NEIGHBOURHOODS)];
        sorted[*next] = *slot;
        *next += 1;
    }
    sorted
}

/// Collects chunks from several threads.
pub(crate) struct Builder {
    volumes: BTreeMap<u8, Vec<Mutex<Staged>>>,
}

impl Builder {
    /// For chunks on these volumes.
    pub(crate) fn new(volumes: impl IntoIterator<Item = u8>) -> Self {
        let shards = || (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { volumes: volumes.into_iter().map(|volume| (volume, shards())).collect() }
    }

    /// Takes the chunks of a segment. Those of another volume than said at the beginning are not
    /// found later.
    pub(crate) fn add(&self, volume: u8, chunks: &[(ChunkId, Place)]) {
        let Some(shards) = self.volumes.get(&volume) else { return };
        for (id, place) in chunks {
            let slot = Slot { key: key(id), place: place.to_bits() };
            locked(&shards[shard_of(id)]).push(slot);
        }
    }

    /// The index of all that was added.
    pub(crate) fn build(self) -> Index {
        let volumes = self.volumes.into_iter();
        let volumes = volumes.filter_map(|(volume, staged)| Some((volume, table(staged)?)));
        Index { volumes: volumes.collect(), ..Index::default() }
    }
}

/// Made by as many threads as there are processors; `None` without chunks.
fn table(staged: Vec<Mutex<Staged>>) -> Option<Table> {
    if staged.iter().all(|staged| locked(staged).pages.is_empty()) {
        return None;
    }
    let made: Vec<Mutex<Shard>> = staged.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(staged), Some(made)) = (staged.get(number), made.get(number)) else { return };
            let staged = std::mem::take(&mut *locked(staged));
            *locked(made) = staged.into_shard();
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let shards = made.into_iter().map(|shard| std::mem::take(&mut *locked(&shard)));
    Some(Table { shards: shards.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_as_one_that_grew() {
        let (builder, mut grown) = (Builder::new([0, 3]), Index::default());
        let id = |number: u32| ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
        // Each segment repeats chunks of others, some of them older and some younger.
        for segment in (1..200u32).rev() {
            let volume = if segment % 5 == 0 { 3 } else { 0 };
            let chunks: Vec<_> = (0..97)
                .map(|n| {
                    (id((segment * 31 + n * n) % 9000), Place::new(segment, 1 + n, 1).unwrap())
                })
                .collect();
            builder.add(volume, &chunks);
            for (id, place) in &chunks {
                grown.insert(volume, id, *place);
            }
        }
        let mut built = builder.build();
        assert_eq!(built.chunks(), grown.chunks());
        for number in 0..9000 {
            for volume in [0, 1, 3] {
                assert_eq!(built.find(volume, &id(number)), grown.find(volume, &id(number)));
            }
        }
        assert!(built.memory() <= 48 * built.chunks(), "{} bytes", built.memory());
        let place = Place::new(500, 1, 1).unwrap();
        assert!((9000..20_000).all(|number| built.insert(0, &id(number), place)));
        assert!((9000..20_000).all(|number| built.find(0, &id(number)) == Some(place)));
    }

    #[test]
    fn nothing_makes_no_tables() {
        assert_eq!(Builder::new([0]).build().memory(), 0);
    }
}
