//! What is sealed while a removal is on its way stays.

use super::support::{Image, Rig, backup, draft, lock, options, restores, write_disk};
use crate::{PointWriter, Repository};
use std::sync::{Arc, Mutex};
use warden::wire::{Reply, Request};
use warden::{Local, Warden, WardenError};

const IMAGE: std::ops::Range<u64> = 1..60;

/// Lets a run write just before a reclaim reaches the warden.
struct Meanwhile(Local, Arc<Mutex<Option<PointWriter>>>);

impl Warden for Meanwhile {
    fn call(&self, request: Request) -> Result<Reply, WardenError> {
        if matches!(request, Request::Reclaim { .. })
            && let Some(run) = &mut *self.1.lock().unwrap()
        {
            write_disk(run, &IMAGE.collect(), None).unwrap();
        }
        self.0.call(request)
    }
}

fn orphans(repository: &Repository) -> u64 {
    repository.warden_status().unwrap().orphans.count()
}

#[test]
fn a_reclaim_leaves_what_a_run_has_sealed_meanwhile() {
    let rig = Rig::new(&options(0));
    let run = Arc::new(Mutex::new(None));
    let repository = rig.open_behind(&options(0), |warden| Meanwhile(warden, Arc::clone(&run)));
    // One that was given up, and one that writes.
    let mut given_up = repository.begin(draft(1)).unwrap();
    write_disk(&mut given_up, &(500..560).collect(), None).unwrap();
    drop(given_up);
    let left = orphans(&repository);
    assert!(left > 2);
    *run.lock().unwrap() = Some(repository.begin(draft(2)).unwrap());
    assert_eq!(repository.reclaim().unwrap().segments, left);
    let run = run.lock().unwrap().take().unwrap();
    let point = run.commit(lock(0), model::WallTime(0)).unwrap();
    let image: Image = IMAGE.collect();
    assert!(restores(&repository, point.id, &image));
    let (_, stats) = backup(&repository, 3, &image, None, 0).unwrap();
    assert_eq!(stats.new_chunks, 0, "{stats:?}");
    assert_eq!(orphans(&repository), 0);
}
