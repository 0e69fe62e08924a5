//! One LUN by one transport: a command is sent, and its answer judged.
//!
//! Only commands that read are ever sent, so any of them may be repeated, also when it is not
//! known whether the device ran it. [`Path::run`] repeats on this path alone, for questions that
//! are about the path; what may go by any path is repeated by the LUN.

use crate::SanError;
use crate::counters::Cells;
use crate::depth::{Depth, Permit};
use crate::job::{Answer, Failure, Job, Mark};
use crate::multipath::{Course, Load, Paths, Patience, Step, Time, Why};
use crate::reply::{Awaited, Replies};
use crate::transport::{Limits, Place, Transport};
use bytes::BytesMut;
use iscsi::{Completion, Outcome};
use scsi::{AccessState, Advice, Cdb, LunId, Sense, Status, advise};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::time::{Instant, sleep};

/// The way to one LUN.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) transport: Transport,
    pub(crate) lun: LunId,
    pub(crate) cells: Arc<Cells>,
    pub(crate) depth: Arc<Depth>,
    pub(crate) news: Arc<News>,
    replies: Replies,
}

/// What the device announced by unit attentions, until somebody takes note.
#[derive(Debug, Default)]
pub(crate) struct News {
    states: AtomicBool,
    luns: AtomicBool,
}

impl News {
    /// The states of paths changed (06/2A/06).
    pub(crate) fn take_states(&self) -> bool {
        self.states.load(Relaxed) && self.states.swap(false, Relaxed)
    }

    /// The target has other LUNs now (06/3F/0E).
    pub(crate) fn take_luns(&self) -> bool {
        self.luns.load(Relaxed) && self.luns.swap(false, Relaxed)
    }

    fn hear(&self, advice: Advice) {
        match advice {
            Advice::StatesChanged => self.states.store(true, Relaxed),
            Advice::LunsChanged => self.luns.store(true, Relaxed),
            _ => {}
        }
    }
}

/// A command that did what it should.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) buffer: BytesMut,
    pub(crate) transferred: u32,
    pub(crate) mark: Mark,
}

impl Done {
    /// The bytes that came.
    pub(crate) fn received(&self) -> &[u8] {
        let length = usize::try_from(self.transferred).unwrap_or(usize::MAX);
        &self.buffer[..length.min(self.buffer.len())]
    }
}

/// What an answer means.
#[derive(Debug)]
pub(crate) enum Verdict {
    Done(Done),
    Again(Why, BytesMut, SanError),
    Failed(SanError),
}

impl Path {
    pub(crate) fn new(transport: Transport, lun: LunId) -> Self {
        let depth = Depth::new(transport.limits().lun_depth);
        let (cells, news) = (Arc::new(Cells::new()), Arc::default());
        Self { transport, lun, cells, depth, news, replies: Replies::default() }
    }

    pub(crate) fn target(&self) -> String {
        self.transport.place().target.clone()
    }

    /// Where it leads, in words.
    pub(crate) fn line(&self) -> String {
        let Place { portal, target } = self.transport.place();
        format!("LUN {} of {target} by {portal}", self.lun)
    }

    /// Waits until one more command may be in flight. A read counts for the latency.
    pub(crate) async fn permit(&self, cdb: &Cdb) -> Permit {
        self.depth.acquire(matches!(cdb.opcode(), 0x28 | 0x88)).await
    }

    /// Sends a command. `buffer` is as long as its data; when it is exchangeable, another of that
    /// length may come back.
    pub(crate) async fn send(
        &self,
        cdb: Cdb,
        buffer: BytesMut,
        exchangeable: bool,
        permit: Permit,
    ) -> Awaited {
        let (lun, cells) = (self.lun, Arc::clone(&self.cells));
        let (reply, awaited) = self.replies.channel();
        self.transport.start(Job { lun, cdb, buffer, exchangeable, cells, permit, reply }).await;
        awaited
    }

