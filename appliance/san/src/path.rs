//! One LUN by one transport: a command is sent until it is answered, or until repeating is no use.
//!
//! What is repeated, and how often: see [`Patience`]. Only commands that read are ever sent, so
//! any of them may be repeated, also when it is not known whether the device ran it.

use crate::SanError;
use crate::counters::Cells;
use crate::depth::Depth;
use crate::job::{Answer, Failure, Job, Mark};
use crate::transport::{Limits, Place, Transport};
use bytes::BytesMut;
use iscsi::{Completion, Outcome};
use scsi::{Advice, Cdb, LunId, Sense, Status, advise};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// A command repeated at once more often than this has another problem. Unit attentions queue
/// up, one per cause, so a few in a row are normal.
const REPEATS_MAX: u32 = 8;
/// First and longest pause while a LUN is busy, reserved or in transition.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The way to one LUN.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) transport: Transport,
    pub(crate) lun: LunId,
    pub(crate) cells: Arc<Cells>,
    depth: Arc<Depth>,
}

/// A command that was sent and has not been looked at.
#[derive(Debug)]
pub(crate) struct Pending {
    operation: &'static str,
    cdb: Cdb,
    exchangeable: bool,
    answer: oneshot::Receiver<Answer>,
}

/// A command that did what it should.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) buffer: BytesMut,
    pub(crate) transferred: u32,
    pub(crate) mark: Mark,
}

impl Path {
    pub(crate) fn new(transport: Transport, lun: LunId) -> Self {
        let depth = Depth::new(transport.limits().lun_depth);
        let cells = Arc::new(Cells::new());
        Self { transport, lun, cells, depth }
    }

    pub(crate) fn target(&self) -> String {
        self.transport.place().target.clone()
    }

    /// Sends a command when the LUN's depth allows. `buffer` is as long as its data; when it is
    /// exchangeable, another of that length may come back.
    pub(crate) async fn start(
        &self,
        operation: &'static str,
        cdb: Cdb,
        buffer: BytesMut,
        exchangeable: bool,
    ) -> Pending {
        let permit = self.depth.acquire().await;
        let cells = Arc::clone(&self.cells);
        let answer = self
            .transport
            .start(Job { lun: self.lun, cdb, buffer, exchangeable, cells, permit })
            .await;
        Pending { operation, cdb, exchangeable, answer }
    }

    /// Sends a command and waits for its end.
    pub(crate) async fn run(&self, op: &'static str, cdb: Cdb) -> Result<Done, SanError> {
        let length = usize::try_from(cdb.data_in()).expect("32 bits fit a usize");
        let pending = self.start(op, cdb, BytesMut::zeroed(length), false).await;
        self.finish(pending).await
    }

    /// Waits for the end of a command, repeating it where the answer says so.
    pub(crate) async fn finish(&self, mut pending: Pending) -> Result<Done, SanError> {
        let mut patience = Patience::new(self.transport.limits());
        loop {
            let Pending { operation, cdb, exchangeable, answer } = pending;
            let Ok(answer) = answer.await else { return Err(self.transport.logged_out()) };
            let buffer = match self.judge(operation, answer) {
                Verdict::Done(done) => return Ok(done),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again(why, buffer, error) => {
                    let Some(pause) = patience.allow(why) else { return Err(error) };
                    tracing::debug!(lun = %self.lun, operation, ?why, "repeating: {error}");
                    sleep(pause).await;
                    buffer
                }
            };
            self.cells.repeated();
            pending = self.start(operation, cdb, buffer, exchangeable).await;
        }
    }

    fn judge(&self, operation: &'static str, answer: Answer) -> Verdict {
        let Answer { buffer, result, mark } = answer;
        let unanswered = |problem| SanError::Unanswered {
            operation,
            lun: self.lun,
            target: self.target(),
            problem,
        };
        match result {
            Ok(Outcome::Completed(completion)) => {
                self.judge_status(operation, mark, completion, buffer)
            }
            Ok(Outcome::Damaged) => {
                tracing::warn!(lun = %self.lun, operation, "data arrived damaged (data digest)");
                let error = unanswered("the data arrives damaged (data digest); check the network");
                Verdict::Again(Why::Repeat, buffer, error)
            }
            Ok(Outcome::TargetFailure(_)) => {
                Verdict::Again(Why::Repeat, buffer, unanswered("the target could not run it"))
            }
            Ok(Outcome::TimedOut) => {
                Verdict::Again(Why::Lost, buffer, unanswered("no answer in time; it was aborted"))
            }
            Err(Failure::Lost(error)) => {
                let Place { portal, target } = self.transport.place().clone();
                let error = SanError::PathLost { portal, target, source: Box::new(error) };
                Verdict::Again(Why::Lost, buffer, error)
            }
            Err(Failure::NotSent(error)) => Verdict::Failed(error),
        }
    }

    fn judge_status(
        &self,
        operation: &'static str,
        mark: Mark,
        completion: Completion,
        buffer: BytesMut,
    ) -> Verdict {
        let status = Status::from(completion.status);
        // Sense data that cannot be decoded counts as none: the status alone still decides.
        let sense = Sense::decode(&completion.sense).ok();
        let advice = advise(status, sense.as_ref());
        let error = || SanError::Device {
            operation,
            lun: self.lun,
            target: self.target(),
            status,
            sense: sense.clone(),
            advice,
        };
        let why = match advice {
            Advice::Done => {
                self.depth.good();
                return Verdict::Done(Done { buffer, transferred: completion.transferred, mark });
            }
            Advice::Repeat
            | Advice::RepeatElsewhere
            | Advice::StatesChanged
            | Advice::LunsChanged => Why::Repeat,
            Advice::LowerDepth => {
                self.depth.lower();
                Why::Busy
            }
            Advice::Wait | Advice::WaitReserved => Why::Busy,
            _ => return Verdict::Failed(error()),
        };
        Verdict::Again(why, buffer, error())
    }
}

#[derive(Debug)]
enum Verdict {
    Done(Done),
    Again(Why, BytesMut, SanError),
    Failed(SanError),
}

/// Why a command is to be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The device did not run it, or its data was damaged: at once.
    Repeat,
    /// The device or another host needs time.
    Busy,
    /// The path was lost, or the device was silent for the whole of the command's time.
    Lost,
}

/// How often one command is repeated: bounded for each cause.
#[derive(Debug)]
struct Patience {
    repeats: u32,
    losses: u32,
    pause: Duration,
    busy_until: Instant,
    lost_until: Instant,
}

impl Patience {
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            repeats: REPEATS_MAX,
            losses: limits.reconnect.attempts,
            pause: PAUSE.0,
            busy_until: now + limits.busy_patience,
            lost_until: now + limits.reconnect.patience + limits.command_timeout,
        }
    }

    /// How long to wait before the command is sent again; `None` when enough is enough.
    fn allow(&mut self, why: Why) -> Option<Duration> {
        let now = Instant::now();
        match why {
            Why::Repeat => {
                self.repeats = self.repeats.checked_sub(1)?;
                Some(Duration::ZERO)
            }
            Why::Lost => {
                self.losses = self.losses.checked_sub(1)?;
                (now < self.lost_until).then_some(Duration::ZERO)
            }
            Why::Busy => {
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSE.1);
                (now + pause < self.busy_until).then_some(pause)
            }
        }
    }
}
