//! Which properties the tree holds, and their values.

use crate::inventory::{SnapshotNode, decode_snapshots};
use crate::wire::{MoRef, Node, ObjectContent};

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text or an enum; never empty.
    Text(String),
    /// True or false.
    Flag(bool),
    /// Another object.
    Reference(MoRef),
    /// A VM's snapshots.
    Snapshots(Vec<SnapshotNode>),
    /// The server gave something that is none of these: why.
    Unreadable(String),
}

impl Value {
    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        let text = match self {
            Self::Text(text) | Self::Unreadable(text) => text.len(),
            Self::Flag(_) => 0,
            Self::Reference(one) => one.kind().len() + one.value().len(),
            Self::Snapshots(roots) => roots.iter().map(snapshot_size).sum(),
        };
        text + size_of::<Self>()
    }
}

/// Recursion is bounded by the depth limit of the reader.
fn snapshot_size(node: &SnapshotNode) -> usize {
    let below: usize = node.children.iter().map(snapshot_size).sum();
    size_of::<SnapshotNode>() + node.name.len() + node.description.len() + below
}

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Flag,
    Reference,
    Snapshots,
}

use Shape::{Flag, Reference, Snapshots, Text};

/// A path means the same in every kind of object that has it.
const SHAPES: &[(&str, Shape)] = &[
    ("name", Text),
    ("parent", Reference),
    ("parentVApp", Reference),
    ("resourcePool", Reference),
    ("runtime.host", Reference),
    ("runtime.powerState", Text),
    ("runtime.connectionState", Text),
    ("runtime.consolidationNeeded", Flag),
    ("runtime.inMaintenanceMode", Flag),
    ("config.instanceUuid", Text),
    ("config.template", Flag),
    ("snapshot", Snapshots),
    ("summary.type", Text),
    ("summary.accessible", Flag),
];

const ENTITY: &[&str] = &["name", "parent"];
const HOST: &[&str] = &["name", "parent", "runtime.connectionState", "runtime.inMaintenanceMode"];
const DATASTORE: &[&str] = &["name", "parent", "summary.type", "summary.accessible"];
const VM: &[&str] = &[
    "name",
    "parent",
    "parentVApp",
    "resourcePool",
    "runtime.host",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "config.instanceUuid",
    "config.template",
    "snapshot",
];

/// What is asked for, by kind; a kind stands for those that are made from it.
pub(crate) const KINDS: &[(&str, &[&str])] = &[
    ("Folder", ENTITY),
    ("Datacenter", ENTITY),
    ("ComputeResource", ENTITY),
    ("HostSystem", HOST),
    ("ResourcePool", ENTITY),
    ("VirtualMachine", VM),
    ("Datastore", DATASTORE),
    ("Network", ENTITY),
];

/// The kind of [`KINDS`] that `kind` is, or is made from.
pub(crate) fn base_of(kind: &str) -> &str {
    match kind {
        "StoragePod" => "Folder",
        "ClusterComputeResource" => "ComputeResource",
        "VirtualApp" => "ResourcePool",
        "DistributedVirtualPortgroup" | "OpaqueNetwork" => "Network",
        other => other,
    }
}

/// The paths of a kind; of one that is not known, what every entity has.
pub(crate) fn paths_of(kind: &str) -> &'static [&'static str] {
    let base = base_of(kind);
    KINDS.iter().find(|(name, _)| *name == base).map_or(ENTITY, |(_, paths)| *paths)
}

/// How a path that the server names stands to ours.
pub(super) enum Named {
    /// One of ours.
    Ours(&'static str),
    /// A part of one of ours, or more than one: only reading it again tells the value.
    Overlaps,
    /// None of our business.
    Other,
}

pub(super) fn named(path: &str) -> Named {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    if let Some((ours, _)) = SHAPES.iter().find(|(ours, _)| *ours == path) {
        return Named::Ours(ours);
    }
    match SHAPES.iter().any(|(ours, _)| within(path, ours) || within(ours, path)) {
        true => Named::Overlaps,
        false => Named::Other,
    }
}

/// A value of the path, which is one of ours; `None`: it is not set.
pub(super) fn decode(path: &'static str, node: Node<'_>) -> Option<Value> {
    let (_, shape) = SHAPES.iter().find(|(ours, _)| *ours == path)?;
    let unreadable = || Value::Unreadable(format!("not understood: {}", node.render(200)));
    match shape {
        Text => Some(node.text()).filter(|text| !text.is_empty()).map(|t| Value::Text(t.into())),
        Flag => Some(node.boolean().map_or_else(unreadable, Value::Flag)),
        Reference => Some(node.moref().map_or_else(|_| unreadable(), Value::Reference)),
        Snapshots => Some(match decode_snapshots(node) {
            Ok(roots) if roots.is_empty() => return None,
            Ok(roots) => Value::Snapshots(roots),
            Err(error) => Value::Unreadable(error.to_string()),
        }),
    }
}

/// All properties of an object that was read.
pub(crate) fn decode_properties(content: &ObjectContent<'_>) -> Vec<(&'static str, Option<Value>)> {
    let read = |(path, _): &(&'static str, Shape)| {
        content.get(path).map(|node| (*path, decode(path, node)))
    };
    SHAPES.iter().filter_map(read).collect()
}
