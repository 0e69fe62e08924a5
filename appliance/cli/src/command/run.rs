//! `holdfast run`, and how a run is shown.

use super::resolve;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Table, clean, size};
use crate::progress::state_word;
use api::endpoint::{CancelRun, GetRun, ListRuns};
use api::{BackupResult, Page, RestoreResult, Run, RunKind, RunResult, RunState, VerifyResult};
use std::fmt::Write as _;

/// `run list`.
pub(crate) fn list(client: &Client) -> Result<Outcome, Error> {
    let items: Vec<Run> = client.all(ListRuns, &[])?;
    Ok(Outcome::new(table(&items), &Page { items, next: None }))
}

/// `run show`.
pub(crate) fn show(client: &Client, id: &str) -> Result<Outcome, Error> {
    let run = client.ask(GetRun, &[&whole(client, id)?])?;
    Ok(Outcome::new(text(&run), &run))
}

/// `run cancel`.
pub(crate) fn cancel(client: &Client, id: &str) -> Result<Outcome, Error> {
    let run = client.ask(CancelRun, &[&whole(client, id)?])?;
    let text = format!("run {} is asked to stop; 'holdfast run show' tells when it has\n", run.id);
    Ok(Outcome::new(text, &run))
}

fn whole(client: &Client, id: &str) -> Result<String, Error> {
    let all = || {
        let runs: Vec<Run> = client.all(ListRuns, &[])?;
        Ok(runs.iter().map(|run| run.id.to_string()).collect())
    };
    resolve("run", id, all)
}

/// Ended with what was wanted.
pub(crate) fn succeeded(run: &Run) -> bool {
    matches!(run.state, RunState::Succeeded | RunState::Warning)
}

/// A line for each run.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut table = Table::new(&["RUN", "KIND", "VM", "STATE", "CREATED", "STEP"], &[]);
    for run in runs {
        let step = run.step.clone().unwrap_or_default();
        let (id, kind, state) = (run.id.to_string(), kind(run.kind), state_word(run.state));
        let cells = [id, kind.into(), run.vm.name.clone(), state.into(), run.created.to_string()];
        table.row(cells.into_iter().chain([step]));
    }
    table.text()
}

/// All of a run.
pub(crate) fn text(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let (kind, vm, state) = (kind(run.kind), clean(&run.vm.name), state_word(run.state));
    let _ = writeln!(text, "{vm}: {kind} {state} (run {})", run.id);
    for step in &run.steps {
        let detail = step.detail.as_ref().map(|d| format!("  {}", clean(d))).unwrap_or_default();
        let _ = writeln!(text, "  {:<26} {:>8.1} s{detail}", clean(&step.name), step.seconds);
    }
    match &run.result {
        Some(RunResult::Backup(result)) => text.push_str(&backup_lines(result)),
        Some(RunResult::Verify(result)) => text.push_str(&verify_lines(result)),
        Some(RunResult::Restore(result)) => text.push_str(&restore_lines(result)),
        None => {}
    }
    for warning in &run.warnings {
        let _ = writeln!(text, "  warning: {}", clean(warning));
    }
    if let Some(error) = &run.error {
        let _ = writeln!(text, "  {}: {}", clean(&error.title), clean(&error.detail));
        let _ = writeln!(text, "  {}", clean(&error.next_step));
    }
    text
}

fn backup_lines(result: &BackupResult) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("nothing new".into(), |r| format!("{r:.2}"));
    let read = result.san_read_bytes + result.network_read_bytes;
    let compared = match result.compared_bytes {
        0 => String::new(),
        bytes => format!("  {} of it only compared: unchanged, as said\n", size(bytes)),
    };
    format!(
        "  recovery point {}\n  {} read ({} from the SAN), {} changed areas with {}\n{compared}  \
         {} stored, deduplication {}, compression {}\n",
        result.point,
        size(read),
        size(result.san_read_bytes),
        result.changed_areas,
        size(result.changed_bytes),
        size(result.stored_bytes),
        ratio(result.dedup_ratio),
        ratio(result.compression_ratio),
    )
}

fn verify_lines(result: &VerifyResult) -> String {
    let mut text = format!("  {} in {} chunks read\n", size(result.bytes), result.chunks);
    for damage in &result.damage {
        let at = match (damage.disk, damage.range) {
            (Some(disk), Some(range)) => {
                format!("disk {disk}, byte {} to {}", range.offset, range.end())
            }
            (Some(disk), None) => format!("disk {disk}"),
            (None, _) => "the recovery point".into(),
        };
        let _ = writeln!(text, "  damaged: {at}: {}", clean(&damage.reason));
    }
    let unlisted = result.damage_total.saturating_sub(result.damage.len() as u64);
    if unlisted > 0 {
        let _ = writeln!(text, "  and {unlisted} more damaged places");
    }
    if result.damage_total == 0 {
        text.push_str("  intact\n");
    }
    text
}

fn restore_lines(result: &RestoreResult) -> String {
    let how = if result.replaced { "in the place of the old one" } else { "new" };
    let (vm, place) = (clean(&result.vm), clean(&result.place));
    let mut text = format!("  VM '{vm}', {how}, in {place}\n");
    for disk in &result.disks {
        let verified = match (&disk.verified, &disk.not_verified) {
            (Some(how), _) => format!("all bytes read back by {} and equal", clean(how)),
            (None, why) => format!("NOT VERIFIED: {}", clean(why.as_deref().unwrap_or("?"))),
        };
        let (capacity, sent) = (size(disk.capacity_bytes), size(disk.sent_bytes));
        let way = clean(&disk.transport);
        let index = disk.index;
        let _ = writeln!(text, "  disk {index}: {capacity}, {sent} sent by {way}; {verified}");
    }
    for line in &result.restored {
        let _ = writeln!(text, "  restored: {}", clean(line));
    }
    text.push_str(if result.powered_on { "  powered on\n" } else { "  powered off\n" });
    text
}

fn kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Backup => "backup",
        RunKind::Verify => "verify",
        RunKind::Restore => "restore",
    }
}
