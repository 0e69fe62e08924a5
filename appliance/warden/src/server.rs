//! The warden's side of the socket: who may connect, and one thread for each who does.
//!
//! The kernel tells who a peer is (`SO_PEERCRED`); nothing a peer says is believed about that.
//!
//! | peer | role | how many |
//! |---|---|---|
//! | the daemon's user | daemon | one at a time, waits between requests as long as it likes |
//! | the daemon's | officer | a few, each answered within limits |
//! | the warden's, root | officer, in seats that the daemon cannot have | a few, the same |
//! | anybody else | none: refused before he says a word, and told to the service | - |
//!
//! Every request is handled alone, by the service's own lock: the threads only keep a slow or
//! silent peer from holding up another. Blocking calls and a handful of threads instead of a
//! runtime: this process is to be small enough to be read in an evening.

use crate::frames::{self, FrameError, Hello, Role, VERSION, Welcome};
use crate::sandbox::Account;
use rustix::net::sockopt::socket_peercred;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a stranger may take to be told; the frame fits any socket's buffer.
const STRANGER: Duration = Duration::from_millis(100);

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// What a client asks.
    type Request: DeserializeOwned;
    /// What it is told.
    type Answer: Serialize;

    /// Answers one request of a peer; also decides whether he may ask for it.
    fn handle(&self, peer: Peer, request: Self::Request) -> Self::Answer;

    /// Somebody was turned away, or broke the protocol. For the record; `what` is for people.
    fn noticed(&self, what: &str);
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// In which capacity, as the peer says.
    pub role: Role,
    /// Whether it is root or the warden's own user, as the kernel says.
    pub console: bool,
}

/// Whom the server answers.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    /// User id of the daemon.
    pub daemon: u32,
    /// User id of the warden.
    pub own: u32,
}

/// Limits of time and number.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From connecting to the end of the hello.
    pub hello: Duration,
    /// From the first byte of a frame to its last; also for an answer to be taken.
    pub frame: Duration,
    /// An officer's connection without a request.
    pub officer_idle: Duration,
    /// Connections at once, the daemon's included.
    pub connections: usize,
    /// Connections of root and the warden's user besides those: a daemon that was taken over
    /// cannot take their seats.
    pub reserved: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(5),
            frame: Duration::from_secs(10),
            officer_idle: Duration::from_secs(60),
            connections: 8,
            reserved: 4,
        }
    }
}

/// Why there is no server, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process answers there.
    #[error("another warden answers at {}; stop it first", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error("{} exists and is no socket; it is left alone, choose another path", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made or goes on no longer.
    #[error("cannot {operation} the socket {}", path.display())]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        match self {
            Self::Taken { .. } => model::ErrorKind::Busy,
            Self::Occupied { .. } | Self::Socket { .. } => model::ErrorKind::Refused,
        }
    }
}

/// A bound socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    peers: Peers,
    limits: Limits,
}

impl Server {
    /// Binds `path`; a socket that nobody answers at any more is replaced. Its mode lets its
    /// user and group connect, which become those of `owner`; without the right to give it away
    /// (development) they stay the own ones.
    pub fn bind(
        path: &Path,
        owner: Option<Account>,
        peers: Peers,
        limits: Limits,
    ) -> Result<Self, ServerError> {
        let failed = |operation| {
            move |source| ServerError::Socket { operation, path: path.to_owned(), source }
        };
        make_room(path)?;
        let listener = UnixListener::bind(path).map_err(failed("bind"))?;
        let (user, group) = (owner.map(|owner| owner.user), owner.map(|owner| owner.group));
        match std::os::unix::fs::chown(path, user, group) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(failed("give away")(error));
            }
            _ => {}
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o660))
            .map_err(failed("set the mode of"))?;
        Ok(Self { listener, path: path.to_owned(), peers, limits })
    }

    /// Answers until the socket fails; what it returns is the reason.
    pub fn run<S: Service>(self, service: &Arc<S>) -> ServerError {
        let seats = Arc::new(Seats::default());
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if passing(&error) => {
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
                Err(source) => {
                    return ServerError::Socket { operation: "accept at", path: self.path, source };
                }
            };
            self.admit(stream, &seats, service);
        }
    }

    /// Whether the seats are his that the daemon cannot have. One who left already takes another.
    fn is_reserved(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = socket_peercred(stream) else { return false };
        let user = peer.uid.as_raw();
        user != self.peers.daemon && (user == 0 || user == self.peers.own)
    }

    /// Starts the thread of a connection, or drops it.
    fn admit<S: Service>(&self, stream: UnixStream, seats: &Arc<Seats>, service: &Arc<S>) {
        let reserved = self.is_reserved(&stream);
        let most = if reserved { self.limits.reserved } else { self.limits.connections };
        let Some(seat) = Seat::take(seats, reserved, most) else {
            return service.noticed("too many connections at once: one was closed");
        };
        let (peers, limits, service) = (self.peers, self.limits, Arc::clone(service));
        let talk = Talk { stream, seat, peers, limits };
        let started = thread::Builder::new().name("peer".into()).spawn({
            let service = Arc::clone(&service);
            move || talk.whole(service.as_ref())
        });
        if started.is_err() {
            service.noticed("a connection was closed: no thread could be started for it");
        }
    }
}

