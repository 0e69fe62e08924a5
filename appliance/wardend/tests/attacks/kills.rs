//! SIGKILL at random moments while points are sealed, committed and deleted.

use crate::daemon::{Daemon, as_daemon, point, replay, runs};
use crate::stage::Stage;
use model::LockMode;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use warden::wire::{Outcome, Reply, Request};
use warden::{WardenError, layout};

/// At most this long, and at least this many kills.
const LONGEST: Duration = Duration::from_secs(25);
const KILLS: u32 = 8;

/// What the warden has acknowledged.
#[derive(Default)]
struct Promises {
    next: u32,
    locked: BTreeSet<u32>,
    /// Committed with a lock of no length: can be deleted soon.
    free: BTreeSet<u32>,
    deleted: BTreeSet<u32>,
    /// Asked for without an answer: may have happened or not.
    open: BTreeSet<u32>,
}

/// Odd points are locked for a day; even ones are deleted as soon as that is possible.
fn work(daemon: &Daemon, promises: &mut Promises, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        promises.next += 1;
        let number = promises.next;
        promises.open.insert(number);
        let seconds = if number % 2 == 1 { 86_400 } else { 0 };
        if !answered(daemon.back_up(number, 2 * number, (LockMode::Compliance, seconds))) {
            return;
        }
        promises.open.remove(&number);
        if number % 2 == 1 {
            promises.locked.insert(number);
        } else {
            promises.free.insert(number);
        }
        if !delete_one(daemon, promises) {
            return;
        }
    }
}

/// The oldest point that may go; false: the warden was killed.
fn delete_one(daemon: &Daemon, promises: &mut Promises) -> bool {
    let Some(&number) = promises.free.first() else { return true };
    let reply = daemon.ask(Request::Delete { points: vec![point(number)], keep: runs(&[]) });
    if matches!(reply, Err(WardenError::Refused { .. })) {
        return true; // its second has not passed yet
    }
    if !answered(reply) {
        promises.free.remove(&number);
        promises.open.insert(number);
        return false;
    }
    promises.free.remove(&number);
    promises.deleted.insert(number);
    true
}

/// Whether the warden answered; any error but its death is one.
fn answered(result: Result<Reply, WardenError>) -> bool {
    match result {
        Ok(_) => true,
        Err(WardenError::Unavailable { .. }) => false,
        Err(error) => panic!("{}", model::chain(&error)),
    }
}

#[test]
fn killed_at_random_moments_it_keeps_every_promise() {
    let Some(mut stage) = Stage::new("random kills") else { return };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (begin, mut kills, mut random) = (Instant::now(), 0, seed);
    let mut promises = Promises::default();
    while kills < KILLS || begin.elapsed() < LONGEST {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The clock counts running time only, in seconds: points are deleted in long rounds.
        let longer = if kills % 2 == 1 { 1500 } else { 0 };
        let after = Duration::from_millis(longer + (random >> 33) % 500);
        let (daemon, stop) = (Daemon::of(&stage), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| as_daemon(|| work(&daemon, &mut promises, &stop)));
            std::thread::sleep(after);
            stage.kill();
            stop.store(true, Ordering::Relaxed);
        });
        kills += 1;
        stage.start();
        check(&stage, &promises);
    }
    println!(
        "{kills} kills, {} points locked, {} deleted",
        promises.locked.len(),
        promises.deleted.len()
    );
    assert!(promises.locked.len() > 1, "no work was done between the kills");
    assert!(!promises.deleted.is_empty(), "nothing was deleted between the kills");
}

fn check(stage: &Stage, promises: &Promises) {
    let daemon = Daemon::of(stage);
    let reply = as_daemon(|| daemon.ask(Request::Status).unwrap());
    let Outcome::Status(status) = reply.outcome else { panic!("no status") };
    assert!(status.found.damaged.is_empty(), "{:?}", status.found.damaged);
    let state = replay(&stage.repository(), reply.size);
    for &number in promises.locked.iter().chain(&promises.free) {
        let found = state.point(point(number)).unwrap_or_else(|| panic!("{number} is lost"));
        let lock = state.retention().lock(point(number)).unwrap();
        let locked = lock.until > reply.clock.value;
        assert!(locked || promises.free.contains(&number), "the lock of {number} has ended");
        for serial in found.reach.serials() {
            let path = PathBuf::from(layout::sealed(0, serial));
            assert!(stage.repository().join(&path).exists(), "{} is gone", path.display());
        }
    }
    for &number in &promises.deleted {
        assert!(state.point(point(number)).is_none(), "{number} is back");
        assert!(!daemon.sealed(2 * number).exists(), "a file of {number} is left");
    }
    for (id, _) in state.points() {
        let asked = |numbers: &BTreeSet<u32>| numbers.iter().any(|number| point(*number) == id);
        let known = asked(&promises.locked) || asked(&promises.free) || asked(&promises.open);
        assert!(known, "{id} was never asked for");
    }
}
