//! `holdfast point`.

use super::{resolve, run};
use crate::client::Client;
use crate::error::Error;
use crate::export::Export;
use crate::output::{Outcome, Show, Table, clean, size};
use crate::part::Part;
use crate::progress::Meter;
use crate::restore::Restore;
use crate::watch::until_done;
use api::endpoint::{DeletePoint, GetPoint, ListPoints, VerifyPoint};
use api::{
    LockView, Page, PointDetail, PointDisk, PointMode, PointSummary, Portrait, Verification,
};
use model::{Consistency, ReadMode, Transport};
use std::fmt::Write as _;
use std::path::Path;

/// `point list`.
pub(crate) fn list(client: &Client, vm: Option<&str>) -> Result<Outcome, Error> {
    let query: Vec<_> = vm.map(|vm| ("vm", vm.to_owned())).into_iter().collect();
    let items: Vec<PointSummary> = client.all(ListPoints, &query)?;
    let heads = ["POINT", "VM", "CREATED", "READ", "SIZE", "ADDED", "LOCK", "VERIFIED"];
    let mut table = Table::new(&heads, &[4, 5]);
    for point in &items {
        let (id, vm, created) = (point.id, point.vm.name.clone(), point.created);
        let read = match point.configuration {
            true => "configuration".into(),
            false => format!("{}, {}", mode(point.mode), transport(point.transport)),
        };
        let (all, added) = (size(point.size_bytes), size(point.stored_new_bytes));
        let (lock, mut verified) = (lock(point.lock.as_ref()), verified(point.verified.as_ref()));
        if !point.lost_segments.is_empty() {
            verified = format!("LOST IN PART, {verified}");
        }
        if point.suspected_by.is_some() {
            verified = format!("SUSPECT, {verified}");
        }
        table.row([id.to_string(), vm, created.to_string(), read, all, added, lock, verified]);
    }
    Ok(Outcome::new(table.text(), &Page { items, next: None }))
}

/// `point show`.
pub(crate) fn show(client: &Client, id: &str) -> Result<Outcome, Error> {
    let point = client.ask(GetPoint, &[&whole(client, id)?])?;
    Ok(Outcome::new(text(&point), &point))
}

/// `point verify`.
pub(crate) fn verify(
    client: &Client,
    show: Show,
    id: &str,
    no_wait: bool,
) -> Result<Outcome, Error> {
    let started = client.ask(VerifyPoint, &[&whole(client, id)?])?;
    let runs = if no_wait { vec![started] } else { until_done(client, show, vec![started])? };
    let run = runs.first().expect("one run was started and watched");
    let succeeded = no_wait || run::succeeded(run);
    Ok(Outcome::new(run::text(run), run).succeeded(succeeded))
}

/// `point delete`.
pub(crate) fn delete(client: &Client, id: &str) -> Result<Outcome, Error> {
    let id = whole(client, id)?;
    client.ask(DeletePoint, &[&id])?;
    let text = format!("recovery point {id} is deleted\n");
    Ok(Outcome::new(text, &serde_json::json!({ "deleted": id })))
}

/// `point restore`.
pub(crate) fn restore(
    client: &Client,
    show: Show,
    id: &str,
    disk: u32,
    output: &Path,
    force: bool,
) -> Result<Outcome, Error> {
    let point = &whole(client, id)?;
    let (vm, capacity, left_out) = known_disk(client, point, disk)?;
    let mut meter = Meter::new(show, std::slice::from_ref(&vm));
    let restore = Restore { client, point, disk, output, force };
    let done = restore.run(capacity, &mut meter)?;
    meter.done(0, true, "restored");
    let text = format!(
        "disk {disk} of {} is restored to {}: {}, {} of it data\n{}",
        clean(&vm),
        output.display(),
        size(done.capacity_bytes),
        size(done.written_bytes),
        zeros(left_out),
    );
    let json = serde_json::json!({
        "point": point,
        "disk": disk,
        "output": output.display().to_string(),
        "capacity_bytes": done.capacity_bytes,
        "fetched_bytes": done.fetched_bytes,
        "written_bytes": done.written_bytes,
        "excluded_bytes": left_out,
    });
    Ok(Outcome::new(text, &json))
}