    /// Sends a command and waits for its end, repeating it on this path where the answer says so.
    pub(crate) async fn run(&self, operation: &'static str, cdb: Cdb) -> Result<Done, SanError> {
        let length = usize::try_from(cdb.data_in()).expect("32 bits fit a usize");
        let begun = Instant::now();
        let mut paths = Paths::new(false);
        paths.join(0, None, true, Time::ZERO);
        let mut course = Course::new(Patience::of(self.transport.limits()), 1);
        let mut buffer = BytesMut::zeroed(length);
        let mut last = self.transport.logged_out();
        loop {
            match course.next(&mut paths, |_| Load::default(), begun.elapsed()) {
                Step::Pause(pause) => {
                    sleep(pause).await;
                    continue;
                }
                Step::Wait(_) | Step::GiveUp => return Err(last),
                Step::Send(_) => {}
            }
            let permit = self.permit(&cdb).await;
            let answer = self.send(cdb, buffer, false, permit).await;
            let Some(answer) = answer.answer().await else {
                return Err(self.transport.logged_out());
            };
            let (why, error);
            (why, buffer, error) = match self.judge(operation, answer) {
                Verdict::Done(done) => return Ok(done),
                Verdict::Failed(error) => return Err(error),
                // This path is what is asked about: a state that does not pass by itself stands.
                Verdict::Again(Why::State(AccessState::Transitioning), buffer, error) => {
                    (Why::Busy, buffer, error)
                }
                Verdict::Again(why, buffer, error) => (why, buffer, error),
            };
            if matches!(why, Why::State(_)) || !course.failed(0, why, &mut paths, begun.elapsed()) {
                return Err(error);
            }
            tracing::debug!(lun = %self.lun, operation, ?why, "repeating: {error}");
            (last, buffer) = (error, sized(buffer, length));
            self.cells.repeated();
        }
    }

    pub(crate) fn judge(&self, operation: &'static str, answer: Answer) -> Verdict {
        let Answer { buffer, result, mark } = answer;
        match result {
            Ok(Outcome::Completed(completion)) => {
                self.judge_status(operation, mark, completion, buffer)
            }
            Ok(Outcome::Damaged) => {
                tracing::warn!(lun = %self.lun, operation, "data arrived damaged (data digest)");
                let problem = "the data arrives damaged (data digest); check the network";
                Verdict::Again(Why::Repeat, buffer, self.unanswered(operation, problem))
            }
            Ok(Outcome::TargetFailure(_)) => {
                let problem = "the target could not run it";
                Verdict::Again(Why::Repeat, buffer, self.unanswered(operation, problem))
            }
            Ok(Outcome::TimedOut) => {
                let problem = "no answer in time; it was aborted";
                Verdict::Again(Why::Lost, buffer, self.unanswered(operation, problem))
            }
            Err(Failure::Lost(error)) => {
                let Place { portal, target } = self.transport.place().clone();
                let error = SanError::PathLost { portal, target, source: Box::new(error) };
                Verdict::Again(Why::Lost, buffer, error)
            }
            Err(Failure::NotSent(
                error @ (SanError::Forbidden { .. } | SanError::LoggedOut { .. }),
            )) => Verdict::Failed(error),
            Err(Failure::NotSent(error)) => Verdict::Again(Why::Gone, buffer, error),
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
        self.news.hear(advice);
        if advice == Advice::Done {
            self.depth.good();
            return Verdict::Done(Done { buffer, transferred: completion.transferred, mark });
        }
        if advice == Advice::LowerDepth {
            self.depth.lower();
        }
        let why = why(advice, sense.as_ref());
        let (lun, target) = (self.lun, self.target());
        let error = SanError::Device { operation, lun, target, status, sense, advice };
        match why {
            Some(why) => Verdict::Again(why, buffer, error),
            None => Verdict::Failed(error),
        }
    }

    pub(crate) fn unanswered(&self, operation: &'static str, problem: &'static str) -> SanError {
        SanError::Unanswered { operation, lun: self.lun, target: self.target(), problem }
    }
}

/// Whether a command that ended badly may be sent again.
fn why(advice: Advice, sense: Option<&Sense>) -> Option<Why> {
    if let Some(state) = sense.and_then(AccessState::told_by) {
        return Some(Why::State(state));
    }
    match advice {
        Advice::Repeat | Advice::StatesChanged | Advice::LunsChanged => Some(Why::Repeat),
        Advice::RepeatElsewhere => Some(Why::Elsewhere),
        Advice::LowerDepth | Advice::Wait | Advice::WaitReserved => Some(Why::Busy),
        // Not mapped by this path, or a passive one.
        Advice::PathUnusable => Some(Why::Gone),
        _ => None,
    }
}

/// A buffer of that length, in the same memory where that is large enough.
pub(crate) fn sized(mut buffer: BytesMut, length: usize) -> BytesMut {
    if buffer.capacity() < length {
        // An unaligned read has cut off its front.
        buffer.clear();
        if !buffer.try_reclaim(length) {
            return BytesMut::zeroed(length);
        }
    }
    buffer.resize(length, 0);
    buffer
}

impl Patience {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            losses: limits.reconnect.attempts,
            busy: limits.busy_patience,
            lost: limits.reconnect.patience + limits.command_timeout,
        }
    }
}
