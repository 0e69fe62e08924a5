//! How the appliance fares, from what is known already: no peer is asked.

use super::{Appliance, from_store};
use crate::clock;
use crate::wire::fabric::Seen;
use api::{Health, LunStatus, Reason, RepositoryStatus, SanStatus, Status, VcenterStatus, text};
use console::EngineResult;

pub(super) fn status(appliance: &Appliance) -> EngineResult<Status> {
    let repository = repository_status(appliance)?;
    let vcenter = vcenter_status(appliance);
    let seen = appliance.fabric.seen();
    let mut reasons = Vec::new();
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
    if let Some(error) = &seen.error {
        add(
            "san-unreachable",
            format!("The SAN cannot be used: {error}"),
            "Check the portals and CHAP in the configuration, and the target's access list.",
        );
    }
    for line in &seen.skipped {
        add(
            "san-partly-unreachable",
            format!("A part of the SAN cannot be used: {line}"),
            "Check the target and its access list for this box.",
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
                    "Snapshot '{}' of VM '{}' may still be there.",
                    intent.snapshot, intent.vm.name
                ),
                "It is looked for every few seconds; check that vCenter can be reached.",
            );
        }
    }
    for finding in &appliance.findings {
        add("start", finding.clone(), "See the daemon's log of its start.");
    }
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        state: if reasons.is_empty() { Health::Ok } else { Health::Degraded },
        reasons,
        repository,
        vcenter,
        san: san_status(seen),
        retention_now: text::retention(appliance.repository.clock().value),
        wall_now: text::wall(clock::wall()),
    })
}

fn repository_status(appliance: &Appliance) -> EngineResult<RepositoryStatus> {
    let stats = appliance.repository.stats().map_err(|error| from_store(&error))?;
    let disk = rustix::fs::statvfs(&appliance.config.repository.path);
    Ok(RepositoryStatus {
        path: appliance.config.repository.path.display().to_string(),
        capacity_bytes: disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
        free_bytes: stats.free,
        stored_bytes: stats.bytes,
        points: stats.points,
        segments: stats.segments,
    })
}

fn vcenter_status(appliance: &Appliance) -> VcenterStatus {
    let seen = appliance.vcenter.seen();
    VcenterStatus {
        url: appliance.vcenter.url().into(),
        connected: seen.about.is_some() && seen.error.is_none(),
        full_name: seen.about.map(|about| about.full_name),
        error: seen.error,
    }
}

fn san_status(seen: Seen) -> SanStatus {
    let luns = seen.luns.into_iter().flat_map(|lun| {
        let target = format!("{}, LUN {} at {}", lun.target, lun.lun, lun.portal);
        lun.names.into_iter().map(move |naa| LunStatus {
            naa,
            target: target.clone(),
            capacity_bytes: lun.capacity,
            ready: true,
            datastore: None,
            error: None,
        })
    });
    SanStatus { luns: luns.collect() }
}
