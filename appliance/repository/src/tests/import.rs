//! The disks are moved to another box: its own signing key, nothing known of the repository, and
//! clocks that say something else (W18).

use super::support::{Image, START, backup, options, restores};
use crate::{Clocks, Kept, Repository};
use ledger::Event;
use model::{ErrorKind, RetentionTime, WallTime};
use retention::Reading;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use warden::storage::{Directory, Storage};

const YEAR: i64 = 365 * 24 * 3600;

/// A box: its clocks run together, from a wall time of its own.
fn clocks(wall: i64, seconds: &Arc<AtomicI64>) -> Clocks {
    let seconds = Arc::clone(seconds);
    Box::new(move || {
        let seconds = seconds.load(Ordering::Relaxed);
        Reading {
            monotonic: Duration::from_secs(seconds.unsigned_abs()),
            wall: WallTime(wall + seconds),
            rtc: None,
            network: None,
        }
    })
}

/// Kinds of all leaves.
fn leaves(dir: &Path) -> Vec<Event> {
    let storage: Arc<dyn Storage> = Arc::new(Directory::new(dir.to_owned(), false));
    let bytes = warden::storage::read_all(&*storage, "ledger/leaves", 1 << 24).unwrap();
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 32..at + 36].try_into().unwrap());
        let data = at + 48..at + 48 + usize::try_from(length).unwrap();
        let leaf: ledger::Leaf = serde_json::from_slice(&bytes[data.clone()]).unwrap();
        events.push(leaf.event);
        at = data.end + 32;
    }
    events
}

#[test]
fn another_box_goes_on_with_clock_locks_and_holds() {
    let place = tempfile::tempdir().unwrap();
    let (dir, moved) = (place.path().join("repository"), place.path().join("moved"));
    let options = options(1);
    let image: Image = (1..20).collect();
    let (first_box, second_box) = (place.path().join("box-1"), place.path().join("box-2"));
    let seconds = Arc::new(AtomicI64::new(0));
    Repository::create_local(&dir, &options, &first_box, &clocks(START, &seconds)).unwrap();
    let (repository, _) =
        Repository::open_local(&dir, &options, &first_box, clocks(START, &seconds)).unwrap();
    let (locked, _) = backup(&repository, 1, &image, None, 1000).unwrap();
    let (held, _) = backup(&repository, 2, &image, None, 0).unwrap();
    repository.hold(held.id, "case 3").unwrap();
    seconds.store(500, Ordering::Relaxed);
    repository.tick().unwrap();
    repository.hold(held.id, "case 4").unwrap(); // puts the clock of now on record
    let before = repository.clock().value;
    drop(repository);
    std::fs::rename(&dir, &moved).unwrap();

    // The second box: ten years later by its own clocks, which have run for a while.
    let other = Arc::new(AtomicI64::new(77));
    let open = || {
        let clocks = clocks(START + 10 * YEAR, &other);
        Repository::open_local(&moved, &options, &second_box, clocks).unwrap()
    };
    let (repository, recovery) = open();
    assert_eq!(recovery.clock, before, "the repository's own clock goes on");
    assert!(recovery.damaged.is_empty() && recovery.dropped.is_empty());
    let status = repository.warden_status().unwrap();
    assert!(status.found.signer_changed && status.found.without_witness, "{:?}", status.found);
    assert_eq!(repository.clock().value, before);
    let points = repository.points();
    assert_eq!(points.iter().map(|point| point.lock).collect::<Vec<_>>(), [locked.lock, held.lock]);
    for point in [&locked, &held] {
        assert!(restores(&repository, point.id, &image));
        assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
        assert_eq!(repository.delete(&[point.id]).unwrap_err().kind(), ErrorKind::Refused);
    }
    other.store(77 + 499, Ordering::Relaxed);
    repository.tick().unwrap();
    assert_eq!(repository.delete(&[locked.id]).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(repository.clock().value, RetentionTime(before.0 + 499), "only what it has run");
    let (fresh, _) = backup(&repository, 1, &image, None, 0).unwrap();
    drop(repository);
    let signers = leaves(&moved).iter().filter(|e| matches!(e, Event::Signer { .. })).count();
    assert_eq!(signers, 1);

    // From now on it is this box's: nothing is found at a start, and locks end in their time.
    let (repository, _) = open();
    assert!(!repository.warden_status().unwrap().found.signer_changed);
    other.store(77 + 2000, Ordering::Relaxed);
    repository.tick().unwrap();
    let preview = repository.preview(&[locked.id, held.id]).unwrap();
    let matters = vec!["case 3".to_owned(), "case 4".to_owned()];
    match repository.clock().doubt {
        None => assert_eq!(preview.go, [locked.id]),
        Some(_) => assert!(preview.go.is_empty(), "{preview:?}"),
    }
    assert_eq!(preview.kept.last(), Some(&(held.id, Kept::Held { matters })));
    assert!(restores(&repository, fresh.id, &image));
}
