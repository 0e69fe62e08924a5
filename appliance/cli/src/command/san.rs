//! `holdfast san`: what the appliance sees of the SAN.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Table, clean, duration, size};
use api::endpoint::{
    AcknowledgeLun, DiscoverPortal, ListFcPorts, ListSanLuns, ListSanPaths, ListSanSessions,
    LoginSan, TestLun,
};
use api::{
    Acknowledgement, AcknowledgementRequest, Discovered, DiscoveryRequest, FcPorts, LunTest,
    LunTestRequest, SanLun, SanLuns, SanPath, SanPathState, SanPaths, SanProblem, SanSessions,
};
use std::fmt::Write as _;

/// `san discover`.
pub(crate) fn discover(client: &Client, portal: &str, as_asked: bool) -> Result<Outcome, Error> {
    let request = DiscoveryRequest { portal: portal.into(), as_asked };
    let found = client.call(DiscoverPortal, &[], &[], &request)?;
    Ok(Outcome::new(discovered_text(&found), &found))
}

/// `san login`: succeeds when everything that is configured can be used.
pub(crate) fn login(client: &Client, show: bool) -> Result<Outcome, Error> {
    let sessions =
        if show { client.ask(ListSanSessions, &[])? } else { client.ask(LoginSan, &[])? };
    let good = sessions.problems.is_empty() && sessions.sessions.iter().all(|session| session.up);
    Ok(Outcome::new(sessions_text(&sessions), &sessions).succeeded(show || good))
}

/// `san luns`.
pub(crate) fn luns(client: &Client) -> Result<Outcome, Error> {
    let luns = client.ask(ListSanLuns, &[])?;
    Ok(Outcome::new(luns_text(&luns), &luns))
}

/// `san acknowledge`.
pub(crate) fn acknowledge(
    client: &Client,
    lun: &str,
    by: &str,
    note: &str,
) -> Result<Outcome, Error> {
    let request = AcknowledgementRequest { by: by.into(), note: note.into() };
    let lun = client.call(AcknowledgeLun, &[lun], &[], &request)?;
    let text = lun.acknowledged.iter().map(|one| acknowledged_line(&lun, one)).collect();
    Ok(Outcome::new(text, &lun))
}

/// `san paths`.
pub(crate) fn paths(client: &Client) -> Result<Outcome, Error> {
    let paths = client.ask(ListSanPaths, &[])?;
    Ok(Outcome::new(paths_text(&paths), &paths))
}

/// `san fc`.
pub(crate) fn fc(client: &Client) -> Result<Outcome, Error> {
    let ports = client.ask(ListFcPorts, &[])?;
    Ok(Outcome::new(fc_text(&ports), &ports))
}

/// `san test`.
pub(crate) fn test(client: &Client, lun: &str, seconds: u32) -> Result<Outcome, Error> {
    let request = LunTestRequest { seconds };
    let tested = client.call(TestLun, &[lun], &[], &request)?;
    Ok(Outcome::new(test_text(&tested), &tested))
}

fn discovered_text(found: &Discovered) -> String {
    let mut table = Table::new(&["TARGET", "PORTAL", "GROUP", "CONFIGURED"], &[]);
    for place in &found.targets {
        let group = place.group.map_or_else(String::new, |group| group.to_string());
        let configured = if place.configured { "yes" } else { "no" };
        table.row([place.target.clone(), place.portal.clone(), group, configured.into()]);
    }
    let mut text = table.text();
    for place in found.targets.iter().filter(|place| !place.configured) {
        let (portal, target) = (clean(&place.portal), clean(&place.target));
        let _ = write!(text, "\n[[san.portal]]\nportal = \"{portal}\"\ntarget = \"{target}\"\n");
    }
    text
}

fn sessions_text(sessions: &SanSessions) -> String {
    let mut table = Table::new(&["TARGET", "PORTAL", "STATE", "DIGESTS", "LUNS"], &[4]);
    for session in &sessions.sessions {
        let digests = match (session.header_digest, session.data_digest) {
            (true, true) => "header, data",
            (true, false) => "header",
            (false, true) => "data",
            (false, false) => "none",
        };
        let state = if session.up { "logged in" } else { "LOST" };
        let (target, portal) = (session.target.clone(), session.portal.clone());
        table.row([target, portal, state.into(), digests.into(), session.luns.to_string()]);
    }
    table.text() + &problems_text(&sessions.problems)
}

fn problems_text(problems: &[SanProblem]) -> String {
    let line = |problem: &SanProblem| {
        let lun = problem.lun.as_ref().map_or_else(String::new, |lun| format!("LUN {lun} of "));
        let (target, portal) = (&problem.target, &problem.portal);
        format!("NOT USED: {}\n", clean(&format!("{lun}{target} at {portal}: {}", problem.error)))
    };
    problems.iter().map(line).collect()
}

