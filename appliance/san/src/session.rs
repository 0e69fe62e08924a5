//! One session: a task that owns the link, and the handle through which commands reach it.
//!
//! A lost link is reinstated (same ISID, RFC 7143, 6.3.5) when the next command wants to be
//! sent; commands that were in flight go back to their senders, who decide whether to repeat
//! them. An idle session that lost its link stays quiet.

use crate::counters::Cells;
use crate::depth::Permit;
use crate::link::{Link, session_error};
use crate::{PortalConfig, SanError};
use bytes::BytesMut;
use iscsi::{Agreed, Command, Completion, Config, Event, Finished, IscsiError, Outcome, Time};
use scsi::{Cdb, LunId, Role, Sense, SenseKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// Orders that may wait before their senders do.
const QUEUE: usize = 64;

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
    pub(crate) permit: Permit,
}

/// The answer to a job.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) buffer: BytesMut,
    pub(crate) result: Result<Outcome, Failure>,
    pub(crate) mark: Mark,
}

/// Two answers with the same mark saw the same LUN: no login and no unit attention between.
/// It is set in the order in which the answers came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which login of the session; 1 is the first, 0 none.
    epoch: u64,
    attentions: u64,
}

/// Why a job was not answered by its device.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The link was lost while it was in flight; it may be sent again.
    Lost(SanError),
    /// It was not sent, and sending it again at once will not help.
    NotSent(SanError),
}

#[derive(Debug)]
enum Order {
    Run(Job, oneshot::Sender<Answer>),
    Logout(oneshot::Sender<()>),
}

/// What the link carries for each command.
#[derive(Debug)]
struct Context {
    reply: oneshot::Sender<Answer>,
    cells: Arc<Cells>,
    permit: Permit,
}

/// Handle of a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    orders: mpsc::Sender<Order>,
    portal: Arc<PortalConfig>,
    agreed: Arc<Agreed>,
}

impl Session {
    /// Connects, logs in and starts the session's task.
    pub(crate) async fn login(portal: PortalConfig) -> Result<Self, SanError> {
        check(&portal)?;
        let isid = Config::random_isid(random()?);
        let portal = Arc::new(portal);
        let (link, agreed) = Link::login(&portal, login_config(&portal, isid)?).await?;
        tracing::info!(portal = %portal.portal, target = %portal.target,
            header_digest = agreed.header_digest, data_digest = agreed.data_digest, "logged in");
        let (orders, queue) = mpsc::channel(QUEUE);
        let worker = Worker { portal: Arc::clone(&portal), isid, queue, epoch: 1 };
        tokio::spawn(worker.run(link, agreed.clone()));
        Ok(Self { orders, portal, agreed: Arc::new(agreed) })
    }

    pub(crate) fn portal(&self) -> &PortalConfig {
        &self.portal
    }

    /// What was agreed on at the first login.
    pub(crate) fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Sends a job on its way. The answer comes through the receiver.
    pub(crate) async fn start(&self, job: Job) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        if let Err(mpsc::error::SendError(order)) = self.orders.send(Order::Run(job, reply)).await {
            refuse(order, &self.logged_out());
        }
        answer
    }

    /// Ends the session; waits for commands in flight.
    pub(crate) async fn logout(&self) {
        let (done, waiting) = oneshot::channel();
        if self.orders.send(Order::Logout(done)).await.is_ok() {
            // An error says that the task is gone, and the session with it.
            let _ = waiting.await;
        }
    }

    pub(crate) fn logged_out(&self) -> SanError {
        SanError::LoggedOut { target: self.portal.target.clone() }
    }
}

/// Answers an order that will not be carried out.
fn refuse(order: Order, error: &SanError) {
    match order {
        Order::Run(job, reply) => {
            let result = Err(Failure::NotSent(error.clone()));
            // Nobody listens any more: then nobody wants to know.
            let _ = reply.send(Answer { buffer: job.buffer, result, mark: Mark::default() });
        }
        Order::Logout(done) => drop(done),
    }
}

/// How a link ended.
enum End {
    Lost(IscsiError),
    LoggedOut(Option<oneshot::Sender<()>>),
}

struct Worker {
    portal: Arc<PortalConfig>,
    isid: [u8; 6],
    queue: mpsc::Receiver<Order>,
    epoch: u64,
}

