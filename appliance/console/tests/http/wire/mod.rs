//! A server on a free port of loopback, and a client that is nothing but a socket: what goes
//! over the wire is written and read here by hand.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use crate::engine::{Pace, Scripted, TOKEN, points};
use console::{Limits, Secret, ServeError, serve_with};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits longer than this for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub address: SocketAddr,
    pub engine: Arc<Scripted>,
    runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(Limits::default(), 0)
    }

    pub fn with(limits: Limits, other_points: u8) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let engine = Arc::new(Scripted::new(Pace::Looks, points::all(other_points)));
        let (stop, stopped) = oneshot::channel();
        let secret = Secret::new(TOKEN).unwrap();
        let served =
            runtime.spawn(serve_with(limits, listener, secret, Arc::clone(&engine), stopped));
        Self { address, engine, runtime, stop: Some(stop), served: Some(served) }
    }

    /// Asks for the shutdown and waits for its end.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(self.served.take().unwrap()).unwrap().unwrap();
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One request on a connection of its own, with the token.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let authorization = format!("Authorization: Bearer {TOKEN}");
        let headers: Vec<&str> = headers.iter().copied().chain([&*authorization]).collect();
        self.ask_openly(method, path, &headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &["Content-Type: application/json"], body.as_bytes())
    }

    /// Without the token.
    pub fn ask_openly(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{lines}\r\n"
        );
        // A server may answer and close before it has read all of a body that it refuses.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        Answer::read(&mut stream, method == "HEAD")
    }
}

/// An answer as it came, whole or not.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads until the server closes.
    pub fn read(stream: &mut TcpStream, is_head: bool) -> Self {
        let mut bytes = Vec::new();
        // A connection that is reset has brought what it has brought.
        let ended = stream.read_to_end(&mut bytes);
        if let Err(error) = ended {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end: {error}");
        }
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = bytes.split_off(end + 4);
        assert!(!is_head || body.is_empty(), "an answer to HEAD has a body");
        Self { status, head, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn length(&self) -> u64 {
        self.header("content-length").unwrap().parse().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body as a problem: of the right media type, whose status is the answer's.
    pub fn problem(&self) -> api::Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem: api::Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        assert!(!problem.detail.is_empty() && !problem.next_step.is_empty(), "{problem:?}");
        problem
    }
}
