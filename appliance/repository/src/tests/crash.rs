//! The power fails after every single operation of a workload; what a new start finds is checked.

use super::support::{Image, Rig, START, backup, draft, options, restores, write_disk};
use crate::{KeyEncryptionKey, Options, Recovery, Repository, Verdict};
use fakes::disk::Random;
use model::{ErrorKind, RecoveryPointId, RetentionTime};
use std::collections::BTreeMap;
use warden::wire::Evidence;

/// A committed point: what it holds, and the least that its lock and its holds are.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) image: Image,
    pub(super) until: RetentionTime,
    pub(super) held: bool,
}

/// What must be true after a restart.
#[derive(Clone, Default)]
pub(super) struct Truth {
    /// Committed and acknowledged, not deleted.
    pub(super) points: BTreeMap<RecoveryPointId, Known>,
    /// Deletions that were acknowledged.
    pub(super) deleted: Vec<RecoveryPointId>,
    /// The one call that had not come back when the power failed.
    pub(super) doubt: Option<Doubt>,
    /// The repository existed.
    pub(super) created: bool,
    /// The largest value of the clock that was put on record.
    pub(super) recorded_clock: i64,
}

#[derive(Clone)]
pub(super) enum Doubt {
    Commit(Image),
    Delete(Vec<RecoveryPointId>),
}

/// A run of the workload: it stops at the first error, because the power is off.
pub(super) struct Run<'a> {
    pub(super) rig: &'a Rig,
    pub(super) options: Options,
    pub(super) truth: Truth,
}

/// The power is off, or so it should be: what failed.
#[derive(Debug)]
pub(super) struct Off {
    #[allow(dead_code)] // shown when the power was on
    why: String,
}

pub(super) fn off<T, E: std::error::Error + 'static>(result: Result<T, E>) -> Result<T, Off> {
    result.map_err(|error| Off { why: model::chain(&error) })
}

impl Run<'_> {
    pub(super) fn open(&self) -> Result<Repository, Off> {
        off(self.rig.try_open(&self.options)).map(|(repository, _)| repository)
    }

    pub(super) fn backup(
        &mut self,
        repository: &Repository,
        vm: u8,
        image: &Image,
        base: Option<(&Image, RecoveryPointId)>,
        lock: u64,
    ) -> Result<RecoveryPointId, Off> {
        self.rig.clock.pass(10);
        self.truth.doubt = Some(Doubt::Commit(image.clone()));
        let (point, _) = off(backup(repository, vm, image, base, lock))?;
        self.truth.doubt = None;
        self.truth.recorded_clock = self.rig.clock.seconds();
        let known = Known { image: image.clone(), until: point.lock.until, held: false };
        self.truth.points.insert(point.id, known);
        Ok(point.id)
    }

    pub(super) fn delete(
        &mut self,
        repository: &Repository,
        points: &[RecoveryPointId],
    ) -> Result<(), Off> {
        self.rig.clock.pass(10);
        self.truth.doubt = Some(Doubt::Delete(points.to_vec()));
        off(repository.delete(points))?;
        self.truth.doubt = None;
        for point in points {
            self.truth.points.remove(point);
            self.truth.deleted.push(*point);
        }
        Ok(())
    }

    /// Locks grow, a hold, evidence, a refusal, a new key.
    fn record(&mut self, repository: &Repository, point: RecoveryPointId) -> Result<(), Off> {
        let until = RetentionTime(START + 100 * 24 * 3600);
        off(repository.extend(point, until))?;
        self.truth.points.get_mut(&point).unwrap().until = until;
        off(repository.hold(point, "case 1"))?;
        self.truth.points.get_mut(&point).unwrap().held = true;
        off(repository.tighten(point))?;
        let report = off(repository.verify(point, &mut |_| ()))?;
        assert!(report.is_whole(), "{report:?}");
        off(repository.record_verification(point, &report))?;
        let (medium, detail) = ("tape 1".into(), "file 3".into());
        off(repository.note(Evidence::Exported { point, medium, detail }))?;
        let refused = repository.delete(&[point]).unwrap_err();
        if refused.kind() != ErrorKind::Refused {
            return off(Err(refused));
        }
        if self.options.encryption.is_some() {
            off(repository.rotate_key())?;
        }
        self.rig.clock.pass(4000);
        off(repository.tick())?;
        self.truth.recorded_clock = self.rig.clock.seconds();
        Ok(())
    }

    /// Fulls, incrementals, copies forward, an abandoned run, expiry, restarts.
    fn workload(&mut self, seed: u64) -> Result<(), Off> {
        let mut random = Random(seed);
        off(self.rig.create(&self.options))?;
        self.truth.created = true;
        let repository = self.open()?;
        let first = image(&mut random, 14);
        let a = self.backup(&repository, 1, &first, None, 5)?;
        let mut second = first.clone();
        for _ in 0..8 {
            second[random.below(14)] = 100 + random.next() % 50;
        }
        // The long lock makes it copy forward what it shares with `a`.
        let b = self.backup(&repository, 1, &second, Some((&first, a)), 90 * 24 * 3600)?;
        let mut abandoned = off(repository.begin(draft(2)))?;
        off(write_disk(&mut abandoned, &(200..212).collect(), None))?;
        drop(abandoned);
        self.delete(&repository, &[a])?;
        self.record(&repository, b)?;
        let other = image(&mut random, 9);
        let c = self.backup(&repository, 2, &other, None, 5)?;
        drop(repository);
        let repository = self.open()?;
        let third = image(&mut random, 14);
        let d = self.backup(&repository, 1, &third, None, 5)?;
        self.delete(&repository, &[c, d])?;
        off(repository.reclaim())?;
        Ok(())
    }
}

