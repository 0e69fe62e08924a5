//! What a point leaves out of a disk: the guest's disk as `guest` looks at it, and what follows for
//! what is read.
//!
//! The snapshot's bytes do not change, so what is found in them holds for the point. The look goes
//! through the settled map, and what the hypervisor calls allocated and the map calls empty is an
//! error here too: from zeros that are none, nothing is concluded.
//!
//! Where the parent left something out it has zeros, whatever was there. So an area that one of
//! the two points leaves out and the other does not is stored even when change tracking calls it
//! unchanged; else a deleted swap partition would come back as zeros.

use crate::locate::FlatDisk;
use crate::plan;
use crate::ports::{PreviousPoint, SourceLun};
use crate::reading::Reading;
use block::{ReadAt, ReadError, Source};
use model::{DiskRange, ErrorKind, Exclusion, RecoveryPointId};
use std::sync::Arc;

/// The disk as the guest sees it, at its snapshot.
pub(crate) struct GuestDisk {
    flat: Arc<FlatDisk>,
    luns: Vec<Arc<dyn ReadAt>>,
    /// What the hypervisor calls allocated, ascending.
    allocated: Arc<Vec<DiskRange>>,
}

impl GuestDisk {
    pub(crate) fn new(
        flat: &Arc<FlatDisk>,
        luns: &[Arc<dyn SourceLun>],
        allocated: Arc<Vec<DiskRange>>,
    ) -> Self {
        let luns = luns.iter().map(|lun| lun.blocking()).collect();
        Self { flat: Arc::clone(flat), luns, allocated }
    }
}

impl ReadAt for GuestDisk {
    fn size(&self) -> u64 {
        self.flat.capacity()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.size())?;
        let range = DiskRange { offset, length: buffer.len() as u64 };
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ReadError::Device {
            offset,
            length: range.length,
            kind: ErrorKind::Retryable,
            source,
        };
        let stretches = self.flat.map(range).map_err(|error| failed(error.into()))?;
        if !plan::unbacked(&plan::within(&self.allocated, range), &stretches).is_empty() {
            return Err(failed("what is called allocated there has no blocks".into()));
        }
        buffer.fill(0);
        for stretch in stretches {
            if let Source::Lun(extent) = stretch.source {
                let index = |bytes| usize::try_from(bytes).expect("within the buffer");
                let at = index(stretch.range.offset - offset);
                let part = &mut buffer[at..at + index(extent.length)];
                self.luns[extent.device].read_at(extent.offset, part)?;
            }
        }
        Ok(())
    }
}

/// What the parent left out of the disk, ascending.
pub(crate) fn of_parent(
    previous: Option<&PreviousPoint>,
    (_, disk): (RecoveryPointId, usize),
) -> Vec<DiskRange> {
    let excluded = previous.and_then(|point| point.excluded.get(disk));
    excluded.map_or_else(Vec::new, |list| all(list))
}

/// All ranges, ascending and each byte once.
fn all(excluded: &[Exclusion]) -> Vec<DiskRange> {
    let ranges = excluded.iter().flat_map(|exclusion| exclusion.ranges.iter().copied());
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.offset <= kept.end();
        if joins {
            kept.length = kept.end().max(next.end()) - kept.offset;
        }
        joins
    });
    ranges
}

/// What is read when this is left out; before, `turned` has what the parent left out.
pub(crate) fn apply(reading: &Reading, excluded: &[Exclusion]) -> Arc<Reading> {
    let excluded = all(excluded);
    let turned = difference(&reading.turned, &excluded);
    Arc::new(Reading { turned, excluded, ..reading.clone() })
}

/// The bytes that are in exactly one of two lists; all three ascend.
fn difference(a: &[DiskRange], b: &[DiskRange]) -> Vec<DiskRange> {
    let mut edges: Vec<u64> =
        a.iter().chain(b).flat_map(|range| [range.offset, range.end()]).collect();
    edges.sort_unstable();
    // Each edge changes whether one of the two has the byte, so every second one begins a range.
    edges
        .chunks_exact(2)
        .map(|pair| DiskRange { offset: pair[0], length: pair[1] - pair[0] })
        .filter(|range| !range.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ExclusionKind;
    use proptest::prelude::*;

    fn exclusion(ranges: Vec<DiskRange>) -> Exclusion {
        Exclusion { kind: ExclusionKind::Swap, what: "swap".into(), ranges }
    }

    proptest! {
        #[test]
        fn what_one_point_leaves_out_and_the_other_does_not_is_stored(
            before in prop::collection::vec((0u64..60, 1u64..30), 0..6),
            now in prop::collection::vec((0u64..60, 1u64..30), 0..6),
        ) {
            let ranges = |list: Vec<(u64, u64)>| -> Vec<DiskRange> {
                list.into_iter().map(|(offset, length)| DiskRange { offset, length }).collect()
            };
            let (before, now) = (all(&[exclusion(ranges(before))]), exclusion(ranges(now)));
            let reading = Reading { turned: before.clone(), ..Reading::default() };
            let reading = apply(&reading, std::slice::from_ref(&now));
            let has = |list: &[DiskRange], byte| {
                list.iter().any(|range| range.offset <= byte && byte < range.end())
            };
            let ascends = |pair: &[DiskRange]| pair[0].end() <= pair[1].offset;
            prop_assert!(reading.turned.windows(2).all(ascends));
            prop_assert!(reading.excluded.windows(2).all(ascends));
            for byte in 0..100 {
                prop_assert_eq!(has(&reading.excluded, byte), has(&now.ranges, byte));
                let turned = has(&before, byte) != has(&now.ranges, byte);
                prop_assert_eq!(has(&reading.turned, byte), turned, "byte {}", byte);
            }
        }
    }
}
