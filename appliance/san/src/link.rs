//! One TCP connection with its state machine: bytes are moved, nothing is decided.

use crate::{PortalConfig, SanError};
use iscsi::{Agreed, Config, Connection, Event, IscsiError, Time};
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// A connection; `T` is the driver's context of a command.
#[derive(Debug)]
pub(crate) struct Link<T> {
    stream: TcpStream,
    pub(crate) connection: Connection<T>,
    origin: Instant,
}

impl<T> Link<T> {
    /// Connects and logs in. An error of the session names portal and target.
    pub(crate) async fn login(
        portal: &PortalConfig,
        config: Config,
    ) -> Result<(Self, Agreed), SanError> {
        let stream = connect(portal).await?;
        let origin = Instant::now();
        let failed = |source| session_error("login", portal, source);
        let connection = Connection::new(config, Time::ZERO).map_err(failed)?;
        let mut link = Self { stream, connection, origin };
        loop {
            match link.next_event().await {
                Event::LoggedIn(agreed) => return Ok((link, *agreed)),
                Event::Closed(error) => return Err(failed(error)),
                _ => {}
            }
        }
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

    /// Waits for the socket or for the time at which the connection wants to be looked at.
    pub(crate) async fn wait(&mut self) {
        let interest = if self.connection.transmit().is_empty() {
            tokio::io::Interest::READABLE
        } else {
            tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
        };
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