pub(super) fn image(random: &mut Random, cells: usize) -> Image {
    (0..cells).map(|_| random.next() % 8).collect()
}

pub(super) fn small(workers: usize, encrypted: bool) -> Options {
    let encryption = encrypted.then(|| KeyEncryptionKey::new(&[7; 32]));
    Options { encryption, ..options(workers) }
}

/// A restart needs no hand and finds what `truth` says. Gives back what the start found.
pub(super) fn check(rig: &Rig, options: &Options, truth: &Truth, what: &str) -> Found {
    let (repository, recovery) = match rig.try_open(options) {
        Err(error) if error.kind() == ErrorKind::NotFound && !truth.created => {
            rig.create(options).unwrap_or_else(|error| panic!("{what}: {}", model::chain(&error)));
            return Found { states: 1, ..Found::default() };
        }
        other => other.unwrap_or_else(|error| panic!("{what}: {}", model::chain(&error))),
    };
    assert!(recovery.damaged.is_empty(), "{what}: {recovery:?}");
    let clock = recovery.clock.0 - START;
    let seconds = rig.clock.seconds();
    assert!((truth.recorded_clock..=seconds).contains(&clock), "{what}: clock {clock}");
    check_points(&repository, truth, what);
    let warden = repository.warden_status().unwrap().found;
    // It goes on as if nothing had happened.
    let fresh: Image = (300..304).collect();
    let (point, _) = backup(&repository, 3, &fresh, None, 0).unwrap();
    assert!(restores(&repository, point.id, &fresh), "{what}");
    repository.delete(&[point.id]).unwrap();
    let before: Vec<_> = repository.points().into_iter().map(|point| point.id).collect();
    drop(repository);
    let (repository, clean) = rig.try_open(options).unwrap();
    let after: Vec<_> = repository.points().into_iter().map(|point| point.id).collect();
    assert_eq!(before, after, "{what}: points after one more start");
    let found = repository.warden_status().unwrap().found;
    let nothing = (clean.dropped.len(), found.torn_bytes, found.deletions_completed);
    assert_eq!(nothing, (0, 0, 0), "{what}: the second start finds {clean:?} {found:?}");
    Found::of(&recovery, &warden)
}

pub(super) fn check_points(repository: &Repository, truth: &Truth, what: &str) {
    let mut points = repository.points();
    for (id, known) in &truth.points {
        let Some(found) = points.iter().position(|point| point.id == *id) else {
            let doubted = matches!(&truth.doubt, Some(Doubt::Delete(going)) if going.contains(id));
            assert!(doubted, "{what}: point {id} is lost");
            continue;
        };
        let point = points.remove(found);
        assert!(point.lock.until >= known.until, "{what}: the lock of {id} is shorter");
        let held = matches!(point.state, Verdict::Held { .. });
        assert!(held || !known.held, "{what}: the hold on {id} is gone");
        assert!(restores(repository, *id, &known.image), "{what}: point {id} changed");
        assert!(repository.verify(*id, &mut |_| ()).unwrap().is_whole(), "{what}: {id}");
    }
    for point in points {
        assert!(!truth.deleted.contains(&point.id), "{what}: {} came back", point.id);
        let Some(Doubt::Commit(image)) = &truth.doubt else {
            panic!("{what}: point {} was never committed", point.id)
        };
        assert!(restores(repository, point.id, image), "{what}: {} is not whole", point.id);
    }
}

