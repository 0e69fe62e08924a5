//! One command on its way through the kernel, and what becomes of its end.

use super::disk::Inner;
use super::error::KernelError;
use super::node::Node;
use super::ring::Read;
use super::verdict::verdict;
use crate::counters::Cells;
use crate::job::Failure;
use crate::memory;
use bytes::BytesMut;
use iscsi::{Completion, Outcome, Residual};
use rustix::io::Errno;
use scsi::Cdb;
use std::io;
use std::sync::Arc;

/// Goes with the command and comes back with its end.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) disk: Arc<Inner>,
    pub(super) node: Arc<Node>,
    /// Its number among those that are waited for.
    pub(super) id: u64,
    pub(super) cdb: Cdb,
    pub(super) cells: Arc<Cells>,
    /// The job's own memory, where the device could not reach it.
    pub(super) own: Option<BytesMut>,
}

impl Drop for Ticket {
    /// It ended, or it was lost on the way (a panic): nobody waits for it any more.
    fn drop(&mut self) {
        self.disk.forget(self.id);
    }
}

impl Ticket {
    /// Sends the command by the block node if it is a READ and there is one, else by SG_IO.
    pub(super) fn send(mut self, buffer: BytesMut, exchangeable: bool) {
        let direct = self.node.direct.as_ref();
        let place = direct.and_then(|direct| Some((direct, direct.range(&self.cdb)?)));
        let Some((direct, offset)) = place else { return self.ask(buffer) };
        let (file, mask) = (Arc::clone(&direct.node), direct.mask);
        let buffer = if memory::fits(&buffer, mask) {
            buffer
        } else {
            let reachable = memory::aligned(buffer.len());
            self.own = (!exchangeable).then_some(buffer);
            reachable
        };
        let ring = self.disk.ring.clone();
        let read = Read { file, offset, buffer, ticket: self };
        let left = match ring {
            Some(ring) => ring.read(read).err(),
            None => Some(read),
        };
        if let Some(read) = left {
            by_thread(read);
        }
    }

    /// Sends the command by SG_IO, on a thread.
    fn ask(self, buffer: BytesMut) {
        let disk = Arc::clone(&self.disk);
        disk.pool.run(move || self.ask_now(buffer));
    }

    fn ask_now(self, mut buffer: BytesMut) {
        let wanted = usize::try_from(self.cdb.data_in()).unwrap_or(usize::MAX);
        // A ring that broke keeps the memory it was given.
        buffer.resize(wanted, 0);
        let generic = &self.node.generic;
        let result = match generic.execute(&self.cdb, &mut buffer) {
            Ok(reply) => verdict(reply).map_err(|error| Failure::Lost(self.disk.error(error))),
            Err(Errno::NODEV | Errno::NXIO) => Err(self.gone()),
            // Too many commands at a time on this node, or no memory: later.
            Err(Errno::DOM | Errno::NOMEM | Errno::AGAIN | Errno::BUSY) => {
                Ok(Outcome::TargetFailure(0))
            }
            Err(error) => {
                let error = self.node.generic.error(error);
                Err(Failure::NotSent(self.disk.error(error)))
            }
        };
        self.end(buffer, result);
    }

    fn gone(&self) -> Failure {
        Failure::Lost(self.disk.error(KernelError::Gone))
    }

    fn end(mut self, mut buffer: BytesMut, result: Result<Outcome, Failure>) {
        if let Some(mut own) = self.own.take() {
            let both = own.len().min(buffer.len());
            own[..both].copy_from_slice(&buffer[..both]);
            buffer = own;
        }
        self.disk.finish(&self.node, self.id, buffer, result);
    }
}

/// The same read where there is no ring.
fn by_thread(read: Read<Ticket>) {
    let disk = Arc::clone(&read.ticket.disk);
    disk.pool.run(move || {
        let Read { file, offset, mut buffer, ticket } = read;
        let result = loop {
            match rustix::io::pread(&file, &mut buffer[..], offset) {
                Err(Errno::INTR) => {}
                result => break result.map_err(io::Error::from),
            }
        };
        ended(ticket, buffer, result);
    });
}

/// The end of a direct read.
pub(super) fn ended(ticket: Ticket, buffer: BytesMut, result: io::Result<usize>) {
    match result {
        Ok(length) if length == buffer.len() => {
            let transferred = ticket.cdb.data_in();
            let (status, sense, residual) = (0, Vec::new(), Residual::None);
            let completion = Completion { status, sense, transferred, residual };
            ticket.end(buffer, Ok(Outcome::Completed(completion)));
        }
        Err(error) if is_lost(&error) => {
            let gone = ticket.gone();
            ticket.end(buffer, Err(gone));
        }
        // Without sense data nobody knows what to do about it; the command itself brings that.
        result => {
            tracing::debug!(device = %ticket.node.address, ?result, "asking again by SG_IO");
            ticket.cells.sent(ticket.cdb.opcode());
            ticket.ask(buffer);
        }
    }
}

/// The block layer's numbers for a path or a device that is gone.
fn is_lost(error: &io::Error) -> bool {
    let lost = [Errno::NODEV, Errno::NXIO, Errno::NOLINK];
    lost.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
