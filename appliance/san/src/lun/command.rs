//! One command of a read: sent by the best path, and by another when that fails.

use super::Lun;
use super::way::Way;
use crate::SanError;
use crate::multipath::{Course, Patience, Step, Why};
use crate::path::{Done, Verdict, sized};
use crate::reply::Awaited;
use crate::transport::Limits;
use bytes::BytesMut;
use scsi::Cdb;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What is to be read, and how far that has come.
#[derive(Debug)]
struct Order {
    operation: &'static str,
    cdb: Cdb,
    exchangeable: bool,
    course: Course,
    buffer: BytesMut,
    /// Why it was not done so far.
    error: Option<SanError>,
}

/// A command that was sent and has not been looked at.
#[derive(Debug)]
pub(super) struct Pending {
    order: Order,
    at: usize,
    way: Arc<Way>,
    begun: Instant,
    answer: Awaited,
}

impl Lun {
    /// Sends a command by the best path. `buffer` is as long as its data; when it is
    /// exchangeable, another of that length may come back.
    pub(super) async fn start(
        &self,
        operation: &'static str,
        cdb: Cdb,
        buffer: BytesMut,
        exchangeable: bool,
    ) -> Result<Pending, SanError> {
        let course = Course::new(Patience::of(&self.limits()), self.count());
        self.launch(Order { operation, cdb, exchangeable, course, buffer, error: None }).await
    }

    /// Sends a command once.
    async fn launch(&self, mut order: Order) -> Result<Pending, SanError> {
        loop {
            // Before the step, so that no change after it is missed.
            let changed = self.0.changed.notified();
            match self.step(&mut order.course) {
                Step::Pause(pause) => sleep(pause).await,
                Step::Wait(most) => {
                    // Whether something changed or time is over, the next step sees.
                    let _ = timeout(most, changed).await;
                }
                Step::GiveUp => return Err(order.error.unwrap_or_else(|| self.no_path())),
                Step::Send(at) => {
                    let (way, begun) = (self.way(at), Instant::now());
                    let buffer = std::mem::take(&mut order.buffer);
                    let sending = async {
                        let permit = way.path.permit(&order.cdb).await;
                        way.path.send(order.cdb, buffer, order.exchangeable, permit).await
                    };
                    match self.unless_overtaken(at, begun, sending).await {
                        Ok(answer) => return Ok(Pending { order, at, way, begun, answer }),
                        Err(why) => {
                            let error = left(&way, order.operation, why);
                            order = self.again(order, at, &way, why, error)?;
                        }
                    }
                }
            }
        }
    }

    fn step(&self, course: &mut Course) -> Step {
        let ways = self.ways();
        course.next(&mut self.lock(), |at| ways[at].path.depth.load(), self.now())
    }

    /// Waits for the end of a command, and sends it again where the answer says so.
    pub(super) async fn finish(&self, mut pending: Pending) -> Result<(usize, Done), SanError> {
        loop {
            let Pending { mut order, at, way, begun, answer } = pending;
            let verdict = match self.unless_overtaken(at, begun, answer.answer()).await {
                Ok(Some(answer)) => way.path.judge(order.operation, answer),
                Ok(None) => Verdict::Failed(self.ended(&way)),
                Err(why) => Verdict::Again(why, BytesMut::new(), left(&way, order.operation, why)),
            };
            self.hear(at, &way);
            let (why, error);
            (why, order.buffer, error) = match verdict {
                Verdict::Done(done) => return self.done(&order, at, &way, done),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again(why, buffer, error) => (why, buffer, error),
            };
            pending = match self.again(order, at, &way, why, error) {
                Ok(order) => self.launch(order).await?,
                Err(error) => return Err(self.name_holder(&way, error).await),
            };
        }
    }

    fn done(
        &self,
        order: &Order,
        at: usize,
        way: &Way,
        done: Done,
    ) -> Result<(usize, Done), SanError> {
        let (got, wanted) = (done.transferred, order.cdb.data_in());
        if got != wanted {
            let (operation, lun, target) = (order.operation, way.path.lun, way.path.target());
            return Err(SanError::Short { operation, lun, target, got, wanted });
        }
        self.lock().good(at, self.now());
        way.brought(got);
        Ok((at, done))
    }

    /// A command was not done by `at`; the error when it is not to be sent again.
    fn again(
        &self,
        mut order: Order,
        at: usize,
        way: &Way,
        why: Why,
        error: SanError,
    ) -> Result<Order, SanError> {
        let goes_on = order.course.failed(at, why, &mut self.lock(), self.now());
        if !matches!(why, Why::Repeat | Why::Busy) {
            way.remember(&error);
            self.announce();
        }
        if !goes_on {
            return Err(error);
        }
        let (path, operation) = (way.path.line(), order.operation);
        tracing::debug!(path, operation, ?why, "sent again: {error}");
        way.path.cells.repeated();
        let length = usize::try_from(order.cdb.data_in()).expect("32 bits fit a usize");
        order.buffer = sized(order.buffer, length);
        order.error = Some(error);
        Ok(order)
    }

    /// What `future` brings, or why another path is to be taken instead: this one was lost, is
    /// silent for too long, or serves no reads any more, and another is usable.
    pub(super) async fn unless_overtaken<T>(
        &self,
        at: usize,
        begun: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, Why> {
        if self.count() == 1 {
            return Ok(future.await);
        }
        let mut future = pin!(future);
        let patience = begun + self.limits().failover_after;
        loop {
            let changed = self.0.changed.notified();
            if let Some(why) = self.lock().overtaken(at, Instant::now() >= patience) {
                return Err(why);
            }
            tokio::select! {
                biased;
                outcome = &mut future => return Ok(outcome),
                () = changed => {}
                () = sleep_until(patience), if Instant::now() < patience => {}
            }
        }
    }

    /// Takes note of what the device announced with its last answers.
    pub(super) fn hear(&self, at: usize, way: &Way) {
        if way.path.news.take_states() {
            self.lock().ask(at, self.now());
            self.0.wake.notify_one();
        }
        if way.path.news.take_luns() {
            self.0.rescan.notify_one();
        }
    }

    /// The transport has ended, by our own will.
    pub(super) fn ended(&self, way: &Way) -> SanError {
        self.0.closed.store(true, Relaxed);
        way.path.transport.logged_out()
    }

    pub(super) fn no_path(&self) -> SanError {
        if self.0.closed.load(Relaxed) {
            return self.way(0).path.transport.logged_out();
        }
        let ways = self.ways().clone();
        let refusals: Vec<SanError> = ways.iter().filter_map(|way| way.refusal()).collect();
        if refusals.len() == ways.len()
            && let Some(refusal) = refusals.into_iter().next()
        {
            return refusal;
        }
        let name = self.0.info.names.first().map_or("without a name", |name| name.as_str()).into();
        let paths = self.paths().into_iter().map(|path| path.line()).collect();
        SanError::NoPath { name, paths }
    }

    /// Those of the first path: they are configured for all alike.
    pub(super) fn limits(&self) -> Limits {
        *self.ways()[0].path.transport.limits()
    }
}

/// Why a command was left behind on a path.
fn left(way: &Way, operation: &'static str, why: Why) -> SanError {
    let problem = match why {
        Why::State(_) => "the path serves no reads now; another path was taken",
        _ => "no answer in time; another path was taken",
    };
    way.path.unanswered(operation, problem)
}
