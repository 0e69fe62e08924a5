//! Compaction: what is still needed of data segments that are mostly dead, or very small, is
//! copied into new ones, so that the next deletion frees the old ones (FORMAT.md 7).
//!
//! Never touched: a segment that a locked or held point reaches, that is damaged, or that a run
//! refers to. Chunks keep their ids and their stored bytes; maps stay as they are, and places in
//! them are resolved by id from then on (`moves`).
//!
//! | with | rule |
//! |---|---|
//! | ingest | what may move is hidden in the index first: no run finds chunks there, now or later |
//! | commit | between the count of its segments and its leaf no compaction goes on record |
//! | lost answers | what may have moved stays hidden until the ledger says what is on record |
//! | deletion, repair | one after another |
//! | restore, verify | go on; they find chunks by id once these have moved |

use crate::copy::Copier;
use crate::core::{Core, Scratch, locked, wanted};
use crate::live::{Live, live};
use crate::scan::{File, Held, read_footers};
use crate::segment::Done;
use crate::{Repository, StoreError};
use format::codec::Sealed;
use format::record::{Kind, RECORD_HEADER, RecordHeader};
use format::segment::Class;
use format::{FormatError, Place};
use ledger::Runs;
use model::ChunkId;
use retention::Verdict;
use std::collections::{BTreeMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use warden::wire::Request;

/// Segments that one leaf empties at most: every point that needed one of them needs all that were
/// made of them.
const GROUP: usize = 32;
/// Small segments of one kind that are put together at least.
const SEVERAL: usize = 4;
/// Bytes that are looked at for each byte that may be copied.
const LOOK: u64 = 4;

/// What is worth moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactRules {
    /// Segments of which less than this share is needed, in percent.
    pub live_percent: u64,
    /// Segments shorter than this, in bytes, when there are several.
    pub small: u64,
    /// Bytes of needed chunks that are copied in one go, at most.
    pub budget: u64,
}