fn luns_text(luns: &SanLuns) -> String {
    let heads = ["LUN", "SIZE", "BLOCK", "DEVICE", "SERIAL", "PATHS", "PRESENTED"];
    let mut table = Table::new(&heads, &[1, 2]);
    for lun in &luns.luns {
        let name = lun.names.first().map_or_else(|| "(no name)".into(), ToString::to_string);
        let device = format!("{} {}", lun.vendor, lun.product);
        let paths = format!("{} of {} usable", lun.paths_usable, lun.paths);
        let serial = lun.serial.clone().unwrap_or_default();
        let thin = if lun.thin { ", thin" } else { "" };
        let presented = format!("{}{thin}", presented(lun));
        let (capacity, block) = (size(lun.capacity_bytes), lun.block_bytes.to_string());
        table.row([name, capacity, block, device, serial, paths, presented]);
    }
    let mut text = table.text();
    for lun in &luns.luns {
        text.extend(lun.acknowledged.iter().map(|one| acknowledged_line(lun, one)));
    }
    let mut advice: Vec<&str> = luns.luns.iter().map(|lun| lun.advice.as_str()).collect();
    advice.sort_unstable();
    advice.dedup();
    for advice in advice.into_iter().filter(|advice| !advice.is_empty()) {
        let _ = writeln!(text, "{}", clean(advice));
    }
    text + &problems_text(&luns.problems)
}

fn acknowledged_line(lun: &SanLun, one: &Acknowledgement) -> String {
    let name = lun.names.first().map_or_else(|| "(no name)".into(), ToString::to_string);
    format!("{name}: {}\n", clean(&acknowledged(one)))
}

/// Who accepted it, when and why; as it came.
pub(super) fn acknowledged(one: &Acknowledgement) -> String {
    let note = if one.note.is_empty() { String::new() } else { format!(": {}", one.note) };
    format!("presented writable, accepted by {} at {}{note}", one.by, one.at)
}

fn presented(lun: &SanLun) -> &'static str {
    match lun.write_protected {
        Some(true) => "read-only",
        Some(false) if lun.acknowledged.is_some() => "writable, accepted",
        Some(false) => "WRITABLE",
        None => "not told",
    }
}

fn paths_text(paths: &SanPaths) -> String {
    let heads =
        ["LUN", "TARGET", "PORTAL", "AS", "STATE", "ACCESS", "LATENCY", "READ", "LAST GOOD"];
    let mut table = Table::new(&heads, &[6, 7]);
    for path in &paths.paths {
        let name = path.naa.as_ref().map_or_else(|| "(no name)".into(), ToString::to_string);
        let access = path.access.clone().unwrap_or_else(|| "not told".into());
        let latency =
            path.latency_microseconds.map_or_else(String::new, |micros| format!("{micros} µs"));
        let good = path.last_good_seconds;
        let good = good.map_or_else(|| "never".into(), |ago| format!("{} ago", duration(ago)));
        let (target, portal, lun) = (path.target.clone(), path.portal.clone(), path.lun.clone());
        let (state, read) = (path.state.name().into(), size(path.read_bytes));
        table.row([name, target, portal, lun, state, access, latency, read, good]);
    }
    table.text() + &notes(&paths.paths)
}

/// What is the matter with those that are not used.
fn notes(paths: &[SanPath]) -> String {
    let usable = [SanPathState::Active, SanPathState::Ready];
    let troubled = paths.iter().filter(|path| !usable.contains(&path.state));
    let line = |path: &SanPath| {
        let (target, portal, state) = (&path.target, &path.portal, path.state.name());
        let note = path.note.as_deref().unwrap_or("no error was seen");
        format!("{}\n", clean(&format!("{target} by {portal}: {state}: {note}")))
    };
    troubled.map(line).collect()
}

fn fc_text(found: &FcPorts) -> String {
    if found.ports.is_empty() {
        return "This appliance has no Fibre Channel port.\n".into();
    }
    let mut table = Table::new(&["PORT", "WWPN", "STATE", "SPEED", "LOST AFTER"], &[]);
    let unknown = || "not told".to_owned();
    for port in &found.ports {
        let name = port.port_name.clone().unwrap_or_else(unknown);
        let state = port.state.clone().unwrap_or_else(unknown);
        let speed = port.speed.clone().unwrap_or_default();
        table.row([port.host.clone(), name, state, speed, String::new()]);
        for remote in &port.remote_ports {
            let kind = if remote.target { "  target" } else { "  other" };
            let name = remote.port_name.clone().unwrap_or_else(unknown);
            let state = remote.state.clone().unwrap_or_else(unknown);
            let after = remote.fast_io_fail_seconds.or(remote.dev_loss_seconds);
            let after = after.map_or_else(unknown, |seconds| format!("{seconds} s"));
            table.row([kind.into(), name, state, String::new(), after]);
        }
    }
    let used = if found.used {
        ""
    } else {
        "LUNs behind these ports are not read: san.kernel is not set in the configuration.\n"
    };
    table.text() + used
}

fn test_text(tested: &LunTest) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12} {}", clean(value));
    };
    let lun = &tested.lun;
    let name = lun.names.first().map_or_else(|| "(no name)".into(), ToString::to_string);
    let (device, capacity) = (format!("{} {}", lun.vendor, lun.product), size(lun.capacity_bytes));
    line("lun", &format!("{name}: {device}, {capacity}, presented {}", presented(lun)));
    line("identity", "the same before and after, by every path that was used");
    let (p50, p99) = (tested.latency_p50_microseconds, tested.latency_p99_microseconds);
    let reads = tested.latency_reads;
    line("latency", &format!("{p50} µs median, {p99} µs in 99 of 100 ({reads} reads of 4 KiB)"));
    line(
        "sequential",
        &format!("{}/s in reads of 1 MiB", size(tested.sequential_bytes_per_second)),
    );
    line("random", &format!("{} reads of 4 KiB per second", tested.random_reads_per_second));
    let paths = SanPaths { paths: tested.paths.clone() };
    format!("{text}\n{}", paths_text(&paths))
}
