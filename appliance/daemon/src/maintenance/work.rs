//! One task, on a thread that may block.

use super::Maintenance;
use super::tasks::Outcome;
use crate::engine::Appliance;
use api::{
    CompactResult, ExpireResult, Freed, MaintenanceResult, MaintenanceRun, MaintenanceTask,
    Problem, QuarantinedSegment, RepairedSegment, ScrubResult,
};
use model::ErrorKind;
use repository::{
    CompactRules, Compacted, DeleteError, Deleted, Quarantine, ScrubReport, StoreError,
};
use std::ops::ControlFlow;
use std::time::Duration;

/// Entries of a list in a result.
pub(crate) const LISTED: usize = 100;
/// Segments that a problem names.
const NAMED: usize = 3;
/// How often it is looked whether a backup has ended.
const LOOK: Duration = Duration::from_millis(200);
/// Pieces of work of one compaction at most; the next one goes on where it ended.
const COMPACT_STEPS: usize = 16;

/// Does `run`; a scrub reads up to `budget` bytes.
pub(super) fn perform(appliance: &Appliance, run: &MaintenanceRun, budget: u64) -> Outcome {
    match run.task {
        MaintenanceTask::Scrub | MaintenanceTask::ScrubAll => scrub(appliance, run, budget),
        MaintenanceTask::Expire => expire(appliance).map(MaintenanceResult::Expire).into(),
        MaintenanceTask::Reclaim => {
            let freed = appliance.repository.reclaim();
            let result = freed.map(|freed| MaintenanceResult::Reclaim(freed_view(&freed)));
            result.map_err(|error| failed(&error)).into()
        }
        MaintenanceTask::Compact => compact(appliance, run).map(MaintenanceResult::Compact).into(),
    }
}

/// First what is known to be damaged, then what was read longest ago. What could not be read or
/// repaired is told when all others have been.
fn scrub(appliance: &Appliance, run: &MaintenanceRun, budget: u64) -> Outcome {
    let mut result = ScrubResult::default();
    let mended = appliance.repository.mend(&mut || go_on(appliance, run));
    let mut problem = not_done(&mended);
    take_in(&mut result, mended);
    if !result.stopped && go_on(appliance, run).is_break() {
        result.stopped = true;
    }
    if !result.stopped {
        let report = appliance.repository.scrub(budget, &mut |progress| {
            appliance.maintenance.tasks.progress(run.number, progress.done, progress.total);
            go_on(appliance, run)
        });
        match report {
            Ok(report) => {
                problem = not_done(&report).or(problem);
                take_in(&mut result, report);
            }
            Err(error) => problem = Some(failed(&error)),
        }
    }
    // One that did nothing at all has only failed.
    let done = problem.is_none() || result != ScrubResult::default();
    Outcome { result: done.then_some(MaintenanceResult::Scrub(result)), problem }
}

/// What could not be read or repaired, and is no damage.
fn not_done(report: &ScrubReport) -> Option<Box<Problem>> {
    let named = report.failed.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|(serial, why)| format!("segment {serial}: {why}")).collect();
    let more = match report.failed_total.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let detail = format!("Could not be read or repaired: {}{more}", named.join("; "));
    (report.failed_total > 0).then(|| problem(ErrorKind::Gone, detail))
}

fn take_in(result: &mut ScrubResult, report: ScrubReport) {
    result.segments += report.segments;
    result.bytes += report.bytes;
    result.damaged += report.damaged;
    result.postponed += report.postponed.len() as u64;
    result.stopped |= report.stopped;
    report.repaired.into_iter().for_each(|(serial, blocks)| repaired(result, serial, blocks));
    report.quarantined.into_iter().for_each(|lost| quarantined(result, lost));
}

fn repaired(result: &mut ScrubResult, segment: u32, blocks: u64) {
    result.repaired_total += 1;
    if result.repaired.len() < LISTED {
        result.repaired.push(RepairedSegment { segment, blocks });
    }
}

fn quarantined(result: &mut ScrubResult, lost: Quarantine) {
    result.quarantined_total += 1;
    if result.quarantined.len() < LISTED {
        let Quarantine { serial, points, why } = lost;
        let view = lost_view(serial, points);
        result.quarantined.push(QuarantinedSegment { why: Some(why), ..view });
    }
}

