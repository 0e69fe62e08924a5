//! `holdfast repository`: care of what is stored.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Show, Table, clean, size};
use crate::watch::until_maintained;
use api::endpoint::{GetForecast, PreviewExpiry, StartMaintenance};
use api::{
    CompactResult, ExpireResult, ExpiryPoint, ExpiryPreview, Freed, MaintenanceRequest,
    MaintenanceResult, MaintenanceRun, MaintenanceTask, Nothing, QuarantinedSegment, RunState,
    ScrubResult,
};
use std::fmt::Write as _;

/// Points that a line names.
const POINTS_MAX: usize = 10;

/// `repository scrub`, `expire`, `compact`: asks for it, waits, reports.
pub(crate) fn run(client: &Client, show: Show, task: MaintenanceTask) -> Result<Outcome, Error> {
    let request = MaintenanceRequest { task };
    let started = client.call(StartMaintenance, &[], &[], &request)?;
    let run = until_maintained(client, show, task.name(), started)?;
    let succeeded = run.state == RunState::Succeeded;
    Ok(Outcome::new(text(&run), &run).succeeded(succeeded))
}

/// `repository expire --preview`.
pub(crate) fn preview(client: &Client) -> Result<Outcome, Error> {
    let preview = client.ask(PreviewExpiry, &[])?;
    Ok(Outcome::new(preview_text(&preview), &preview))
}

/// `repository forecast`.
pub(crate) fn forecast(
    client: &Client,
    window_days: Option<u32>,
    lock_days: Option<u32>,
) -> Result<Outcome, Error> {
    let named = [("window_days", window_days), ("lock_days", lock_days)];
    let given = named.into_iter().filter_map(|(name, days)| Some((name, days?.to_string())));
    let query: Vec<_> = given.collect();
    let forecast = client.call(GetForecast, &[], &query, &Nothing {})?;
    let days = forecast.seen_seconds.div_ceil(24 * 3600);
    let text = format!("{}\nfrom what came in within {days} days\n", clean(&forecast.text));
    Ok(Outcome::new(text, &forecast))
}

/// All of a task, in lines.
fn text(run: &MaintenanceRun) -> String {
    let mut text = match &run.result {
        Some(MaintenanceResult::Scrub(result)) => scrub_text(result),
        Some(MaintenanceResult::Expire(result)) => expire_text(result),
        Some(MaintenanceResult::Reclaim(freed)) => format!("{}\n", freed_text(*freed)),
        Some(MaintenanceResult::Compact(result)) => compact_text(result),
        None => String::new(),
    };
    if let Some(error) = &run.error {
        let _ = writeln!(text, "{}: {}", clean(&error.title), clean(&error.detail));
        let _ = writeln!(text, "{}", clean(&error.next_step));
    }
    text
}

/// One line on a task, for the status.
pub(super) fn summary(run: &MaintenanceRun) -> String {
    let what = match (&run.result, &run.error) {
        (Some(MaintenanceResult::Scrub(result)), _) => scrub_line(result),
        (Some(MaintenanceResult::Expire(result)), _) => expire_line(result),
        (Some(MaintenanceResult::Reclaim(freed)), _) => freed_text(*freed),
        (Some(MaintenanceResult::Compact(result)), _) => compact_line(result),
        (None, Some(error)) => format!("FAILED: {}", error.detail),
        (None, None) if run.waits => "waits for a backup to end".into(),
        (None, None) => format!("{} of {} read", size(run.done_bytes), size(run.total_bytes)),
    };
    let when = match (run.finished, run.finished_retention) {
        (Some(wall), Some(own)) => format!(" at {wall} (retention clock {own})"),
        _ => " now".into(),
    };
    format!("{}{when}: {what}", run.task.name())
}

fn scrub_line(result: &ScrubResult) -> String {
    let (segments, bytes) = (result.segments, size(result.bytes));
    let mut line = format!("{bytes} in {segments} segments read, {} damaged", result.damaged);
    let _ = write!(line, ", {} repaired", result.repaired_total);
    let _ = write!(line, ", {} beyond repair", result.quarantined_total);
    if result.postponed > 0 {
        let _ = write!(line, ", {} wait for space", result.postponed);
    }
    if result.stopped {
        line.push_str("; it ended early");
    }
    line
}

fn scrub_text(result: &ScrubResult) -> String {
    let mut text = format!("{}\n", scrub_line(result));
    for repaired in &result.repaired {
        let (segment, blocks) = (repaired.segment, repaired.blocks);
        let _ = writeln!(text, "  segment {segment}: repaired, {blocks} blocks had been wrong");
    }
    for lost in &result.quarantined {
        let _ = writeln!(text, "  {}", clean(&lost_line(lost)));
    }
    text
}

/// A segment that is lost, and who needs it.
pub(super) fn lost_line(lost: &QuarantinedSegment) -> String {
    let mut line = format!("segment {}: DAMAGED BEYOND REPAIR", lost.segment);
    if let Some(why) = &lost.why {
        let _ = write!(line, " ({why})");
    }
    let points: Vec<String> =
        lost.points.iter().take(POINTS_MAX).map(ToString::to_string).collect();
    let more = lost.points_total.saturating_sub(points.len() as u64);
    if points.is_empty() {
        line.push_str("; no recovery point needs it");
    } else {
        let _ = write!(line, "; concerned: {}", points.join(", "));
    }
    if more > 0 {
        let _ = write!(line, " and {more} more");
    }
    line
}

fn freed_text(freed: Freed) -> String {
    format!("{} in {} segments freed", size(freed.bytes), freed.segments)
}

fn expire_line(result: &ExpireResult) -> String {
    let (gone, kept, wanted) = (result.deleted_total, result.kept_total, result.wanted);
    let freed = freed_text(result.freed);
    format!("{gone} points deleted, {kept} stay against the rules, {wanted} are wanted; {freed}")
}

fn expire_text(result: &ExpireResult) -> String {
    let mut text = format!("{}\n", expire_line(result));
    for point in &result.deleted {
        let _ = writeln!(text, "  {point} deleted");
    }
    text
}

fn compact_line(result: &CompactResult) -> String {
    let (before, after) = (size(result.bytes_before), size(result.bytes_after));
    format!(
        "{} segments with {before} became {} with {after}, {} were looked at; {}",
        result.from,
        result.to,
        result.examined,
        freed_text(result.freed)
    )
}

fn compact_text(result: &CompactResult) -> String {
    format!("{}\n", compact_line(result))
}

fn preview_text(preview: &ExpiryPreview) -> String {
    let mut table = Table::new(&["POINT", "VM", "CREATED", "WHAT WOULD HAPPEN"], &[]);
    let goes = |_: &ExpiryPoint| "goes".to_owned();
    let stays = |point: &ExpiryPoint| {
        format!("stays: {}", point.reason.as_deref().unwrap_or("no reason is known"))
    };
    let rows = preview.go.iter().map(|point| (point, goes(point)));
    for (point, what) in rows.chain(preview.kept.iter().map(|point| (point, stays(point)))) {
        let (id, created) = (point.id.to_string(), point.created.to_string());
        table.row([id, point.vm.name.clone(), created, what]);
    }
    let (go, kept) = (preview.go.len(), preview.kept.len());
    let (bytes, segments) = (size(preview.freed.bytes), preview.freed.segments);
    format!(
        "{}\n{go} recovery points would go and give back {bytes} in {segments} segments; {kept} \
         that the rules do not want stay\n",
        table.text()
    )
}
