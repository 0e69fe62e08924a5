//! Runs against the world of `world`, broken at every step and driven by seeds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod exclusions;
mod kept_back;
mod month;
mod restores;
mod world;

use api::{Exclude, Quiesce, TransportPolicy};
use jobs::sweep::SETTLED_AFTER_SECONDS;
use jobs::{
    Backup, BackupReport, Compared, Journal, Progress, RunError, RunRecord, Settings,
    SnapshotLimits, Undone, Verdicts, sweep,
};
use model::{Consistency, DiskRange, ReadMode, RunId, Transport, VmUuid, WallTime};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{CAPACITY, Log, MemoryStore, NetworkOf, San, Wire, World};

type Bytes = Arc<Mutex<Vec<u8>>>;

struct Rig {
    world: Arc<World>,
    journal: Bytes,
    verdicts: Bytes,
    runs: u8,
    /// 0 unless a test is about it, so that what is read is what changed.
    cross_check_percent: u8,
    quiesce: Quiesce,
    consolidate: bool,
    limits: SnapshotLimits,
    transport: TransportPolicy,
    exclude: Exclude,
}

impl Rig {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: Arc<World>) -> Self {
        let (journal, verdicts) = (Bytes::default(), Bytes::default());
        let (quiesce, transport) = (Quiesce::OrCrash, TransportPolicy::SanOnly);
        let (consolidate, limits) = (true, SnapshotLimits::default());
        let (runs, cross_check_percent, exclude) = (0, 0, Exclude::default());
        Self {
            world,
            journal,
            verdicts,
            runs,
            cross_check_percent,
            quiesce,
            transport,
            consolidate,
            limits,
            exclude,
        }
    }

    fn journal(&self) -> Arc<Journal> {
        let log = Log(Arc::clone(&self.world), Arc::clone(&self.journal));
        Arc::new(Journal::load(Box::new(log)).unwrap())
    }

    fn verdicts(&self) -> Arc<Verdicts> {
        let log = Log(Arc::clone(&self.world), Arc::clone(&self.verdicts));
        Arc::new(Verdicts::load(Box::new(log)).unwrap())
    }

    /// What the newest point's record says of the comparison.
    fn compared(&self) -> Compared {
        let points = self.world.store.points.lock().unwrap();
        let record = &points.last().unwrap().files[RunRecord::FILE];
        RunRecord::parse(record).unwrap().disks[0].compared.clone().unwrap()
    }

    async fn backup(&mut self, progress: &Arc<Progress>) -> Result<BackupReport, RunError> {
        self.runs += 1;
        let backup: Backup<World, San, MemoryStore> = Backup {
            hypervisor: Arc::clone(&self.world),
            fabric: Arc::new(San(Arc::clone(&self.world))),
            store: self.world.store.clone(),
            network: Arc::new(NetworkOf(Arc::clone(&self.world))),
            verdicts: self.verdicts(),
            journal: self.journal(),
            wall: || WallTime(1_800_000_000),
        };
        let settings = Settings {
            quiesce: self.quiesce,
            consolidate: self.consolidate,
            limits: self.limits,
            transport: self.transport,
            exclude: self.exclude,
            cross_check_percent: self.cross_check_percent,
            map_pause: Duration::from_millis(1),
            ..Settings::default()
        };
        let vm = VmUuid("50 01".into());
        backup.run(&vm, RunId([self.runs; 16]), settings, progress).await
    }

    /// The call with this number, counted from now, will fail. What the guest sees now.
    fn break_call(&self, fail_at: usize) -> Vec<u8> {
        let mut state = self.world.state.lock().unwrap();
        state.calls = 0;
        state.log.clear();
        state.fail_at = Some(fail_at);
        state.truth.clone()
    }

    /// No call fails any more. How many there were, and the name of the one that failed.
    fn mend_call(&self, fail_at: usize) -> (usize, String) {
        let mut state = self.world.state.lock().unwrap();
        state.fail_at = None;
        (state.calls, state.log.get(fail_at).cloned().unwrap_or_default())
    }

    /// Backs up; what the guest saw at the snapshot must be what the point holds.
    async fn backup_and_compare(&mut self, context: &str) -> BackupReport {
        let progress = Arc::new(Progress::default());
        let before = self.world.state.lock().unwrap().truth.clone();
        let report = self.backup(&progress).await.unwrap_or_else(|error| {
            panic!("{context}: {}", model::chain(&error));
        });
        let point = self.world.store.points.lock().unwrap().last().unwrap().clone();
        assert_eq!(point.id, report.point);
        assert!(point.image() == before, "{context}: the image differs from the truth");
        assert!(self.world.state.lock().unwrap().snapshots.is_empty(), "{context}");
        assert!(self.world.state.lock().unwrap().blocked.is_empty(), "{context}: migration");
        assert!(self.journal().pending().is_empty(), "{context}");
        report
    }
}