/// `point restore --format vmdk`.
pub(crate) fn export(
    client: &Client,
    show: Show,
    id: &str,
    disk: u32,
    output: &Path,
    force: bool,
) -> Result<Outcome, Error> {
    let point = &whole(client, id)?;
    let (vm, capacity_bytes, left_out) = known_disk(client, point, disk)?;
    let mut meter = Meter::new(show, std::slice::from_ref(&vm));
    let file_bytes = Export { client, point, disk, output, force }.run(&mut meter)?;
    meter.done(0, true, "exported");
    let output = output.display().to_string();
    let (disk_size, file_size) = (size(capacity_bytes), size(file_bytes));
    let text = format!(
        "disk {disk} of {} is exported to {output}: {disk_size} as a VMDK of {file_size}\n{}",
        clean(&vm),
        zeros(left_out)
    );
    let json = serde_json::json!({
        "point": point, "disk": disk, "output": output,
        "capacity_bytes": capacity_bytes, "file_bytes": file_bytes,
        "excluded_bytes": left_out,
    });
    Ok(Outcome::new(text, &json))
}

/// The VM's name, the capacity of one of the point's disks, and how much was left out of it.
fn known_disk(client: &Client, point: &str, disk: u32) -> Result<(String, u64, u64), Error> {
    let detail = client.ask(GetPoint, &[point])?;
    let found = detail.disks.iter().find(|known| known.index == disk);
    let known = found.ok_or_else(|| Error::NoDisk { point: point.to_owned(), disk })?;
    let left_out = known.excluded.iter().map(model::Exclusion::bytes).sum();
    Ok((detail.summary.vm.name, known.capacity_bytes, left_out))
}

/// What a restore says of what the point does not keep.
fn zeros(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        bytes => format!("{} of it were left out and are zeros; see 'point show'\n", size(bytes)),
    }
}

/// `point file`.
pub(crate) fn file(
    client: &Client,
    id: &str,
    name: &str,
    output: &Path,
    force: bool,
) -> Result<Outcome, Error> {
    let point = whole(client, id)?;
    let bytes = client.file(&point, name)?;
    let length = bytes.len() as u64;
    let mut part = Part::create(output, force)?;
    part.append(&bytes)?;
    part.publish(length)?;
    let text = format!("{} is written to {}, {}\n", clean(name), output.display(), size(length));
    let output = output.display().to_string();
    let json =
        serde_json::json!({ "point": point, "file": name, "output": output, "bytes": length });
    Ok(Outcome::new(text, &json))
}

pub(super) fn whole(client: &Client, id: &str) -> Result<String, Error> {
    resolve("recovery point", id, || {
        let points: Vec<PointSummary> = client.all(ListPoints, &[])?;
        Ok(points.iter().map(|point| point.id.to_string()).collect())
    })
}

fn text(point: &PointDetail) -> String {
    let summary = &point.summary;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12} {}", clean(value));
    };
    line("point", &summary.id.to_string());
    line("vm", &format!("{} ({})", summary.vm.name, summary.vm.uuid));
    line("server", &point.server_uuid);
    line("created", &summary.created.to_string());
    if summary.configuration {
        line("holds", "a configuration: files, and no disks");
    } else {
        line("consistency", consistency(summary.consistency));
    }
    line("lock", &format!("{}{}", lock(summary.lock.as_ref()), by_the_clock(summary.lock)));
    if !point.holds.is_empty() {
        line("held for", &point.holds.join(", "));
    }
    line("verified", &verified(summary.verified.as_ref()));
    if !summary.lost_segments.is_empty() {
        let lost: Vec<String> = summary.lost_segments.iter().map(ToString::to_string).collect();
        let lost = lost.join(", ");
        line("lost", &format!("what lies in segments {lost}, which are damaged beyond repair"));
        line("", "'point verify' lists it; everything else of the point can be restored");
    }
    if let Some(run) = summary.suspected_by {
        line("suspect", &format!("run {run} found that change tracking keeps changes back"));
        line("", "areas of this point may be older than it is; see 'holdfast status'");
    }
    line("size", &size(summary.size_bytes));
    line("added", &size(summary.stored_new_bytes));
    line("run", &point.run.to_string());
    line("previous", &point.previous.map_or("none".into(), |id| id.to_string()));
    portrait_lines(point.portrait.as_ref(), &mut line);
    for disk in &point.not_contained {
        line("missing", &format!("{} {}: {}", disk.label, disk.path, disk.reason));
    }
    for disk in &point.disks {
        for left in &disk.excluded {
            let bytes = size(left.bytes());
            line(
                "left out",
                &format!("disk {}: {}, {bytes}; zeros when restored", disk.index, left.what),
            );
        }
        for part in &disk.passed_over {
            line("kept", &format!("disk {}: nothing left out of {part}", disk.index));
        }
    }
    for file in &point.files {
        line("file", &format!("{}, {}", file.name, size(file.size_bytes)));
    }
    if summary.configuration {
        return text;
    }
    let mut table =
        Table::new(&["DISK", "SIZE", "READ", "CHANGED", "ADDED", "PATH", "HOW"], &[0, 1, 2, 3, 4]);
    point.disks.iter().for_each(|disk| table.row(disk_cells(disk)));
    format!("{text}\n{}", table.text())
}

