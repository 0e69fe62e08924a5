//! The daemon's side of the socket: one connection, renewed when it is lost, with a time limit on
//! everything.
//!
//! A request is carried out at most once. It is sent again only when it certainly did not arrive
//! as a whole (the warden handles whole frames only): never when just the answer is missing. So
//! after [`LineError::Unanswered`] the ledger says what happened, not this line.

use crate::frames::{self, FrameError, Hello, Role, VERSION, Welcome};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Limit for the greeting and for handing over a request, unless the patience is shorter.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A line to the warden; requests of several threads go one after another.
pub struct Line {
    path: PathBuf,
    role: Role,
    patience: Duration,
    stream: Mutex<Option<UnixStream>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Nobody answers at the socket. The request was not handed over.
    #[error("no warden answers at {}", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What connecting said.
        #[source]
        source: io::Error,
    },
    /// It answers, but not to this client. The request was not handed over.
    #[error("the warden at {} turned this process away: {reason}", path.display())]
    TurnedAway {
        /// The socket.
        path: PathBuf,
        /// Its reason.
        reason: String,
    },
    /// The connection failed before the request was handed over.
    #[error("the request did not reach the warden at {}", path.display())]
    NotHandedOver {
        /// The socket.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: FrameError,
    },
    /// The request was handed over, but no answer came: it may have been carried out.
    #[error(
        "the warden at {} took the request and did not answer; whether it was carried out \
         is seen in the ledger",
        path.display()
    )]
    Unanswered {
        /// The socket.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: FrameError,
    },
}

impl LineError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        match self {
            Self::Absent { .. } | Self::NotHandedOver { .. } | Self::Unanswered { .. } => {
                model::ErrorKind::Retryable
            }
            Self::TurnedAway { .. } => model::ErrorKind::Refused,
        }
    }
}

impl Line {
    /// A line to the warden at `path`. Nothing is connected yet. `patience`: how long to wait for
    /// one answer; a deletion of many segments, or reading a repaired one, takes minutes.
    #[must_use]
    pub fn new(path: &Path, role: Role, patience: Duration) -> Self {
        Self { path: path.to_owned(), role, patience, stream: Mutex::new(None) }
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// See [`LineError`]. The next call connects anew.
    pub fn exchange<Q: Serialize, A: DeserializeOwned>(&self, request: &Q) -> Result<A, LineError> {
        let mut place = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out while in use: after any failure the connection is not used again.
        let stream = self.hand_over(place.take(), request)?;
        let answer = frames::receive(&stream, "answer", Some(self.patience), self.patience)
            .map_err(|source| LineError::Unanswered { path: self.path.clone(), source })?;
        *place = Some(stream);
        Ok(answer)
    }

    fn hand_over<Q: Serialize>(
        &self,
        kept: Option<UnixStream>,
        request: &Q,
    ) -> Result<UnixStream, LineError> {
        if let Some(stream) = kept.filter(usable) {
            match frames::send(&stream, "request", request, self.hand_over_limit()) {
                Ok(()) => return Ok(stream),
                // It had gone just then; a frame that is not whole is not carried out.
                Err(FrameError::Torn) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
        let stream = self.connect()?;
        frames::send(&stream, "request", request, self.hand_over_limit())
            .map_err(|source| self.lost(source))?;
        Ok(stream)
    }

    fn hand_over_limit(&self) -> Duration {
        self.patience.min(HAND_OVER)
    }

    fn lost(&self, source: FrameError) -> LineError {
        LineError::NotHandedOver { path: self.path.clone(), source }
    }

    fn connect(&self) -> Result<UnixStream, LineError> {
        let stream = open(&self.path)
            .map_err(|source| LineError::Absent { path: self.path.clone(), source })?;
        let hello = Hello { holdfast_warden: VERSION, role: self.role };
        let limit = self.hand_over_limit();
        // A peer of a wrong user is refused before his hello is read, so that sending it may fail.
        let sent = frames::send(&stream, "hello", &hello, limit);
        let welcome = frames::receive(&stream, "welcome", Some(limit), limit);
        let turned_away = |reason| Err(LineError::TurnedAway { path: self.path.clone(), reason });
        match welcome {
            Ok(Welcome::Welcome { version: VERSION }) => Ok(stream),
            Ok(Welcome::Welcome { version }) => {
                turned_away(format!("it speaks version {version} of the protocol, not {VERSION}"))
            }
            Ok(Welcome::Refused { reason }) => turned_away(reason),
            Err(source) => Err(self.lost(sent.err().unwrap_or(source))),
        }
    }
}

/// Connects without waiting: a full queue means that nobody takes connections.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Whether the peer is still there and has said nothing unasked.
fn usable(stream: &UnixStream) -> bool {
    let mut byte = [0; 1];
    let found = recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(found, Err(Errno::AGAIN))
}
