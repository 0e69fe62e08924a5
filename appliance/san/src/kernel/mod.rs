//! Fibre Channel, SAS and the kernel's own iSCSI: LUNs that Linux sees, read without harm.
//!
//! What this is: what host adapters and their ports tell ([`Kernel::fc_ports`]), which devices may
//! be read ([`Kernel::devices`]), and the transport of commands to them. What it is not: a user of
//! the kernel's multipath; each device is one path, and paths are joined where iSCSI's are.
//!
//! | module | content |
//! |---|---|
//! | `tree`, `wwn`, `fc`, `device` | sysfs as values; pure over a root |
//! | `candidate` | never a disk that this box uses itself |
//! | `settings` | what is set in our own kernel; the one place that opens for writing |
//! | `generic`, `verdict` | SG_IO and what its answers mean |
//! | `direct`, `ring`, `pool` | O_DIRECT by `io_uring`, or by threads |
//! | `node`, `disk`, `ticket`, `waiting` | the transport: a path lost, found again, timed out |
//! | `uevent` | devices that come, go and change |
//!
//! Unlike those of a session, reads here may allocate: a task for each command that a thread takes
//! (SG_IO, or without `io_uring`), and memory that the device can reach where the caller's is not
//! aligned for it.
//!
//! Nothing is ever opened for writing but attributes of sysfs; nothing is sent that is not on the
//! list of [`scsi::Role::SourceDisk`]. What cannot be forbidden from here: the kernel's own
//! commands to a disk that its driver binds (see `settings`).

mod candidate;
mod device;
mod direct;
mod disk;
mod error;
mod fc;
#[cfg(test)]
mod fixture;
mod generic;
#[cfg(test)]
mod guest;
mod node;
mod pool;
mod ring;
mod settings;
mod ticket;
mod tree;
mod uevent;
mod verdict;
mod waiting;
mod wwn;

pub use candidate::Refusal;
pub use device::{Address, Route, ScsiDevice};
pub(crate) use disk::KernelDisk;
pub use error::KernelError;
pub use fc::{FcPort, RemotePort};
pub use settings::{Setting, SettingResult};
pub(crate) use tree::text;
pub use wwn::{NotAName, Wwn};

use crate::SanError;
use crate::transport::{Limits, Place};
use candidate::{InUse, judge};
use disk::Inner;
use node::Node;
use ring::Ring;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use ticket::Ticket;
use tokio::sync::watch;
use tree::Tree;
use uevent::{Change, Uevents};

/// The SCSI side of the kernel we run on. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Kernel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tree: Tree,
    /// Set up with the first disk that has a block node; `None` where the kernel has no `io_uring`
    /// for us.
    ring: OnceLock<Option<Ring<Ticket>>>,
    disks: Mutex<Vec<Weak<Inner>>>,
    changes: watch::Sender<u64>,
    /// Somebody listens to the kernel.
    listening: AtomicBool,
}

/// A device, and why it is not read if it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDevice {
    /// The device.
    pub device: ScsiDevice,
    /// `None`: it may be read.
    pub refusal: Option<Refusal>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::at(Tree::system())
    }
}

impl Kernel {
    fn at(tree: Tree) -> Self {
        let (ring, disks) = (OnceLock::new(), Mutex::new(Vec::new()));
        let (changes, listening) = (watch::Sender::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { tree, ring, disks, changes, listening }))
    }

    /// The Fibre Channel ports of this box and what they see.
    #[must_use]
    pub fn fc_ports(&self) -> Vec<FcPort> {
        fc::ports(&self.0.tree)
    }

    /// Every SCSI device, those that are not read with the reason. An error when it cannot be known
    /// what this box uses itself.
    pub fn devices(&self) -> Result<Vec<SeenDevice>, KernelError> {
        let in_use = InUse::look(&self.0.tree)?;
        let judged = judge(device::devices(&self.0.tree), &in_use);
        Ok(judged.into_iter().map(|(device, refusal)| SeenDevice { device, refusal }).collect())
    }

    /// Sets timers and cache notes for every device that may be read; see `settings`. To be
    /// repeated after each change, because it must be done before a path is lost.
    pub fn prepare(&self) -> Result<Vec<Setting>, KernelError> {
        let devices = self.devices()?;
        let candidates = devices.iter().filter(|seen| seen.refusal.is_none());
        let candidates: Vec<_> = candidates.map(|seen| &seen.device).collect();
        Ok(settings::prepare(&self.0.tree, &candidates))
    }

    /// Lets the kernel look for new LUNs behind every SAN port. Blocks until it has.
    #[must_use]
    pub fn rescan(&self) -> Vec<Setting> {
        settings::rescan(&self.0.tree)
    }

    /// Opens the path to one device. Blocks for as long as it takes the kernel to open nodes; must
    /// be called within a tokio runtime.
    pub(crate) fn open(&self, device: &ScsiDevice, limits: Limits) -> Result<KernelDisk, SanError> {
        let node = Node::open(&self.0.tree, device).map_err(|source| {
            let Place { portal, target } = device.place();
            SanError::Kernel { portal, target, source: Box::new(source) }
        })?;
        let ring = if node.direct.is_some() { self.ring() } else { None };
        let disk = KernelDisk::new(self.0.tree.clone(), device, node, limits, ring);
        let mut disks = self.0.disks();
        disks.retain(|disk| disk.strong_count() > 0);
        disks.push(Arc::downgrade(&disk.0));
        Ok(disk)
    }

    fn ring(&self) -> Option<Ring<Ticket>> {
        let start = || match Ring::start(ticket::ended) {
            Ok(ring) => Some(ring),
            Err(error) => {
                tracing::warn!(%error, "no io_uring; direct reads go by threads");
                None
            }
        };
        self.0.ring.get_or_init(start).clone()
    }

    /// Counts changes of the SCSI bus: whenever the number grows, [`Self::devices`] may say
    /// something else. Grows only while [`Self::watch`] runs.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Listens to what the kernel tells about its devices, as long as a handle lives; only a hint,
    /// so looking at intervals stays necessary. Once is enough, more often does no harm. Within a
    /// tokio runtime only.
    pub fn watch(&self) -> std::io::Result<()> {
        if self.0.listening.swap(true, SeqCst) {
            return Ok(());
        }
        let uevents = Uevents::listen();
        if uevents.is_err() {
            self.0.listening.store(false, SeqCst);
        }
        tokio::spawn(listen(uevents?, Arc::downgrade(&self.0), self.changes()));
        Ok(())
    }
}

/// Ends when no handle is left, which is when nobody is left who could count.
async fn listen(uevents: Uevents, shared: Weak<Shared>, mut counted: watch::Receiver<u64>) {
    loop {
        let change = tokio::select! {
            change = uevents.next() => change,
            count = counted.changed() => match count {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Some(shared) = shared.upgrade() else { return };
        match change {
            Ok(change) => shared.pass_on(change),
            Err(error) => {
                tracing::warn!(%error, "the kernel's device messages ended");
                shared.listening.store(false, SeqCst);
                return;
            }
        }
    }
}

impl Shared {
    fn pass_on(&self, change: Change) {
        tracing::debug!(?change, "the kernel tells");
        let disks: Vec<Arc<Inner>> = self.disks().iter().filter_map(Weak::upgrade).collect();
        for disk in disks {
            match change {
                Change::Removed(address) => disk.removed(address),
                Change::Told(address) => disk.attention(address),
                Change::Added(_) | Change::Bus => {}
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn disks(&self) -> MutexGuard<'_, Vec<Weak<Inner>>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
