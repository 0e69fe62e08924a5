//! Where chunks go: copied forward for a long lock, and onto the volume of the parent.

use super::support::{Image, Rig, backup, options, restores};
use crate::{Options, Recovery, Repository, StoreError};
use model::{ErrorKind, RecoveryPointId};
use rustix::io::Errno;
use std::collections::BTreeSet;
use warden::storage::{Storage as _, read_all};
use warden::wire::Request;

const DAY: u64 = 24 * 3600;

/// Data segments that disk 0 of a point refers to.
fn reached(repository: &Repository, id: RecoveryPointId) -> BTreeSet<u32> {
    let record = repository.point(id).unwrap().disks[0].reach.unwrap();
    let reach = crate::reach::read(&repository.inner.core, record).unwrap();
    reach.iter().map(|(serial, _)| serial).collect()
}

#[test]
fn a_long_lock_copies_what_it_shares_with_a_segment_that_is_mostly_dead() {
    for workers in [0, 2] {
        let rig = Rig::new(&options(workers));
        let repository = rig.open(&options(workers));
        let first: Image = (1..=12).collect();
        let (a, _) = backup(&repository, 1, &first, None, DAY).unwrap();
        // Ten of twelve cells change; two are shared with `a`, which goes tomorrow.
        let second: Image = (1..=12).map(|n| if n < 3 { n } else { n + 100 }).collect();
        let base = Some((&first, a.id));
        let (short, _) = backup(&repository, 1, &second, base, DAY).unwrap();
        assert!(!reached(&repository, a.id).is_disjoint(&reached(&repository, short.id)));
        let (long, _) = backup(&repository, 1, &second, base, 365 * DAY).unwrap();
        assert!(restores(&repository, long.id, &second));
        let report = repository.verify(long.id, &mut |_| ()).unwrap();
        assert!(report.is_whole(), "{report:?}");
        let (old, own) = (reached(&repository, a.id), reached(&repository, long.id));
        assert!(old.is_disjoint(&own), "the long lock holds nothing of the first point");
        let roots =
            [short.id, long.id].map(|id| repository.point(id).unwrap().disks[0].map.unwrap());
        assert_eq!(roots[0].id, roots[1].id, "places are in no hash");
        rig.clock.set(i64::try_from(2 * DAY).unwrap());
        repository.delete(&[a.id, short.id]).unwrap();
        assert!(restores(&repository, long.id, &second));
        assert!(repository.verify(long.id, &mut |_| ()).unwrap().is_whole());
    }
}

/// A repository with volume 1.
fn two_volumes(options: &Options) -> (Rig, Repository) {
    let rig = Rig::new(options);
    let repository = rig.open(options);
    repository.inner.core.ask(Request::AddVolume { number: 1 }).unwrap();
    drop(repository);
    let repository = rig.open(options);
    (rig, repository)
}

fn volume(repository: &Repository, id: RecoveryPointId) -> u8 {
    repository.inner.core.catalog.lock().unwrap().volume_of(id).unwrap()
}

/// A full backup of another VM, onto the volume that the test wants.
fn onto(
    repository: &Repository,
    number: u8,
    wanted: u8,
    image: &Image,
) -> Result<RecoveryPointId, StoreError> {
    let mut point = repository.begin(super::support::draft(number))?;
    point.state.use_volume(wanted);
    super::support::write_disk(&mut point, image, None)?;
    let lock = super::support::lock(0);
    Ok(point.commit(lock, model::WallTime(0))?.id)
}

#[test]
fn points_stay_on_their_volume_and_a_lost_volume_loses_its_points_only() {
    let options = options(0);
    let (rig, repository) = two_volumes(&options);
    let image: Image = (1..=10).collect();
    let here = onto(&repository, 1, 0, &image).unwrap();
    let there = onto(&repository, 2, 1, &image).unwrap();
    assert_eq!((volume(&repository, here), volume(&repository, there)), (0, 1));
    // The next point of each VM goes where the last one is, and shares with nothing elsewhere.
    let changed: Image = (1..=10).map(|n| if n == 4 { 77 } else { n }).collect();
    let (next, _) = backup(&repository, 2, &changed, Some((&image, there)), 0).unwrap();
    assert_eq!(volume(&repository, next.id), 1);
    assert!(reached(&repository, here).is_disjoint(&reached(&repository, there)));
    drop(repository);
    let (repository, recovery) = rig.try_open(&options).unwrap();
    assert_eq!(recovery.missing_volumes, []);
    assert!(restores(&repository, next.id, &changed));
    drop(repository);
    for path in rig.disk.paths().iter().filter(|path| path.starts_with("volumes/1/")) {
        rig.disk.remove_below(path);
    }
    let (repository, recovery): (Repository, Recovery) = rig.try_open(&options).unwrap();
    let [missing] = &recovery.missing_volumes[..] else { panic!("{recovery:?}") };
    assert_eq!((missing.number, &missing.points), (1, &vec![there, next.id]));
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert!(restores(&repository, here, &image));
    assert_eq!(repository.open_disk(there, 0).err().unwrap().kind(), ErrorKind::Gone);
    let (again, _) = backup(&repository, 2, &image, None, 0).unwrap();
    assert_eq!(volume(&repository, again.id), 0, "the VM's own volume is not there");
}

