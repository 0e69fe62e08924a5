//! One connection: the wishes of the driver on one side, the target's PDUs on the other.

mod dispatch;
mod outbox;
mod receive;
mod send;
mod timers;

use crate::config::Config;
use crate::discovery::DiscoveredTarget;
use crate::login::{Login, Request};
use crate::pdu::{self, NO_TAG};
use crate::sending::Bursts;
use crate::tasks::{Command, Finished, Tasks};
use crate::window::Window;
use crate::{Agreed, IscsiError, Time, keys};
use bytes::BytesMut;
use outbox::Outbox;
use receive::Receiver;
use std::collections::VecDeque;

/// Tags of our requests that are not commands; a command's low half stays below 1024.
mod tag {
    pub(super) const LOGIN: u32 = 0xf000;
    pub(super) const PING: u32 = 0xf001;
    pub(super) const TEXT: u32 = 0xf002;
    pub(super) const LOGOUT: u32 = 0xf003;
    /// Set in the tag of an ABORT TASK; the rest is the aborted command's tag.
    pub(super) const ABORT: u32 = 0x8000;
}

/// What happened.
#[derive(Debug)]
pub enum Event<T> {
    /// The full feature phase has begun: commands can be submitted.
    LoggedIn(Box<Agreed>),
    /// A command is over.
    Finished(Finished<T>),
    /// The answer to [`Connection::send_targets`].
    Targets(Vec<DiscoveredTarget>),
    /// The logout is done; the socket can be closed.
    LoggedOut,
    /// The connection is over; [`Connection::take_unfinished`] gives the commands back.
    Closed(IscsiError),
}

#[derive(Debug)]
enum Phase {
    Login { login: Box<Login>, deadline: Time },
    Full,
    LoggingOut { deadline: Time },
    Closed,
}

/// The target asked us to leave: no new commands, and a logout when the last one is over.
#[derive(Clone, Copy, Debug)]
struct Ending {
    event: u8,
    /// When to leave at the latest.
    latest: Time,
}

/// A text exchange: what has come so far.
#[derive(Debug)]
struct TextExchange {
    gathered: Vec<u8>,
    deadline: Time,
}

/// The state machine; see the crate's documentation for who calls what.
#[derive(Debug)]
pub struct Connection<T> {
    config: Config,
    phase: Phase,
    receiver: Receiver,
    outbox: Outbox,
    window: Window,
    exp_stat_sn: u32,
    tasks: Tasks<T>,
    /// How data goes out, and bytes of it in one PDU at most.
    bursts: Bursts,
    max_send_data: u32,
    text: Option<TextExchange>,
    ending: Option<Ending>,
    /// How long the target wants to be left alone after the session's end.
    time_to_wait: Time,
    challenge: Option<Vec<u8>>,
    events: VecDeque<Event<T>>,
    last_heard: Time,
    pinged: Option<Time>,
}

impl<T> Connection<T> {
    /// A connection over a fresh socket; the login request is ready to be transmitted.
    pub fn new(config: Config, now: Time) -> Result<Self, IscsiError> {
        config.check().map_err(IscsiError::Config)?;
        let (login, request) = Login::start(config.clone());
        let deadline = now.saturating_add(config.timers.login);
        let mut connection = Self {
            receiver: Receiver::new(config.max_recv_data),
            tasks: Tasks::new(config.max_outstanding),
            phase: Phase::Login { login: Box::new(login), deadline },
            outbox: Outbox::default(),
            window: Window::new(config.first_cmd_sn),
            config,
            exp_stat_sn: 0,
            bursts: Bursts::default(),
            max_send_data: 0,
            text: None,
            ending: None,
            time_to_wait: Time::ZERO,
            challenge: None,
            events: VecDeque::new(),
            last_heard: now,
            pinged: None,
        };
        connection.send_login(&request);
        Ok(connection)
    }

    fn send_login(&mut self, request: &Request) {
        let cmd_sn = self.window.next();
        let isid = self.config.isid;
        let header = pdu::login(request.stage, isid, 0, tag::LOGIN, cmd_sn, self.exp_stat_sn);
        self.outbox.push(header, &request.text);
    }

    /// True when [`Self::submit`] would take a command now.
    #[must_use]
    pub fn can_submit(&self) -> bool {
        matches!(self.phase, Phase::Full)
            && self.ending.is_none()
            && self.window.is_open()
            && !self.tasks.is_full()
    }

    /// The target's CHAP challenge that was answered. No later login may answer it again
    /// ([`crate::ChapConfig::answered`]).
    #[must_use]
    pub fn challenge(&self) -> Option<&[u8]> {
        self.challenge.as_deref()
    }

