//! A daemon that was taken over and lies about what it commits: what came before is not harmed,
//! and a verification tells.

use super::support::{Image, Rig, backup, options, restores, vm};
use ledger::Runs;
use ledger::event::{ManifestRef, ReachChange};
use model::{Consistency, LockMode, RecoveryPointId, RunId, WallTime};
use warden::wire::{CommitRequest, LockRequest, Request};

#[test]
fn a_daemon_that_lies_harms_only_what_it_commits_from_then_on() {
    let rig = Rig::new(&options(0));
    let repository = rig.open(&options(0));
    let (image, other): (Image, Image) = ((1..20).collect(), (50..70).collect());
    let (honest, _) = backup(&repository, 1, &image, None, 1000).unwrap();
    let (model, _) = backup(&repository, 2, &other, None, 0).unwrap();
    let (place, id) = {
        let catalog = repository.inner.core.catalog.lock().unwrap();
        let manifest = catalog.manifest(model.id).unwrap();
        (manifest.place, manifest.id)
    };
    // The manifest of another point, and a reach that has nothing but the manifest.
    let lie = RecoveryPointId([9; 16]);
    let add: Runs = [place.segment()].into_iter().collect();
    let commit = CommitRequest {
        point: lie,
        run: RunId([9; 16]),
        vm: vm(9),
        started: WallTime(0),
        finished: WallTime(0),
        consistency: Consistency::Crash,
        disks: 1,
        capacity: 1,
        data_bytes: 1,
        new_bytes: 1,
        chunk_size: 1 << 16,
        manifest: ManifestRef { id: id.to_string(), place: place.to_bits() },
        reach: ReachChange { base: None, add, drop: Runs::new() },
        lock: LockRequest { mode: LockMode::Compliance, seconds: 1000 },
    };
    repository.inner.core.ask(Request::Commit(Box::new(commit))).unwrap();
    // The chunks go with the point that named them; the lie did not.
    rig.clock.pass(10);
    repository.delete(&[model.id]).unwrap();
    drop(repository);
    let repository = rig.open(&options(0));
    let report = repository.verify(lie, &mut |_| ()).unwrap();
    assert!(!report.is_whole(), "a verification finds it");
    assert!(restores(&repository, honest.id, &image));
    assert!(repository.verify(honest.id, &mut |_| ()).unwrap().is_whole());
    assert!(repository.delete(&[honest.id]).is_err(), "and it is locked");
    // Backups go on.
    let (next, _) = backup(&repository, 2, &other, None, 0).unwrap();
    assert!(restores(&repository, next.id, &other));
}
