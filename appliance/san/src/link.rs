//! One TCP connection with its state machine: bytes are moved, nothing is decided but where a
//! target's redirections lead.

use crate::session::login_config;
use crate::socket::wake_at;
use crate::{PortalConfig, SanError};
use iscsi::{Agreed, Config, Connection, Event, IscsiError, Time};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Redirections that one login follows. An array needs one, from its discovery address to a port.
const HOPS_MAX: usize = 4;
/// More bytes than this are not waited for at once, so that reading and arriving overlap.
const WORTH: usize = 128 * 1024;
/// Bytes of a command on the wire, without digests.
const COMMAND: usize = 48;
/// CHAP challenges that are kept to notice a repeated one.
const CHALLENGES_MAX: usize = 64;

/// What a session keeps of its logins for the next one.
#[derive(Debug)]
pub(crate) struct Memory {
    isid: [u8; 6],
    discovery: bool,
    /// Where the target moved for good (login status 0102).
    moved: Option<String>,
    /// Challenges that were answered, the last one at the end.
    answered: VecDeque<Vec<u8>>,
}

impl Memory {
    /// For a session with a target, with an ISID of its own.
    pub(crate) fn new(isid: [u8; 6]) -> Self {
        Self { isid, discovery: false, moved: None, answered: VecDeque::new() }
    }

    /// For asking a portal which targets it has.
    pub(crate) fn for_discovery(isid: [u8; 6]) -> Self {
        Self { discovery: true, ..Self::new(isid) }
    }

    fn config(&self, portal: &PortalConfig) -> Result<Config, SanError> {
        let mut config = login_config(portal, self.isid)?;
        if self.discovery {
            config.target = None;
        }
        if let Some(chap) = &mut config.chap {
            chap.answered = self.answered.iter().cloned().collect();
        }
        Ok(config)
    }

    fn note(&mut self, challenge: Option<&[u8]>) {
        let Some(challenge) = challenge else { return };
        if self.answered.len() == CHALLENGES_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(challenge.to_vec());
    }
}

/// A connection; `T` is the driver's context of a command.
#[derive(Debug)]
pub(crate) struct Link<T> {
    stream: TcpStream,
    pub(crate) connection: Connection<T>,
    origin: Instant,
    /// From how many bytes on the socket wakes us.
    wakes_at: i32,
}

impl<T> Link<T> {
    /// Connects and logs in, wherever the target redirects to. An error of the session names
    /// target and portal: the one that was tried last.
    pub(crate) async fn login(
        portal: &PortalConfig,
        memory: &mut Memory,
    ) -> Result<(Self, Agreed), SanError> {
        if let Some(moved) = memory.moved.clone() {
            let there = PortalConfig { portal: moved, ..portal.clone() };
            match Self::follow(&there, memory).await {
                // It is not there any more: where it was configured, it may say where it is.
                Err(error) if is_absent(&error) => memory.moved = None,
                result => return result,
            }
        }
        Self::follow(portal, memory).await
    }

    /// Logs in at a portal or at one that it redirects to. What moved for good is remembered.
    async fn follow(
        portal: &PortalConfig,
        memory: &mut Memory,
    ) -> Result<(Self, Agreed), SanError> {
        let mut here = portal.clone();
        let mut trail = Vec::new();
        let (mut for_good, mut moved) = (true, None);
        loop {
            let (address, permanent) = match Self::login_at(&here, memory).await {
                Err(SanError::Session {
                    source: IscsiError::Redirected { address, permanent },
                    ..
                }) => (address.portal, permanent),
                Ok(link) => {
                    memory.moved = moved.or(memory.moved.take());
                    return Ok(link);
                }
                Err(error) => return Err(error),
            };
            tracing::info!(portal = %here.portal, target = %here.target, to = %address, permanent,
                "redirected");
            // Behind a temporary redirection nothing is for good.
            for_good &= permanent;
            if for_good {
                moved = Some(address.clone());
            }
            trail.push(std::mem::replace(&mut here.portal, address.clone()));
            if trail.contains(&address) || trail.len() > HOPS_MAX {
                trail.push(address);
                return Err(session_error("login", portal, IscsiError::RedirectionLoop { trail }));
            }
        }
    }