    /// Commands that were submitted and are not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.tasks.in_flight()
    }

    /// Sends a command that reads `command.buffer.len()` bytes. Gives it back when the window is
    /// closed, too much is in flight, or the connection is not in its full feature phase.
    pub fn submit(&mut self, command: Command<T>) -> Result<(), Command<T>> {
        let Ok(length) = u32::try_from(command.buffer.len()) else { return Err(command) };
        if !self.can_submit() {
            return Err(command);
        }
        let (lun, cdb) = (command.lun, command.cdb);
        let tag = self.tasks.insert(command, self.window.next())?;
        let cmd_sn = self.window.take();
        let header = pdu::scsi_read(lun, cdb, length, tag, cmd_sn, self.exp_stat_sn);
        self.outbox.push(header, &[]);
        Ok(())
    }

    /// Asks for all targets; for a discovery session in its full feature phase.
    pub fn send_targets(&mut self, now: Time) {
        if matches!(self.phase, Phase::Full) && self.text.is_none() {
            let deadline = now.saturating_add(self.config.timers.farewell);
            self.text = Some(TextExchange { gathered: Vec::new(), deadline });
            let mut text = Vec::new();
            keys::push(&mut text, "SendTargets", "All");
            self.ask_text(NO_TAG, &text);
        }
    }

    fn ask_text(&mut self, transfer_tag: u32, text: &[u8]) {
        let cmd_sn = self.window.next();
        let header = pdu::text_request(tag::TEXT, transfer_tag, cmd_sn, self.exp_stat_sn);
        self.outbox.push(header, text);
    }

    /// Asks to end the session; [`Event::LoggedOut`] follows. Commands in flight are not waited
    /// for, so let them end first.
    pub fn logout(&mut self, now: Time) {
        match self.phase {
            Phase::Full => {
                let deadline = now.saturating_add(self.config.timers.farewell);
                self.phase = Phase::LoggingOut { deadline };
                let header = pdu::logout(tag::LOGOUT, self.window.next(), self.exp_stat_sn);
                self.outbox.push(header, &[]);
            }
            Phase::Login { .. } => self.close(IscsiError::Disconnected),
            Phase::LoggingOut { .. } | Phase::Closed => {}
        }
    }

    /// Where the next bytes from the socket go, in this order; the first may be empty.
    pub fn receive_buffers(&mut self) -> [&mut [u8]; 2] {
        self.receiver.buffers(&mut self.tasks)
    }

    /// Bytes that are certain to come, since a PDU has begun: a driver need not look earlier. 0:
    /// nobody knows.
    #[must_use]
    pub fn expected_bytes(&self) -> usize {
        self.receiver.expected()
    }

    /// `count` bytes were read into the receive buffers; 0 says that the peer closed.
    pub fn received(&mut self, count: usize, now: Time) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if count == 0 {
            return self.disconnected();
        }
        self.last_heard = now;
        self.pinged = None;
        self.receiver.filled(count, &mut self.tasks);
        if let Err(error) = self.drain_receiver() {
            self.close(error);
        }
    }

    fn drain_receiver(&mut self) -> Result<(), IscsiError> {
        while let Some(received) = self.receiver.poll(&mut self.tasks)? {
            self.dispatch(&received)?;
            if matches!(self.phase, Phase::Closed) {
                return Ok(());
            }
        }
        self.leave_if_asked(self.last_heard);
        if self.outbox.is_stuck() {
            return Err(IscsiError::misbehaved("it talks but does not read"));
        }
        Ok(())
    }

    /// Logs out when the target asked for it and the last command is over, or time is up.
    fn leave_if_asked(&mut self, now: Time) {
        if let Some(Ending { latest, .. }) = self.ending
            && (self.tasks.in_flight() == 0 || latest <= now)
        {
            self.logout(now);
        }
    }

    /// The session is over by a logout: ours, or one that the target asked for.
    fn left(&mut self) {
        if let Some(Ending { event, .. }) = self.ending {
            return self.close(IscsiError::EndedByTarget { event, wait: self.time_to_wait });
        }
        self.phase = Phase::Closed;
        self.events.push_back(Event::LoggedOut);
    }

    /// The socket is gone (end of stream, or an error of the socket's own).
    pub fn disconnected(&mut self) {
        match self.phase {
            // A target may hang up instead of answering; either way the session is over.
            Phase::LoggingOut { .. } => self.left(),
            Phase::Login { .. } => {
                self.close(IscsiError::HungUp { chap: self.config.chap.is_some() });
            }
            Phase::Full | Phase::Closed => self.close(IscsiError::Disconnected),
        }
    }

    /// Bytes to write to the socket.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// `count` of the bytes of [`Self::transmit`] were written.
    pub fn transmitted(&mut self, count: usize) {
        self.outbox.written(count);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    /// The commands that were in flight when the connection ended, with their buffers.
    pub fn take_unfinished(&mut self) -> Vec<(T, BytesMut)> {
        self.receiver.reset();
        self.tasks.drain()
    }

    fn close(&mut self, error: IscsiError) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            self.events.push_back(Event::Closed(error));
        }
    }
}
