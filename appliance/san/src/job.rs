//! What a path hands to its transport, and what comes back: one command, one answer.

use crate::SanError;
use crate::counters::Cells;
use crate::depth::Permit;
use crate::reply::Reply;
use bytes::BytesMut;
use iscsi::Outcome;
use scsi::{Cdb, LunId};
use std::sync::Arc;

/// A command with everything that comes back with its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lun: LunId,
    pub(crate) cdb: Cdb,
    /// As long as the data that is asked for.
    pub(crate) buffer: BytesMut,
    /// Another buffer of the same length may come back.
    pub(crate) exchangeable: bool,
    pub(crate) cells: Arc<Cells>,
    /// Given back before the answer is sent.
    pub(crate) permit: Permit,
    /// Where the answer goes.
    pub(crate) reply: Reply,
}

impl Job {
    /// Answers it without having sent it.
    pub(crate) fn refuse(self, error: SanError) {
        let Self { buffer, permit, reply, .. } = self;
        drop(permit);
        reply.send(Answer { buffer, result: Err(Failure::NotSent(error)), mark: Mark::default() });
    }
}

/// The answer to a job.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) buffer: BytesMut,
    pub(crate) result: Result<Outcome, Failure>,
    pub(crate) mark: Mark,
}

/// Two answers with the same mark saw the same LUN: no login (or new device node) and no unit
/// attention between. It is set in the order in which the answers came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which login of the session; 1 is the first, 0 none.
    pub(crate) epoch: u64,
    /// Unit attentions that the LUN had told by then.
    pub(crate) attentions: u64,
}

/// Why a job was not answered by its device.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The way was lost while it was in flight; it may be sent again.
    Lost(SanError),
    /// It was not sent, and sending it again at once will not help.
    NotSent(SanError),
}