#[tokio::test]
async fn a_full_then_an_incremental_hold_what_the_guest_saw() {
    let mut rig = Rig::new();
    let full = rig.backup_and_compare("full").await;
    assert!(matches!(full.disks[0].mode, ReadMode::Full { .. }));
    assert_eq!(full.disks[0].bytes_read, 3 << 20, "only what is allocated is read");

    rig.world.guest_write(5 << 20, &[9; 5000]); // into a hole
    rig.world.guest_write(1 << 20, &[8; 100]);
    let incremental = rig.backup_and_compare("incremental").await;
    assert_eq!(incremental.disks[0].mode, ReadMode::Incremental);
    assert_eq!((incremental.disks[0].changed_areas, incremental.disks[0].bytes_read), (2, 2 << 20));

    let points = rig.world.store.points.lock().unwrap();
    let names: Vec<_> = points[1].files.keys().map(String::as_str).collect();
    let own = ["holdfast-config.xml", "holdfast-run.json", "holdfast-vm.json"];
    assert_eq!(names, [&own[..], &["web01.nvram", "web01.vmdk", "web01.vmx"]].concat());
}

#[tokio::test]
async fn each_way_of_finding_bytes_is_compared_once_with_the_network_path() {
    let mut rig = Rig::new();
    rig.backup_and_compare("without a network path").await;
    let Compared::Not { classes, reason } = rig.compared() else { panic!("{:?}", rig.compared()) };
    assert_eq!(classes, ["vmfs: file blocks", "vmfs: hole"].map(String::from).into());
    assert_eq!(reason, "the test has none");

    rig.world.state.lock().unwrap().network = Some(Wire::default());
    rig.backup_and_compare("with one").await;
    let compared = rig.compared();
    assert!(matches!(&compared, Compared::Equal { classes: all, .. } if *all == classes));
    let ranges = |rig: &Rig| rig.world.state.lock().unwrap().network.unwrap().ranges;
    let asked = ranges(&rig);
    assert!(asked >= 3, "{asked}");
    // A restart does not forget, and a new place of a known class is not compared.
    rig.world.guest_write(9 << 20, &[9; 5000]);
    rig.backup_and_compare("known").await;
    assert_eq!((rig.compared(), ranges(&rig)), (Compared::Before, asked));
}

#[tokio::test]
async fn the_deltas_of_a_chain_are_compared_as_the_guest_sees_them() {
    let mut rig = Rig::in_world(World::with_deltas(2));
    rig.world.state.lock().unwrap().network = Some(Wire::default());
    rig.backup_and_compare("chain").await;
    let Compared::Equal { classes, .. } = rig.compared() else { panic!("{:?}", rig.compared()) };
    assert!(classes.iter().any(|class| class.starts_with("seSparse: ")), "{classes:?}");
    assert!(classes.contains("empty in the disk's own map"), "{classes:?}");
}

