//! Bytes of the SAN against bytes of the hypervisor's own network path: the only judge that does
//! not share our understanding of the file system.
//!
//! A way of finding bytes that was never compared on a datastore is compared once, on the first
//! disk that has it, at some places spread over the disk. What was found equal is remembered by
//! the volume's UUID ([`crate::Verdicts`]); bytes that differ end the run, and every run, until
//! they are equal. What has no network path is recorded as not compared, with the reason.

use crate::error::RunError;
use crate::locate::{FlatDisk, blocking};
use crate::plan::{self, Stretch};
use crate::ports::{NetworkDisk, SourceLun};
use crate::window::WINDOW_CELLS;
use block::{Grid, Source};
use model::DiskRange;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the place of bytes is found, such as 'pointer blocks' or 'hole': what is compared once.
pub type Class = String;

/// Places of one class that are compared.
const PLACES_MAX: usize = 64;
/// Bytes that are compared at a place.
const PLACE_BYTES: u64 = 64 << 10;

/// What became of the comparison of one disk; part of the run's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Compared {
    /// The disk has nothing that was not compared on this datastore before.
    Before,
    /// The bytes of these classes are the same by both ways.
    Equal {
        /// Compared for the first time.
        classes: BTreeSet<Class>,
        /// How many bytes.
        bytes: u64,
    },
    /// These classes have not been compared on this datastore.
    Not {
        /// The classes.
        classes: BTreeSet<Class>,
        /// Why not.
        reason: String,
    },
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |classes: &BTreeSet<Class>| {
            classes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Before => f.write_str("compared with the network path before"),
            Self::Equal { classes, bytes } => {
                write!(f, "equal to the network path in {bytes} bytes ({})", list(classes))
            }
            Self::Not { classes, reason } => {
                write!(f, "not compared with the network path ({}): {reason}", list(classes))
            }
        }
    }
}

/// Places of every class, spread over the disk, ascending.
///
/// Of each class at most [`PLACES_MAX`] are kept: when there are more, every second one goes, and
/// from then on only every second, fourth, ... is taken.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    classes: BTreeMap<Class, Places>,
}

#[derive(Debug)]
struct Places {
    kept: Vec<DiskRange>,
    /// Of so many places one is kept.
    step: usize,
    seen: usize,
}

impl Sample {
    /// Takes note of a part of the disk.
    pub(crate) fn add(&mut self, class: &str, range: DiskRange) {
        if range.is_empty() {
            return;
        }
        if !self.classes.contains_key(class) {
            let places = Places { kept: Vec::new(), step: 1, seen: 0 };
            self.classes.insert(class.into(), places);
        }
        let places = self.classes.get_mut(class).expect("inserted above");
        let length = range.length.min(PLACE_BYTES);
        places.add(DiskRange { length, ..range });
        if range.length > 2 * length {
            places.add(DiskRange { offset: range.end() - length, length });
        }
    }

    /// The classes that `proven` does not have.
    pub(crate) fn unproven(&self, proven: &BTreeSet<Class>) -> BTreeSet<Class> {
        self.classes.keys().filter(|class| !proven.contains(*class)).cloned().collect()
    }

    /// The places of these classes, ascending, for a path that can only go forwards.
    pub(crate) fn places(&self, classes: &BTreeSet<Class>) -> Vec<DiskRange> {
        let wanted = self.classes.iter().filter(|(class, _)| classes.contains(*class));
        let mut places: Vec<_> = wanted.flat_map(|(_, places)| places.kept.clone()).collect();
        places.sort_unstable();
        places
    }
}

impl Places {
    fn add(&mut self, place: DiskRange) {
        if self.seen.is_multiple_of(self.step) {
            if self.kept.len() == PLACES_MAX {
                let mut number = 0;
                self.kept.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.step *= 2;
            }
            if self.seen.is_multiple_of(self.step) {
                self.kept.push(place);
            }
        }
        self.seen += 1;
    }
}

