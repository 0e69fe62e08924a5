//! Frames on the warden's socket: length, then JSON; and the greeting that comes first.
//!
//! ```text
//! frame    = length u32, little-endian, 1 to LIMIT | that many bytes of JSON
//! client   : hello frame, then one request frame at a time
//! warden   : welcome frame, then one answer frame for each request, in order
//! ```
//!
//! The peer is not trusted: memory is taken as bytes arrive and never by the announced length, a
//! frame that has begun must end within a time limit however slowly it trickles in, and JSON that
//! is not the expected type is an error of the connection, not of the process. Nothing is retried
//! here; what a lost answer means is for [`Client`](crate::Client) to say.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Version of the protocol; both ends must have the same.
pub const VERSION: u32 = 1;
/// Longest JSON of a frame, bytes. A deletion that keeps 100,000 scattered segments has 2 MiB.
pub const LIMIT: u32 = 16 << 20;
/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// In which capacity a client comes. What each may ask for: [`Server`](crate::Server).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The daemon that writes to the repository; one at a time.
    Daemon,
    /// A person at the machine: status, and actions that carry officers' signatures.
    Officer,
}

/// The client's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`VERSION`] of the client.
    pub holdfast_warden: u32,
    /// In which capacity.
    pub role: Role,
}

/// The warden's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Welcome {
    /// Requests may follow.
    Welcome {
        /// [`VERSION`] of the warden.
        version: u32,
    },
    /// The connection is closed; the reason is for people.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why a frame did not arrive or leave.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed the connection between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The peer closed it inside of a frame.
    #[error("the connection was closed inside of a frame")]
    Torn,
    /// The peer took too long.
    #[error("nothing more came or went for {} s", limit.as_secs())]
    Silent {
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The frame is longer than [`LIMIT`] or empty.
    #[error("a frame of {length} bytes; the limits are 1 and {LIMIT}")]
    Length {
        /// As announced, or as it would be.
        length: u64,
    },
    /// The content is not what it must be.
    #[error("a frame that is not a {what}")]
    Content {
        /// What it should be.
        what: &'static str,
        /// The parser's answer.
        #[source]
        source: serde_json::Error,
    },
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[source] io::Error),
}

/// Sends one frame within `limit`.
///
/// # Errors
/// After any error but [`FrameError::Length`] and [`FrameError::Content`] the connection is of no
/// more use: part of the frame may have left.
pub fn send<T: Serialize>(
    stream: &UnixStream,
    what: &'static str,
    content: &T,
    limit: Duration,
) -> Result<(), FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, content)
        .map_err(|source| FrameError::Content { what, source })?;
    let length = frame.len() - 4;
    let head = u32::try_from(length).ok().filter(|length| (1..=LIMIT).contains(length));
    let head = head.ok_or(FrameError::Length { length: length as u64 })?;
    frame[..4].copy_from_slice(&head.to_le_bytes());
    let end = Instant::now() + limit;
    let mut rest = frame.as_slice();
    let mut socket = stream;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(end, limit)?)).map_err(FrameError::Io)?;
        match socket.write(rest) {
            Ok(0) => return Err(FrameError::Torn),
            Ok(count) => rest = &rest[count..],
            Err(error) => ignorable(error, end, limit)?,
        }
    }
    Ok(())
}

/// Receives one frame: waits for its first byte as long as `idle` (`None`: for ever), and from
/// then on `limit` for the whole of it.
///
/// # Errors
/// After any error the connection is of no more use.
pub fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
    what: &'static str,
    idle: Option<Duration>,
    limit: Duration,
) -> Result<T, FrameError> {
    let mut head = [0; 4];
    first(stream, &mut head[..1], idle)?;
    let end = Instant::now() + limit;
    exactly(stream, &mut head[1..], end, limit)?;
    let length = u32::from_le_bytes(head);
    if !(1..=LIMIT).contains(&length) {
        return Err(FrameError::Length { length: length.into() });
    }
    let length = length as usize;
    let mut body = Vec::new();
    while body.len() < length {
        let begin = body.len();
        body.resize(length.min(begin + PIECE), 0);
        exactly(stream, &mut body[begin..], end, limit)?;
    }
    serde_json::from_slice(&body).map_err(|source| FrameError::Content { what, source })
}

