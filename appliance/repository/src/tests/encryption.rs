//! Encryption end to end: nothing plain on the disk, the right key needed, the recovery key works.

use super::support::{CHUNK, Image, at, backup, content, options, restores};
use crate::storage::Storage;
use crate::storage::sim::Sim;
use crate::{KeyEncryptionKey, Options, Repository, StoreError};
use model::{ErrorKind, WallTime};
use std::sync::Arc;

fn kek(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::new(&[byte; 32])
}

fn with(key: Option<KeyEncryptionKey>, workers: usize) -> Options {
    Options { encryption: key, ..options(workers) }
}

fn created(key: Option<u8>) -> (Sim, Option<KeyEncryptionKey>) {
    let sim = Sim::default();
    let storage = Arc::new(sim.clone()) as Arc<dyn Storage>;
    let options = with(key.map(kek), 0);
    let made = crate::open::create(&storage, &options, WallTime(1_700_000_000)).unwrap();
    (sim, made.recovery_key)
}

fn open(
    sim: &Sim,
    key: Option<KeyEncryptionKey>,
    workers: usize,
) -> Result<Repository, StoreError> {
    Repository::open_on(Arc::new(sim.clone()), &with(key, workers), at(0)).map(|(r, _)| r)
}

/// True when `needle` stands in any file.
fn contains(sim: &Sim, needle: &[u8]) -> bool {
    sim.paths().iter().any(|path| {
        let file = sim.open(path).unwrap();
        let mut bytes = vec![0; sim.length(path)];
        file.read(0, &mut bytes).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn nothing_plain_is_stored_and_everything_comes_back() {
    let image: Image = (0..30).map(|n| n % 12).collect();
    let next: Image = (0..30).map(|n| if n == 7 { 99 } else { n % 12 }).collect();
    for workers in [0, 2] {
        for key in [None, Some(1)] {
            let (sim, recovery) = created(key);
            assert_eq!(recovery.is_some(), key.is_some());
            let repository = open(&sim, key.map(kek), workers).unwrap();
            let (a, _) = backup(&repository, 1, &image, None, 0, at(1)).unwrap();
            let (b, _) = backup(&repository, 1, &next, Some((&image, a.id)), 0, at(2)).unwrap();
            drop(repository);
            let repository = open(&sim, key.map(kek), workers).unwrap();
            for (point, image) in [(a.id, &image), (b.id, &next)] {
                assert!(restores(&repository, point, image));
                assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
            }
            // Without encryption the noise of a cell stands in a segment, inside the zstd frame.
            let noise = &content(3, CHUNK)[1000..1064];
            assert_eq!(contains(&sim, noise), key.is_none());
            for name in [&b"config.version"[..], b"[ds] vm/vm.vmdk"] {
                assert!(!contains(&sim, name) || key.is_none());
            }
        }
    }
}

#[test]
fn the_right_key_opens_it_and_others_are_refused_with_a_reason() {
    let (sim, recovery) = created(Some(1));
    let why = |key| {
        let error = open(&sim, key, 0).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        model::chain(&error)
    };
    assert!(why(None).contains("encrypted; give its key"), "{}", why(None));
    assert!(why(Some(kek(2))).contains("right key"), "{}", why(Some(kek(2))));
    open(&sim, Some(kek(1)), 0).unwrap();
    let text = recovery.unwrap().to_text();
    open(&sim, KeyEncryptionKey::from_text(&text), 0).unwrap();
    let (plain, _) = created(None);
    let error = open(&plain, Some(kek(1)), 0).err().unwrap();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[test]
fn damaged_and_missing_key_files_are_named() {
    for (name, missing) in
        [("keys/master", false), ("keys/00000001", false), ("keys/00000001", true)]
    {
        let (sim, _) = created(Some(1));
        if missing {
            sim.remove_below(name);
        } else {
            sim.flip(name, 100, 1);
        }
        let error = open(&sim, Some(kek(1)), 0).err().expect("refused");
        assert!(error.to_string().contains("keys"), "{error}");
    }
}

#[test]
fn options_show_no_key() {
    let shown = format!("{:?}", with(Some(kek(0x5a)), 0));
    assert!(
        shown.contains("encryption: true") && !shown.contains("90, 90") && !shown.contains("5a5a")
    );
    let (_, recovery) = created(Some(1));
    let created = crate::Created { recovery_key: recovery };
    assert_eq!(format!("{created:?}"), "Created { encrypted: true }");
}
