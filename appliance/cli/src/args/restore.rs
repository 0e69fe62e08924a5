//! `holdfast vm restore`.

use super::PointId;

#[derive(Debug, clap::Args)]
pub(crate) struct VmRestore {
    #[command(flatten)]
    pub(crate) point: PointId,
    /// Name of the new VM; with none, the name that it had
    #[arg(long, value_name = "NAME", conflicts_with = "replace")]
    pub(crate) name: Option<String>,
    /// Take the place of the VM that the point was made of; that VM must be powered off, and is
    /// removed once its replacement is verified
    #[arg(long, requires = "confirm")]
    pub(crate) replace: bool,
    /// The name of the VM that is to be overwritten, typed
    #[arg(long, value_name = "NAME", requires = "replace")]
    pub(crate) confirm: Option<String>,
    /// Datacenter
    #[arg(long, value_name = "NAME")]
    pub(crate) datacenter: Option<String>,
    /// Folder of VMs; '' is the datacenter's own
    #[arg(long, value_name = "OUTER/INNER")]
    pub(crate) folder: Option<String>,
    /// Cluster, or the compute resource of a single host
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Resource pool; '' is the root pool
    #[arg(long, value_name = "OUTER/INNER")]
    pub(crate) pool: Option<String>,
    /// Host; with none, vCenter chooses
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Datastore for all disks; with none, that of the VM's first disk
    #[arg(long, value_name = "NAME")]
    pub(crate) datastore: Option<String>,
    /// Network for all network cards
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Connect the network cards of a new VM at power-on
    #[arg(long)]
    pub(crate) connect: bool,
    /// Make all disks thin, whatever they were
    #[arg(long)]
    pub(crate) thin: bool,
    /// Do not read the disks back; the report says so
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Power it on in the end
    #[arg(long)]
    pub(crate) power_on: bool,
    /// Start the run and return
    #[arg(long)]
    pub(crate) no_wait: bool,
}