/// What passes by itself: a peer that left before it was accepted, too many open files.
fn passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, OutOfMemory, WouldBlock};
    let limits = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS];
    matches!(error.kind(), ConnectionAborted | Interrupted | OutOfMemory | WouldBlock)
        || error.raw_os_error().is_some_and(|code| limits.contains(&code))
}

fn make_room(path: &Path) -> Result<(), ServerError> {
    match path.symlink_metadata() {
        Err(_) => Ok(()), // whatever is wrong, `bind` says it
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ServerError::Occupied { path: path.to_owned() })
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(ServerError::Taken { path: path.to_owned() })
        }
        Ok(_) => std::fs::remove_file(path).map_err(|source| ServerError::Socket {
            operation: "remove the left-over of",
            path: path.to_owned(),
            source,
        }),
    }
}

/// How many are connected.
#[derive(Default)]
struct Seats {
    all: AtomicUsize,
    reserved: AtomicUsize,
    daemon: AtomicBool,
}

impl Seats {
    fn taken(&self, reserved: bool) -> &AtomicUsize {
        if reserved { &self.reserved } else { &self.all }
    }
}

/// One of them; given back when it is dropped.
struct Seat {
    seats: Arc<Seats>,
    reserved: bool,
    daemon: bool,
}

impl Seat {
    fn take(seats: &Arc<Seats>, reserved: bool, most: usize) -> Option<Self> {
        let seat = Self { seats: Arc::clone(seats), reserved, daemon: false };
        let before = seats.taken(reserved).fetch_add(1, Ordering::SeqCst);
        (before < most).then_some(seat) // a refused seat is given back by its drop
    }

    fn as_daemon(&mut self) -> bool {
        self.daemon = !self.seats.daemon.swap(true, Ordering::SeqCst);
        self.daemon
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.daemon {
            self.seats.daemon.store(false, Ordering::SeqCst);
        }
        self.seats.taken(self.reserved).fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection.
struct Talk {
    stream: UnixStream,
    seat: Seat,
    peers: Peers,
    limits: Limits,
}

impl Talk {
    fn whole<S: Service>(mut self, service: &S) {
        match self.begin(service) {
            Ok(Some(peer)) => self.requests(peer, service),
            Ok(None) => {}
            Err(error) => service.noticed(&broken(&error)),
        }
    }

    /// The greeting; `None`: the peer was turned away.
    fn begin<S: Service>(&mut self, service: &S) -> Result<Option<Peer>, FrameError> {
        let peer = socket_peercred(&self.stream).map_err(|error| FrameError::Io(error.into()))?;
        let user = peer.uid.as_raw();
        if ![self.peers.daemon, self.peers.own, 0].contains(&user) {
            service.noticed(&format!("user {user} connected and was turned away"));
            let reason = format!("it does not answer user {user}, only the daemon's and its own");
            frames::send(&self.stream, "welcome", &Welcome::Refused { reason }, STRANGER)?;
            return Ok(None);
        }
        let hello: Hello =
            frames::receive(&self.stream, "hello", Some(self.limits.hello), self.limits.hello)?;
        let welcome = match self.seated(&hello, user) {
            Ok(()) => Welcome::Welcome { version: VERSION },
            Err(reason) => Welcome::Refused { reason },
        };
        frames::send(&self.stream, "welcome", &welcome, self.limits.frame)?;
        let console = user == 0 || user == self.peers.own;
        let peer = Peer { role: hello.role, console };
        Ok(matches!(welcome, Welcome::Welcome { .. }).then_some(peer))
    }

    fn seated(&mut self, hello: &Hello, user: u32) -> Result<(), String> {
        if hello.holdfast_warden != VERSION {
            let theirs = hello.holdfast_warden;
            return Err(format!("it speaks version {VERSION} of the protocol, not {theirs}"));
        }
        if hello.role == Role::Officer {
            return Ok(());
        }
        if user != self.peers.daemon {
            return Err(format!("user {user} is not the daemon's user"));
        }
        // A daemon that was just restarted may come before the end of its last connection is seen.
        let end = Instant::now() + self.limits.hello;
        while !self.seat.as_daemon() {
            if Instant::now() >= end {
                return Err("a daemon is connected already".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn requests<S: Service>(&self, peer: Peer, service: &S) {
        let idle = (peer.role == Role::Officer).then_some(self.limits.officer_idle);
        loop {
            let handled = frames::receive(&self.stream, "request", idle, self.limits.frame)
                .map(|request| service.handle(peer, request))
                .and_then(|answer| {
                    frames::send(&self.stream, "answer", &answer, self.limits.frame)
                });
            match handled {
                Ok(()) => {}
                Err(FrameError::Closed) => return,
                Err(error) => return service.noticed(&broken(&error)),
            }
        }
    }
}

fn broken(error: &FrameError) -> String {
    format!("a connection was ended: {}", model::chain(error))
}
