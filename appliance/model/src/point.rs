//! What a recovery point says about itself.

use crate::{ChangeId, VmUuid};
use serde::{Deserialize, Serialize};

/// Which VM a recovery point belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmIdentity {
    /// `config.instanceUuid`.
    pub uuid: VmUuid,
    /// Its name at the time of the backup, for people.
    pub name: String,
    /// `about.instanceUuid` of the vCenter or host it was read from.
    pub server_uuid: String,
}

/// Which virtual disk of the VM. Identity is `uuid` and `path`; the key alone can be re-used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// `VirtualDevice.key`.
    pub key: i32,
    /// `backing.uuid`.
    pub uuid: String,
    /// `backing.fileName` of the base, such as `[datastore] vm/vm.vmdk`.
    pub path: String,
    /// Bytes.
    pub capacity: u64,
    /// From the snapshot's own configuration; `None`: change tracking was off.
    pub change_id: Option<ChangeId>,
}

/// In which state the guest was when its snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut.
    Crash,
    /// Quiesced through VMware Tools.
    Quiesced,
    /// The VM was powered off.
    PoweredOff,
}

/// The way the bytes of a disk really came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Straight from the LUN.
    San,
    /// Through the public vSphere API.
    Network,
}

/// How much of a disk a run read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum ReadMode {
    /// Everything allocated; the reason is for people.
    Full {
        /// Why not an incremental.
        reason: String,
    },
    /// Only what change tracking reports since the change id of the previous point.
    Incremental,
}
