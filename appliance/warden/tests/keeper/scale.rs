//! Size: 100,000 points that reach 500 segments each are replayed in seconds, and what a deletion
//! would free is told at once.

use crate::support::ID;
use ledger::event::{Commit, LockBounds, ManifestRef, ReachChange, Segment};
use ledger::{Batch, Event, Leaf, NoteSigner, Runs, Tree, origin};
use model::{
    Consistency, LockMode, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity,
    VmUuid, WallTime,
};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;
use warden::storage::Directory;
use warden::{LedgerReader, State};

const VMS: u32 = 1000;
const POINTS: u32 = 100;
const REACH: u32 = 500;
/// Each incremental adds one segment.
const SEGMENTS: u32 = VMS * (REACH + POINTS);

fn id(number: u32) -> RecoveryPointId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    RecoveryPointId(id)
}

/// Segments of all VMs are interleaved, so that no two of one VM touch: the most runs there can be.
fn serial(vm: u32, number: u32) -> u32 {
    1 + number * VMS + vm
}

fn reach(vm: u32, number: u32) -> ReachChange {
    if number == 0 {
        let add = (0..REACH).map(|n| serial(vm, n)).collect();
        return ReachChange { base: None, add, drop: Runs::new() };
    }
    ReachChange {
        base: Some(id((number - 1) * VMS + vm)),
        add: [serial(vm, REACH + number - 1)].into_iter().collect(),
        drop: [serial(vm, (number * 7) % REACH)].into_iter().collect(),
    }
}

fn commit(vm: u32, number: u32) -> Event {
    let text = |text: &str| text.to_owned();
    Event::Commit(Box::new(Commit {
        point: id(number * VMS + vm),
        run: RunId([1; 16]),
        vm: VmIdentity { uuid: VmUuid(text("vm")), name: text("vm"), server_uuid: text("s") },
        started: WallTime(0),
        finished: WallTime(0),
        consistency: Consistency::Crash,
        disks: 1,
        capacity: 1,
        data_bytes: 1,
        new_bytes: 1,
        chunk_size: 1 << 20,
        manifest: ManifestRef { id: hex::encode([0; 32]), place: 1 },
        reach: reach(vm, number),
        lock: RetentionLock { mode: LockMode::Governance, until: RetentionTime(0) },
    }))
}

fn events() -> impl Iterator<Item = Event> {
    let signer = NoteSigner::new(&origin(&ID), &crate::support::SIGNER).unwrap();
    let created = Event::Created {
        repository: hex::encode(ID),
        chunk_size: 1 << 20,
        bounds: LockBounds { min_seconds: 0, max_seconds: 1 },
        signer: signer.vkey().to_string(),
    };
    let segments = (1..=SEGMENTS).map(|serial| {
        Event::Segment(Segment {
            serial,
            volume: 0,
            class: "data".into(),
            cohort: 0,
            bytes: 4096,
            seal: hex::encode([0; 32]),
            epoch: 0,
        })
    });
    let commits = (0..POINTS).flat_map(|number| (0..VMS).map(move |vm| commit(vm, number)));
    std::iter::once(created).chain(segments).chain(commits)
}

fn write(path: &std::path::Path) -> (Tree, u64) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let (mut batch, mut bytes) = (Batch::after(&Tree::default()), 0);
    for event in events() {
        batch.push(&ID, &Leaf::new(RetentionTime(5), WallTime(0), event)).unwrap();
        if batch.bytes().len() > 1 << 20 {
            file.write_all(batch.bytes()).unwrap();
            bytes += batch.bytes().len() as u64;
            batch = Batch::after(&batch.tree().clone());
        }
    }
    file.write_all(batch.bytes()).unwrap();
    file.flush().unwrap();
    (batch.tree().clone(), bytes + batch.bytes().len() as u64)
}

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_hundred_thousand_points_of_long_reach_are_replayed_in_seconds() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("ledger")).unwrap();
    let (tree, bytes) = write(&directory.path().join("ledger/leaves"));
    let storage = Arc::new(Directory::new(directory.path().to_owned(), false));
    let (before, start) = (resident(), Instant::now());
    let (mut state, mut reader) = (State::new(), LedgerReader::open(storage, ID));
    reader.advance_to(tree.size(), &mut state).unwrap();
    let (replayed, grown) = (start.elapsed(), resident().saturating_sub(before));
    assert_eq!(reader.tree().root(), tree.root());
    let points = VMS * POINTS;
    println!(
        "{points} points, {REACH} segments each, {} MiB of ledger: {replayed:.1?}, {grown} MiB",
        bytes >> 20
    );
    // All but the newest point of each VM.
    let start = Instant::now();
    let going: Vec<_> = (0..(POINTS - 1) * VMS).map(id).collect();
    let freed = state.unreached_after(&going, &Runs::new());
    println!(
        "{} references decided in {:.1?}",
        u64::from(points) * u64::from(REACH),
        start.elapsed()
    );
    let newest = (0..VMS).map(|vm| state.point(id((POINTS - 1) * VMS + vm)).unwrap().reach.count());
    let needed: u64 = newest.sum();
    assert_eq!(freed.segments.count(), u64::from(SEGMENTS) - needed);
    assert!(grown < 1500, "{grown} MiB");
    assert!(replayed.as_secs() < 120, "{replayed:?}");
}
