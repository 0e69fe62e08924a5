//! The power fails after every single operation of a workload; what a new start finds is checked.

use super::support::{Image, at, backup, draft, options, restores, write_disk};
use crate::storage::Storage;
use crate::storage::sim::{Random, Sim};
use crate::{Now, Recovery, Repository, StoreError};
use model::{ErrorKind, RecoveryPointId, RetentionTime, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

const START: i64 = 1_700_000_000;

/// What must be true after a restart.
#[derive(Default)]
struct Truth {
    /// Committed and acknowledged, not deleted: image and end of the lock.
    points: BTreeMap<RecoveryPointId, (Image, RetentionTime)>,
    /// Deletions that were acknowledged.
    deleted: Vec<RecoveryPointId>,
    /// The one call that had not come back when the power failed.
    doubt: Option<Doubt>,
    /// The repository existed.
    created: bool,
    /// The largest value of the clock that was put on record.
    recorded_clock: i64,
    seconds: i64,
}

enum Doubt {
    Commit(Image),
    Delete(RecoveryPointId),
}

impl Truth {
    fn now(&mut self) -> Now {
        self.seconds += 10;
        at(self.seconds)
    }

    fn backup(
        &mut self,
        repository: &Repository,
        vm: u8,
        image: &Image,
        base: Option<(&Image, RecoveryPointId)>,
        lock: u64,
    ) -> Result<RecoveryPointId, StoreError> {
        let now = self.now();
        self.doubt = Some(Doubt::Commit(image.clone()));
        let (point, _) = backup(repository, vm, image, base, lock, now)?;
        self.doubt = None;
        self.recorded_clock = self.seconds;
        self.points.insert(point.id, (image.clone(), point.lock.until));
        Ok(point.id)
    }

    fn delete(&mut self, repository: &Repository, id: RecoveryPointId) -> Result<(), ()> {
        let now = self.now();
        self.doubt = Some(Doubt::Delete(id));
        repository.delete(id, now).map_err(drop)?;
        self.doubt = None;
        self.points.remove(&id);
        self.deleted.push(id);
        Ok(())
    }
}

fn open(sim: &Sim, workers: usize, now: Now) -> Result<(Repository, Recovery), StoreError> {
    Repository::open_on(Arc::new(sim.clone()), &options(workers), now)
}

fn image(random: &mut Random, cells: usize) -> Image {
    (0..cells).map(|_| random.next() % 8).collect()
}

/// Fulls, incrementals, an abandoned run, a refused and two real deletions, a restart. Stops at
/// the first error: the power is off.
fn workload(sim: &Sim, seed: u64, workers: usize, truth: &mut Truth) -> Result<(), ()> {
    let mut random = Random(seed);
    let storage = Arc::new(sim.clone()) as Arc<dyn Storage>;
    crate::open::create(&storage, &options(workers), WallTime(START)).map_err(drop)?;
    truth.created = true;
    let (repository, _) = open(sim, workers, at(0)).map_err(drop)?;
    let first = image(&mut random, 14);
    let a = truth.backup(&repository, 1, &first, None, 5).map_err(drop)?;
    let mut second = first.clone();
    for _ in 0..3 {
        second[random.below(14)] = 100 + random.next() % 50;
    }
    let b = truth.backup(&repository, 1, &second, Some((&first, a)), 10_000).map_err(drop)?;
    let mut abandoned = repository.begin(draft(2)).map_err(drop)?;
    write_disk(&mut abandoned, &(200..212).collect(), None).map_err(drop)?;
    drop(abandoned);
    truth.delete(&repository, a)?;
    let refused = repository.delete(b, truth.now()).unwrap_err();
    let lawful = matches!(refused.kind(), ErrorKind::Refused);
    assert!(lawful, "seed {seed}: {refused}");
    let other = image(&mut random, 9);
    let c = truth.backup(&repository, 2, &other, None, 5).map_err(drop)?;
    drop(repository);
    let (repository, _) = open(sim, workers, at(truth.seconds)).map_err(drop)?;
    let third = image(&mut random, 14);
    truth.backup(&repository, 1, &third, None, 10_000).map_err(drop)?;
    truth.delete(&repository, c)?;
    repository.reclaim(truth.now()).map_err(drop)?;
    Ok(())
}

/// A restart on `disk` needs no hand and finds what `truth` says.
/// Gives back what the start found.
fn check(disk: &Sim, truth: &Truth, workers: usize, what: &str) -> Recovery {
    let opened = open(disk, workers, at(0));
    let (repository, recovery) = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound && !truth.created => {
            let storage = Arc::new(disk.clone()) as Arc<dyn Storage>;
            let created = crate::open::create(&storage, &options(workers), WallTime(START));
            created.unwrap_or_else(|error| panic!("{what}: {}", model::chain(&error)));
            return Recovery::default();
        }
        other => other.unwrap_or_else(|error| panic!("{what}: {}", model::chain(&error))),
    };
    assert!(recovery.damaged.is_empty(), "{what}: {recovery:?}");
    let clock = recovery.clock.0 - START;
    assert!(clock >= truth.recorded_clock && clock <= truth.seconds, "{what}: clock {clock}");
    let mut points = repository.points();
    for (id, (image, until)) in &truth.points {
        let Some(found) = points.iter().position(|point| point.id == *id) else {
            let doubted = matches!(truth.doubt, Some(Doubt::Delete(doubt)) if doubt == *id);
            assert!(doubted, "{what}: point {id} is lost");
            continue;
        };
        let point = points.remove(found);
        assert_eq!(point.lock.until, *until, "{what}: lock of {id}");
        assert!(restores(&repository, *id, image), "{what}: point {id} changed");
        assert!(repository.verify(*id, &mut |_| ()).unwrap().is_whole(), "{what}: {id}");
    }
    for point in points {
        assert!(!truth.deleted.contains(&point.id), "{what}: {} came back", point.id);
        let Some(Doubt::Commit(image)) = &truth.doubt else {
            panic!("{what}: point {} was never committed", point.id)
        };
        assert!(restores(&repository, point.id, image), "{what}: {} is not whole", point.id);
    }
    // It goes on as if nothing had happened.
    let fresh: Image = (300..310).collect();
    let (point, _) = backup(&repository, 3, &fresh, None, 0, at(5)).unwrap();
    assert!(restores(&repository, point.id, &fresh), "{what}");
    repository.delete(point.id, at(6)).unwrap();
    let (point, _) = backup(&repository, 3, &fresh, None, 50, at(7)).unwrap();
    let before: Vec<_> = repository.points().into_iter().map(|point| point.id).collect();
    drop(repository);
    let (repository, clean) = open(disk, workers, at(0)).unwrap();
    let after: Vec<_> = repository.points().into_iter().map(|point| point.id).collect();
    assert_eq!(before, after, "{what}: points after one more start");
    assert!(restores(&repository, point.id, &fresh), "{what}");
    let nothing = (clean.dropped.len(), clean.torn_ledger_bytes, clean.deletions_completed);
    assert_eq!(nothing, (0, 0, 0), "{what}: the second start finds {clean:?}");
    recovery
}

