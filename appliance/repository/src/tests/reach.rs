//! What an incremental counts along is what a walk of its map counts.

use super::support::{CHUNK, Rig, content, disk_draft, draft, lock, options};
use crate::map::MapReader;
use crate::reach::{read, walk};
use crate::{ParentDisk, Repository};
use format::map::Shape;
use format::reach::Reach;
use model::WallTime;
use proptest::prelude::*;
use std::sync::Arc;

/// Cells of the disks: three levels of nodes, and a last node of each level that is not full.
const CELLS: u64 = 256 * 256 + 300;

/// What an incremental gives: cells and their content, 0 for zeros.
type Given = std::collections::BTreeMap<u64, u64>;

fn given() -> impl Strategy<Value = Given> {
    // Few cells, so that nodes come and go; few contents, so that chunks are shared.
    let cell = prop_oneof![0u64..4, 254u64..258, 65_534u64..65_540, CELLS - 2..CELLS];
    prop::collection::btree_map(cell, 0u64..5, 0..8)
}

/// Makes a point of `given` over `parent`; its id, and whether both ways of counting agree.
fn step(
    repository: &Repository,
    given: &Given,
    parent: Option<ParentDisk>,
) -> (ParentDisk, Reach, Reach) {
    let mut point = repository.begin(draft(1)).unwrap();
    let disk = point.disk(disk_draft(CELLS * CHUNK as u64, parent)).unwrap();
    for (&cell, &number) in given {
        match number {
            0 => disk.zero(cell).unwrap(),
            number => disk.put(cell, content(number, CHUNK)).unwrap(),
        }
    }
    disk.finish().unwrap();
    let counted = point.disks.lock().unwrap()[0].reach.clone();
    let id = point.commit(lock(0), WallTime(0)).unwrap().id;
    let root = repository.point(id).unwrap().disks[0].map;
    let stored = repository.point(id).unwrap().disks[0].reach;
    let core = Arc::clone(&repository.inner.core);
    let stored = stored.map_or_else(Reach::default, |record| read(&core, record).unwrap());
    assert_eq!(stored, counted);
    assert!(repository.verify(id, &mut |_| ()).unwrap().is_whole());
    let walked = walk(&MapReader::new(core, Shape::new(CELLS), root).unwrap()).unwrap();
    (ParentDisk { point: id, disk: 0 }, counted, walked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn counting_along_is_walking(steps in prop::collection::vec(given(), 1..7)) {
        let repository = Rig::new(&options(0)).open(&options(0));
        let mut parent = None;
        for given in &steps {
            let (point, counted, walked) = step(&repository, given, parent);
            prop_assert_eq!(counted, walked);
            parent = Some(point);
        }
    }
}
