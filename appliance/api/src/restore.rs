//! Restores into the vCenter.

use model::RecoveryPointId;
use serde::{Deserialize, Serialize};

/// Asks for a recovery point as a VM. What is left out is as it was when the point was made; a
/// new VM gets UUIDs and network addresses of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Name of the new VM; with none, the VM's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Takes the place of the VM that the point was made of: the VM's name, typed. It must be
    /// powered off, and is removed once its replacement is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// Datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Folder of VMs, as `outer/inner`; empty: the datacenter's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Cluster, or the compute resource of a single host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Resource pool, as `outer/inner`; empty: the root pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Host; with none, the server chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Datastore for all disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Network for all network cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Network cards are connected at power-on. A copy beside a running original should not be.
    #[serde(default)]
    pub connect: bool,
    /// All disks thin, whatever they were.
    #[serde(default)]
    pub thin: bool,
    /// Read every disk back and compare it with the point.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Power the VM on in the end.
    #[serde(default)]
    pub power_on: bool,
}

impl Default for RestoreRequest {
    fn default() -> Self {
        Self {
            name: None,
            replace: None,
            datacenter: None,
            folder: None,
            cluster: None,
            pool: None,
            host: None,
            datastore: None,
            network: None,
            connect: false,
            thin: false,
            verify: true,
            power_on: false,
        }
    }
}

fn yes() -> bool {
    true
}

/// What a restore brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreResult {
    /// From which point.
    #[serde(with = "crate::text::display")]
    pub point: RecoveryPointId,
    /// Name of the VM.
    pub vm: String,
    /// Where it stands, for people.
    pub place: String,
    /// It took the place of the VM that the point was made of.
    pub replaced: bool,
    /// Its disks.
    pub disks: Vec<RestoredDisk>,
    /// What else was restored, each in a sentence.
    pub restored: Vec<String>,
    /// What was not, each in a sentence.
    pub not_restored: Vec<String>,
    /// It was powered on.
    pub powered_on: bool,
}

/// A disk that was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredDisk {
    /// Its number in the point.
    pub index: u32,
    /// Bytes of the disk.
    pub capacity_bytes: u64,
    /// Bytes sent, compressed.
    pub sent_bytes: u64,
    /// The way they went.
    pub transport: String,
    /// All its bytes were read back and are those of the point: the way they came.
    pub verified: Option<String>,
    /// They were not read back: why.
    pub not_verified: Option<String>,
}
