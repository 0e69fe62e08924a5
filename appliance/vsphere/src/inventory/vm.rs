//! Virtual machines and their snapshot trees.

use super::disk::{Disk, decode_disks};
use crate::wire::{MoRef, Node, ObjectContent, WireError};
use model::VmUuid;

/// A virtual machine as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The reference to use in calls.
    pub moref: MoRef,
    /// Its name; the reference's value when the server gives none.
    pub name: String,
    /// `config.uuid` (BIOS): not unique after careless cloning.
    pub uuid: Option<String>,
    /// `config.instanceUuid`: unique within the server. Unknown: the VM cannot be protected.
    pub instance_uuid: Option<VmUuid>,
    /// A template cannot be snapshotted.
    pub template: bool,
    /// Power.
    pub power_state: PowerState,
    /// N of `vmx-N`; change tracking needs 7.
    pub hardware_version: Option<u32>,
    /// `capability.changeTrackingSupported`.
    pub cbt_supported: bool,
    /// `config.changeTrackingEnabled`; it acts only after the next stun of the VM.
    pub cbt_enabled: bool,
    /// VMware Tools run, so a quiesced snapshot is possible; else `quiesce` is silently ignored.
    pub tools_running: bool,
    /// `runtime.connectionState` is `connected`.
    pub connected: bool,
    /// `config.keyId` is there: its own files are encrypted by vSphere.
    pub encrypted: bool,
    /// `config.ftInfo` and `runtime.faultToleranceState`; `None`: not fault tolerant.
    pub fault_tolerance: Option<FaultTolerance>,
    /// `runtime.consolidationNeeded`: deltas are left over from a removed snapshot.
    pub consolidation_needed: bool,
    /// Such as `[datastore1] web01/web01.vmx`.
    pub vmx_path: Option<String>,
    /// Disks, in the order of the server.
    pub disks: Vec<Disk>,
    /// Roots of the snapshot tree.
    pub snapshots: Vec<SnapshotNode>,
    /// The datastores it uses.
    pub datastores: Vec<MoRef>,
    /// What could not be read, for people: one line each. A VM with problems is listed, and must
    /// not be backed up as if it were whole.
    pub problems: Vec<String>,
}

/// A VM of a fault-tolerant pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultTolerance {
    /// `ftInfo.role`: 1 is the primary, greater ones are secondaries.
    pub role: u64,
    /// `ftInfo.orphaned`: its primary is gone.
    pub orphaned: bool,
    /// `runtime.faultToleranceState`, such as `running` or `needSecondary`.
    pub state: String,
}

/// `runtime.powerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Running.
    On,
    /// Powered off.
    Off,
    /// Suspended.
    Suspended,
    /// The server did not say, or said something new.
    Unknown,
}

/// A snapshot and those taken after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotNode {
    /// The reference to use in calls.
    pub moref: MoRef,
    /// Its name; not unique.
    pub name: String,
    /// Its description.
    pub description: String,
    /// When it was made, as the server says it (`xsd:dateTime`).
    pub created: Option<String>,
    /// Snapshots that depend on it.
    pub children: Vec<SnapshotNode>,
}

impl SnapshotNode {
    /// All snapshots of these trees that carry `name`, parents first.
    #[must_use]
    pub fn find_all<'a>(roots: &'a [Self], name: &str) -> Vec<&'a Self> {
        let mut found = Vec::new();
        for node in roots {
            if node.name == name {
                found.push(node);
            }
            found.extend(Self::find_all(&node.children, name));
        }
        found
    }
}

/// What [`decode_vm`] reads.
pub(crate) const VM_PROPERTIES: &[&str] = &[
    "name",
    "config.uuid",
    "config.instanceUuid",
    "config.template",
    "config.version",
    "config.files.vmPathName",
    "config.changeTrackingEnabled",
    "config.hardware.device",
    "config.keyId",
    "config.ftInfo",
    "capability.changeTrackingSupported",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.faultToleranceState",
    "guest.toolsRunningStatus",
    "snapshot",
    "datastore",
];

