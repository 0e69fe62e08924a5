//! One session: a task that owns the link, and the handle through which commands reach it.
//!
//! A lost link is reinstated (same ISID, RFC 7143, 6.3.5) when the next command wants to be
//! sent; commands that were in flight go back to their senders, who decide whether to repeat
//! them. An idle session that lost its link stays quiet.

mod reinstate;
mod worker;

use crate::counters::Cells;
use crate::depth::Permit;
use crate::job::Job;
use crate::link::{Link, Memory};
use crate::reply::Reply;
use crate::transport::{Limits, Place};
use crate::{PortalConfig, SanError};
use iscsi::{Agreed, Config};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use worker::Worker;

/// Orders that may wait before their senders do.
const QUEUE: usize = 64;

#[derive(Debug)]
enum Order {
    Run(Job),
    Logout(oneshot::Sender<()>),
}

/// What the link carries for each command.
#[derive(Debug)]
struct Context {
    reply: Reply,
    cells: Arc<Cells>,
    permit: Permit,
}

/// Handle of a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    orders: mpsc::Sender<Order>,
    agreed: Arc<Agreed>,
    place: Arc<Place>,
    limits: Limits,
}

impl Session {
    /// Connects, logs in and starts the session's task.
    pub(crate) async fn login(portal: PortalConfig) -> Result<Self, SanError> {
        check(&portal)?;
        let mut memory = Memory::new(fresh_isid()?);
        let portal = Arc::new(portal);
        let (link, agreed) = Link::login(&portal, &mut memory).await?;
        tracing::info!(portal = %portal.portal, target = %portal.target,
            header_digest = agreed.header_digest, data_digest = agreed.data_digest, "logged in");
        let (orders, queue) = mpsc::channel(QUEUE);
        let worker = Worker::new(Arc::clone(&portal), memory, queue);
        tokio::spawn(worker.run(link, agreed.clone()));
        let place = Place { portal: portal.portal.clone(), target: portal.target.clone() };
        let limits = portal.limits();
        Ok(Self { orders, agreed: Arc::new(agreed), place: Arc::new(place), limits })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// True for two handles of one session.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.orders.same_channel(&other.orders)
    }

    /// What was agreed on at the first login.
    pub(crate) fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Sends a job on its way. The answer comes to where the job says.
    pub(crate) async fn start(&self, job: Job) {
        if let Err(mpsc::error::SendError(order)) = self.orders.send(Order::Run(job)).await {
            refuse(order, &self.logged_out());
        }
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
        SanError::LoggedOut { target: self.place.target.clone() }
    }
}

/// Answers an order that will not be carried out.
fn refuse(order: Order, error: &SanError) {
    match order {
        Order::Run(job) => job.refuse(error.clone()),
        Order::Logout(done) => drop(done),
    }
}

fn random<const N: usize>() -> Result<[u8; N], SanError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SanError::Random)?;
    Ok(bytes)
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
        first_cmd_sn: 1, // as everyone begins
        chap,
        header_digest: portal.header_digest,
        data_digest: portal.data_digest,
        max_recv_data: portal.segment,
        max_outstanding: portal.queue_depth,
        timers: portal.timers,
    })
}

/// A fresh ISID: one for each session, and kept as long as it is.
pub(crate) fn fresh_isid() -> Result<[u8; 6], SanError> {
    random().map(Config::random_isid)
}
