//! The task that owns a session's link: orders in, bytes both ways, answers out.

use super::{Context, Order, refuse};
use crate::job::{Answer, Failure, Job, Mark};
use crate::link::{Link, Memory, session_error};
use crate::{PortalConfig, SanError};
use bytes::BytesMut;
use iscsi::{Agreed, Command, Completion, Event, Finished, IscsiError, Outcome};
use scsi::{Role, Sense, SenseKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How a link ended.
enum End {
    /// Its commands were given back.
    Lost(IscsiError),
    LoggedOut(Option<oneshot::Sender<()>>),
}

pub(super) struct Worker {
    pub(super) portal: Arc<PortalConfig>,
    pub(super) memory: Memory,
    pub(super) queue: mpsc::Receiver<Order>,
    /// Which login this is; 1 is the first.
    pub(super) epoch: u64,
    /// Before this moment the target does not want to see us (Time2Wait).
    pub(super) not_before: Instant,
}

impl Worker {
    pub(super) fn new(
        portal: Arc<PortalConfig>,
        memory: Memory,
        queue: mpsc::Receiver<Order>,
    ) -> Self {
        Self { portal, memory, queue, epoch: 1, not_before: Instant::now() }
    }

    pub(super) async fn run(mut self, link: Link<Context>, agreed: Agreed) {
        let mut link = Some((link, agreed));
        loop {
            let Some((mut current, agreed)) = link.take() else {
                let Some(order) = self.queue.recv().await else { return };
                match self.reinstate(order).await {
                    Some(fresh) => link = Some(fresh),
                    None if self.queue.is_closed() => return,
                    None => {}
                }
                continue;
            };
            match self.serve(&mut current).await {
                End::LoggedOut(done) => {
                    self.close();
                    drop(done);
                    return;
                }
                End::Lost(IscsiError::EndedByTarget { wait, .. }) => self.stay_away(wait),
                End::Lost(_) => {
                    self.stay_away(Duration::from_secs(agreed.time_to_wait.into()));
                }
            }
        }
    }

    fn stay_away(&mut self, wait: Duration) {
        self.not_before = Instant::now() + wait;
    }

    /// No more orders; those that wait are told so.
    pub(super) fn close(&mut self) {
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
                    Ok(Order::Run(job)) => self.submit(link, job),
                    Ok(Order::Logout(done)) => leaving = Some(Some(done)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => leaving = Some(None),
                }
            }
            if leaving.is_some() && link.connection.in_flight() == 0 {
                link.connection.logout(link.now());
            }
            if link.is_worth_writing() {
                link.write_some();
            }
            let read = link.read_some();
            if !read {
                link.write_some();
            }
            let mut answered = false;
            while let Some(event) = link.connection.poll_event() {
                match event {
                    Event::Finished(finished) => {
                        self.answer(finished);
                        answered = true;
                    }
                    Event::Closed(error) => {
                        self.give_back(link, &error);
                        // Nobody waits for a farewell from a target that is gone.
                        return leaving.map_or(End::Lost(error), End::LoggedOut);
                    }
                    Event::LoggedOut => return End::LoggedOut(leaving.flatten()),
                    Event::LoggedIn(_) | Event::Targets(_) => {}
                }
            }
            if answered {
                // Those who were answered use their bytes while they are in the cache, and ask
                // for more, before the next ones come.
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
            Some(Order::Run(job)) => self.submit(link, job),
            Some(Order::Logout(done)) => *leaving = Some(Some(done)),
            None => *leaving = Some(None),
        }
    }

    /// The last look at the allow-list, then the bytes leave.
    pub(super) fn submit(&self, link: &mut Link<Context>, job: Job) {
        if let Err(source) = Role::SourceDisk.check(&job.cdb) {
            let (lun, target) = (job.lun, self.portal.target.clone());
            return job.refuse(SanError::Forbidden { lun, target, source });
        }
        let Job { lun, cdb, buffer, exchangeable, cells, permit, reply } = job;
        let context = Context { reply, cells, permit };
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
        reply.send(Answer { buffer, result, mark });
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
}

fn is_attention(completion: &Completion) -> bool {
    let sense = Sense::decode(&completion.sense);
    sense.is_ok_and(|sense| sense.key == SenseKey::UnitAttention)
}
