//! The power fails after every single operation of what the daemon does by itself: scrub with a
//! rotten segment, its repair, compaction, expiry by keep rules, reclaim; with a lock that is
//! extended, a hold, and a new key in between. It begins where the clocks of `crash` end: with a
//! repository that has a past.

use super::crash::{Doubt, Found, Off, Run, Truth, check, image, lose, off, small};
use super::support::{Image, Rig, START};
use crate::{CompactRules, Options, Repository};
use fakes::disk::Random;
use model::{RecoveryPointId, RetentionTime, VmIdentity};
use policy::calendar::Calendar;
use policy::gfs::KeepRules;
use std::ops::ControlFlow;
use warden::storage::read_all;

const RULES: CompactRules = CompactRules { live_percent: 90, small: 0, budget: u64::MAX };

/// The repository before the care, and what is in it.
struct Past {
    rig: Rig,
    truth: Truth,
    /// Half of it is dead.
    sparse: (RecoveryPointId, Image),
    locked: RecoveryPointId,
    /// The rules want it no more.
    old: RecoveryPointId,
    /// A segment that the locked point needs, as it was before it rotted.
    rotten: (String, Vec<u8>),
}

fn serial(path: &str) -> u32 {
    u32::from_str_radix(&path[9..17], 16).unwrap()
}

fn past(seed: u64, options: &Options) -> Past {
    let (rig, mut random) = (Rig::default(), Random(seed));
    rig.create(options).unwrap();
    let truth = Truth { created: true, ..Truth::default() };
    let mut run = Run { rig: &rig, options: options.clone(), truth };
    let repository = run.open().unwrap();
    let backup = |run: &mut Run<'_>, vm, image: &Image, base, lock| {
        run.backup(&repository, vm, image, base, lock).unwrap()
    };
    let first: Image = (1..25).collect();
    let second: Image = (1..25).map(|n| if n % 3 == 0 { n } else { 1000 + n }).collect();
    let dead = backup(&mut run, 1, &first, None, 0);
    let sparse = backup(&mut run, 1, &second, Some((&first, dead)), 0);
    let kept: Image = image(&mut random, 6).iter().map(|n| 2000 + n).collect();
    let before = rig.disk.paths();
    let locked = backup(&mut run, 2, &kept, None, 50 * 24 * 3600);
    let path = rig
        .disk
        .paths()
        .into_iter()
        .find(|path| path.ends_with(".segment") && !before.contains(path));
    let old = backup(&mut run, 3, &image(&mut random, 5), None, 5);
    rig.clock.pass(24 * 3600);
    backup(&mut run, 3, &image(&mut random, 5), None, 5);
    run.delete(&repository, &[dead]).unwrap();
    drop(repository);
    let (truth, path) = (run.truth, path.unwrap());
    let right = read_all(&rig.disk, &path, u64::MAX).unwrap();
    rig.disk.flip(&path, 4096 + random.below(8000), 1 << random.below(8));
    let rotten = (path, right);
    Past { rig, truth, sparse: (sparse, second), locked, old, rotten }
}

fn newest_only(vm: &VmIdentity) -> KeepRules {
    match &*vm.name {
        "vm 3" => KeepRules { daily: 1, ..KeepRules::default() },
        _ => KeepRules::default(),
    }
}

fn care(run: &mut Run<'_>, past: &Past) -> Result<(), Off> {
    let repository = run.open()?;
    off(repository.extend(past.locked, RetentionTime(START + 90 * 24 * 3600)))?;
    run.truth.points.get_mut(&past.locked).unwrap().until = RetentionTime(START + 90 * 24 * 3600);
    let scrub = off(repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())))?;
    assert_eq!(scrub.repaired, [(serial(&past.rotten.0), 1)]);
    off(repository.hold(past.locked, "case 2"))?;
    run.truth.points.get_mut(&past.locked).unwrap().held = true;
    if run.options.encryption.is_some() {
        off(repository.rotate_key())?;
    }
    let moved = off(repository.compact(&RULES))?;
    assert!(moved.from > 0, "{moved:?}");
    let mut next = past.sparse.1.clone();
    next[5] = 7000;
    let base = Some((&past.sparse.1, past.sparse.0));
    run.backup(&repository, 1, &next, base, 5)?;
    run.truth.doubt = Some(Doubt::Delete(vec![past.old]));
    let expired = off(repository.expire(&newest_only, Calendar::default()))?;
    assert_eq!(expired.deleted, [past.old], "{expired:?}");
    run.truth.doubt = None;
    run.truth.points.remove(&past.old);
    run.truth.deleted.push(past.old);
    off(repository.reclaim())?;
    run.rig.clock.pass(4000);
    off(repository.tick())?;
    run.truth.recorded_clock = run.rig.clock.seconds();
    Ok(())
}