impl Worker {
    async fn run(mut self, link: Link<Context>, agreed: Agreed) {
        let mut link = Some((link, agreed));
        let mut time_to_wait = Duration::ZERO;
        loop {
            let Some((mut current, agreed)) = link.take() else {
                let Some(order) = self.queue.recv().await else { return };
                match self.reinstate(order, time_to_wait).await {
                    Some(fresh) => link = Some(fresh),
                    None if self.queue.is_closed() => return,
                    None => {}
                }
                continue;
            };
            time_to_wait = Duration::from_secs(agreed.time_to_wait.into());
            match self.serve(&mut current).await {
                End::LoggedOut(done) => {
                    self.close();
                    drop(done);
                    return;
                }
                End::Lost(error) => self.give_back(&mut current, &error),
            }
        }
    }

    /// No more orders; those that wait are told so.
    fn close(&mut self) {
        self.queue.close();
        let error = SanError::LoggedOut { target: self.portal.target.clone() };
        while let Ok(order) = self.queue.try_recv() {
            refuse(order, &error);
        }
    }

    /// Moves bytes and commands until the link ends.
    async fn serve(&mut self, link: &mut Link<Context>) -> End {
        let mut leaving = None;
        loop {
            while leaving.is_none() && link.connection.can_submit() {
                match self.queue.try_recv() {
                    Ok(Order::Run(job, reply)) => self.submit(link, job, reply),
                    Ok(Order::Logout(done)) => leaving = Some(Some(done)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => leaving = Some(None),
                }
            }
            if leaving.is_some() && link.connection.in_flight() == 0 {
                link.connection.logout(link.now());
            }
            link.write_some();
            let read = link.read_some();
            let mut answered = false;
            while let Some(event) = link.connection.poll_event() {
                match event {
                    Event::Finished(finished) => {
                        self.answer(finished);
                        answered = true;
                    }
                    Event::Closed(error) => return End::Lost(error),
                    Event::LoggedOut => return End::LoggedOut(leaving.flatten()),
                    Event::LoggedIn(_) | Event::Targets(_) => {}
                }
            }
            if answered {
                // Let those who were answered ask for more before the next read.
                tokio::task::yield_now().await;
            } else if !read {
                self.wait(link, &mut leaving).await;
            }
        }
    }

    /// Sleeps until the socket, the clock or an order has something.
    async fn wait(
        &mut self,
        link: &mut Link<Context>,
        leaving: &mut Option<Option<oneshot::Sender<()>>>,
    ) {
        let hungry = leaving.is_none() && link.connection.can_submit();
        let order = tokio::select! {
            biased;
            () = link.wait() => return,
            order = self.queue.recv(), if hungry => order,
        };
        match order {
            Some(Order::Run(job, reply)) => self.submit(link, job, reply),
            Some(Order::Logout(done)) => *leaving = Some(Some(done)),
            None => *leaving = Some(None),
        }
    }

    /// The last look at the allow-list, then the bytes leave.
    fn submit(&self, link: &mut Link<Context>, job: Job, reply: oneshot::Sender<Answer>) {
        let Job { lun, cdb, buffer, exchangeable, cells, permit } = job;
        let context = Context { reply, cells, permit };
        if let Err(source) = Role::SourceDisk.check(&cdb) {
            let target = self.portal.target.clone();
            let error = SanError::Forbidden { lun, target, source };
            return self.reply(context, buffer, Err(Failure::NotSent(error)));
        }
        context.cells.sent(cdb.opcode());
        let deadline = link.now().saturating_add(self.portal.command_timeout);
        let (lun, cdb) = (lun.0, cdb.padded());
        let command = Command { context, lun, cdb, buffer, exchangeable, deadline };
        if let Err(command) = link.connection.submit(command) {
            // The link ended between the question and the command.
            let error = session_error("sending a command", &self.portal, IscsiError::Disconnected);
            self.reply(command.context, command.buffer, Err(Failure::Lost(error)));
        }
    }

    fn answer(&self, finished: Finished<Context>) {
        if let Outcome::Completed(completion) = &finished.outcome
            && is_attention(completion)
        {
            finished.context.cells.attention();
        }
        self.reply(finished.context, finished.buffer, Ok(finished.outcome));
    }

    fn reply(&self, context: Context, buffer: BytesMut, result: Result<Outcome, Failure>) {
        let Context { reply, cells, permit } = context;
        drop(permit);
        let mark = Mark { epoch: self.epoch, attentions: cells.attentions() };
        // The reader may have gone away; its bytes go with it.
        let _ = reply.send(Answer { buffer, result, mark });
    }

    fn give_back(&self, link: &mut Link<Context>, error: &IscsiError) {
        let unfinished = link.connection.take_unfinished();
        tracing::warn!(portal = %self.portal.portal, target = %self.portal.target,
            in_flight = unfinished.len(), %error, "the session was lost");
        for (context, buffer) in unfinished {
            let error = session_error("waiting for an answer", &self.portal, error.clone());
            self.reply(context, buffer, Err(Failure::Lost(error)));
        }
    }

    /// Logs in again for `order`, or tells it and everyone who waits that the path is lost.
    async fn reinstate(&mut self, order: Order, wait: Time) -> Option<(Link<Context>, Agreed)> {
        let (job, reply) = match order {
            Order::Run(job, reply) => (job, reply),
            Order::Logout(done) => {
                // There is no session to end.
                self.close();
                drop(done);
                return None;
            }
        };
        match self.log_in_again(wait).await {
            Ok((mut link, agreed)) => {
                self.epoch += 1;
                tracing::info!(portal = %self.portal.portal, target = %self.portal.target,
                    "session reinstated");
                self.submit(&mut link, job, reply);
                Some((link, agreed))
            }
            Err(error) => {
                refuse(Order::Run(job, reply), &error);
                while let Ok(order) = self.queue.try_recv() {
                    refuse(order, &error);
                }
                None
            }
        }
    }

    async fn log_in_again(&self, wait: Time) -> Result<(Link<Context>, Agreed), SanError> {
        let plan = self.portal.reconnect;
        let give_up = Instant::now() + plan.patience;
        let mut delay = wait;
        let mut attempt = 1;
        loop {
            sleep(jittered(delay)?).await;
            let error = match self.log_in_once(give_up).await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            tracing::warn!(portal = %self.portal.portal, attempt, "login failed: {error}");
            delay = plan.delay.saturating_mul(1 << (attempt - 1).min(8));
            let late = Instant::now() + delay >= give_up;
            if attempt >= plan.attempts || late || is_final(&error) {
                return Err(self.path_lost(error));
            }
            attempt += 1;
        }
    }

    async fn log_in_once(&self, give_up: Instant) -> Result<(Link<Context>, Agreed), SanError> {
        let config = login_config(&self.portal, self.isid)?;
        match tokio::time::timeout_at(give_up, Link::login(&self.portal, config)).await {
            Ok(result) => result,
            Err(_) => {
                let source = IscsiError::TimedOut { waited_for: "the session's reinstatement" };
                Err(session_error("login", &self.portal, source))
            }
        }
    }

    fn path_lost(&self, source: SanError) -> SanError {
        SanError::PathLost {
            portal: self.portal.portal.clone(),
            target: self.portal.target.clone(),
            source: Box::new(source),
        }
    }
}

fn is_attention(completion: &Completion) -> bool {
    let sense = Sense::decode(&completion.sense);
    sense.is_ok_and(|sense| sense.key == SenseKey::UnitAttention)
}

/// A refusal stays one, however often it is asked for.
fn is_final(error: &SanError) -> bool {
    use model::ErrorKind::{Gone, NotFound, Refused};
    matches!(error.kind(), Refused | NotFound | Gone)
}

fn random<const N: usize>() -> Result<[u8; N], SanError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SanError::Random)?;
    Ok(bytes)
}

