//! Which segments a map needs, and how often it points into each (FORMAT.md 5.1).
//!
//! An incremental carries its parent's counts along while it replaces entries, so nobody has to
//! walk a map to know what a point needs. The rule, applied by `map.rs`: where a node is stored
//! anew or becomes zeros, the old entry is counted down and the new one up, at every position
//! whose place changes; a node whose entries all stay keeps its place and changes nothing. The
//! root counts too. [`walk`] is the other way, which a verification compares with.

use crate::StoreError;
use crate::core::{Core, Scratch, wanted};
use crate::map::{MapReader, place_of};
use format::manifest::RecordRef;
use format::map::{Below, FAN_OUT, Node, Shape};
use format::reach::Reach;
use format::record::Kind;
use format::{FormatError, Place};

/// A reach that is stored with a point.
pub(crate) fn read(core: &Core, record: RecordRef) -> Result<Reach, StoreError> {
    read_with(core, record, &mut Scratch::new(core)?)
}

/// The same, reading with `scratch`.
pub(crate) fn read_with(
    core: &Core,
    record: RecordRef,
    scratch: &mut Scratch,
) -> Result<Reach, StoreError> {
    core.read_record(&wanted(Kind::Reach, record.id, record.place), scratch)?;
    let damaged = |source| StoreError::Damaged { what: "the reach of a disk".into(), source };
    Reach::decode(&scratch.plain).map_err(damaged)
}

/// The reach of a map, counted anew.
pub(crate) fn walk(map: &MapReader) -> Result<Reach, StoreError> {
    let mut reach = Reach::default();
    count_upper(&mut reach, map)?;
    for leaf in 0..map.shape().cells().div_ceil(FAN_OUT) {
        if let Some(node) = map.node(0, leaf)? {
            count_node(&mut reach, &node)?;
        }
    }
    Ok(reach)
}

/// Counts the root and the entries of all nodes above the leaves.
pub(crate) fn count_upper(reach: &mut Reach, map: &MapReader) -> Result<(), StoreError> {
    replace(reach, Below::Zero, map.root())?;
    for level in 1..=map.shape().root_level() {
        for index in 0..map.shape().cells().div_ceil(Shape::span(level + 1)) {
            if let Some(node) = map.node(level, index)? {
                count_node(reach, &node)?;
            }
        }
    }
    Ok(())
}

/// Counts the entries of one node.
pub(crate) fn count_node(reach: &mut Reach, node: &Node) -> Result<(), StoreError> {
    node.entries.iter().try_for_each(|&entry| replace(reach, Below::Zero, entry))
}

/// An entry of the map, or its root, is now `new` and no longer `old`.
pub(crate) fn replace(reach: &mut Reach, old: Below, new: Below) -> Result<(), StoreError> {
    let (old, new) = (place_of(old), place_of(new));
    if old == new {
        return Ok(());
    }
    if let Some(place) = new.filter(|place| !reach.add(place.segment())) {
        return Err(miscounted(place, "too often to be counted"));
    }
    if let Some(place) = old.filter(|place| !reach.remove(place.segment())) {
        return Err(miscounted(place, "though its parent's reach does not name it"));
    }
    Ok(())
}

fn miscounted(place: Place, how: &str) -> StoreError {
    let problem = format!("the map points into segment {} {how}", place.segment());
    let source = FormatError::Corrupt { what: "the reach of a disk", problem };
    StoreError::Damaged { what: "the recovery point that this one builds on".into(), source }
}
