//! `holdfast vm`.

use super::{point, run};
use crate::args::VmRestore;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Show, Table, size};
use crate::watch::until_done;
use api::endpoint::{ListVms, RestorePoint};
use api::{Cbt, DiskTransport, Page, PowerState, RestoreRequest, VmDisk, VmSummary};

/// `vm list`: a line for each disk.
pub(crate) fn list(client: &Client) -> Result<Outcome, Error> {
    let items: Vec<VmSummary> = client.all(ListVms, &[])?;
    let heads = ["VM", "POWER", "CBT", "DISK", "SIZE", "DATASTORE", "TRANSPORT", "LAST POINT"];
    let mut table = Table::new(&heads, &[4]);
    for vm in &items {
        let last = vm.last_point.as_ref().map_or("none".into(), |last| last.created.to_string());
        let first = [vm.name.clone(), power(vm.power_state).into(), cbt(vm.cbt).into()];
        let mut before = first;
        for disk in &vm.disks {
            table.row(before.into_iter().chain(disk_cells(disk)).chain([last.clone()]));
            before = [const { String::new() }; 3];
        }
        if vm.disks.is_empty() {
            table.row(before.into_iter().chain([const { String::new() }; 4]).chain([last]));
        }
    }
    Ok(Outcome::new(table.text(), &Page { items, next: None }))
}

/// `vm restore`.
pub(crate) fn restore(client: &Client, show: Show, wanted: &VmRestore) -> Result<Outcome, Error> {
    let id = point::whole(client, &wanted.point.id)?;
    let request = RestoreRequest {
        name: wanted.name.clone(),
        replace: wanted.confirm.clone(),
        datacenter: wanted.datacenter.clone(),
        folder: wanted.folder.clone(),
        cluster: wanted.cluster.clone(),
        pool: wanted.pool.clone(),
        host: wanted.host.clone(),
        datastore: wanted.datastore.clone(),
        network: wanted.network.clone(),
        connect: wanted.connect,
        thin: wanted.thin,
        verify: !wanted.no_verify,
        power_on: wanted.power_on,
    };
    let started = client.call(RestorePoint, &[&id], &[], &request)?;
    let runs =
        if wanted.no_wait { vec![started] } else { until_done(client, show, vec![started])? };
    let ended = runs.first().expect("one run was started and watched");
    let succeeded = wanted.no_wait || run::succeeded(ended);
    Ok(Outcome::new(run::text(ended), ended).succeeded(succeeded))
}

fn disk_cells(disk: &VmDisk) -> [String; 4] {
    let way = match disk.transport {
        DiskTransport::San => "san",
        DiskTransport::Network => "network",
        DiskTransport::None => "none",
    };
    let because = disk.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let (label, size) = (disk.label.clone(), size(disk.capacity_bytes));
    [label, size, disk.datastore.clone(), format!("{way}{because}")]
}

fn power(state: PowerState) -> &'static str {
    match state {
        PowerState::PoweredOn => "on",
        PowerState::PoweredOff => "off",
        PowerState::Unknown => "unknown",
        PowerState::Suspended => "suspended",
    }
}

fn cbt(cbt: Cbt) -> &'static str {
    match (cbt.supported, cbt.enabled) {
        (false, _) => "unsupported",
        (true, false) => "off",
        (true, true) => "on",
    }
}
