//! Care of the repository: every task ends at the first look, a scrub of everything finds damage.

use super::{points, vms};
use api::{
    CareStatus, CompactResult, ExpireResult, ExpiryPoint, ExpiryPreview, Forecast, ForecastQuery,
    Freed, MaintenanceResult, MaintenanceRun, MaintenanceTask, QuarantinedSegment, RepairedSegment,
    RunState, ScrubResult, ScrubStatus, Volume, VolumeState, Volumes,
};
use console::{EngineError, EngineResult};
use model::ErrorKind;

/// A task's number is its place here.
const TASKS: [MaintenanceTask; 4] = [
    MaintenanceTask::Scrub,
    MaintenanceTask::ScrubAll,
    MaintenanceTask::Expire,
    MaintenanceTask::Compact,
];
const FREED: Freed = Freed { segments: 3, bytes: 3 << 30 };

pub fn queued(task: MaintenanceTask) -> MaintenanceRun {
    let number = TASKS.iter().position(|known| *known == task).unwrap() as u64;
    MaintenanceRun {
        number,
        task,
        asked: true,
        state: RunState::Queued,
        waits: false,
        done_bytes: 0,
        total_bytes: 1 << 30,
        finished: None,
        finished_retention: None,
        result: None,
        error: None,
    }
}

pub fn ended(number: u64) -> EngineResult<MaintenanceRun> {
    let task = usize::try_from(number).ok().and_then(|at| TASKS.get(at)).ok_or_else(|| {
        let title = "There is no such task";
        EngineError::new(ErrorKind::NotFound, "task-unknown", title, format!("No task {number}."))
    })?;
    let result = result(*task);
    let lost = matches!(&result, MaintenanceResult::Scrub(scrub) if scrub.quarantined_total > 0);
    Ok(MaintenanceRun {
        state: if lost { RunState::Warning } else { RunState::Succeeded },
        done_bytes: 1 << 30,
        finished: Some("2026-06-01T12:00:00Z".parse().unwrap()),
        finished_retention: Some("2026-06-01T11:59:30Z".parse().unwrap()),
        result: Some(result),
        ..queued(*task)
    })
}

fn result(task: MaintenanceTask) -> MaintenanceResult {
    let read = ScrubResult { segments: 2, bytes: 1 << 30, ..ScrubResult::default() };
    match task {
        MaintenanceTask::Scrub => MaintenanceResult::Scrub(read),
        MaintenanceTask::ScrubAll => MaintenanceResult::Scrub(ScrubResult {
            damaged: 2,
            repaired_total: 1,
            repaired: vec![RepairedSegment { segment: 7, blocks: 3 }],
            quarantined_total: 1,
            quarantined: vec![lost(Some("2 blocks more than the parity has"))],
            ..read
        }),
        MaintenanceTask::Expire => MaintenanceResult::Expire(ExpireResult {
            deleted_total: 1,
            deleted: vec![points::FREE],
            kept_total: 1,
            wanted: 1,
            freed: FREED,
        }),
        MaintenanceTask::Reclaim => MaintenanceResult::Reclaim(FREED),
        MaintenanceTask::Compact => MaintenanceResult::Compact(CompactResult {
            examined: 9,
            from: 4,
            bytes_before: 4 << 30,
            to: 1,
            bytes_after: 1 << 30,
            freed: FREED,
        }),
    }
}

fn lost(why: Option<&str>) -> QuarantinedSegment {
    let points = vec![points::SLOW_DELETE];
    QuarantinedSegment { segment: 9, points, points_total: 1, why: why.map(Into::into) }
}

pub fn preview() -> ExpiryPreview {
    let point = |id, vm, reason: Option<&str>| ExpiryPoint {
        id,
        vm: vms::reference(vm),
        created: "2026-05-28T20:26:40Z".parse().unwrap(),
        reason: reason.map(Into::into),
    };
    ExpiryPreview {
        go: vec![point(points::FREE, 0, None)],
        kept: vec![point(points::LOCKED, 1, Some("It is locked in governance mode."))],
        freed: FREED,
    }
}

pub fn forecast(query: ForecastQuery) -> Forecast {
    let days = query.window_days.unwrap_or(30);
    let text = match query.lock_days {
        None => "full in 77 days if nothing is deleted".into(),
        Some(lock) => format!("full in 77 days if all is locked for {lock} days"),
    };
    Forecast {
        used_bytes: 2_900_000_000_000,
        locked_bytes: 2_000_000_000_000,
        usable_bytes: 8 << 40,
        bytes_per_day: 1 << 35,
        full_in_days: Some(77),
        locked_full_in_days: None,
        certain: false,
        seen_seconds: u64::from(days) * 24 * 3600,
        text,
    }
}

/// The repository's own directory, and a disk that is away.
pub fn volumes() -> Volumes {
    let volume = |number, state, free_bytes| Volume {
        number,
        state,
        free_bytes,
        segments: 7,
        used_bytes: 7 << 30,
        points: 3,
    };
    let volumes =
        vec![volume(0, VolumeState::Present, Some(5 << 40)), volume(1, VolumeState::Missing, None)];
    Volumes { volumes }
}

pub fn add_volume(number: u8) -> EngineResult<Volumes> {
    let Volumes { mut volumes } = volumes();
    let added = Volume { number, state: VolumeState::Added, ..volumes[1] };
    volumes.push(Volume { segments: 0, used_bytes: 0, points: 0, ..added });
    Ok(Volumes { volumes })
}

pub fn status() -> CareStatus {
    CareStatus {
        scrub: ScrubStatus {
            goal_days: 30,
            bytes_within: 99 << 30,
            bytes_total: 100 << 30,
            bytes_never: 1 << 30,
            oldest: Some("2026-04-30T00:00:00Z".parse().unwrap()),
            damaged: 1,
            on_track: false,
        },
        quarantined: vec![lost(None)],
        quarantined_total: 1,
        forecast: Some(forecast(ForecastQuery::default())),
        tasks: vec![ended(1).unwrap()],
        expires: true,
    }
}