/// The VM in its inventory; what is not known has no line.
fn portrait_lines(portrait: Option<&Portrait>, line: &mut impl FnMut(&str, &str)) {
    let Some(portrait) = portrait else { return };
    let path = |parts: &[String]| parts.join("/");
    let one = |text: &Option<String>| text.clone().unwrap_or_default();
    let tags: Vec<_> =
        portrait.tags.iter().map(|tag| format!("{}: {}", tag.category, tag.name)).collect();
    let hardware = [&portrait.guest_id, &portrait.hardware_version, &portrait.firmware];
    let hardware: Vec<_> = hardware.into_iter().flatten().cloned().collect();
    let lines = [
        ("hardware", hardware.join(", ")),
        ("datacenter", one(&portrait.datacenter)),
        ("folder", path(&portrait.folder)),
        ("cluster", one(&portrait.compute)),
        ("pool", path(&portrait.resource_pool)),
        ("host", one(&portrait.host)),
        ("datastores", portrait.datastores.join(", ")),
        ("networks", portrait.networks.join(", ")),
        ("tags", tags.join(", ")),
        ("notes", one(&portrait.notes)),
    ];
    lines.iter().filter(|(_, text)| !text.is_empty()).for_each(|(name, text)| line(name, text));
    for nic in &portrait.nics {
        let network = nic.network.as_deref().unwrap_or("no network");
        line("nic", &format!("{}: {} on {network}", nic.label, nic.mac));
    }
    for attribute in &portrait.custom_attributes {
        line("attribute", &format!("{} = {}", attribute.name, attribute.value));
    }
    portrait.missing.iter().for_each(|missing| line("not kept", missing));
}

fn disk_cells(disk: &PointDisk) -> [String; 7] {
    let how = match &disk.read {
        ReadMode::Full { reason } => format!("full, {}: {reason}", transport(disk.transport)),
        ReadMode::Incremental => format!("incremental, {}", transport(disk.transport)),
    };
    let stats = &disk.stats;
    [
        disk.index.to_string(),
        size(disk.capacity_bytes),
        size(stats.read_bytes),
        size(stats.changed_bytes),
        size(stats.stored_bytes),
        disk.path.clone(),
        how,
    ]
}

/// Whose clock decides: said where there is room for it.
fn by_the_clock(lock: Option<LockView>) -> &'static str {
    match lock {
        Some(LockView { locked: true, .. }) => " by the appliance's own clock",
        _ => "",
    }
}

pub(super) fn lock(lock: Option<&LockView>) -> String {
    match lock {
        None => "none".into(),
        Some(lock) if lock.locked => {
            format!("{}, protected at least until {}", lock.mode, lock.until)
        }
        Some(lock) => format!("{}, ended", lock.mode),
    }
}

fn verified(verified: Option<&Verification>) -> String {
    match verified {
        None => "not yet".into(),
        Some(Verification { at, intact: true }) => format!("intact at {at}"),
        Some(Verification { at, intact: false }) => format!("DAMAGED at {at}"),
    }
}

fn mode(mode: PointMode) -> &'static str {
    match mode {
        PointMode::Full => "full",
        PointMode::Incremental => "incremental",
    }
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::San => "san",
        Transport::Network => "network",
    }
}

fn consistency(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "as after a power cut",
        Consistency::Quiesced => "quiesced",
        Consistency::PoweredOff => "powered off",
    }
}