/// A segment that is lost, with some of the points that need it.
pub(crate) fn lost_view(
    segment: u32,
    mut points: Vec<model::RecoveryPointId>,
) -> QuarantinedSegment {
    let points_total = points.len() as u64;
    points.truncate(LISTED);
    QuarantinedSegment { segment, points, points_total, why: None }
}

fn expire(appliance: &Appliance) -> Result<ExpireResult, Box<Problem>> {
    let Some(keep) = appliance.config.keep else { return Ok(ExpireResult::default()) };
    let expired = appliance.repository.expire(&|_| keep.rules(), keep.calendar());
    let mut expired = expired.map_err(|error| not_expired(&error))?;
    for point in &expired.deleted {
        tracing::info!(%point, "expired by the keep rules");
    }
    let deleted_total = expired.deleted.len() as u64;
    expired.deleted.truncate(LISTED);
    Ok(ExpireResult {
        deleted_total,
        deleted: expired.deleted,
        kept_total: expired.kept.len() as u64,
        wanted: expired.wanted as u64,
        freed: freed_view(&expired.freed),
    })
}

/// Until everything was looked at once, or a backup begins; then what was emptied is removed.
fn compact(appliance: &Appliance, run: &MaintenanceRun) -> Result<CompactResult, Box<Problem>> {
    let mut result = CompactResult::default();
    let all = appliance.repository.stats().map_err(|error| failed(&error))?.segments;
    for step in 0..COMPACT_STEPS {
        // What is asked for waits for a backup; what goes on by itself ends for one.
        let now = match step == 0 && run.asked {
            true => go_on(appliance, run).is_continue(),
            false => !appliance.maintenance.is_stopping() && !backup_runs(appliance),
        };
        if !now {
            break;
        }
        let done = appliance.repository.compact(&CompactRules::default());
        let done = done.map_err(|error| failed(&error))?;
        add(&mut result, &done);
        if done.examined == 0 || result.examined >= all {
            break;
        }
    }
    if result.from > 0 {
        let freed = appliance.repository.reclaim().map_err(|error| failed(&error))?;
        result.freed = freed_view(&freed);
    }
    Ok(result)
}

fn add(result: &mut CompactResult, done: &Compacted) {
    result.examined += done.examined;
    result.from += done.from;
    result.bytes_before += done.bytes_before;
    result.to += done.to;
    result.bytes_after += done.bytes_after;
}

fn freed_view(deleted: &Deleted) -> Freed {
    Freed { segments: deleted.segments, bytes: deleted.bytes }
}

/// Backups go first: returns when none holds the turn, or with `Break` when the work is to end.
fn go_on(appliance: &Appliance, run: &MaintenanceRun) -> ControlFlow<()> {
    let Maintenance { tasks, .. } = &appliance.maintenance;
    let mut waited = false;
    loop {
        let gives_way = !run.asked && tasks.asked_for().is_some();
        if appliance.maintenance.is_stopping() || gives_way {
            return ControlFlow::Break(());
        }
        if !backup_runs(appliance) {
            if waited {
                tasks.waits(run.number, false);
            }
            return ControlFlow::Continue(());
        }
        if !waited {
            tasks.waits(run.number, true);
            waited = true;
        }
        std::thread::sleep(LOOK);
    }
}

pub(super) fn backup_runs(appliance: &Appliance) -> bool {
    appliance.turn.try_lock().is_err()
}

fn failed(error: &StoreError) -> Box<Problem> {
    problem(error.kind(), model::chain(error))
}

fn not_expired(error: &DeleteError) -> Box<Problem> {
    problem(error.kind(), model::chain(error))
}

pub(super) fn problem(kind: ErrorKind, detail: String) -> Box<Problem> {
    let next_step = match kind {
        ErrorKind::Retryable => "It is tried again by itself; check that the warden runs.",
        ErrorKind::Full => "Add space for the repository; it is tried again by itself.",
        _ => "Look at the cause named last; it is tried again by itself.",
    };
    let problem = Problem::of_kind(kind, "maintenance-failed", "The maintenance did not end well");
    Box::new(problem.detail(detail).next_step(next_step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_named_and_counted() {
        assert!(not_done(&ScrubReport::default()).is_none());
        let failed = (1..6).map(|serial| (serial, format!("why {serial}"))).collect();
        let report = ScrubReport { failed, failed_total: 2000, ..ScrubReport::default() };
        let detail = not_done(&report).unwrap().detail;
        assert!(
            detail.contains("segment 3: why 3") && detail.ends_with("and 1997 more"),
            "{detail}"
        );
    }
}
