//! Encryption end to end: nothing plain on the disk, the right key needed, the recovery key works.

use super::support::{
    CHUNK, Image, Rig, backup, content, draft, lock, options, restores, write_disk,
};
use crate::{KeyEncryptionKey, Options, Repository, StoreError};
use fakes::disk::Sim;
use model::ErrorKind;
use warden::storage::Storage as _;

fn kek(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::new(&[byte; 32])
}

fn with(key: Option<KeyEncryptionKey>, workers: usize) -> Options {
    Options { encryption: key, ..options(workers) }
}

fn created(key: Option<u8>) -> (Rig, Option<KeyEncryptionKey>) {
    let rig = Rig::default();
    let made = rig.create(&with(key.map(kek), 0)).unwrap();
    (rig, made.recovery_key)
}

fn open(
    rig: &Rig,
    key: Option<KeyEncryptionKey>,
    workers: usize,
) -> Result<Repository, StoreError> {
    rig.try_open(&with(key, workers)).map(|(repository, _)| repository)
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
            let (rig, recovery) = created(key);
            assert_eq!(recovery.is_some(), key.is_some());
            let repository = open(&rig, key.map(kek), workers).unwrap();
            let (a, _) = backup(&repository, 1, &image, None, 0).unwrap();
            let (b, _) = backup(&repository, 1, &next, Some((&image, a.id)), 0).unwrap();
            drop(repository);
            let repository = open(&rig, key.map(kek), workers).unwrap();
            for (point, image) in [(a.id, &image), (b.id, &next)] {
                assert!(restores(&repository, point, image));
                assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
            }
            // Without encryption the noise of a cell stands in a segment, inside the zstd frame.
            let noise = &content(3, CHUNK)[1000..1064];
            assert_eq!(contains(&rig.disk, noise), key.is_none());
            for name in [&b"config.version"[..], b"[ds] vm/vm.vmdk"] {
                assert!(!contains(&rig.disk, name) || key.is_none());
            }
        }
    }
}

#[test]
fn the_right_key_opens_it_and_others_are_refused_with_a_reason() {
    let (rig, recovery) = created(Some(1));
    let why = |key| {
        let error = open(&rig, key, 0).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Refused);
        model::chain(&error)
    };
    assert!(why(None).contains("encrypted; give its key"), "{}", why(None));
    assert!(why(Some(kek(2))).contains("right key"), "{}", why(Some(kek(2))));
    open(&rig, Some(kek(1)), 0).unwrap();
    let text = recovery.unwrap().to_text();
    open(&rig, KeyEncryptionKey::from_text(&text), 0).unwrap();
    let (plain, _) = created(None);
    let error = open(&plain, Some(kek(1)), 0).err().unwrap();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[test]
fn damaged_and_missing_key_files_are_named() {
    for (name, missing) in
        [("keys/master", false), ("keys/00000001", false), ("keys/00000001", true)]
    {
        let (rig, _) = created(Some(1));
        drop(open(&rig, Some(kek(1)), 0).unwrap()); // the first data key is made here
        if missing {
            rig.disk.remove_below(name);
        } else {
            rig.disk.flip(name, 100, 1);
        }
        let error = open(&rig, Some(kek(1)), 0).err().expect("refused");
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

/// Whoever began a new key wants no more under the old one.
#[test]
fn without_the_newest_key_nothing_is_written_and_everything_older_is_read() {
    let image: Image = (0..30).collect();
    let (rig, _) = created(Some(1));
    let repository = open(&rig, Some(kek(1)), 0).unwrap();
    let (a, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let epoch = repository.rotate_key().unwrap();
    drop(repository);
    rig.disk.flip(&warden::layout::key(epoch), 60, 1);
    let repository = open(&rig, Some(kek(1)), 0).unwrap();
    assert!(restores(&repository, a.id, &image));
    let changed: Image = (100..130).collect();
    let error = backup(&repository, 2, &changed, None, 0).map(drop).unwrap_err();
    assert!(model::chain(&error).contains("key"), "{}", model::chain(&error));
    assert!(restores(&repository, a.id, &image));
}

#[test]
fn a_new_key_is_written_under_at_once_and_the_old_one_may_go() {
    for workers in [0, 2] {
        let (rig, _) = created(Some(1));
        let repository = open(&rig, Some(kek(1)), workers).unwrap();
        let image: Image = (1..40).collect();
        let (old, _) = backup(&repository, 1, &image, None, 0).unwrap();
        // A run that has begun goes on under the new key.
        let mut run = repository.begin(draft(2)).unwrap();
        let before: Image = (100..120).collect();
        write_disk(&mut run, &before, None).unwrap();
        assert_eq!(repository.rotate_key().unwrap(), 2);
        let after: Image = (200..220).collect();
        write_disk(&mut run, &after, None).unwrap();
        let mixed = run.commit(lock(0), model::WallTime(0)).unwrap();
        assert!(repository.verify(mixed.id, &mut |_| ()).unwrap().is_whole());
        repository.delete(&[old.id, mixed.id]).unwrap();
        repository.reclaim().unwrap();
        let destroyed = {
            let catalog = repository.inner.core.catalog.lock().unwrap();
            catalog.state.destroyed_keys().contains(&1)
        };
        assert!(destroyed, "nothing is left that was written under it");
        let (new, _) = backup(&repository, 1, &image, None, 0).unwrap();
        drop(repository);
        let repository = open(&rig, Some(kek(1)), workers).unwrap();
        assert!(restores(&repository, new.id, &image));
    }
}