impl Default for CompactRules {
    /// Half dead; shorter than 32 MiB; 16 GiB at a time.
    fn default() -> Self {
        Self { live_percent: 50, small: 32 << 20, budget: 16 << 30 }
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments looked at.
    pub examined: u64,
    /// Segments that were emptied; the next deletion or reclaim removes them.
    pub from: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Segments that were filled.
    pub to: u64,
    /// Their bytes.
    pub bytes_after: u64,
    /// Chunks copied.
    pub chunks: u64,
}

impl Repository {
    /// Moves what is worth it; goes on where the last one ended. Nothing happens while the
    /// retention clock is in doubt.
    pub fn compact(&self, rules: &CompactRules) -> Result<Compacted, StoreError> {
        let core = &*self.inner.core;
        let _alone = locked(&core.maintenance);
        core.ask(Request::Status)?;
        let limit = rules.budget.saturating_mul(LOOK);
        let candidates = candidates(core, limit);
        let mut done = Compacted { examined: candidates.len() as u64, ..Compacted::default() };
        let outcome = run(&self.inner.core, candidates, rules, &mut done);
        learn_again(core);
        outcome.map(|()| done)
    }
}

/// Sealed data segments that may move, up to `limit` bytes. From here on no run finds chunks in
/// them.
fn candidates(core: &Core, limit: u64) -> BTreeMap<u32, Held> {
    let catalog = locked(&core.catalog);
    let mut index = locked(&core.index);
    if catalog.clock().doubt.is_some() {
        return BTreeMap::new();
    }
    let pinned: HashSet<u32> = index.pinned().collect();
    let usable = |serial: u32, held: &Held| {
        let known = catalog.state.segment(serial);
        held.class == Class::Data
            && held.chunks > 0
            && !pinned.contains(&serial)
            && !catalog.moves.has(serial)
            && catalog.state.references(serial) > 0
            && known.is_some_and(|known| !known.distrusted && known.bytes == held.bytes)
    };
    let held = catalog.files.iter().filter(|(serial, held)| usable(**serial, held));
    let mut found: BTreeMap<u32, Held> = held.map(|(serial, held)| (*serial, *held)).collect();
    let now = catalog.clock().value;
    for (id, point) in catalog.state.points() {
        if catalog.state.retention().may_delete(id, now) == Some(Verdict::Expire) {
            continue;
        }
        for (first, last) in point.reach.runs() {
            while let Some((&serial, _)) = found.range(first..=last).next() {
                found.remove(&serial);
            }
        }
    }
    let start = core.compacted_to.load(Ordering::Relaxed);
    let (behind, ahead) = found.iter().partition::<Vec<_>, _>(|(serial, _)| **serial < start);
    let (mut bytes, mut chosen) = (0, BTreeMap::new());
    for (&serial, &held) in ahead.into_iter().chain(behind) {
        bytes += held.bytes;
        if bytes > limit && !chosen.is_empty() {
            break;
        }
        core.compacted_to.store(serial.saturating_add(1), Ordering::Relaxed);
        chosen.insert(serial, held);
    }
    index.hide(&chosen.keys().copied().collect());
    chosen
}

fn run(
    core: &std::sync::Arc<Core>,
    candidates: BTreeMap<u32, Held>,
    rules: &CompactRules,
    done: &mut Compacted,
) -> Result<(), StoreError> {
    if candidates.is_empty() {
        return Ok(());
    }
    let live = live(core, candidates.keys().copied().collect())?;
    for (key, group) in groups(&candidates, &live, rules) {
        let Some(made) = copy(core, key, &group, &live)? else { continue };
        let bytes = |done: &Done| done.held.bytes;
        done.from += group.len() as u64;
        done.bytes_before += group.iter().map(|serial| candidates[serial].bytes).sum::<u64>();
        done.to += made.len() as u64;
        done.bytes_after += made.iter().map(bytes).sum::<u64>();
        done.chunks += made.iter().map(|done| u64::from(done.held.chunks)).sum::<u64>();
        record(core, &group, made)?;
    }
    Ok(())
}

/// Segments that are worth it and can be put together: of one volume and one key.
fn groups(
    candidates: &BTreeMap<u32, Held>,
    live: &Live,
    rules: &CompactRules,
) -> Vec<((u8, u32), Vec<u32>)> {
    let mut keys: BTreeMap<(u8, u32), Vec<u32>> = BTreeMap::new();
    let mut small = keys.clone();
    for (&serial, held) in candidates.iter().filter(|(serial, _)| live.knows(**serial)) {
        let needed = live.bytes(serial);
        let mostly_dead =
            needed.saturating_mul(100) < held.bytes.saturating_mul(rules.live_percent);
        let key = (held.volume, held.epoch);
        if mostly_dead {
            keys.entry(key).or_default().push(serial);
        } else if held.bytes < rules.small {
            small.entry(key).or_default().push(serial);
        }
    }
    // A few at a time would be copied again and again.
    for (key, serials) in small.into_iter().filter(|(_, serials)| serials.len() >= SEVERAL) {
        keys.entry(key).or_default().extend(serials);
    }
    let (mut groups, mut budget) = (Vec::new(), rules.budget);
    for (key, serials) in keys {
        for group in serials.chunks(GROUP) {
            let needed: u64 = group.iter().map(|serial| live.bytes(*serial)).sum();
            let before: u64 = group.iter().map(|serial| candidates[serial].bytes).sum();
            // One segment that is nearly as long afterwards is no gain; an empty one is no place.
            let gain = group.len() > 1 || needed * 100 < before.saturating_mul(rules.live_percent);
            if gain && needed > 0 && needed <= budget {
                budget -= needed;
                groups.push((key, group.to_vec()));
            }
        }
    }
    groups
}

/// Copies the needed chunks of a group; `None` when one of its segments turns out to be damaged:
/// it is left to scrub and repair.
fn copy(
    core: &Core,
    (volume, epoch): (u8, u32),
    group: &[u32],
    live: &Live,
) -> Result<Option<Vec<Done>>, StoreError> {
    let mut scratch = Scratch::new(core)?;
    let mut copier = Copier::new(core, volume, epoch);
    let mut copied: HashSet<ChunkId> = HashSet::new();
    for &serial in group {
        for (place, id) in live.of(serial) {
            if !copied.insert(id) {
                continue;
            }
            match core.read_at(&wanted(Kind::Chunk, id, place), &mut scratch) {
                Ok(()) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::warn!(error = model::chain(&error), "not compacted");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            let record = stored(scratch.raw(), place)?;
            copier.append(&record)?;
        }
    }
    copier.finish().map(Some)
}

/// The record in `raw`, which has been read and checked as a whole.
fn stored(raw: &[u8], place: Place) -> Result<Sealed<'_>, StoreError> {
    let what = || format!("the record at byte {} of segment {}", place.offset(), place.segment());
    let damaged = |source| StoreError::Damaged { what: what(), source };
    let header = RecordHeader::decode(raw).map_err(damaged)?;
    let end = RECORD_HEADER + usize::try_from(header.stored_length).unwrap_or(usize::MAX);
    let cut = || FormatError::Corrupt { what: "record", problem: "it is cut off".to_owned() };
    let stored = raw.get(RECORD_HEADER..end).ok_or_else(|| damaged(cut()))?;
    Ok(Sealed { header, stored })
}

/// Puts the move on record. From the leaf on places in the old segments are resolved by id.
fn record(core: &Core, group: &[u32], made: Vec<Done>) -> Result<(), StoreError> {
    let from: Runs = group.iter().copied().collect();
    let to: Runs = made.iter().map(|done| done.serial).collect();
    for done in &made {
        core.take_in(done);
    }
    let _alone = core.moving.write().unwrap_or_else(PoisonError::into_inner);
    core.unsettled.store(true, Ordering::Release);
    core.ask(Request::Compact { from, to })?;
    core.unsettled.store(false, Ordering::Release);
    Ok(())
}

/// What was hidden and has not moved is found by runs again. As long as it is not known what has
/// moved it stays hidden, which costs room and nothing else; the next compaction comes here again.
fn learn_again(core: &Core) {
    if let Err(error) = core.settle() {
        let error = model::chain(&error);
        tracing::warn!(error, "no deduplication against what may have been compacted");
        return;
    }
    let files: Vec<File> = {
        let catalog = locked(&core.catalog);
        let mut index = locked(&core.index);
        let file = |serial: u32| {
            let held = catalog.files.get(&serial)?;
            let known = catalog.state.segment(serial)?;
            let recorded = Some((known.seal, known.bytes));
            let moved = catalog.moves.has(serial);
            let file = File { volume: held.volume, serial, length: held.bytes, recorded };
            (!moved).then_some(file)
        };
        let files: Vec<File> = index.hidden().filter_map(file).collect();
        index.reveal(&files.iter().map(|file| file.serial).collect::<Vec<_>>());
        files
    };
    let found = read_footers(&*core.storage, core.id, &files, &core.learn());
    for error in found.into_iter().filter_map(Result::err) {
        tracing::warn!(error = model::chain(&error), "no deduplication against a segment");
    }
}
