//! Care of the repository as the console sees it: tasks, previews, the forecast, and what of it
//! needs a person.

use super::locks::why_kept;
use super::{Appliance, from_store};
use crate::maintenance::{failures, work};
use api::{
    CareStatus, ExpiryPoint, ExpiryPreview, ForecastQuery, Freed, MaintenanceRequest,
    MaintenanceRun, MaintenanceTask, Reason, ScrubStatus, VmRef, text,
};
use console::{EngineError, EngineResult};
use model::{ErrorKind, RecoveryPointId, RetentionTime};
use repository::forecast::Forecast;
use repository::{Kept, Repository};

const DAY: u64 = 24 * 3600;
/// Days whose intake a forecast takes to go on.
const WINDOW_DAYS: u32 = 30;
/// A person is told when it is full within so many days.
const FULL_SOON_DAYS: u64 = 14;
/// Of a younger repository the first full backups are nearly all that came in: nobody is alarmed
/// by what they would be if they went on.
const SEEN_LEAST: u64 = 3 * DAY;
/// Lost segments with a reason of their own.
const REASONS_MAX: usize = 10;
/// Points that a reason names.
const POINTS_MAX: usize = 5;

pub(super) fn start(
    appliance: &Appliance,
    request: MaintenanceRequest,
) -> EngineResult<MaintenanceRun> {
    if request.task == MaintenanceTask::Expire {
        keep_rules(appliance)?;
    }
    appliance.maintenance.ask(request.task).ok_or_else(|| {
        let detail = "Too many tasks of maintenance wait already.";
        EngineError::new(ErrorKind::Busy, "queue-full", "The task cannot be queued", detail)
            .next_step("Try again when some have ended.")
    })
}

pub(super) fn task(appliance: &Appliance, number: u64) -> EngineResult<MaintenanceRun> {
    appliance.maintenance.tasks.find(number).ok_or_else(|| {
        let detail = format!("No task of maintenance {number} is known since the daemon's start.");
        EngineError::new(ErrorKind::NotFound, "task-unknown", "There is no such task", detail)
            .next_step("'holdfast status' has the newest ones.")
    })
}

fn keep_rules(appliance: &Appliance) -> EngineResult<crate::keep::Keep> {
    appliance.config.keep.ok_or_else(|| {
        let detail = "The configuration has no [keep]: nothing expires by rules.";
        EngineError::new(ErrorKind::Refused, "no-keep-rules", "There are no keep rules", detail)
            .next_step("Give [keep] in holdfastd.toml, or delete points one by one.")
    })
}

pub(super) fn preview(appliance: &Appliance) -> EngineResult<ExpiryPreview> {
    let keep = keep_rules(appliance)?;
    let repository = &appliance.repository;
    let preview = repository.preview_expiry(&|_| keep.rules(), keep.calendar());
    let preview = preview.map_err(|error| from_store(&error))?;
    let go = preview.go.iter().filter_map(|id| expiry_point(repository, *id, None));
    let kept = preview.kept.iter().filter_map(|(id, why)| expiry_point(repository, *id, Some(why)));
    Ok(ExpiryPreview {
        go: go.collect(),
        kept: kept.collect(),
        freed: Freed { segments: preview.segments, bytes: preview.bytes },
    })
}

/// `None`: it was deleted meanwhile.
fn expiry_point(
    repository: &Repository,
    id: RecoveryPointId,
    kept: Option<&Kept>,
) -> Option<ExpiryPoint> {
    let point = repository.summary(id).ok()?;
    let vm = VmRef { uuid: point.vm.uuid, name: point.vm.name };
    let reason = kept.map(why_kept);
    Some(ExpiryPoint { id, vm, created: text::wall(point.started), reason })
}

pub(super) fn forecast(
    repository: &Repository,
    query: ForecastQuery,
) -> EngineResult<api::Forecast> {
    let window = query.window_days.unwrap_or(WINDOW_DAYS);
    let lock = query.lock_days.map(|days| u64::from(days) * DAY);
    let found = repository.forecast(window, lock).map_err(|error| from_store(&error))?;
    Ok(forecast_view(&found))
}

fn forecast_view(found: &Forecast) -> api::Forecast {
    let days = |at: RetentionTime| at.0.saturating_sub(found.now.0).max(0).unsigned_abs() / DAY;
    api::Forecast {
        used_bytes: found.used,
        locked_bytes: found.locked,
        usable_bytes: found.usable,
        bytes_per_day: found.bytes_per_day,
        full_in_days: found.full.map(days),
        locked_full_in_days: found.locked_full.map(days),
        certain: found.is_certain(),
        seen_seconds: found.seen_seconds,
        text: found.to_string(),
    }
}

