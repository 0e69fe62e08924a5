//! Copying forward: what a long lock would keep alive for a few chunks only is stored again.
//!
//! A segment stays until the last point that reaches it may go. When a new point with a long lock
//! reaches a little of a segment whose other points go soon, `policy::placement` weighs the dead
//! bytes that would be kept against the bytes that would lie there twice; where copying wins, the
//! chunks are stored anew and the maps point to the copies. Ids and hashes stay as they are, only
//! places change: the second build of a map stores the nodes above the moved cells.

use crate::StoreError;
use crate::core::{Core, Scratch, wanted};
use crate::disk::{DiskState, Finished, Task};
use crate::map::{Build, MapReader};
use crate::point::PointState;
use format::map::{Below, FAN_OUT};
use format::record::Kind;
use model::RetentionTime;
use policy::placement::{Sharing, should_copy_forward};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a data segment that was there before the point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// All chunks in it.
    pub(crate) chunks: u64,
    /// When it was recorded.
    pub(crate) made: RetentionTime,
    /// When the last lock of the points that reach it ends.
    pub(crate) until: RetentionTime,
}

/// The segments whose chunks a point with these references should store again.
pub(crate) fn choose(
    disks: &[Finished],
    known: &BTreeMap<u32, Known>,
    now: RetentionTime,
    lock: RetentionTime,
) -> BTreeSet<u32> {
    let mut references: BTreeMap<u32, u64> = BTreeMap::new();
    for (segment, count) in disks.iter().flat_map(|disk| disk.reach.iter()) {
        *references.entry(segment).or_default() += u64::from(count);
    }
    let copied = |&(segment, reached): &(u32, u64)| {
        known.get(&segment).is_some_and(|&Known { chunks, made, until }| {
            let sharing = Sharing { size: chunks, reached: reached.min(chunks), made, until };
            should_copy_forward(sharing, now, lock)
        })
    };
    references.into_iter().filter(copied).map(|(segment, _)| segment).collect()
}

/// Stores the chunks of `disks` that lie in `segments` again and points the maps to them. The maps
/// must have been sealed, for they are read here.
pub(crate) fn copy_forward(
    point: &Arc<PointState>,
    disks: &mut [Finished],
    segments: &BTreeSet<u32>,
) -> Result<(), StoreError> {
    for disk in disks {
        if disk.reach.iter().any(|(segment, _)| segments.contains(&segment)) {
            copy_disk(point, disk, segments)?;
        }
    }
    Ok(())
}

fn copy_disk(
    point: &Arc<PointState>,
    disk: &mut Finished,
    segments: &BTreeSet<u32>,
) -> Result<(), StoreError> {
    let core = &point.core;
    let map = MapReader::new(Arc::clone(core), disk.shape, disk.entry.map)?;
    let moved = Arc::new(DiskState::new(None, segments.clone()));
    let mut scratch = Scratch::new(core)?;
    for leaf in 0..disk.shape.cells().div_ceil(FAN_OUT) {
        let Some(node) = map.node(0, leaf)? else { continue };
        for (cell, entry) in (leaf * FAN_OUT..).zip(&node.entries) {
            if let Some(bytes) = read_again(core, *entry, segments, &mut scratch)? {
                point.departure();
                core.carrier.task(point, Task { disk: Arc::clone(&moved), cell, bytes })?;
            }
        }
    }
    point.drain()?;
    let (written, reach) = (moved.take_written(), std::mem::take(&mut disk.reach));
    let mut sink = Arc::clone(point);
    let (shape, parent) = (disk.shape, Some(&map));
    let build = Build { shape, parent, written: &written, sink: &mut sink, reach };
    (disk.entry.map, disk.reach) = build.run()?;
    Ok(())
}

/// The chunk of an entry in `segments`. One that is damaged stays where it is: it is found by the
/// next verification, and a copy of it would be none.
fn read_again(
    core: &Core,
    entry: Below,
    segments: &BTreeSet<u32>,
    scratch: &mut Scratch,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Below::Chunk { id, place, .. } = entry else { return Ok(None) };
    if !segments.contains(&place.segment()) {
        return Ok(None);
    }
    match core.read_record(&wanted(Kind::Chunk, id, place), scratch) {
        Ok(()) => Ok(Some(std::mem::take(&mut scratch.plain))),
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(error = model::chain(&error), "a chunk cannot be copied forward");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