#[tokio::test]
async fn bytes_that_differ_end_every_run_until_they_are_equal() {
    for wrong_at in [5, (3 << 20) + 7, CAPACITY - 1] {
        let mut rig = Rig::new();
        let wire = Wire { wrong_at: Some(wrong_at), ranges: 0 };
        rig.world.state.lock().unwrap().network = Some(wire);
        let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
        assert!(matches!(error, RunError::Differs { offset, .. } if offset == wrong_at), "{error}");
        assert!(rig.world.store.points.lock().unwrap().is_empty());
        assert!(rig.world.state.lock().unwrap().snapshots.is_empty());
        let alarm = rig.verdicts().differing();
        assert_eq!(alarm.len(), 1, "{alarm:?}");
        assert!(alarm[0].1.contains("datastore 'san01'"), "{alarm:?}");

        // Without the other way nobody could say that it is right now.
        rig.world.state.lock().unwrap().network = None;
        let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
        assert!(matches!(error, RunError::NoSanPath { .. }), "{error}");
        rig.world.state.lock().unwrap().network = Some(Wire::default());
        rig.backup_and_compare("equal again").await;
        assert_eq!(rig.verdicts().differing(), []);
    }
}

#[tokio::test]
async fn a_vm_with_snapshots_of_its_own_is_read_through_its_deltas() {
    for deltas in [1, 2, 5] {
        let mut rig = Rig::in_world(World::with_deltas(deltas));
        let full = rig.backup_and_compare("chain").await;
        assert!(matches!(full.disks[0].mode, ReadMode::Full { .. }));
        assert!(full.disks[0].bytes_read < 5 << 20, "{}", full.disks[0].bytes_read);
        // Nothing has changed since, so an incremental reads nothing.
        let incremental = rig.backup_and_compare("incremental").await;
        assert_eq!(incremental.disks[0].mode, ReadMode::Incremental);
        assert_eq!(incremental.disks[0].bytes_read, 0);
    }
}

#[tokio::test]
async fn deltas_that_are_not_those_of_the_hypervisor_are_refused() {
    let run = |break_it: fn(&World)| async move {
        let mut rig = Rig::in_world(World::with_deltas(2));
        break_it(&rig.world);
        let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
        assert!(rig.world.state.lock().unwrap().snapshots.is_empty());
        assert!(rig.world.store.points.lock().unwrap().is_empty());
        model::chain(&error)
    };
    let other = run(|world| world.parents_hidden.store(1, Ordering::Relaxed)).await;
    assert!(other.contains("web01-000001.vmdk"), "{other}");
    let changed = run(|world| world.rewrite("web01.vmdk", "CID=fffffffe", "CID=0badcafe")).await;
    assert!(changed.contains("0badcafe") && changed.contains("fffffffe"), "{changed}");
    let orphan =
        run(|world| world.rewrite("web01-000001.vmdk", "\"web01.vmdk\"", "\"/xx/w.vmdk\"")).await;
    assert!(orphan.contains("parent"), "{orphan}");
}

