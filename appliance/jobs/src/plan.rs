//! The decisions of a run as pure functions: full or incremental, does the block map agree with
//! the hypervisor, which cells are read from where.

use crate::ports::PreviousPoint;
use block::{CellRead, Grid, Piece, PlanError, Source};
use model::{ChangeId, DiskIdentity, DiskRange, LunExtent, RecoveryPointId};

/// How a disk will be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything allocated.
    Full {
        /// Why, for people.
        reason: String,
    },
    /// What changed since the parent.
    Incremental {
        /// The parent's change id.
        since: ChangeId,
        /// The parent: point and index of the disk in it.
        parent: (RecoveryPointId, usize),
    },
}

/// Full or incremental. Incremental only when nothing at all speaks against it
/// (the rules of change tracking: same disk, same size, same epoch). `forced`: why it must be a
/// full one whatever they say.
#[must_use]
pub fn decide(
    previous: Option<&PreviousPoint>,
    disk: &DiskIdentity,
    forced: Option<&str>,
) -> Decision {
    match forced.map_or_else(|| parent_of(previous, disk), Err) {
        Ok((since, parent)) => Decision::Incremental { since, parent },
        Err(reason) => Decision::Full { reason: reason.into() },
    }
}

type Parent = (ChangeId, (RecoveryPointId, usize));

fn parent_of<'a>(previous: Option<&PreviousPoint>, disk: &DiskIdentity) -> Result<Parent, &'a str> {
    let point = previous.ok_or("first backup of this VM")?;
    let (index, before) = point
        .disks
        .iter()
        .enumerate()
        .find(|(_, before)| before.uuid == disk.uuid && before.path == disk.path)
        .ok_or("the disk is not in the previous recovery point")?;
    if before.capacity != disk.capacity {
        return Err("the disk was resized");
    }
    let since = before.change_id.as_ref().ok_or("the previous point has no change id")?;
    let now = disk.change_id.as_ref().ok_or("change tracking gives no change id")?;
    if !since.continues_to(now) {
        return Err("change tracking was reset (the change id is of another epoch)");
    }
    Ok((since.clone(), (point.id, index)))
}

/// A run of a disk's bytes and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where on the disk.
    pub range: DiskRange,
    /// Where the bytes come from.
    pub source: Source,
}

/// The ranges that the hypervisor calls allocated and the block map does not back with blocks.
/// Both lists ascend. Too much may be called allocated, never too little: such a range is
/// metadata not yet in place, or a map misread, and nobody may take it for zeros unasked.
#[must_use]
pub fn unbacked(allocated: &[DiskRange], stretches: &[Stretch]) -> Vec<DiskRange> {
    let mut found: Vec<DiskRange> = Vec::new();
    let mut next = 0;
    for stretch in stretches.iter().filter(|stretch| stretch.source == Source::Zero) {
        while allocated.get(next).is_some_and(|area| area.end() <= stretch.range.offset) {
            next += 1;
        }
        for area in &allocated[next..] {
            if area.offset >= stretch.range.end() {
                break;
            }
            let offset = area.offset.max(stretch.range.offset);
            let end = area.end().min(stretch.range.end());
            found.push(DiskRange { offset, length: end - offset });
        }
    }
    found
}

/// The part of `areas` (ascending) that lies in `range`.
#[must_use]
pub fn within(areas: &[DiskRange], range: DiskRange) -> Vec<DiskRange> {
    let first = areas.partition_point(|area| area.end() <= range.offset);
    areas[first..]
        .iter()
        .take_while(|area| area.offset < range.end())
        .map(|area| {
            let offset = area.offset.max(range.offset);
            DiskRange { offset, length: area.end().min(range.end()) - offset }
        })
        .filter(|area| !area.is_empty())
        .collect()
}

/// The bytes of the cells `first..end`.
#[must_use]
pub fn bytes_of(grid: Grid, (first, end): (u64, u64)) -> DiskRange {
    let start = grid.range(first).map_or(0, |range| range.offset);
    let stop = end.checked_sub(1).and_then(|last| grid.range(last)).map_or(start, DiskRange::end);
    DiskRange { offset: start, length: stop - start }
}

/// The cells `first..end`, each with its pieces. `stretches` must cover them without a gap.
pub fn cells(
    grid: Grid,
    (first, end): (u64, u64),
    stretches: &[Stretch],
) -> Result<Vec<CellRead>, PlanError> {
    let mut reads = Vec::new();
    let mut next = 0;
    for (cell, range) in (first..end).filter_map(|cell| Some((cell, grid.range(cell)?))) {
        while stretches.get(next).is_some_and(|stretch| stretch.range.end() <= range.offset) {
            next += 1;
        }
        let pieces = stretches[next..]
            .iter()
            .take_while(|stretch| stretch.range.offset < range.end())
            .filter_map(|stretch| piece(range, stretch))
            .collect();
        reads.push(CellRead::new(cell, range.length, pieces)?);
    }
    Ok(reads)
}

