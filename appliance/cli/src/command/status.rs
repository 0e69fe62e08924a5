//! `holdfast status`.

use super::repository::{lost_line, summary};
use super::san::acknowledged;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, clean, size};
use api::endpoint::GetStatus;
use api::{CareStatus, Health, InventoryStatus, Status, WardenStatus};
use std::fmt::Write as _;

/// `status`: succeeds when the appliance answers, whatever it says.
pub(crate) fn show(client: &Client) -> Result<Outcome, Error> {
    let status = client.ask(GetStatus, &[])?;
    Ok(Outcome::new(text(&status), &status))
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<16} {}", clean(value));
    };
    let state = if status.state == Health::Ok { "ok" } else { "degraded" };
    line("state", &format!("{state}, version {}", status.version));
    for reason in &status.reasons {
        line("  because", &format!("{} {}", reason.text, reason.next_step));
    }
    let store = &status.repository;
    let (free, all) = (size(store.free_bytes), size(store.capacity_bytes));
    line("repository", &format!("{}: {free} of {all} free", store.path));
    let (points, segments, stored) = (store.points, store.segments, size(store.stored_bytes));
    line("", &format!("{points} recovery points, {segments} segments, {stored} stored"));
    let (kept, bytes) = (store.kept_points, size(store.kept_bytes));
    line("", &format!("{kept} of the points are locked or held; they keep {bytes}"));
    line("", if store.encrypted { "encrypted" } else { "not encrypted" });
    care(&store.care, &mut line);
    warden(&store.warden, &mut line);
    let vcenter = &status.vcenter;
    let connected = if vcenter.connected { "connected" } else { "not connected" };
    line("vcenter", &format!("{}: {connected}", vcenter.url));
    for detail in vcenter.full_name.iter().chain(&vcenter.error) {
        line("", detail);
    }
    line("inventory", &followed(&vcenter.inventory));
    for lun in &status.san.luns {
        let state = if lun.ready { "ready" } else { lun.error.as_deref().unwrap_or("not ready") };
        let datastore = lun.datastore.as_deref().unwrap_or("datastore not known");
        let capacity = size(lun.capacity_bytes);
        line("lun", &format!("{}: {state}, {capacity}, {datastore}, {}", lun.naa, lun.target));
        let protected = match (lun.write_protected, &lun.acknowledged) {
            (Some(true), _) => "presented read-only".into(),
            (Some(false), Some(one)) => acknowledged(one),
            (Some(false), None) => {
                "PRESENTED WRITABLE: have it presented read-only to this appliance".into()
            }
            (None, _) => "does not say whether it is presented read-only".into(),
        };
        line("", &format!("{} of {} paths usable, {protected}", lun.paths_usable, lun.paths));
    }
    line("clock", &status.wall_now.to_string());
    let (now, lag) = (status.retention_now, status.retention_lag_seconds);
    line("retention clock", &format!("{now}, {lag} s behind: locks end by this one"));
    if let Some(doubt) = &status.retention_doubt {
        line("", &format!("NOTHING IS RELEASED NOW: {doubt}"));
    }
    text
}

fn followed(inventory: &InventoryStatus) -> String {
    let objects = inventory.objects;
    match (inventory.since, inventory.as_of) {
        (Some(since), _) => format!("live since {since}, {objects} objects"),
        (None, as_of) => {
            let why = inventory.error.as_deref().unwrap_or("it is being listed");
            let age = as_of.map_or("nothing is known".into(), |at| format!("as of {at}"));
            format!("not live ({why}), {age}, {objects} objects")
        }
    }
}

fn care(care: &CareStatus, line: &mut dyn FnMut(&str, &str)) {
    let scrub = &care.scrub;
    let (percent, days) = (scrub.percent_within(), scrub.goal_days);
    let oldest = scrub.oldest.map_or("nothing is stored".into(), |at| format!("oldest {at}"));
    let track = if scrub.on_track { "on track" } else { "BEHIND" };
    line("scrub", &format!("{percent} % read within {days} days, {oldest}, {track}"));
    if scrub.damaged > 0 {
        line("", &format!("{} segments with damage that is not repaired", scrub.damaged));
    }
    for lost in &care.quarantined {
        line("", &lost_line(lost));
    }
    for task in &care.tasks {
        line("", &summary(task));
    }
    let expires = "by the keep rules, once their locks have ended";
    line("expiry", if care.expires { expires } else { "none by itself: no keep rules" });
    if let Some(forecast) = &care.forecast {
        line("forecast", &forecast.text);
    }
}

fn warden(warden: &WardenStatus, line: &mut dyn FnMut(&str, &str)) {
    let process = if warden.own_process { "its own process" } else { "inside the daemon" };
    let answers = if warden.answers { "answers" } else { "DOES NOT ANSWER" };
    line("warden", &format!("{process}, {answers}"));
    if let Some(error) = &warden.error {
        line("", error);
    }
    for what in &warden.not_enforced {
        line("", &format!("NOT enforced: {what}"));
    }
    let officers = warden.officers.join(", ");
    line("officers", if officers.is_empty() { "none: no hold can be released" } else { &officers });
}
