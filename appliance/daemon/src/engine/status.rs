//! How the appliance fares, from what is known already: no peer is asked.

use super::{Appliance, care, from_store, san};
use crate::clock;
use crate::wire::store;
use api::{Health, Reason, RepositoryStatus, Status, VcenterStatus, WardenStatus, text};
use console::EngineResult;
use jobs::{Standing, Suspicion};

/// VMs that one status names for one reason.
const REASONS_MAX: usize = 20;

pub(super) fn status(appliance: &Appliance) -> EngineResult<Status> {
    let now = clock::wall();
    let repository = repository_status(appliance)?;
    let vcenter = vcenter_status(appliance);
    let (san, mut reasons) = san::status(appliance);
    let mut add = |code: &str, text: String, next_step: &str| {
        reasons.push(Reason { code: code.into(), text, next_step: next_step.into() });
    };
    if let Some(error) = &vcenter.error {
        add(
            "vcenter-unreachable",
            format!("vCenter cannot be used: {error}"),
            "Check address, user, password and thumbprint in the configuration.",
        );
    }
    if repository.free_bytes < appliance.config.repository.reserve_mib << 20 {
        add(
            "repository-full",
            format!("Only {} MiB are free; ingest has stopped.", repository.free_bytes >> 20),
            "Add space. Nothing is deleted before its time to make room.",
        );
    }
    for intent in appliance.journal.pending() {
        if appliance.registry.find(intent.run).is_none_or(|run| run.state().is_final()) {
            add(
                "snapshot-left",
                format!(
                    "Snapshot '{}' of VM '{}' may still be there, or its migration held off.",
                    intent.snapshot, intent.vm.name
                ),
                "It is looked for every few seconds; check that vCenter can be reached.",
            );
        }
    }
    for vm in vms_to_consolidate(appliance) {
        add(
            "consolidation-needed",
            format!("The disks of VM '{vm}' need consolidation: it runs on deltas that grow."),
            "Its next backup tries it first; if that fails, find out who holds the disks' files.",
        );
    }
    for (_, text) in appliance.verdicts.differing() {
        add(
            "bytes-differ",
            text,
            "Check the LUN that is presented to this box and the storage. The next backup compares \
             again; until the bytes are equal, none of this datastore is kept.",
        );
    }
    for suspicion in appliance.journal.suspicions().into_iter().filter(Suspicion::alarms) {
        let (text, next_step) = suspected(&suspicion);
        add("changes-kept-back", text, next_step);
    }
    let clock = appliance.repository.clock();
    if let Some(doubt) = &clock.doubt {
        add(
            "clock-in-doubt",
            format!("Nothing is released now: {doubt}"),
            "Check the machine's clocks. Locking, backups and restores go on.",
        );
    }
    let warden = appliance.warden.seen();
    if let Some(error) = &warden.error {
        add(
            "warden-away",
            format!("The warden does not answer: {error}"),
            "Start holdfast-warden again. Until then nothing is committed or deleted; restores go \
             on.",
        );
    }
    for (code, text) in warden.status.iter().flat_map(told) {
        add(code, text, "See the warden's log.");
    }
    for finding in &appliance.findings {
        add("start", finding.clone(), "See the daemon's log of its start.");
    }
    reasons.extend(care::reasons(&repository.care));
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        state: if reasons.is_empty() { Health::Ok } else { Health::Degraded },
        reasons,
        repository,
        vcenter,
        san,
        retention_now: text::retention(clock.value),
        wall_now: text::wall(now),
        retention_lag_seconds: now.0.saturating_sub(clock.value.0),
        retention_doubt: clock.doubt,
    })
}

/// Of the inventory as it is known; a VM whose run is going on merges its disks by itself.
fn vms_to_consolidate(appliance: &Appliance) -> Vec<String> {
    let busy: Vec<_> =
        appliance.journal.pending().into_iter().map(|intent| intent.reference).collect();
    let needed = appliance.vcenter.inventory.read(|tree| {
        let needs = |vm: &vsphere::Object| vm.flag("runtime.consolidationNeeded") == Some(true);
        let vms = tree.vms().filter(|(at, vm)| needs(vm) && !busy.iter().any(|b| b == at.value()));
        let name = |(at, vm): (&vsphere::MoRef, &vsphere::Object)| {
            vm.name().unwrap_or_else(|| at.value().to_owned())
        };
        vms.map(name).take(REASONS_MAX).collect()
    });
    needed.unwrap_or_default()
}

/// What a cross-check found, and what to do.
fn suspected(found: &Suspicion) -> (String, &'static str) {
    let since = match found.standing {
        Standing::ReadInFull(point) => format!("Recovery point {point} was read in full since."),
        Standing::Distrusted | Standing::Proven => "Its next run reads in full.".into(),
    };
    let text = format!(
        "Change tracking of VM '{}' kept a change back: run {} found byte {} of {} changed that it \
         called unchanged. {} recovery points may lack changes ('point list' marks them). {since}",
        found.vm.name,
        found.run,
        found.area.offset,
        found.disk,
        found.points.len(),
    );
    let next_step = "Reset change tracking of the VM (off, a snapshot made and removed, on again) \
         and look for known errors of the host's version. This ends when every area has been \
         compared without finding anything more.";
    (text, next_step)
}

/// What the warden says that needs a person. Damaged segments were found by the daemon too.
fn told(status: &warden::wire::Status) -> Vec<(&'static str, String)> {
    let stopped = status
        .stopped
        .iter()
        .map(|why| ("warden-stopped", format!("The warden takes nothing more: {why}")));
    let damaged = status.found.damaged.iter().filter(|found| !found.path.contains("segments/"));
    let damaged = damaged.map(|found| ("warden-found", format!("{}: {}", found.path, found.what)));
    let more = store::warden_findings(&status.found).into_iter().map(|text| ("warden-found", text));
    stopped.chain(damaged).chain(more).collect()
}

fn warden_status(appliance: &Appliance) -> WardenStatus {
    let seen = appliance.warden.seen();
    let bounds = appliance.repository.bounds();
    WardenStatus {
        own_process: appliance.config.repository.warden.is_some(),
        answers: seen.error.is_none(),
        error: seen.error,
        not_enforced: appliance.warden.not_enforced(),
        officers: appliance.repository.officers(),
        lock_min_seconds: bounds.min_seconds,
        lock_max_seconds: bounds.max_seconds,
    }
}

fn repository_status(appliance: &Appliance) -> EngineResult<RepositoryStatus> {
    let stats = appliance.repository.stats().map_err(|error| from_store(&error))?;
    let kept = appliance.repository.protected();
    let disk = rustix::fs::statvfs(&appliance.config.repository.path);
    Ok(RepositoryStatus {
        path: appliance.config.repository.path.display().to_string(),
        capacity_bytes: disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
        free_bytes: stats.free,
        stored_bytes: stats.bytes,
        points: stats.points,
        segments: stats.segments,
        kept_points: kept.points,
        kept_bytes: kept.bytes,
        encrypted: appliance.repository.is_encrypted(),
        warden: warden_status(appliance),
        care: care::status(appliance),
    })
}

fn vcenter_status(appliance: &Appliance) -> VcenterStatus {
    let seen = appliance.vcenter.seen();
    VcenterStatus {
        url: appliance.vcenter.url().into(),
        connected: seen.about.is_some() && seen.error.is_none(),
        full_name: seen.about.map(|about| about.full_name),
        error: seen.error,
        inventory: appliance.vcenter.inventory.status(),
    }
}
