//! One path to one LUN through the kernel: the second transport.
//!
//! A READ goes to the block node where there is one, by the ring; everything else, and everything
//! where there is none, goes by SG_IO. The block layer answers yes or an error number without
//! sense data: where it says no, the same READ is sent once more by SG_IO, whose answer has it.
//!
//! A command that is not answered in time is answered for the device, as timed out. It cannot be
//! called back: its memory stays with the kernel until that gives it up, and with [`stuck`] of
//! them no more are sent.
//!
//! The kernel takes the unit attentions that block reads meet, and tells them only by uevents. So a
//! mark of this transport says less than one of iSCSI: [`crate::Lun::verify`] after the last read
//! is what proves that all of it came from the same LUN.
//!
//! [`stuck`]: KernelError::Stuck

use super::device::{Address, ScsiDevice};
use super::error::KernelError;
use super::node::{Node, Way};
use super::pool::Pool;
use super::ring::Ring;
use super::ticket::Ticket;
use super::tree::Tree;
use super::waiting::{Table, Waiting};
use crate::SanError;
use crate::job::{Answer, Failure, Job, Mark};
use crate::transport::{Limits, Place};
use bytes::BytesMut;
use iscsi::Outcome;
use scsi::{LunId, Role, Sense, SenseKey};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Longest pause between two looks for a device that is gone.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Commands that the kernel takes at a time by one open generic node (SG_MAX_QUEUE); more of them
/// wait here.
const AT_ONCE: usize = 16;

/// Handle of a disk of the kernel. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(crate) struct KernelDisk(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    tree: Tree,
    way: Way,
    place: Place,
    limits: Limits,
    pub(super) pool: Pool,
    pub(super) ring: Option<Ring<Ticket>>,
    /// `None` after the path was lost.
    node: Mutex<Option<Arc<Node>>>,
    /// Held by whoever looks for the device; how the last look failed, and when.
    looking: tokio::sync::Mutex<Option<(Instant, SanError)>>,
    /// How often the nodes were opened.
    epoch: AtomicU64,
    /// How often the kernel told that something happened to the LUN.
    told: AtomicU64,
    table: Mutex<Table>,
    closed: AtomicBool,
    emptied: Notify,
}

