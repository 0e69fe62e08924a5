//! What a restore into vCenter needs from the outside.

use crate::ports::{BoxFuture, PortError};
use api::Portrait;
use model::{RecoveryPointId, RunId, VmIdentity};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// A disk of a recovery point. Calls block: they belong on threads that may.
pub trait StoredDisk: Send + Sync {
    /// Bytes of the disk.
    fn capacity(&self) -> u64;
    /// Bytes of the cells that are not zeros.
    fn data_bytes(&self) -> Result<u64, PortError>;
    /// Bytes of a cell; the last one may be shorter.
    fn cell_size(&self) -> u64;
    /// The bytes of a cell; `None`: zeros.
    fn cell(&self, cell: u64) -> Result<Option<Vec<u8>>, PortError>;
}

/// A disk to be restored.
#[derive(Clone)]
pub struct OrderedDisk {
    /// Its number in the point.
    pub index: u32,
    /// Its key in the VM's configuration.
    pub key: i32,
    /// Its bytes.
    pub bytes: Arc<dyn StoredDisk>,
}

/// What is asked for.
#[derive(Clone)]
pub struct Order {
    /// By which run.
    pub run: RunId,
    /// From which point.
    pub point: RecoveryPointId,
    /// Whose point it is.
    pub vm: VmIdentity,
    /// The wishes.
    pub request: api::RestoreRequest,
    /// The VM's configuration, as the point keeps it.
    pub configuration: String,
    /// The VM in its inventory.
    pub portrait: Portrait,
    /// The VM's NVRAM, where the point has it.
    pub nvram: Option<Vec<u8>>,
    /// The disks.
    pub disks: Vec<OrderedDisk>,
}

impl Order {
    /// The name that the VM has in the end.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.request.name {
            Some(name) if !self.in_place() => name,
            _ => &self.vm.name,
        }
    }

    /// It takes the place of the VM that the point was made of.
    #[must_use]
    pub fn in_place(&self) -> bool {
        self.request.replace.is_some()
    }

    /// The name that it is made under: unique, it carries the run's id.
    #[must_use]
    pub fn temporary(&self) -> String {
        format!("holdfast-restore-{}", self.run)
    }
}

/// What the target says before anything is done.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// A VM of the wanted name stands in the wanted folder.
    pub name_taken: bool,
    /// The VM with the instance UUID of the point's VM.
    pub existing: Option<Found>,
    /// Free bytes of the datastore.
    pub free: u64,
    /// Bytes that the disks take there: thick ones all of them, thin ones their data.
    pub needed: u64,
    /// Who the VM was, for a replacement.
    pub identity: Who,
    /// What is not carried over, each in a sentence.
    pub left_out: Vec<String>,
    /// Where it will stand, for people.
    pub place: String,
}

/// Who a VM is, beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// `config.uuid`.
    pub uuid: Option<String>,
    /// `config.instanceUuid`.
    pub instance_uuid: Option<String>,
    /// Of its network cards in their order: type and MAC address.
    pub cards: Vec<(String, String)>,
}

/// A VM that stands in the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The target's handle.
    pub reference: String,
    /// Its name.
    pub name: String,
    /// Its instance UUID.
    pub instance_uuid: Option<String>,
    /// It is shut down.
    pub powered_off: bool,
    /// It has snapshots, or is a template: nothing that is replaced without a look.
    pub in_the_way: Option<String>,
}

/// What became of asking for the bytes of a disk that was made.
pub enum ReadBack {
    /// They come, in order, through the channel; the last piece is empty. The text says how.
    Bytes(String, Receiver<Result<Vec<u8>, PortError>>),
    /// They cannot be had; the reason is for people.
    None(String),
}

/// A VM in the making. Dropping it breaks the making off.
pub trait Import: Send + 'static {
    /// Sends a disk, made by somebody else piece by piece; its last piece is empty. A channel
    /// that ends without is a disk that could not be made: its upload must not look complete.
    /// Gives the bytes that were sent.
    fn send(
        &mut self,
        disk: &OrderedDisk,
        pieces: Receiver<Vec<u8>>,
    ) -> impl Future<Output = Result<u64, PortError>> + Send;
    /// All disks were sent: the VM is there. Gives its handle.
    fn complete(self) -> impl Future<Output = Result<String, PortError>> + Send;
    /// Nothing of it shall stay.
    fn abort(self, reason: &str) -> impl Future<Output = ()> + Send;
}

/// vCenter or a host, as a restore sees it.
pub trait Target: Send + Sync + 'static {
    /// A VM in the making.
    type Import: Import;
    /// Looks whether the order can be carried out. Changes nothing.
    fn look(&self, order: &Order) -> impl Future<Output = Result<Outlook, PortError>> + Send;
    /// Begins to make the VM.
    fn begin(&self, order: &Order) -> impl Future<Output = Result<Self::Import, PortError>> + Send;
    /// The VMs with exactly this name.
    fn named(&self, name: &str) -> impl Future<Output = Result<Vec<Found>, PortError>> + Send;
    /// The VM with this handle; `None`: the target says that there is none.
    fn at(&self, reference: &str) -> impl Future<Output = Result<Option<Found>, PortError>> + Send;
    /// The bytes of a disk of a VM that was made, from its storage.
    fn read_back<'a>(
        &'a self,
        reference: &'a str,
        order: &'a Order,
        disk: &'a OrderedDisk,
    ) -> BoxFuture<'a, Result<ReadBack, PortError>>;
    /// NVRAM and attributes. Gives what was restored and what was not, each in a sentence.
    fn describe(
        &self,
        reference: &str,
        order: &Order,
    ) -> impl Future<Output = Result<(Vec<String>, Vec<String>), PortError>> + Send;
    /// Gives a VM another name.
    fn rename(
        &self,
        reference: &str,
        name: &str,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Removes a VM with its files; one that is gone counts as removed.
    fn destroy(&self, reference: &str) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Gives a VM the UUIDs and network addresses of one that is gone.
    fn become_who(
        &self,
        reference: &str,
        who: &Who,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
    /// Powers a VM on.
    fn power_on(&self, reference: &str) -> impl Future<Output = Result<(), PortError>> + Send;
}