/// Reads a VM; whatever is wrong with it becomes a problem of this VM alone.
pub(crate) fn decode_vm(object: &ObjectContent<'_>) -> Vm {
    let mut problems = object.problems();
    let disks = disks(object, &mut problems);
    let snapshots = match object.get("snapshot").map(decode_snapshots) {
        Some(Ok(nodes)) => nodes,
        None => Vec::new(),
        Some(Err(error)) => {
            problems.push(format!("the snapshot tree cannot be read: {error}"));
            Vec::new()
        }
    };
    if object.text("config.instanceUuid").is_none() {
        problems.push("the server does not state its instanceUuid".into());
    }
    let text = |path: &str| object.text(path).map(str::to_owned);
    let truth = |path: &str| object.boolean(path).unwrap_or(false);
    Vm {
        name: text("name").unwrap_or_else(|| object.object.value().to_owned()),
        uuid: text("config.uuid"),
        instance_uuid: text("config.instanceUuid").map(VmUuid),
        template: truth("config.template"),
        power_state: power_state(object.text("runtime.powerState")),
        hardware_version: object.text("config.version").and_then(hardware_version),
        cbt_supported: truth("capability.changeTrackingSupported"),
        cbt_enabled: truth("config.changeTrackingEnabled"),
        tools_running: object.text("guest.toolsRunningStatus") == Some("guestToolsRunning"),
        connected: object.text("runtime.connectionState") == Some("connected"),
        encrypted: object.get("config.keyId").is_some(),
        fault_tolerance: fault_tolerance(object, &mut problems),
        consolidation_needed: truth("runtime.consolidationNeeded"),
        vmx_path: text("config.files.vmPathName"),
        datastores: references(object.get("datastore")),
        moref: object.object.clone(),
        disks,
        snapshots,
        problems,
    }
}

fn fault_tolerance(
    object: &ObjectContent<'_>,
    problems: &mut Vec<String>,
) -> Option<FaultTolerance> {
    let info = object.get("config.ftInfo")?;
    let role = info.need_u64("role").map_err(|error| {
        problems.push(format!("its role in fault tolerance cannot be read: {error}"));
    });
    Some(FaultTolerance {
        role: role.ok()?,
        orphaned: info.get_bool("orphaned").unwrap_or(false),
        state: object.text("runtime.faultToleranceState").unwrap_or_default().to_owned(),
    })
}

fn disks(object: &ObjectContent<'_>, problems: &mut Vec<String>) -> Vec<Disk> {
    match object.get("config.hardware.device") {
        Some(devices) => {
            let (disks, unreadable) = decode_disks(devices);
            problems.extend(unreadable);
            disks
        }
        None => {
            problems.push("the server does not list its devices".into());
            Vec::new()
        }
    }
}

/// The property `snapshot` of a VM.
pub(crate) fn decode_snapshots(tree: Node<'_>) -> Result<Vec<SnapshotNode>, WireError> {
    snapshots(tree, "rootSnapshotList")
}

/// Recursion is bounded by the depth limit of the reader.
fn snapshots(tree: Node<'_>, list: &str) -> Result<Vec<SnapshotNode>, WireError> {
    let node = |node: Node<'_>| {
        Ok(SnapshotNode {
            moref: node.need("snapshot")?.moref()?,
            name: node.get("name").unwrap_or_default().to_owned(),
            description: node.get("description").unwrap_or_default().to_owned(),
            created: node.get("createTime").map(str::to_owned),
            children: snapshots(node, "childSnapshotList")?,
        })
    };
    tree.all(list).map(node).collect()
}

fn power_state(text: Option<&str>) -> PowerState {
    match text {
        Some("poweredOn") => PowerState::On,
        Some("poweredOff") => PowerState::Off,
        Some("suspended") => PowerState::Suspended,
        _ => PowerState::Unknown,
    }
}

fn hardware_version(text: &str) -> Option<u32> {
    text.strip_prefix("vmx-")?.parse().ok()
}

/// An `ArrayOfManagedObjectReference`; odd entries are left out.
fn references(array: Option<Node<'_>>) -> Vec<MoRef> {
    array.into_iter().flat_map(Node::children).filter_map(|node| node.moref().ok()).collect()
}
