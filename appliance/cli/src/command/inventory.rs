//! `holdfast inventory` and `holdfast snapshots`.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Table, clean, size};
use api::endpoint::{ListInventory, ListSnapshots};
use api::{InventoryKind, InventoryObject, Page, PowerState, SnapshotOwner, SnapshotView};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Objects within one another that are followed; a server that says more says a circle.
const DEPTH_MAX: usize = 64;

/// `inventory`: the tree, by kind and name.
pub(crate) fn show(client: &Client) -> Result<Outcome, Error> {
    let items: Vec<InventoryObject> = client.all(ListInventory, &[])?;
    Ok(Outcome::new(tree(&items), &Page { items, next: None }))
}

/// Those below the same object, as they are shown.
type Children<'a> = BTreeMap<Option<&'a str>, Vec<&'a InventoryObject>>;

fn tree(items: &[InventoryObject]) -> String {
    let known: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    let mut children = Children::new();
    for item in items {
        let parent = item.parent.as_deref().filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(item);
    }
    for below in children.values_mut() {
        below.sort_by(|a, b| (a.kind, &a.name, &a.id).cmp(&(b.kind, &b.name, &b.id)));
    }
    let mut text = String::new();
    branch(&mut text, &children, None, 0);
    text
}

fn branch(text: &mut String, children: &Children<'_>, of: Option<&str>, depth: usize) {
    for item in children.get(&of).into_iter().flatten().filter(|_| depth < DEPTH_MAX) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:indent$}{}", "", clean(&line(item)), indent = depth * 2);
        branch(text, children, Some(&item.id), depth + 1);
    }
}

fn line(item: &InventoryObject) -> String {
    let mut line = format!("{} ({}", item.name, kind(item.kind));
    match item.power_state {
        Some(PowerState::PoweredOn) => line.push_str(", on"),
        Some(PowerState::PoweredOff) => line.push_str(", off"),
        Some(PowerState::Suspended) => line.push_str(", suspended"),
        Some(PowerState::Unknown) | None => {}
    }
    if let Some(kind) = &item.datastore_type {
        let _ = write!(line, ", {kind}");
    }
    if item.snapshots > 0 {
        let _ = write!(line, ", snapshots: {}", item.snapshots);
    }
    for remark in &item.remarks {
        let _ = write!(line, ", {remark}");
    }
    line.push(')');
    line
}

fn kind(kind: InventoryKind) -> &'static str {
    match kind {
        InventoryKind::Datacenter => "datacenter",
        InventoryKind::Folder => "folder",
        InventoryKind::Cluster => "cluster",
        InventoryKind::ComputeResource => "compute resource",
        InventoryKind::Host => "host",
        InventoryKind::ResourcePool => "resource pool",
        InventoryKind::VApp => "vApp",
        InventoryKind::Vm => "vm",
        InventoryKind::Template => "template",
        InventoryKind::DatastoreCluster => "datastore cluster",
        InventoryKind::Datastore => "datastore",
        InventoryKind::Network => "network",
        InventoryKind::Other => "other",
    }
}

/// `snapshots`: a line for each.
pub(crate) fn snapshots(client: &Client) -> Result<Outcome, Error> {
    let items: Vec<SnapshotView> = client.all(ListSnapshots, &[])?;
    let mut table = Table::new(&["VM", "SNAPSHOT", "OF", "CREATED", "AGE", "DELTA"], &[4, 5]);
    for item in &items {
        let created = item.created.map_or("unknown".into(), |at| at.to_string());
        let age = item.age_seconds.map_or("unknown".into(), age);
        let delta = item.delta_bytes.map_or("unknown".into(), size);
        table.row([item.vm.clone(), item.name.clone(), owner(item), created, age, delta]);
    }
    Ok(Outcome::new(table.text(), &Page { items, next: None }))
}

fn owner(item: &SnapshotView) -> String {
    let detail = item.owner_detail.as_deref();
    match item.owner {
        SnapshotOwner::Run => format!("run {}", detail.unwrap_or("of this appliance")),
        SnapshotOwner::OtherHoldfast => "Holdfast, no run of this appliance".into(),
        SnapshotOwner::OtherProduct => detail.unwrap_or("another product").into(),
        SnapshotOwner::Unknown => "unknown".into(),
    }
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