/// What the states had in them.
#[derive(Debug, Default)]
struct Seen {
    damaged: u64,
    known: u64,
    not_on_record: u64,
    moved: u64,
}

/// Nothing that is damaged is believed in; the next scrub repairs it, and then all is as it must
/// be.
fn look(rig: &Rig, past: &Past, options: &Options, seen: &mut Seen, what: &str) {
    let (path, right) = &past.rotten;
    let wrong = || read_all(&rig.disk, path, u64::MAX).unwrap() != *right;
    let (repository, _) = rig.try_open(options).unwrap_or_else(|error| {
        panic!("{what}: {}", model::chain(&error));
    });
    let (scrubbed, trusted, moved) = facts(&repository, serial(path));
    assert!(!(wrong() && scrubbed && trusted), "{what}: damaged, found and trusted");
    seen.damaged += u64::from(wrong());
    seen.known += u64::from(wrong() && scrubbed);
    seen.not_on_record += u64::from(!wrong() && !trusted);
    seen.moved += u64::from(moved);
    let report = repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.quarantined.is_empty(), "{what}: {report:?}");
    assert!(!wrong(), "{what}: not repaired");
    assert_eq!(repository.scrub_coverage(30).damaged, 0, "{what}: not trusted again");
    repository.compact(&RULES).unwrap();
    repository.reclaim().unwrap();
}

fn facts(repository: &Repository, serial: u32) -> (bool, bool, bool) {
    let catalog = repository.inner.core.catalog.lock().unwrap();
    let segment = catalog.state.segment(serial).unwrap();
    let moved = !catalog.state.compactions().is_empty();
    (segment.scrubbed.is_some(), !segment.distrusted, moved)
}

fn run_care<'a>(rig: &'a Rig, past: &Past, options: &Options) -> (Result<(), Off>, Run<'a>) {
    let mut run = Run { rig, options: options.clone(), truth: past.truth.clone() };
    (care(&mut run, past), run)
}

fn after_every_operation(seed: u64, encrypted: bool, least: u64) {
    let options = small(0, encrypted);
    let past = past(seed, &options);
    let begin = past.rig.with(past.rig.disk.after_kill());
    let before = begin.disk.operations();
    run_care(&begin, &past, &options).0.expect("the power stays on");
    let operations = begin.disk.operations() - before;
    let (mut found, mut seen) = (Found::default(), Seen::default());
    for cut in 0..=operations {
        let rig = past.rig.with(past.rig.disk.after_kill());
        rig.disk.cut_at(before + cut);
        let truth = run_care(&rig, &past, &options).1.truth;
        found.join(&lose(&rig, &options, Random(seed ^ cut << 8), &mut |rig, what| {
            let what = format!("seed {seed}, cut {cut} of the care, {what}");
            look(rig, &past, &options, &mut seen, &what);
            check(rig, &options, &truth, &what)
        }));
    }
    println!("seed {seed}: {operations} operations of care; crash states: {found:?}, {seen:?}");
    assert!(found.states > least, "{found:?}");
    let Seen { damaged, known, not_on_record, moved } = seen;
    assert!(damaged.min(known).min(not_on_record).min(moved) > 0, "{seen:?}");
}

#[test]
fn power_cut_after_every_operation_of_the_care() {
    after_every_operation(11, false, 1000);
}

#[test]
fn power_cut_after_every_operation_of_the_care_encrypted() {
    after_every_operation(12, true, 1000);
}