/// The disk's classes and places of each. Walks its whole map once.
pub(crate) async fn sample(flat: &Arc<FlatDisk>, grid: Grid) -> Result<Sample, RunError> {
    let flat = Arc::clone(flat);
    blocking("the parser", move || {
        let mut sample = Sample::default();
        let mut first = 0;
        while first < grid.cells() {
            let end = grid.cells().min(first + flat.window_cells(grid).min(WINDOW_CELLS));
            flat.classes(plan::bytes_of(grid, (first, end)), |class, range| {
                sample.add(class, range);
            })?;
            first = end;
        }
        Ok(sample)
    })
    .await?
}

/// Compares the places by both ways; says how many bytes there were.
pub(crate) async fn compare(
    flat: &Arc<FlatDisk>,
    luns: &[Arc<dyn SourceLun>],
    mut network: Box<dyn NetworkDisk>,
    places: Vec<DiskRange>,
) -> Result<u64, RunError> {
    let mut bytes = 0;
    for place in places {
        let theirs = network.read(place).await?;
        let mapped = Arc::clone(flat);
        let stretches = blocking("the parser", move || mapped.map(place)).await??;
        let ours = read(luns, place, &stretches).await?;
        if let Some(offset) = difference(&ours, &theirs) {
            let path = flat.descriptor_path.clone();
            return Err(RunError::Differs { path, offset: place.offset + offset });
        }
        bytes += place.length;
    }
    Ok(bytes)
}

/// Where two pieces begin to differ; one that is shorter differs at its end.
fn difference(ours: &[u8], theirs: &[u8]) -> Option<u64> {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let at = at.or_else(|| (ours.len() != theirs.len()).then(|| ours.len().min(theirs.len())));
    at.map(|at| at as u64)
}

async fn read(
    luns: &[Arc<dyn SourceLun>],
    place: DiskRange,
    stretches: &[Stretch],
) -> Result<Vec<u8>, RunError> {
    let index = |length: u64| usize::try_from(length).expect("64-bit machine");
    let mut bytes = Vec::with_capacity(index(place.length));
    for stretch in stretches {
        match stretch.source {
            Source::Lun(extent) => {
                let read = luns[extent.device].read(extent.offset, index(extent.length)).await?;
                bytes.extend(read);
            }
            Source::Zero => bytes.resize(bytes.len() + index(stretch.range.length), 0),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn range(offset: u64, length: u64) -> DiskRange {
        DiskRange { offset, length }
    }

    #[test]
    fn only_what_was_not_compared_before_is() {
        let mut sample = Sample::default();
        sample.add("hole", range(0, MIB));
        sample.add("file blocks", range(MIB, 512));
        sample.add("hole", range(2 * MIB, 0));
        let proven: BTreeSet<Class> = ["hole".into()].into();
        let left = sample.unproven(&proven);
        assert_eq!(left, ["file blocks".to_owned()].into());
        assert_eq!(sample.places(&left), [range(MIB, 512)]);
        let both = sample.unproven(&BTreeSet::new());
        let (begin, end) = (range(0, PLACE_BYTES), range(MIB - PLACE_BYTES, PLACE_BYTES));
        assert_eq!(sample.places(&both), [begin, end, range(MIB, 512)], "ascending");
    }

    #[test]
    fn pieces_differ_where_they_do_and_where_one_ends() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd"), Some(2));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
        assert_eq!(difference(b"", b"a"), Some(0));
    }

    proptest! {
        #[test]
        fn few_places_are_spread_over_many(count in 1u64..5000) {
            let mut sample = Sample::default();
            for number in 0..count {
                sample.add("hole", range(number * MIB, 4096));
            }
            let places = sample.places(&["hole".to_owned()].into());
            prop_assert!(places.len() <= PLACES_MAX);
            prop_assert!(places.len() as u64 >= count.min(PLACES_MAX as u64 / 2));
            prop_assert_eq!(places[0].offset, 0);
            // Of the whole range, not of its beginning.
            let last = places[places.len() - 1].offset / MIB;
            prop_assert!(last + count.div_ceil(PLACES_MAX as u64 / 2) >= count, "{last} {count}");
        }
    }
}
