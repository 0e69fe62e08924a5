//! The real directory: what the simulated disk cannot show.

use crate::support::{MemoryWitness, World, config, creation, runs, segment};
use format::segment::Class;
use ledger::Runs;
use ledger::event::ReachChange;
use model::{ErrorKind, LockMode};
use std::io::{ErrorKind as Io, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use warden::storage::{Directory, Immutable, Storage};
use warden::wire::{Outcome, Request};
use warden::{Keeper, Local, Warden, layout};

/// Immutable files would be left behind by the removal of the directory.
struct Cleared<'a>(&'a Path, Arc<Directory>);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        for (name, _) in self.1.list("segments").unwrap_or_default() {
            let _ = self.1.set_immutable(&format!("segments/{name}"), false);
        }
        for (name, _) in self.1.list("keys").unwrap_or_default() {
            let _ = self.1.set_immutable(&format!("keys/{name}"), false);
        }
        assert!(self.0.exists());
    }
}

#[test]
fn a_file_that_is_open_for_writing_is_not_taken_over() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path().into(), false);
    let mut writer = storage.create("file", 100).unwrap();
    writer.append(b"bytes").unwrap();
    assert_eq!(storage.take_over("file").unwrap_err().kind(), Io::ResourceBusy);
    drop(writer);
    storage.take_over("file").unwrap();
    let mode = root.path().join("file").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert_eq!(storage.open("file").unwrap().length().unwrap(), 5, "preallocated, not longer");
}

#[test]
fn links_pipes_and_second_names_are_not_taken_over() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path().into(), false);
    std::fs::write(root.path().join("target"), b"secret").unwrap();
    symlink(root.path().join("target"), root.path().join("link")).unwrap();
    std::fs::write(root.path().join("one"), b"bytes").unwrap();
    std::fs::hard_link(root.path().join("one"), root.path().join("two")).unwrap();
    std::fs::create_dir(root.path().join("directory")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.path().join("pipe")).status();
    assert!(fifo.unwrap().success());
    for name in ["link", "one", "two", "directory", "pipe"] {
        assert!(storage.take_over(name).is_err(), "{name}");
    }
    for name in ["link", "directory", "pipe"] {
        assert!(storage.open(name).is_err(), "{name}");
    }
    let names: Vec<String> = storage.list("").unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(!names.contains(&"link".into()) && !names.contains(&"pipe".into()), "{names:?}");
    let target = root.path().join("target").metadata().unwrap().permissions().mode();
    assert_ne!(target & 0o777, 0o444, "nothing was done through the link");
}

#[test]
fn a_repository_lives_in_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let directory = Arc::new(Directory::new(root.path().into(), true));
    let _cleared = Cleared(root.path(), Arc::clone(&directory));
    let mut world = World::new(fakes::disk::Sim::default()); // for its clocks and requests
    let witness = MemoryWitness::default();
    let storage: Arc<dyn Storage> = directory.clone();
    let (keeper, _) =
        Keeper::create(Arc::clone(&storage), &creation(), config(&witness), world.reading())
            .unwrap();
    let second: Arc<dyn Storage> = Arc::new(Directory::new(root.path().into(), true));
    let busy = Keeper::open(second, config(&witness), world.reading()).err().unwrap();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    let reading = world.reading();
    let warden = Local::new(keeper, Box::new(move || reading));
    for (serial, class) in [(1, Class::Data), (2, Class::Metadata)] {
        let path = root.path().join(layout::open(0, serial));
        std::fs::File::create(path).unwrap().write_all(&segment(serial, class, 0)).unwrap();
        let reply = warden.call(Request::Seal { volume: 0, serial }).unwrap();
        assert!(matches!(reply.outcome, Outcome::Sealed(_)));
    }
    let reach = ReachChange { base: None, add: runs(&[1, 2]), drop: Runs::new() };
    let request = world.commit_request(1, 2, reach, (LockMode::Governance, 3));
    warden.call(Request::Commit(Box::new(request))).unwrap();
    let sealed = root.path().join(layout::sealed(0, 1));
    assert_eq!(sealed.metadata().unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(sealed.metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
    match directory.set_immutable(&layout::sealed(0, 1), true).unwrap() {
        Immutable::Already => {
            assert!(std::fs::remove_file(&sealed).is_err(), "not even root removes it");
            assert!(std::fs::rename(&sealed, root.path().join("x")).is_err());
        }
        other => {
            println!("SKIPPED: the immutable attribute on a real file: {other:?}");
            assert!(!directory.not_enforced().is_empty());
        }
    }
    drop(warden);
    drop(storage);
    world.wait(1000);
    let reopened: Arc<dyn Storage> = Arc::new(Directory::new(root.path().into(), true));
    // The lock was the first directory's: it is free when that is gone, and not before.
    assert!(Keeper::open(Arc::clone(&reopened), config(&witness), world.reading()).is_err());
}

#[test]
fn the_immutable_attribute_is_found_missing_and_set_again() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path().into(), true);
    storage.create("file", 0).unwrap();
    match storage.set_immutable("file", true).unwrap() {
        Immutable::Set => {}
        other => {
            println!("SKIPPED: the immutable attribute on a real file: {other:?}");
            return;
        }
    }
    assert!(matches!(storage.set_immutable("file", true).unwrap(), Immutable::Already));
    assert!(storage.remove("file").is_err() && storage.reopen("file").is_err());
    assert!(matches!(storage.set_immutable("file", false).unwrap(), Immutable::Set));
    storage.remove("file").unwrap();
}
