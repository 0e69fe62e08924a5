//! `holdfast vm`.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Table, size};
use api::endpoint::ListVms;
use api::{Cbt, DiskTransport, Page, PowerState, VmDisk, VmSummary};

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