#[tokio::test]
async fn broken_at_every_call_nothing_is_left_and_nothing_is_wrong() {
    let mut calls_of_a_good_run = None;
    for fail_at in 0.. {
        let mut rig = Rig::new();
        rig.backup_and_compare("first").await;
        rig.world.guest_write(7 << 20, &[5; 3000]);
        let truth = rig.break_call(fail_at);
        let result = rig.backup(&Arc::new(Progress::default())).await;

        let (calls, what) = rig.mend_call(fail_at);
        let context = format!("call {fail_at} ({what}) failed");
        {
            let points = rig.world.store.points.lock().unwrap();
            assert_eq!(points.len(), 1 + usize::from(result.is_ok()), "{context}");
            assert!(points.last().unwrap().image() == truth || result.is_err(), "{context}");
        }
        // A restart: what could not be undone is undone now.
        let journal = rig.journal();
        let left = rig.world.state.lock().unwrap().snapshots.len();
        assert!(left == 0 || !journal.pending().is_empty(), "{context}: a forgotten snapshot");
        let blocked = !rig.world.state.lock().unwrap().blocked.is_empty();
        let known = journal.pending().iter().any(|intent| intent.migration_blocked);
        assert!(!blocked || known, "{context}: a forgotten block");
        // Long after, so that no creation can be under way any more.
        let later = WallTime(1_800_000_000 + SETTLED_AFTER_SECONDS);
        for swept in sweep(&*rig.world, &journal, later).await {
            swept.outcome.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        assert!(rig.world.state.lock().unwrap().snapshots.is_empty(), "{context}");
        assert!(rig.world.state.lock().unwrap().blocked.is_empty(), "{context}");
        rig.backup_and_compare(&format!("{context}; the next run")).await;

        if fail_at >= calls {
            calls_of_a_good_run = Some(calls);
            break;
        }
    }
    assert!(calls_of_a_good_run.unwrap() > 30, "the run makes its calls");
}

/// A VM whose LUN the SAN does not have, and a policy that allows the network.
fn without_san() -> Rig {
    let mut rig = Rig::new();
    rig.transport = TransportPolicy::PreferSan;
    let mut state = rig.world.state.lock().unwrap();
    state.lun_absent = true;
    state.network = Some(Wire::default());
    drop(state);
    rig
}

#[tokio::test]
async fn what_the_san_does_not_have_is_read_over_the_network_where_that_is_allowed() {
    let mut rig = without_san();
    let first = rig.backup_and_compare("by network").await;
    assert_eq!(first.disks[0].transport, Transport::Network);
    let ReadMode::Full { reason } = &first.disks[0].mode else { panic!("{first:?}") };
    assert!(reason.contains("it is not presented"), "{reason}");
    // Unchanged: nothing new is stored. Back on the SAN, the next one builds on it.
    let second = rig.backup_and_compare("by network again").await;
    assert_eq!(second.disks[0].counts.new_bytes, 0);
    rig.world.state.lock().unwrap().lun_absent = false;
    rig.world.guest_write(5 << 20, &[9; 5000]);
    let third = rig.backup_and_compare("by SAN again").await;
    assert_eq!(third.disks[0].transport, Transport::San);
    assert_eq!(third.disks[0].mode, ReadMode::Incremental);

    rig.transport = TransportPolicy::Network;
    let asked = rig.backup_and_compare("asked for").await;
    assert_eq!(asked.disks[0].transport, Transport::Network);

    let mut refused = without_san();
    refused.transport = TransportPolicy::SanOnly;
    let error = refused.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(model::chain(&error).contains("it is not presented"), "{error}");
    assert!(!refused.world.state.lock().unwrap().log.iter().any(|call| call == "create snapshot"));

    let neither = without_san();
    neither.world.state.lock().unwrap().network = None;
    let mut neither = neither;
    let error = neither.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(matches!(error, RunError::NoSanPath { .. }), "{error}");
    assert!(error.to_string().contains("the test has none"), "{error}");
}

#[tokio::test]
async fn a_map_that_is_not_believed_is_gone_around_by_the_network() {
    let mut rig = Rig::new();
    rig.world.state.lock().unwrap().network = Some(Wire::default());
    rig.world.state.lock().unwrap().lie = Some(DiskRange { offset: 9 << 20, length: 512 });
    rig.transport = TransportPolicy::PreferSan;
    let report = rig.backup_and_compare("a disagreement").await;
    assert_eq!(report.disks[0].transport, Transport::Network);
    let mut rig = Rig::new();
    rig.world.state.lock().unwrap().lie = Some(DiskRange { offset: 9 << 20, length: 512 });
    let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(matches!(error, RunError::Disagreement { .. }), "{error}");
}

#[tokio::test]
async fn over_the_network_broken_at_every_call_nothing_is_left_and_nothing_is_wrong() {
    for fail_at in 0.. {
        let mut rig = without_san();
        let truth = rig.break_call(fail_at);
        let result = rig.backup(&Arc::new(Progress::default())).await;
        let (calls, what) = rig.mend_call(fail_at);
        let context = format!("call {fail_at} ({what}) failed");
        {
            let points = rig.world.store.points.lock().unwrap();
            assert_eq!(points.len(), usize::from(result.is_ok()), "{context}");
            assert!(points.iter().all(|point| point.image() == truth), "{context}");
        }
        assert!(result.is_err() || !what.contains("network"), "{context}: not noticed");
        let later = WallTime(1_800_000_000 + SETTLED_AFTER_SECONDS);
        for swept in sweep(&*rig.world, &rig.journal(), later).await {
            swept.outcome.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        rig.backup_and_compare(&format!("{context}; the next run")).await;
        if fail_at >= calls {
            assert!(calls > 30, "the run makes its calls");
            break;
        }
    }
}

#[tokio::test]
async fn a_snapshot_whose_creation_was_not_answered_is_waited_for() {
    let mut rig = Rig::new();
    let calls = {
        let mut probe = Rig::new();
        probe.backup_and_compare("probe").await;
        let state = probe.world.state.lock().unwrap();
        state.log.iter().position(|call| call == "create snapshot").unwrap()
    };
    rig.world.state.lock().unwrap().fail_at = Some(calls);
    assert!(rig.backup(&Arc::new(Progress::default())).await.is_err());
    // Nothing is there, but it may still come: the intent stays.
    let journal = rig.journal();
    let intent = journal.pending().pop().expect("the intent is open");
    let soon = WallTime(1_800_000_000 + 60);
    let swept = sweep(&*rig.world, &journal, soon).await.pop().unwrap();
    assert_eq!(swept.outcome.unwrap(), Undone::Waiting);
    // Now vCenter finishes what it had begun.
    let late = ("late".to_owned(), intent.snapshot, Vec::new());
    rig.world.state.lock().unwrap().snapshots.push(late);
    let swept = sweep(&*rig.world, &journal, soon).await.pop().unwrap();
    assert_eq!(swept.outcome.unwrap(), Undone::Closed { removed: 1 });
    assert!(rig.world.state.lock().unwrap().snapshots.is_empty());
    assert!(journal.pending().is_empty());
}

#[tokio::test]
async fn random_guests_are_held_exactly() {
    let first = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..12, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut rig = Rig::new();
        for step in 0..8 {
            for _ in 0..dice.below(5) {
                let length = 1 + dice.below(70_000);
                let offset = dice.below(CAPACITY - length);
                let bytes = vec![u8::try_from(dice.below(256)).unwrap(); length as usize];
                rig.world.guest_write(offset, &bytes);
            }
            if dice.below(6) == 0 {
                let mut state = rig.world.state.lock().unwrap();
                state.epoch += 1; // change tracking was reset
                state.changes.clear();
            }
            rig.backup_and_compare(&format!("HOLDFAST_SEED={seed} step {step}")).await;
        }
    }
}

#[tokio::test]
async fn another_epoch_is_read_in_full_and_said() {
    let mut rig = Rig::new();
    rig.backup_and_compare("first").await;
    rig.world.state.lock().unwrap().epoch += 1;
    let report = rig.backup_and_compare("after the reset").await;
    let ReadMode::Full { reason } = &report.disks[0].mode else { panic!("{report:?}") };
    assert!(reason.contains("epoch"), "{reason}");
}

#[tokio::test]
async fn allocated_over_a_hole_is_never_taken_for_zeros() {
    let mut rig = Rig::new();
    let lie = DiskRange { offset: 9 << 20, length: 4096 };
    rig.world.state.lock().unwrap().lie = Some(lie);
    let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(matches!(error, RunError::Disagreement { first, .. } if first == lie), "{error}");
    assert!(rig.world.store.points.lock().unwrap().is_empty());
    assert!(rig.world.state.lock().unwrap().snapshots.is_empty());
}

/// Each number of reads is another moment in the looks at the map: before, within, between.
#[tokio::test]
async fn metadata_that_reaches_its_place_late_is_waited_for() {
    for reads in (1..120).step_by(6) {
        let mut rig = Rig::new();
        rig.world.late_write(9 << 20, &[5; 4096], reads);
        rig.backup_and_compare(&format!("late by {reads} reads")).await;
    }
}

#[tokio::test]
async fn a_disk_that_moves_while_it_is_read_is_not_kept() {
    let mut rig = Rig::new();
    rig.world.state.lock().unwrap().moves_after = Some(1);
    let result = rig.backup(&Arc::new(Progress::default())).await;
    assert!(matches!(result, Err(RunError::Moved { .. })), "{result:?}");
    assert!(rig.world.store.points.lock().unwrap().is_empty());
    assert!(rig.world.state.lock().unwrap().snapshots.is_empty());
}

#[tokio::test]
async fn a_guest_that_cannot_be_brought_to_rest_is_judged_by_the_policy() {
    let last = |rig: &Rig| rig.world.store.points.lock().unwrap().last().unwrap().consistency;
    let mut rig = Rig::new();
    rig.backup_and_compare("at rest").await;
    assert_eq!(last(&rig), Consistency::Quiesced);
    for (tools, word) in [(true, "script"), (false, "Tools")] {
        {
            let mut state = rig.world.state.lock().unwrap();
            (state.tools_running, state.rests) = (tools, false);
        }
        rig.quiesce = Quiesce::OrCrash;
        let progress = Arc::new(Progress::default());
        rig.backup(&progress).await.unwrap();
        let warnings = progress.view().warnings;
        assert!(warnings.iter().any(|text| text.contains(word)), "{warnings:?}");
        assert_eq!(last(&rig), Consistency::Crash);
        rig.quiesce = Quiesce::Must;
        let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
        assert!(matches!(error, RunError::NotQuiesced { .. }), "{error}");
        assert!(rig.journal().pending().is_empty(), "nothing is left to undo");
    }
    rig.quiesce = Quiesce::Never;
    let progress = Arc::new(Progress::default());
    rig.backup(&progress).await.unwrap();
    assert!(progress.view().warnings.is_empty());
}

#[tokio::test]
async fn without_room_for_the_delta_or_a_way_to_the_disks_the_vm_is_not_touched() {
    let mut rig = Rig::new();
    rig.world.state.lock().unwrap().free_bytes = 10 << 20;
    let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(error.to_string().contains("MiB free"), "{error}");
    let state = rig.world.state.lock().unwrap();
    let touched =
        |call: &&String| ["create snapshot", "enable CBT", "journal"].contains(&call.as_str());
    assert_eq!(state.log.iter().find(touched), None);
}

/// How a run ends whose snapshot is looked at all the time, and its warnings.
async fn watched(
    limits: SnapshotLimits,
    change: impl FnOnce(&World),
) -> (Result<BackupReport, RunError>, Vec<String>) {
    let mut rig = Rig::new();
    rig.limits = SnapshotLimits { every: Duration::from_millis(1), ..limits };
    change(&rig.world);
    let progress = Arc::new(Progress::default());
    let result = rig.backup(&progress).await;
    assert!(rig.world.state.lock().unwrap().snapshots.is_empty(), "nothing is left");
    assert!(rig.journal().pending().is_empty());
    let points = rig.world.store.points.lock().unwrap().len();
    assert_eq!(points, usize::from(result.is_ok()));
    (result, progress.view().warnings)
}

#[tokio::test]
async fn a_snapshot_over_its_limits_ends_the_run_or_is_a_warning() {
    let limits = SnapshotLimits::default();
    let grown = |bytes| {
        move |world: &World| {
            world.state.lock().unwrap().delta_bytes = Some(bytes);
        }
    };
    let share = CAPACITY / 100 * u64::from(limits.max_delta_percent);
    let (result, warnings) = watched(limits, grown(share)).await;
    assert!(result.is_ok() && warnings.is_empty(), "{warnings:?}");

    let (result, warnings) = watched(limits, grown(share + (1 << 20))).await;
    let error = result.unwrap_err();
    assert!(matches!(error, RunError::SnapshotLimit { .. }), "{error}");
    assert!(error.to_string().contains("20 % of its disks"), "{error}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");

    let only_warn = SnapshotLimits { ends_run: false, ..limits };
    let (result, warnings) = watched(only_warn, grown(CAPACITY)).await;
    assert!(result.is_ok() && warnings.len() == 1, "{warnings:?}");
    let unwatched = SnapshotLimits { max_delta_percent: 0, ..limits };
    assert!(watched(unwatched, grown(CAPACITY)).await.0.is_ok());

    let young = SnapshotLimits { max_age: Duration::ZERO, ..limits };
    let error = watched(young, grown(0)).await.0.unwrap_err();
    assert!(error.to_string().contains("h old"), "{error}");
}

#[tokio::test]
async fn a_datastore_that_fills_up_during_a_run_ends_it() {
    let fills = |world: &World| {
        let mut state = world.state.lock().unwrap();
        state.delta_bytes = Some(0);
        state.full_after = Some("create snapshot");
    };
    let error = watched(SnapshotLimits::default(), fills).await.0.unwrap_err();
    assert!(error.to_string().contains("MiB free"), "{error}");
}

#[tokio::test]
async fn a_vm_that_needs_consolidation_gets_it_first_or_is_refused() {
    let mut rig = Rig::new();
    rig.world.state.lock().unwrap().unmerged = true;
    rig.backup_and_compare("merged first").await;
    assert!(rig.world.state.lock().unwrap().log.contains(&"consolidate".to_owned()));

    {
        let mut state = rig.world.state.lock().unwrap();
        (state.unmerged, state.merges) = (true, false);
        state.log.clear();
    }
    let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(error.to_string().contains("did not succeed"), "{error}");
    assert!(rig.journal().pending().is_empty(), "nothing is left to undo");
    let touched = |rig: &Rig| {
        let state = rig.world.state.lock().unwrap();
        state.log.iter().any(|call| call == "create snapshot")
    };
    assert!(!touched(&rig));
    rig.consolidate = false;
    rig.world.state.lock().unwrap().log.clear();
    let error = rig.backup(&Arc::new(Progress::default())).await.unwrap_err();
    assert!(error.to_string().contains("consolidate them in vCenter"), "{error}");
    assert!(!rig.world.state.lock().unwrap().log.contains(&"consolidate".to_owned()));
}

#[tokio::test]
async fn a_cancelled_run_cleans_up() {
    let mut rig = Rig::new();
    for call in ["vm", "changes", "read data"] {
        let progress = Arc::new(Progress::default());
        rig.world.state.lock().unwrap().cancel_at = Some((call, Arc::clone(&progress)));
        let error = rig.backup(&progress).await.unwrap_err();
        assert!(matches!(error, RunError::Cancelled), "{call}: {error}");
        let snapshots = rig.world.state.lock().unwrap().snapshots.len();
        assert_eq!((snapshots, rig.journal().pending().len()), (0, 0), "{call}");
    }
    rig.world.state.lock().unwrap().log.clear();
    let progress = Arc::new(Progress::default());
    progress.cancel();
    let error = rig.backup(&progress).await.unwrap_err();
    assert!(matches!(error, RunError::Cancelled), "{error}");
    assert!(rig.world.state.lock().unwrap().log.is_empty(), "cancelled in the queue: no call");
    assert!(rig.world.store.points.lock().unwrap().is_empty());
}

/// xorshift64: enough to scatter writes, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