/// Power cut after operation `cut`, then what a kill and what several losses leave.
fn cut(seed: u64, cut: u64, options: &Options) -> Found {
    let rig = Rig::default();
    rig.disk.cut_at(cut);
    let mut run = Run { rig: &rig, options: options.clone(), truth: Truth::default() };
    let _ = run.workload(seed);
    let truth = run.truth;
    lose(&rig, options, Random(seed ^ cut << 8), &mut |rig, what| {
        check(rig, options, &truth, &format!("seed {seed}, cut {cut}, {what}"))
    })
}

/// What a kill and what several losses leave of a disk whose power has failed, each also with
/// another failure while the repository is being opened.
pub(super) fn lose(
    rig: &Rig,
    options: &Options,
    mut random: Random,
    check: &mut dyn FnMut(&Rig, &str) -> Found,
) -> Found {
    let mut found = Found::default();
    let mut disks = vec![("kill", rig.disk.after_kill())];
    disks.extend((0..2).map(|_| ("power cut", rig.disk.after_power_cut(&mut random))));
    for (number, (kind, disk)) in disks.into_iter().enumerate() {
        let again = rig.with(disk.copy());
        again.disk.cut_at(disk.operations() + random.next() % 8);
        let _ = again.try_open(options);
        let twice = again.with(again.disk.after_power_cut(&mut random));
        found.join(&check(&twice, &format!("{kind} {number}, twice")));
        found.join(&check(&rig.with(disk), &format!("{kind} {number}")));
    }
    found
}

/// How often a start found something: that the workload really leaves each kind of rest.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) states: u64,
    dropped: u64,
    orphans: u64,
    torn: u64,
    head_lag: u64,
    deletions_completed: u64,
}

impl Found {
    fn of(recovery: &Recovery, warden: &warden::found::Found) -> Self {
        Self {
            states: 1,
            dropped: u64::from(!recovery.dropped.is_empty()),
            orphans: u64::from(!recovery.orphans.is_empty()),
            torn: u64::from(warden.torn_bytes > 0),
            head_lag: u64::from(warden.head_lag > 0),
            deletions_completed: u64::from(warden.deletions_completed > 0),
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.states += other.states;
        self.dropped += other.dropped;
        self.orphans += other.orphans;
        self.torn += other.torn;
        self.head_lag += other.head_lag;
        self.deletions_completed += other.deletions_completed;
    }
}

fn operations(seed: u64, options: &Options) -> u64 {
    let rig = Rig::default();
    let mut run = Run { rig: &rig, options: options.clone(), truth: Truth::default() };
    run.workload(seed).expect("the power stays on");
    let truth = run.truth;
    assert_eq!((truth.points.len(), truth.deleted.len()), (1, 3));
    check(&rig.with(rig.disk.after_kill()), options, &truth, "no cut at all");
    rig.disk.operations()
}

/// More than 5,000 states; both halves together more than 10,000.
const STATES_OF_A_HALF: u64 = 5_000;

#[test]
fn power_cut_after_every_operation() {
    after_every_operation([(1, false), (2, true), (3, false)]);
}

/// Other seeds, in a test of their own so that they run beside the first ones.
#[test]
fn power_cut_after_every_operation_of_other_histories() {
    after_every_operation([(7, false), (8, true), (9, false)]);
}

/// A history for each seed, encrypted or not.
fn after_every_operation(seeds: [(u64, bool); 3]) {
    let mut found = Found::default();
    for (seed, encrypted) in seeds {
        let options = small(0, encrypted);
        let count = operations(seed, &options);
        for operation in 0..=count {
            found.join(&cut(seed, operation, &options));
        }
        println!("seed {seed}: {count} operations; crash states so far: {found:?}");
    }
    assert!(found.states > STATES_OF_A_HALF, "{found:?}");
    for kind in
        [found.dropped, found.orphans, found.torn, found.head_lag, found.deletions_completed]
    {
        assert!(kind > 0, "a kind of rest never came up: {found:?}");
    }
}

#[test]
fn power_cuts_with_threads() {
    for seed in 4..6 {
        let options = small(2, false);
        let count = operations(seed, &options);
        for operation in (0..count).step_by(11) {
            cut(seed, operation, &options);
        }
    }
}
