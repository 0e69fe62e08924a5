//! Power cuts after every operation of a workload that makes every kind of leaf: the next start
//! needs no hand, everything that was promised holds, and work goes on.

use crate::support::{World, runs, workload};
use fakes::disk::{Random, Sim};
use format::segment::Class;
use ledger::Runs;
use ledger::event::ReachChange;
use model::{ErrorKind, LockMode};
use std::sync::Arc;
use warden::wire::Request;
use warden::{LedgerReader, State, WardenError};

/// The disk that a new process finds.
fn next_world(before: &World, disk: Sim) -> World {
    let mut world = World::new(disk);
    world.witness = before.witness.copy();
    world.wall = before.wall + 1;
    world.promises = before.promises.clone();
    world.state = State::new();
    world.reader = LedgerReader::open(Arc::new(world.disk.clone()), crate::support::ID);
    world
}

/// Opens, checks, and works on: one more point.
fn go_on(world: &mut World, what: &str) {
    match world.restart() {
        Ok(_) => {}
        Err(WardenError::Directory { kind: ErrorKind::NotFound, .. }) => {
            assert!(world.promises.points.is_empty(), "{what}: the repository is gone");
            world.create().unwrap_or_else(|error| panic!("{what}: create again: {error}"));
        }
        Err(error) => panic!("{what}: {}", model::chain(&error)),
    }
    world.check();
    world.seal(0, 900, Class::Metadata, 0).unwrap_or_else(|e| panic!("{what}: seal: {e}"));
    let reach = ReachChange { base: None, add: runs(&[900]), drop: Runs::new() };
    let lock = (LockMode::Compliance, 5);
    world.commit(90, 900, reach, lock).unwrap_or_else(|e| panic!("{what}: commit: {e}"));
    world.ask(Request::Tick).unwrap_or_else(|e| panic!("{what}: tick: {e}"));
    world.check();
    let found = world.restart().unwrap();
    assert_eq!((found.torn_bytes, found.head_lag), (0, 0), "{what}: {found:?}");
    assert!(found.damaged.is_empty(), "{what}: {found:?}");
    world.check();
}

#[test]
fn the_workload_runs_and_its_repository_opens() {
    let mut world = World::new(Sim::default());
    workload(&mut world).unwrap();
    world.check();
    go_on(&mut world, "whole");
}

#[test]
fn a_power_cut_after_any_operation_costs_nothing_that_was_promised() {
    let mut whole = World::new(Sim::default());
    workload(&mut whole).unwrap();
    let operations = whole.disk.operations();
    let seeds = 3;
    println!("{operations} operations, {seeds} seeds each");
    for cut in 0..=operations {
        let mut world = World::new(Sim::default());
        world.disk.cut_at(cut);
        assert_eq!(workload(&mut world).is_err(), cut < operations, "cut {cut}");
        for seed in 0..seeds {
            let seed = cut * 1000 + seed;
            let disk = world.disk.after_power_cut(&mut Random(seed));
            go_on(&mut next_world(&world, disk), &format!("cut {cut}, seed {seed}"));
        }
        let disk = world.disk.after_kill();
        go_on(&mut next_world(&world, disk), &format!("kill at {cut}"));
    }
}

#[test]
fn a_second_cut_while_the_first_one_is_recovered_from_changes_nothing() {
    let mut whole = World::new(Sim::default());
    workload(&mut whole).unwrap();
    let operations = whole.disk.operations();
    for cut in (0..=operations).step_by(7) {
        let mut world = World::new(Sim::default());
        world.disk.cut_at(cut);
        let _ = workload(&mut world);
        let mut random = Random(cut);
        for again in 1..12 {
            let disk = world.disk.after_power_cut(&mut random);
            let mut second = next_world(&world, disk);
            second.disk.cut_at(again);
            let _ = second.restart();
            let disk = second.disk.after_power_cut(&mut random);
            go_on(&mut next_world(&second, disk), &format!("cut {cut}, then {again}"));
        }
    }
}

#[test]
fn a_disk_that_fails_a_sync_loses_nothing_either() {
    let mut whole = World::new(Sim::default());
    workload(&mut whole).unwrap();
    for operation in 1..=whole.disk.operations() {
        let mut world = World::new(Sim::default());
        world.disk.fail_sync_at(operation);
        let _ = workload(&mut world);
        let disk = world.disk.after_power_cut(&mut Random(operation));
        go_on(&mut next_world(&world, disk), &format!("sync {operation} fails"));
    }
}