    async fn login_at(
        portal: &PortalConfig,
        memory: &mut Memory,
    ) -> Result<(Self, Agreed), SanError> {
        let config = memory.config(portal)?;
        let stream = connect(portal).await?;
        let origin = Instant::now();
        let failed = |source| session_error("login", portal, source);
        let connection = Connection::new(config, Time::ZERO).map_err(failed)?;
        let mut link = Self { stream, connection, origin, wakes_at: 1 };
        let result = loop {
            match link.next_event().await {
                Event::LoggedIn(agreed) => break Ok(*agreed),
                Event::Closed(error) => break Err(failed(error)),
                _ => {}
            }
        };
        memory.note(link.connection.challenge());
        result.map(|agreed| (link, agreed))
    }

    pub(crate) fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// Runs until something happened.
    pub(crate) async fn next_event(&mut self) -> Event<T> {
        loop {
            if let Some(event) = self.connection.poll_event() {
                return event;
            }
            self.write_some();
            if self.read_some() {
                continue;
            }
            self.wait().await;
        }
    }

    /// While answers arrive, commands leave in groups: a write for each of them costs a tenth of
    /// all processor time. The target has the other three quarters to work at meanwhile.
    /// Measured against tgtd on loopback: a tenth of the writes, 7 % less processor time.
    pub(crate) fn is_worth_writing(&self) -> bool {
        let in_flight = self.connection.in_flight();
        self.connection.transmit().len() >= COMMAND * (in_flight / 4).max(1)
    }

    /// Writes what can be written now.
    pub(crate) fn write_some(&mut self) {
        while !self.connection.transmit().is_empty() {
            match self.stream.try_write(self.connection.transmit()) {
                Ok(count) => self.connection.transmitted(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The reading side says what happened; here it would only be a broken pipe.
                Err(_) => return self.connection.disconnected(),
            }
        }
    }

    /// One read system call; false when there was nothing to read.
    pub(crate) fn read_some(&mut self) -> bool {
        let [direct, staging] = self.connection.receive_buffers();
        let mut buffers = [IoSliceMut::new(direct), IoSliceMut::new(staging)];
        match self.stream.try_read_vectored(&mut buffers) {
            Ok(count) => self.connection.received(count, self.origin.elapsed()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.connection.disconnected(),
        }
        true
    }

    /// In the middle of a large PDU each waking brings a piece of it, and costs more than that.
    /// Measured against tgtd on loopback: a tenth more throughput for a tenth less processor time.
    fn sleep_until_worth_it(&mut self) {
        let expected = self.connection.expected_bytes().clamp(1, WORTH);
        let bytes = i32::try_from(expected).unwrap_or(1);
        // A socket that does not take it wakes us for every byte, which is no error.
        if bytes != self.wakes_at && wake_at(&self.stream, bytes).is_ok() {
            self.wakes_at = bytes;
        }
    }

    /// Waits for the socket or for the time at which the connection wants to be looked at.
    pub(crate) async fn wait(&mut self) {
        let interest = if self.connection.transmit().is_empty() {
            tokio::io::Interest::READABLE
        } else {
            tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
        };
        self.sleep_until_worth_it();
        let ready = self.stream.ready(interest);
        let Some(due) = self.connection.poll_timeout() else {
            // Only a closed connection waits for nothing, and that has an event to tell.
            return;
        };
        // An error of `ready` shows itself again in the read that follows.
        if tokio::time::timeout_at(self.origin + due, ready).await.is_err() {
            self.connection.handle_timeout(self.origin.elapsed());
        }
    }
}

/// True when nobody, or somebody else, is at a portal.
fn is_absent(error: &SanError) -> bool {
    let kind = error.kind();
    matches!(error, SanError::Connect { .. })
        || matches!(kind, model::ErrorKind::NotFound | model::ErrorKind::Gone)
}

async fn connect(portal: &PortalConfig) -> Result<TcpStream, SanError> {
    let failed = |source: io::Error| SanError::Connect {
        portal: portal.portal.clone(),
        source: Arc::new(source),
    };
    let stream = timeout(portal.connect_timeout, TcpStream::connect(&portal.portal))
        .await
        .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    // Commands are small and must not wait for one another. The receive buffer is left to the
    // kernel's own tuning: a fixed size is capped far below what tuning reaches.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// An error of a session, with its place.
pub(crate) fn session_error(
    operation: &'static str,
    portal: &PortalConfig,
    source: IscsiError,
) -> SanError {
    SanError::Session {
        operation,
        portal: portal.portal.clone(),
        target: portal.target.clone(),
        source,
    }
}