#[test]
fn a_volume_that_goes_away_keeps_nothing_from_the_others() {
    let options = options(0);
    let (rig, repository) = two_volumes(&options);
    let image: Image = (1..=10).collect();
    let there = onto(&repository, 2, 1, &image).unwrap();
    rig.disk.refuse("volumes/1/", Errno::IO.raw_os_error());
    let (other, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let (again, _) = backup(&repository, 2, &image, None, 0).unwrap();
    assert_eq!([other.id, again.id].map(|id| volume(&repository, id)), [0, 0]);
    assert!(repository.stats().unwrap().free > 0);
    assert!(repository.forecast(30, None).is_ok());
    rig.disk.refuse("segments", Errno::IO.raw_os_error());
    assert!(backup(&repository, 3, &image, None, 0).is_err(), "none is left");
    rig.disk.refuse_nothing();
    assert!(restores(&repository, there, &image));
}

#[test]
fn what_an_absent_volume_may_hold_gives_its_serials_to_nobody_else() {
    let options = options(0);
    let (rig, repository) = two_volumes(&options);
    let image: Image = (1..=30).collect();
    // A run that did not end: sealed on volume 1, and on no record.
    let mut run = repository.begin(super::support::draft(2)).unwrap();
    run.state.use_volume(1);
    super::support::write_disk(&mut run, &image, None).unwrap();
    drop(run);
    drop(repository);
    rig.disk.refuse("volumes/1/", Errno::NOENT.raw_os_error());
    let (repository, recovery) = rig.try_open(&options).unwrap();
    assert!(recovery.orphans.is_empty() && recovery.missing_volumes.len() == 1, "{recovery:?}");
    let (point, _) = backup(&repository, 1, &image, None, 0).unwrap();
    drop(repository);
    rig.disk.refuse_nothing();
    let (repository, recovery) = rig.try_open(&options).unwrap();
    assert!(recovery.damaged.is_empty() && recovery.orphans.len() > 1, "{recovery:?}");
    assert!(restores(&repository, point.id, &image));
    assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
}

#[test]
fn the_file_that_the_ledger_names_is_used_wherever_another_lies() {
    let options = options(0);
    let (rig, repository) = two_volumes(&options);
    let image: Image = (1..=10).collect();
    let here = onto(&repository, 1, 0, &image).unwrap();
    let there = onto(&repository, 2, 1, &image).unwrap();
    drop(repository);
    let copy = |path: &str, to: &str| {
        let bytes = read_all(&rig.disk, path, u64::MAX).unwrap();
        let mut file = rig.disk.create(to, 0).unwrap();
        file.append(&bytes).unwrap();
        file.sync().unwrap();
    };
    let sealed = |path: &String| path.ends_with(".segment");
    // Each segment's name with the content of another one, on the other volume.
    for path in rig.disk.paths().into_iter().filter(sealed) {
        let name = path.rsplit('/').next().unwrap();
        match path.starts_with("volumes") {
            true => copy("segments/00000001.segment", &format!("segments/{name}")),
            false => copy(&path, &format!("volumes/1/segments/{name}")),
        }
    }
    rig.disk.flip("volumes/1/segments/00000001.segment", 40, 1);
    let (repository, recovery) = rig.try_open(&options).unwrap();
    assert!(!recovery.damaged.is_empty());
    for point in [here, there] {
        assert!(restores(&repository, point, &image));
    }
    // Nothing is found in what lies twice: the next point needs none of it.
    let (next, stats) = backup(&repository, 3, &image, None, 0).unwrap();
    assert_eq!(stats.new_chunks, 10);
    assert!(repository.verify(next.id, &mut |_| ()).unwrap().is_whole());
}
