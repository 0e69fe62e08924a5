//! The command `check`: everything, and a list of what is wrong.

use crate::VerifyError;
use crate::keys::Unlocked;
use crate::ledger::{LedgerCheck, SignedHead};
use crate::map::Walker;
use crate::point::{Groups, PointCheck};
use crate::report::{Findings, PointReport, Report};
use crate::repository::Repository;
use crate::segment::{Bad, Checker, SegmentCheck};
use crate::store::{Known, Store};
use ::ledger::Runs;
use ::ledger::event::Segment;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Segments that are checked at the same time.
const THREADS: usize = 2;

/// What to check by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The public key that must have signed the head.
    pub vkey: Option<&'a str>,
    /// A file with a key-encryption key.
    pub key_file: Option<&'a Path>,
    /// Read each chunk again through every point, as a restore would.
    pub full: bool,
}

/// Checks the repository in `dir`. What was found is in `report` and `findings` even after an
/// error, which says why it could not be checked any further.
pub fn check(
    dir: &Path,
    options: Options<'_>,
    report: &mut Report,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let (repository, mut ledger, heads) = open(dir, &[], findings)?;
    if let (Some(vkey), None) = (options.vkey, &ledger.refusal) {
        ledger.demand(vkey, findings)?;
    }
    report.ledger = ledger.report();
    if let Some(refusal) = ledger.refusal {
        return Err(VerifyError::Refused(refusal));
    }
    crate::volumes::check(&repository, &ledger, &heads, findings);
    let unlocked = Unlocked::open(&repository, options.key_file, &ledger.state.keys, findings)?;
    if unlocked.keys.is_none() {
        findings.note("no key: contents and ids were not checked");
    }
    let checks = segments(&repository, &ledger, &unlocked, findings)?;
    report.segments.checked = checks.len() as u64;
    report.segments.damaged =
        checks.iter().filter(|(_, check)| !check.clean).map(|(serial, _)| *serial).collect();
    points(&repository, &ledger, &unlocked, (&checks, options.full), report, findings)
}

/// The directory and its ledger, and the heads on further volumes.
pub(crate) fn open(
    dir: &Path,
    watch: &[u64],
    findings: &mut Findings,
) -> Result<(Repository, LedgerCheck, BTreeMap<u8, SignedHead>), VerifyError> {
    let repository = Repository::open(dir, findings)?;
    let mut heads = BTreeMap::new();
    for (number, folder) in &repository.volumes {
        if *folder == repository.path {
            continue;
        }
        match SignedHead::read(&folder.join("ledger").join("head"), repository.id()) {
            Ok(head) => {
                heads.insert(*number, head);
            }
            Err(damage) => findings.add(format!("volume {number}, ledger head"), damage),
        }
    }
    let mut sizes: Vec<u64> = heads.values().map(|head| head.head.size).collect();
    sizes.extend_from_slice(watch);
    let folder = repository.path.join("ledger");
    let ledger = LedgerCheck::read(&folder, repository.id(), &sizes, findings);
    Ok((repository, ledger, heads))
}

/// What is kept of a checked segment.
pub(crate) struct Checked {
    pub(crate) bad: Bad,
    clean: bool,
}

fn segments(
    repository: &Repository,
    ledger: &LedgerCheck,
    unlocked: &Unlocked,
    findings: &mut Findings,
) -> Result<BTreeMap<u32, Checked>, VerifyError> {
    let state = &ledger.state;
    for number in &state.volumes {
        let here = repository.volumes.contains_key(number);
        if !here && (repository.alone.is_none() || *number == 0) {
            findings.add(format!("volume {number}"), "is not here");
        }
    }
    let orphans: Runs =
        repository.segments.keys().copied().filter(|s| !state.segments.contains_key(s)).collect();
    if !orphans.is_empty() {
        let shown = show_runs(&orphans);
        findings.note(format!("segments {shown} are in no leaf: orphans, or being removed"));
    }
    let leaves: Vec<&Segment> = state.segments.values().collect();
    let mut checks = BTreeMap::new();
    for (serial, check) in in_parallel(repository, unlocked, &leaves)? {
        let (bad, clean) = (check.bad.clone(), check.is_clean());
        let epoch = state.segments.get(&serial).map_or(0, |leaf| leaf.epoch);
        if epoch != 0 && !state.keys.contains_key(&epoch) {
            let what = format!("the ledger has no key of epoch {epoch}");
            findings.add(format!("segment {serial}"), what);
        }
        findings.append(check.findings);
        checks.insert(serial, Checked { bad, clean });
    }
    Ok(checks)
}

/// Every segment, by two threads; the order of the result is that of the serials.
fn in_parallel(
    repository: &Repository,
    unlocked: &Unlocked,
    leaves: &[&Segment],
) -> Result<BTreeMap<u32, SegmentCheck>, VerifyError> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let mut checkers = Vec::new();
    for _ in 0..THREADS {
        checkers.push(Checker { repository, unlocked, opener: unlocked.opener(repository)? });
    }
    std::thread::scope(|scope| {
        for mut checker in checkers {
            let (next, done) = (&next, &done);
            scope.spawn(move || {
                while let Some(leaf) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let check = checker.check(leaf);
                    let mut done = done.lock().unwrap_or_else(|error| error.into_inner());
                    done.insert(leaf.serial, check);
                }
            });
        }
    });
    Ok(done.into_inner().unwrap_or_else(|error| error.into_inner()))
}

fn points(
    repository: &Repository,
    ledger: &LedgerCheck,
    unlocked: &Unlocked,
    (checks, full): (&BTreeMap<u32, Checked>, bool),
    report: &mut Report,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let mut store = Store::new(repository, &ledger.state, unlocked)?;
    let known = Known { checks, full };
    let mut walker = Walker::new(!full);
    let groups = Groups::new(&store, checks, unlocked);
    for point in ledger.state.points() {
        let mut check = PointCheck::new(point, findings);
        check.by_segments(&groups, unlocked.keys.is_some());
        if unlocked.keys.is_some() {
            check.by_content(&mut store, &mut walker, &known);
        }
        report.points.push(PointReport {
            id: point.id.to_string(),
            vm: point.vm.clone(),
            complete: check.complete,
            locked_until: point.until.0,
            mode: point.mode.to_string(),
            holds: point.holds.iter().cloned().collect(),
        });
    }
    Ok(())
}

/// Runs of serials for people.
pub(crate) fn show_runs(runs: &Runs) -> String {
    const SHOWN: usize = 20;
    let one = |&(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let shown: Vec<String> = runs.as_slice().iter().take(SHOWN).map(one).collect();
    let more = if runs.as_slice().len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
