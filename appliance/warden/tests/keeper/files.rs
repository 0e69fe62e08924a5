//! Files and volumes that go away, come back, or cannot be removed.

use crate::support::{World, key_file, locked, only, point, runs, segment, size, tick};
use format::segment::Class;
use ledger::Runs;
use model::LockMode;
use warden::storage::{self, Storage};
use warden::wire::{Outcome, Request};

fn put(world: &World, path: &str, bytes: &[u8]) {
    storage::replace(&world.disk, path, bytes).unwrap();
}

#[test]
fn a_file_that_was_away_for_a_moment_is_used_again() {
    let mut world = locked(900_000);
    let path = "segments/00000001.segment";
    let bytes = segment(1, Class::Data, 0);
    world.disk.remove_below(path);
    assert_eq!(tick(&mut world), [format!("segment missing: {path}")]);
    let again = |world: &World, number| {
        let request = world.commit_request(number, 2, only(&[1, 2]), (LockMode::Governance, 5));
        Request::Commit(Box::new(request))
    };
    let denied = again(&world, 8);
    assert!(world.ask(denied).is_err(), "it cannot be reached while it is away");
    put(&world, path, &bytes);
    tick(&mut world);
    let taken = again(&world, 9);
    world.ask(taken).unwrap();
    assert_eq!(world.state.references(1), 2);
    // Deletion takes its file too, once nothing needs it.
    world.wait(1_000_000);
    for _ in 0..30 {
        world.wait(3600);
        tick(&mut world);
    }
    world.delete(&[1, 9]).unwrap();
    assert!(!world.disk.paths().contains(&path.to_owned()));
}

#[test]
fn a_volume_that_is_pulled_is_told_once_and_comes_back() {
    let mut world = locked(900_000);
    world.ask(Request::AddVolume { number: 1 }).unwrap();
    let serials: Vec<u32> = (20..60).collect();
    for serial in &serials {
        world.seal(1, *serial, Class::Metadata, 0).unwrap();
    }
    world.commit(2, 20, only(&serials), (LockMode::Governance, 900_000)).unwrap();
    assert_eq!(tick(&mut world), Vec::<String>::new());
    let paths = world.disk.paths().into_iter().filter(|path| path.starts_with("volumes/1/"));
    let pulled: Vec<(String, Vec<u8>)> = paths
        .map(|path| {
            let bytes = storage::read_all(&world.disk, &path, 1 << 20).unwrap();
            world.disk.remove_below(&path);
            (path, bytes)
        })
        .collect();
    assert_eq!(tick(&mut world), ["volume missing: volumes/1/volume"]);
    let before = size(&world);
    assert_eq!(tick(&mut world), Vec::<String>::new());
    assert_eq!(size(&world), before);
    let request = world.commit_request(3, 20, only(&[20]), (LockMode::Governance, 5));
    assert!(world.ask(Request::Commit(Box::new(request.clone()))).is_err(), "it is away");
    for (path, bytes) in pulled {
        put(&world, &path, &bytes);
        world.disk.set_immutable(&path, path.ends_with(".segment")).unwrap();
    }
    tick(&mut world);
    world.ask(Request::Commit(Box::new(request))).unwrap();
}

#[test]
fn a_directory_that_loses_its_files_does_not_fill_the_ledger() {
    let mut world = locked(900_000);
    let serials: Vec<u32> = (20..60).collect();
    for serial in &serials {
        world.seal(0, *serial, Class::Metadata, 0).unwrap();
    }
    world.commit(2, 20, only(&serials), (LockMode::Governance, 900_000)).unwrap();
    for serial in &serials {
        world.disk.remove_below(&warden::layout::sealed(0, *serial));
    }
    let alarms = tick(&mut world);
    assert_eq!(alarms.len(), 9, "{alarms:?}");
    assert!(alarms[8].contains("32 more at once"), "{alarms:?}");
    assert_eq!(tick(&mut world), Vec::<String>::new());
}

#[test]
fn one_file_that_cannot_be_removed_holds_up_nothing_else() {
    let mut world = locked(900_000);
    for serial in 10..14 {
        world.seal(0, serial, Class::Metadata, 0).unwrap();
    }
    world.commit(2, 10, only(&[10, 11, 12, 13]), (LockMode::Governance, 0)).unwrap();
    world.wait(10);
    let path = "segments/0000000a.segment";
    world.disk.stick(path, true);
    world.promises.may_be_gone.insert(point(2));
    let request = Request::Delete { points: vec![point(2)], keep: Runs::new() };
    let Outcome::Removed(removed) = world.ask(request).unwrap().outcome else { panic!() };
    assert!(!removed.complete);
    let left = |world: &World| {
        let names = world.disk.paths().into_iter();
        names.filter(|name| name.starts_with("segments/")).collect::<Vec<_>>()
    };
    let kept = ["segments/00000001.segment", "segments/00000002.segment"];
    assert_eq!(left(&world), [kept[0], kept[1], path]);
    // It is told, and the rest is looked at all the same.
    world.disk.remove_below(kept[0]);
    let alarms = tick(&mut world);
    assert_eq!(alarms.len(), 2, "{alarms:?}");
    assert!(alarms[0].starts_with("removal not complete"), "{alarms:?}");
    assert!(alarms[1].starts_with("segment missing"), "{alarms:?}");
    world.disk.stick(path, false);
    tick(&mut world);
    assert_eq!(left(&world), [kept[1]]);
    assert!(world.state.removal().is_none());
}

#[test]
fn keys_are_copied_to_a_volume_that_was_away_and_made_anew_from_a_right_copy() {
    let mut world = locked(900_000);
    world.ask(Request::AddVolume { number: 1 }).unwrap();
    let header = storage::read_all(&world.disk, "volumes/1/volume", 4096).unwrap();
    world.disk.remove_below("volumes/1/volume");
    assert_eq!(world.restart().unwrap().volumes_missing, [1]);
    world.ask(Request::AddKey { epoch: 1, file: key_file(1) }).unwrap();
    put(&world, "volumes/1/volume", &header);
    assert_eq!(world.restart().unwrap().keys_completed, 1);
    let read = |world: &World, path: &str| storage::read_all(&world.disk, path, 4096).unwrap();
    assert_eq!(read(&world, "volumes/1/keys/00000001"), key_file(1));
    world.disk.flip("keys/00000001", 99, 1);
    let alarms = tick(&mut world);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let found = world.restart().unwrap();
    assert_eq!((found.keys_completed, found.damaged.len()), (1, 0), "{found:?}");
    assert_eq!(read(&world, "keys/00000001"), key_file(1));
    // When none is right there is nothing to copy.
    world.disk.flip("keys/00000001", 99, 1);
    world.disk.flip("volumes/1/keys/00000001", 98, 1);
    let found = world.restart().unwrap();
    assert_eq!((found.keys_completed, found.damaged.len()), (0, 2), "{found:?}");
    assert_eq!(runs(&[1, 2]), world.state.point(point(1)).unwrap().reach.to_runs());
}