/// Power cut after operation `cut`, then what a kill and what several losses leave.
fn cut(seed: u64, cut: u64, workers: usize) -> Found {
    let sim = Sim::default();
    sim.cut_at(cut);
    let mut truth = Truth::default();
    let _ = workload(&sim, seed, workers, &mut truth);
    let mut found = Found::default();
    let mut random = Random(seed ^ cut << 8);
    let mut disks = vec![("kill", sim.after_kill())];
    disks.extend((0..3).map(|_| ("power cut", sim.after_power_cut(&mut random))));
    for (number, (kind, disk)) in disks.into_iter().enumerate() {
        let what = format!("seed {seed}, cut {cut}, {kind} {number}, workers {workers}");
        // The power fails again while the repository is being opened.
        let again = disk.copy();
        again.cut_at(disk.operations() + random.next() % 8);
        let _ = open(&again, workers, at(0));
        let twice = again.after_power_cut(&mut random);
        found.add(&check(&twice, &truth, workers, &format!("{what}, twice")));
        found.add(&check(&disk, &truth, workers, &what));
    }
    found
}

/// How often a start found something: that the workload really leaves each kind of rest.
#[derive(Debug, Default)]
struct Found {
    states: u64,
    dropped: u64,
    orphans: u64,
    torn: u64,
    deletions_completed: u64,
}

impl Found {
    fn add(&mut self, recovery: &Recovery) {
        self.states += 1;
        self.dropped += u64::from(!recovery.dropped.is_empty());
        self.orphans += u64::from(!recovery.orphans.is_empty());
        self.torn += u64::from(recovery.torn_ledger_bytes > 0);
        self.deletions_completed += u64::from(recovery.deletions_completed > 0);
    }

    fn join(&mut self, other: &Self) {
        self.states += other.states;
        self.dropped += other.dropped;
        self.orphans += other.orphans;
        self.torn += other.torn;
        self.deletions_completed += other.deletions_completed;
    }
}

fn operations(seed: u64) -> u64 {
    let sim = Sim::default();
    let mut truth = Truth::default();
    workload(&sim, seed, 0, &mut truth).expect("the power stays on");
    assert_eq!((truth.points.len(), truth.deleted.len()), (2, 2));
    check(&sim.after_kill(), &truth, 0, "no cut at all");
    sim.operations()
}

#[test]
fn power_cut_after_every_operation() {
    let mut found = Found::default();
    let count = operations(1);
    for operation in 0..=count {
        found.join(&cut(1, operation, 0));
    }
    println!("seed 1: {count} operations, crash states: {found:?}");
    assert!(found.states > 1000, "{found:?}");
    for kind in [found.dropped, found.orphans, found.torn, found.deletions_completed] {
        assert!(kind > 0, "a kind of rest never came up: {found:?}");
    }
}

#[test]
fn power_cuts_with_threads() {
    for seed in 2..4 {
        let count = operations(seed);
        for operation in (0..count).step_by(7) {
            cut(seed, operation, 2);
        }
    }
}