impl KernelDisk {
    /// Takes over a device that was opened. Must be called within a tokio runtime.
    pub(super) fn new(
        tree: Tree,
        device: &ScsiDevice,
        node: Node,
        mut limits: Limits,
        ring: Option<Ring<Ticket>>,
    ) -> Self {
        limits.transfer = limits.transfer.min(node.generic.transfer_max);
        let way = Way { route: device.route.clone(), lun: device.lun };
        let depth = usize::from(limits.lun_depth.max(1));
        let inner = Arc::new(Inner {
            tree,
            way,
            place: device.place(),
            // Those that were given up may hold as many threads as those that run.
            pool: Pool::new("san-kernel", (2 * depth + 1).min(AT_ONCE)),
            limits,
            ring,
            node: Mutex::new(Some(Arc::new(node))),
            looking: tokio::sync::Mutex::new(None),
            epoch: AtomicU64::new(1),
            told: AtomicU64::new(0),
            table: Mutex::new(Table::new(depth.min(AT_ONCE / 2))),
            closed: AtomicBool::new(false),
            emptied: Notify::new(),
        });
        tokio::spawn(keep_time(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// True for two handles of the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// True when it is the path that the kernel shows as `device`, whatever its number is now.
    pub(crate) fn leads_to(&self, device: &ScsiDevice) -> bool {
        self.0.way.route.is_same(&device.route) && self.0.way.lun == device.lun
    }

    /// The LUN at the end of this path.
    pub(crate) fn lun(&self) -> LunId {
        self.0.way.lun
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn logged_out(&self) -> SanError {
        self.0.logged_out()
    }

    /// Sends a job on its way. The answer comes to where the job says.
    pub(crate) fn start(&self, job: Job) {
        let inner = &self.0;
        if inner.closed.load(SeqCst) {
            job.refuse(inner.logged_out());
        } else if let Some(node) = inner.node() {
            inner.send(node, job);
        } else {
            let inner = Arc::clone(inner);
            tokio::spawn(async move {
                match inner.look_again().await {
                    Ok(node) => inner.send(node, job),
                    Err(error) => job.refuse(error),
                }
            });
        }
    }

    /// Ends it after the commands in flight. The kernel keeps its device.
    pub(crate) async fn logout(&self) {
        self.0.closed.store(true, SeqCst);
        loop {
            let emptied = self.0.emptied.notified();
            if self.0.table().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl Inner {
    /// The last look at the allow-list, then the command goes to the kernel.
    fn send(self: &Arc<Self>, node: Arc<Node>, job: Job) {
        if let Err(source) = Role::SourceDisk.check(&job.cdb) {
            let (lun, target) = (job.lun, self.place.target.clone());
            return job.refuse(SanError::Forbidden { lun, target, source });
        }
        if job.lun != self.way.lun {
            return job.refuse(self.error(KernelError::Gone));
        }
        let Job { lun: _, cdb, buffer, exchangeable, cells, permit, reply } = job;
        let opcode = cdb.opcode();
        let until = Instant::now() + self.limits.command_timeout;
        let waiting = Waiting { reply, cells, permit, length: buffer.len(), until };
        match self.table().enter(waiting) {
            Ok((id, cells)) => {
                cells.sent(opcode);
                let disk = Arc::clone(self);
                Ticket { disk, node, id, cdb, cells, own: None }.send(buffer, exchangeable);
            }
            Err((waiting, stuck)) => {
                let error = self.path_lost(self.error(KernelError::Stuck(stuck)));
                self.tell(waiting, buffer, Err(Failure::NotSent(error)));
            }
        }
    }

    /// The end of a command that ran on `node`. Nobody waits any more for one that was given up.
    pub(super) fn finish(
        &self,
        node: &Arc<Node>,
        id: u64,
        buffer: BytesMut,
        result: Result<Outcome, Failure>,
    ) {
        if matches!(result, Err(Failure::Lost(_))) {
            self.lose(node);
        }
        let waiting = self.table().end(id);
        if let Some(waiting) = waiting {
            self.tell(waiting, buffer, result);
        }
    }

    /// A command has left the kernel. One that nobody told the end of is told nothing.
    pub(super) fn forget(&self, id: u64) {
        self.table().leave(id);
        self.emptied.notify_waiters();
    }

    fn tell(&self, waiting: Waiting, buffer: BytesMut, result: Result<Outcome, Failure>) {
        let Waiting { reply, cells, permit, .. } = waiting;
        drop(permit);
        if result.as_ref().is_ok_and(is_attention) {
            cells.attention();
        }
        let attentions = cells.attentions() + self.told.load(SeqCst);
        let mark = Mark { epoch: self.epoch.load(SeqCst), attentions };
        reply.send(Answer { buffer, result, mark });
    }

    /// Gives up what has not been answered in time; when to look again.
    fn expire(&self, now: Instant) -> Instant {
        loop {
            let (late, next) = self.table().expire(now);
            let Some(waiting) = late else {
                // What begins from now on runs out later than this.
                return next.unwrap_or(now + self.limits.command_timeout);
            };
            tracing::warn!(portal = %self.place.portal, target = %self.place.target,
                "the kernel did not answer a command in time");
            let buffer = BytesMut::zeroed(waiting.length);
            self.tell(waiting, buffer, Ok(Outcome::TimedOut));
            self.emptied.notify_waiters();
        }
    }

    /// Looks for the device until it is back, or patience ends. Whoever waits for somebody else's
    /// look takes that one's result.
    async fn look_again(self: &Arc<Self>) -> Result<Arc<Node>, SanError> {
        let asked = Instant::now();
        let mut failed = self.looking.lock().await;
        if let Some(node) = self.node() {
            return Ok(node);
        }
        if let Some((_, error)) = failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(error.clone());
        }
        let give_up = asked + self.limits.reconnect.patience;
        let mut pause = self.limits.reconnect.delay.min(PAUSE_MAX) / 8;
        loop {
            let source = match self.look().await {
                Ok(node) => return Ok(self.found(node)),
                Err(error) => error,
            };
            let last = matches!(source, KernelError::NotCandidate { .. });
            if last || self.closed.load(SeqCst) || Instant::now() + pause >= give_up {
                let error = self.path_lost(self.error(source));
                *failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One look, on a thread of ours: opening a node can block.
    async fn look(self: &Arc<Self>) -> Result<Node, KernelError> {
        let (sender, receiver) = oneshot::channel();
        let (tree, way) = (self.tree.clone(), self.way.clone());
        self.pool.run(move || {
            let _ = sender.send(Node::find(&tree, &way)); // whoever asked may be gone
        });
        let patience = self.limits.command_timeout;
        let answer = tokio::time::timeout(patience, receiver).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(KernelError::Gone))
    }

    fn found(&self, node: Node) -> Arc<Node> {
        tracing::info!(device = %node.address, portal = %self.place.portal,
            target = %self.place.target, "the path is back");
        let node = Arc::new(node);
        self.epoch.fetch_add(1, SeqCst);
        *self.nodes() = Some(Arc::clone(&node));
        node
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.nodes().clone()
    }

    /// The path by way of `node` is gone, if that is still the one in use.
    fn lose(&self, node: &Arc<Node>) {
        let mut nodes = self.nodes();
        if nodes.as_ref().is_some_and(|current| Arc::ptr_eq(current, node)) {
            tracing::warn!(device = %node.address, portal = %self.place.portal,
                target = %self.place.target, "the path was lost");
            *nodes = None;
        }
    }

    /// The kernel removed the device with this address.
    pub(super) fn removed(&self, address: Address) {
        if let Some(node) = self.node().filter(|node| node.address == address) {
            self.lose(&node);
        }
    }

    /// The kernel told that something happened to the device with this address.
    pub(super) fn attention(&self, address: Address) {
        if self.node().is_some_and(|node| node.address == address) {
            self.told.fetch_add(1, SeqCst);
        }
    }

    pub(super) fn error(&self, source: KernelError) -> SanError {
        let Place { portal, target } = self.place.clone();
        SanError::Kernel { portal, target, source: Box::new(source) }
    }

    fn path_lost(&self, source: SanError) -> SanError {
        let Place { portal, target } = self.place.clone();
        SanError::PathLost { portal, target, source: Box::new(source) }
    }

    fn logged_out(&self) -> SanError {
        SanError::LoggedOut { target: self.place.target.clone() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole after each of its calls.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> MutexGuard<'_, Option<Arc<Node>>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers for the device where it does not, as long as there is a handle.
async fn keep_time(inner: Weak<Inner>) {
    while let Some(next) = inner.upgrade().map(|inner| inner.expire(Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

fn is_attention(outcome: &Outcome) -> bool {
    let Outcome::Completed(completion) = outcome else { return false };
    Sense::decode(&completion.sense).is_ok_and(|sense| sense.key == SenseKey::UnitAttention)
}

#[cfg(test)]
mod tests;