/// Up to a quarter longer, so that many appliances do not come back at the same moment.
fn jittered(delay: Duration) -> Result<Duration, SanError> {
    let [byte] = random()?;
    Ok(delay + delay / 1024 * u32::from(byte))
}

fn check(portal: &PortalConfig) -> Result<(), SanError> {
    let problem =
        if !(4096..=4 << 20).contains(&portal.transfer) || !portal.transfer.is_multiple_of(4096) {
            "transfer must be a multiple of 4096, at most 4 MiB"
        } else if portal.lun_depth == 0 {
            "lun_depth must be at least 1"
        } else if portal.reconnect.attempts == 0 {
            "reconnect.attempts must be at least 1"
        } else {
            return Ok(());
        };
    Err(SanError::Config { portal: portal.portal.clone(), problem })
}

/// The state machine's configuration, with fresh randomness for CHAP.
pub(crate) fn login_config(portal: &PortalConfig, isid: [u8; 6]) -> Result<Config, SanError> {
    let chap = match &portal.chap {
        Some(chap) => {
            let [identifier] = random()?;
            Some(chap.for_login(random()?, identifier))
        }
        None => None,
    };
    Ok(Config {
        initiator: portal.initiator.clone(),
        target: Some(portal.target.clone()),
        isid,
        chap,
        header_digest: portal.header_digest,
        data_digest: portal.data_digest,
        max_recv_data: portal.segment,
        max_outstanding: portal.queue_depth,
        timers: portal.timers,
    })
}

/// A fresh ISID for a session that is not kept.
pub(crate) fn fresh_isid() -> Result<[u8; 6], SanError> {
    random().map(Config::random_isid)
}