fn first(stream: &UnixStream, byte: &mut [u8], idle: Option<Duration>) -> Result<(), FrameError> {
    let end = idle.map(|idle| (Instant::now() + idle, idle));
    let mut socket = stream;
    loop {
        let timeout = end.map(|(end, idle)| left(end, idle)).transpose()?;
        stream.set_read_timeout(timeout).map_err(FrameError::Io)?;
        match (socket.read(byte), end) {
            (Ok(0), _) => return Err(FrameError::Closed),
            (Ok(_), _) => return Ok(()),
            (Err(error), Some((end, idle))) => ignorable(error, end, idle)?,
            (Err(error), None) if error.kind() == io::ErrorKind::Interrupted => {}
            (Err(error), None) if gone(&error) => return Err(FrameError::Closed),
            (Err(error), None) => return Err(FrameError::Io(error)),
        }
    }
}

fn exactly(
    stream: &UnixStream,
    mut buffer: &mut [u8],
    end: Instant,
    limit: Duration,
) -> Result<(), FrameError> {
    let mut socket = stream;
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(end, limit)?)).map_err(FrameError::Io)?;
        match socket.read(buffer) {
            Ok(0) => return Err(FrameError::Torn),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) => ignorable(error, end, limit)?,
        }
    }
    Ok(())
}

/// Time until `end`, more than nothing.
fn left(end: Instant, limit: Duration) -> Result<Duration, FrameError> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(FrameError::Silent { limit }),
        left => Ok(left),
    }
}

/// Whether to go on after `error`.
fn ignorable(error: io::Error, end: Instant, limit: Duration) -> Result<(), FrameError> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => left(end, limit).map(drop),
        _ if gone(&error) => Err(FrameError::Torn),
        _ => Err(FrameError::Io(error)),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    fn hello() -> Hello {
        Hello { holdfast_warden: VERSION, role: Role::Officer }
    }

    fn receive_hello(stream: &UnixStream) -> Result<Hello, FrameError> {
        receive(stream, "hello", Some(SHORT), SHORT)
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let (one, other) = pair();
        send(&one, "hello", &hello(), LONG).unwrap();
        send(&one, "hello", &hello(), LONG).unwrap();
        assert_eq!(receive_hello(&other).unwrap(), hello());
        assert_eq!(receive_hello(&other).unwrap(), hello());
        drop(one);
        assert!(matches!(receive_hello(&other), Err(FrameError::Closed)));
    }

    #[test]
    fn a_large_frame_passes_in_pieces_and_a_larger_one_is_not_sent() {
        let (one, other) = pair();
        let text = "x".repeat(LIMIT as usize - 2);
        let sent = text.clone();
        let sender = std::thread::spawn(move || send(&one, "text", &sent, LONG).map(|()| one));
        let got: String = receive(&other, "text", Some(LONG), LONG).unwrap();
        assert!(got == text);
        let one = sender.join().unwrap().unwrap();
        let error = send(&one, "text", &(text + "x"), LONG).unwrap_err();
        assert!(matches!(error, FrameError::Length { .. }), "{error}");
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_read() {
        for length in [0, LIMIT + 1, u32::MAX] {
            let (mut one, other) = pair();
            one.write_all(&length.to_le_bytes()).unwrap();
            assert!(matches!(receive_hello(&other), Err(FrameError::Length { .. })));
        }
    }

    #[test]
    fn silence_ends_at_the_limit_wherever_it_begins() {
        for sent in [&b""[..], &b"\x05"[..], &b"\x05\0\0\0"[..], &b"\x05\0\0\0tr"[..]] {
            let (mut one, other) = pair();
            one.write_all(sent).unwrap();
            assert!(matches!(receive_hello(&other), Err(FrameError::Silent { .. })), "{sent:?}");
            drop(one);
        }
    }

    #[test]
    fn a_frame_that_trickles_in_ends_at_the_limit_too() {
        let (mut one, other) = pair();
        let trickle = std::thread::spawn(move || {
            one.write_all(&1000u32.to_le_bytes()).unwrap();
            while one.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert!(matches!(receive_hello(&other), Err(FrameError::Silent { .. })));
        drop(other);
        trickle.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_holds_nobody_up() {
        let (one, _other) = pair();
        let text = "x".repeat(LIMIT as usize - 2);
        assert!(matches!(send(&one, "text", &text, SHORT), Err(FrameError::Silent { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut one, other) = pair();
            one.write_all(&bytes).unwrap();
            drop(one);
            while receive_hello(&other).is_ok() {}
        }
    }
}