pub(super) fn status(appliance: &Appliance) -> CareStatus {
    let repository = &appliance.repository;
    let goal_days = appliance.config.repository.scrub_days;
    let coverage = repository.scrub_coverage(goal_days);
    let open = repository.to_repair().len() as u64;
    let lost = repository.quarantined(work::LISTED);
    CareStatus {
        scrub: ScrubStatus {
            goal_days,
            bytes_within: coverage.bytes_within,
            bytes_total: coverage.bytes_total,
            bytes_never: coverage.bytes_never,
            oldest: coverage.oldest.map(text::retention),
            damaged: coverage.damaged,
            on_track: coverage.on_track,
        },
        quarantined: lost
            .into_iter()
            .map(|(serial, points)| work::lost_view(serial, points))
            .collect(),
        quarantined_total: coverage.damaged.saturating_sub(open),
        // A volume that is away is told elsewhere.
        forecast: forecast(repository, ForecastQuery::default()).ok(),
        tasks: appliance.maintenance.tasks.newest(),
        expires: appliance.config.keep.is_some(),
    }
}

/// What of it needs a person.
pub(super) fn reasons(care: &CareStatus) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |code: &str, text: String, next_step: &str| {
        reasons.push(Reason { code: code.into(), text, next_step: next_step.into() });
    };
    let scrub = &care.scrub;
    if !scrub.on_track {
        let (percent, days) = (scrub.percent_within(), scrub.goal_days);
        add(
            "scrub-late",
            format!("Only {percent} % of what is stored was read again within {days} days."),
            "Scrubs wait for backups: 'holdfast repository scrub --all' reads all of it now, or \
             give repository.scrub_days more time.",
        );
    }
    let open = scrub.damaged.saturating_sub(care.quarantined_total);
    if open > 0 {
        add(
            "damage-not-repaired",
            format!("{open} segments are damaged and not repaired yet."),
            "It is tried every quarter of an hour, and by 'holdfast repository scrub'. See that \
             there is space, and that the warden runs.",
        );
    }
    for lost in care.quarantined.iter().take(REASONS_MAX) {
        add(
            "segment-lost",
            lost_text(lost.segment, &lost.points, lost.points_total),
            "Run a full backup of these VMs: it stores anew what is lost. 'holdfast point verify' \
             lists what cannot be restored. Check the disks below the repository.",
        );
    }
    if let Some(forecast) = care.forecast.as_ref().filter(|forecast| is_full_soon(forecast)) {
        add(
            "full-soon",
            format!("The repository runs full: {}.", forecast.text),
            "Add space, or let less come in. Nothing is deleted before its time to make room.",
        );
    }
    for run in failures(&care.tasks) {
        let detail = run.error.as_ref().map_or("", |error| error.detail.as_str());
        add(
            "maintenance-failed",
            format!("The last {} failed: {detail}", run.task.name()),
            "It is tried again by itself; see the daemon's log.",
        );
    }
    reasons
}

fn is_full_soon(forecast: &api::Forecast) -> bool {
    forecast.seen_seconds >= SEEN_LEAST
        && forecast.full_in_days.is_some_and(|days| days < FULL_SOON_DAYS)
}

fn lost_text(segment: u32, points: &[RecoveryPointId], total: u64) -> String {
    let named: Vec<String> = points.iter().take(POINTS_MAX).map(ToString::to_string).collect();
    let more = total.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    match total {
        0 => format!("Segment {segment} is damaged beyond repair; no recovery point needs it."),
        _ => format!(
            "Segment {segment} is damaged beyond repair; what it holds of these recovery points \
             cannot be restored: {}{more}.",
            named.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(care: &CareStatus) -> Vec<String> {
        reasons(care).into_iter().map(|reason| reason.code).collect()
    }

    fn well() -> CareStatus {
        let scrub = ScrubStatus { on_track: true, ..ScrubStatus::default() };
        CareStatus { scrub, ..CareStatus::default() }
    }

    fn forecast(full_in_days: u64, seen_days: u64) -> api::Forecast {
        let found = Forecast {
            used: 1,
            locked: 1,
            usable: 2,
            bytes_per_day: 1,
            full: Some(RetentionTime(i64::try_from(full_in_days * DAY).unwrap())),
            locked_full: None,
            steady: 0,
            now: RetentionTime(0),
            seen_seconds: seen_days * DAY,
        };
        forecast_view(&found)
    }

    #[test]
    fn nothing_is_said_when_all_is_well() {
        assert_eq!(codes(&well()), [] as [&str; 0]);
    }

    #[test]
    fn each_trouble_has_its_reason() {
        let mut care = well();
        care.scrub.on_track = false;
        assert_eq!(codes(&care), ["scrub-late"]);
        let mut care = well();
        (care.scrub.damaged, care.quarantined_total) = (2, 1);
        care.quarantined = vec![work::lost_view(7, vec![RecoveryPointId([1; 16]); 8])];
        assert_eq!(codes(&care), ["damage-not-repaired", "segment-lost"]);
        let text = &reasons(&care)[1].text;
        assert!(text.contains("Segment 7") && text.contains("and 3 more"), "{text}");
    }

    #[test]
    fn full_within_two_weeks_is_said_of_a_repository_that_is_known_for_some_days() {
        for (full, seen, said) in [(13, 30, true), (14, 30, false), (2, 1, false), (2, 3, true)] {
            let care = CareStatus { forecast: Some(forecast(full, seen)), ..well() };
            assert_eq!(!reasons(&care).is_empty(), said, "{full} {seen}");
        }
    }
}