fn piece(cell: DiskRange, stretch: &Stretch) -> Option<Piece> {
    let from = stretch.range.offset.max(cell.offset);
    let length = stretch.range.end().min(cell.end()).checked_sub(from)?;
    let source = match stretch.source {
        Source::Zero => Source::Zero,
        Source::Lun(extent) => Source::Lun(LunExtent {
            offset: extent.offset + (from - stretch.range.offset),
            length,
            ..extent
        }),
    };
    Some(Piece { at: from - cell.offset, length, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ChangeId;
    use proptest::prelude::*;

    fn disk() -> DiskIdentity {
        DiskIdentity {
            key: 2000,
            uuid: "6000C29a".into(),
            path: "[san01] web01/web01.vmdk".into(),
            capacity: 1 << 30,
            change_id: Some(ChangeId("52 a1/7".into())),
        }
    }

    fn point(disk: DiskIdentity) -> PreviousPoint {
        PreviousPoint {
            id: RecoveryPointId([7; 16]),
            disks: vec![disk],
            excluded: vec![Vec::new()],
            cross_check: None,
        }
    }

    fn reason(previous: Option<&PreviousPoint>, forced: Option<&str>) -> Option<String> {
        match decide(previous, &disk(), forced) {
            Decision::Full { reason } => Some(reason),
            Decision::Incremental { .. } => None,
        }
    }

    #[test]
    fn incremental_only_when_nothing_speaks_against_it() {
        assert_eq!(reason(Some(&point(disk())), None), None);
        assert!(reason(None, None).unwrap().contains("first backup"));
        assert!(reason(Some(&point(disk())), Some("asked for")).unwrap().contains("asked"));
        type Change = (fn(&mut DiskIdentity), &'static str);
        let changed: [Change; 6] = [
            (|d| d.capacity += 512, "resized"),
            (|d| d.uuid = "other".into(), "not in the previous"),
            (|d| d.path = "[san02] web01/web01.vmdk".into(), "not in the previous"),
            (|d| d.change_id = Some(ChangeId("52 b9/1".into())), "another epoch"),
            (|d| d.change_id = Some(ChangeId("nonsense".into())), "another epoch"),
            (|d| d.change_id = None, "no change id"),
        ];
        for (change, expected) in changed {
            let mut before = disk();
            change(&mut before);
            assert!(reason(Some(&point(before)), None).unwrap().contains(expected));
        }
    }

    /// A map of `lengths`, alternating blocks and holes.
    fn stretches(lengths: &[u64], first_is_hole: bool) -> Vec<Stretch> {
        let mut offset = 0;
        let mut hole = first_is_hole;
        let mut list = Vec::new();
        for &length in lengths {
            let range = DiskRange { offset, length };
            let extent = LunExtent { device: 0, offset: offset + 1_000_000, length };
            let source = if hole { Source::Zero } else { Source::Lun(extent) };
            list.push(Stretch { range, source });
            offset += length;
            hole = !hole;
        }
        list
    }

    proptest! {
        #[test]
        fn cells_hold_exactly_the_bytes_of_the_map(
            lengths in prop::collection::vec(1u64..20_000, 1..20),
            hole in any::<bool>(),
        ) {
            let map = stretches(&lengths, hole);
            let capacity = lengths.iter().sum();
            let grid = Grid::new(capacity, 4096).unwrap();
            let reads = cells(grid, (0, grid.cells()), &map).unwrap();
            prop_assert_eq!(reads.len() as u64, grid.cells());
            for read in reads {
                for piece in &read.pieces {
                    let at = read.cell * 4096 + piece.at;
                    for byte in [at, at + piece.length - 1] {
                        let truth = map.iter().find(|s| s.range.end() > byte).unwrap();
                        match (truth.source, piece.source) {
                            (Source::Zero, Source::Zero) => {}
                            (Source::Lun(_), Source::Lun(extent)) => {
                                prop_assert_eq!(extent.offset + (byte - at), byte + 1_000_000);
                            }
                            other => prop_assert!(false, "byte {}: {:?}", byte, other),
                        }
                    }
                }
            }
        }

        #[test]
        fn unbacked_finds_each_byte_that_is_called_allocated_over_a_hole(
            lengths in prop::collection::vec(1u64..50, 1..12),
            areas in prop::collection::vec((1u64..40, 1u64..40), 0..8),
        ) {
            let map = stretches(&lengths, true);
            let mut offset = 0;
            let allocated: Vec<_> = areas.iter().map(|&(gap, length)| {
                let area = DiskRange { offset: offset + gap, length };
                offset = area.end();
                area
            }).collect();
            let found = unbacked(&allocated, &map);
            let inside = |list: &[DiskRange], byte| {
                list.iter().any(|range| range.offset <= byte && byte < range.end())
            };
            for byte in 0..lengths.iter().sum::<u64>() {
                let hole = map.iter().find(|s| s.range.end() > byte).unwrap().source
                    == Source::Zero;
                prop_assert_eq!(
                    inside(&found, byte), hole && inside(&allocated, byte), "byte {}", byte
                );
            }
        }
    }

    #[test]
    fn a_map_with_a_gap_is_no_plan() {
        let mut map = stretches(&[4096, 4096, 4096], false);
        map.remove(1);
        let grid = Grid::new(3 * 4096, 4096).unwrap();
        assert!(cells(grid, (0, 3), &map).is_err());
    }
}
