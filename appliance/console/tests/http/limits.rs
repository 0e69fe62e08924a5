//! Clients that are slow, many, large, asleep or mad; and the end of the server.

use crate::engine::TOKEN;
use crate::engine::points::FREE;
use crate::wire::{Answer, Server};
use console::Limits;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

/// Reads until the server closes; panics when it does not within the socket's patience.
fn closed_after(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "still open: {e}"),
    }
    (begun.elapsed(), bytes)
}

#[test]
fn a_header_that_does_not_end_closes_the_connection() {
    let server = Server::with(Limits { header_time: SHORT, ..Limits::default() }, 0);
    for begin in ["", "GET /api", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = server.connect();
        stream.write_all(begin.as_bytes()).unwrap();
        let (elapsed, _) = closed_after(&mut stream);
        assert!(elapsed >= SHORT / 2, "{begin:?} closed after {elapsed:?}");
    }
}

#[test]
fn a_header_that_drips_closes_the_connection() {
    let server = Server::with(Limits { header_time: SHORT, ..Limits::default() }, 0);
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_open = |stream: &mut TcpStream| stream.write_all(b"X: y\r\n").is_ok();
    while is_open(&mut stream) {
        assert!(Instant::now() < deadline, "a line now and then keeps the connection open");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_that_idles_is_closed() {
    let server = Server::with(Limits { header_time: SHORT, ..Limits::default() }, 0);
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (_, bytes) = closed_after(&mut stream);
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_body_that_does_not_come_is_answered() {
    let server = Server::with(Limits { body_time: SHORT, ..Limits::default() }, 0);
    let mut stream = server.connect();
    let request = format!(
        "POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\
         Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n\r\n{{\"vms\""
    );
    stream.write_all(request.as_bytes()).unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!((answer.status, answer.problem().code.as_str()), (408, "body-too-slow"));
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let server = Server::start();
    let large = format!("X-Large: {}", "a".repeat(4 * Limits::default().header_bytes));
    assert_eq!(server.ask("GET", "/api/v1/status", &[&large], b"").status, 431);
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(server.ask("GET", "/api/v1/status", &many, b"").status, 431);
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    // One slot: the next client is served only when the sleeper is gone.
    let limits = Limits { connections: 1, stall_time: SHORT, ..Limits::default() };
    let server = Server::with(limits, 0);
    let mut sleeper = server.connect();
    let request = format!(
        "GET /api/v1/points/{FREE}/disks/5 HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    sleeper.write_all(request.as_bytes()).unwrap();
    assert_eq!(server.get("/api/v1/status").status, 200);
    drop(sleeper);
}

#[test]
fn clients_beyond_the_limit_wait_for_their_turn() {
    let server = Server::with(Limits { connections: 2, ..Limits::default() }, 0);
    let first = server.connect();
    let second = server.connect();
    let mut third = server.connect();
    third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(SHORT)).unwrap();
    let early = third.read(&mut [0]).unwrap_err();
    assert!(matches!(early.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    first.shutdown(Shutdown::Both).unwrap();
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(Answer::read(&mut third, false).status, 200);
    drop(second);
}

#[test]
fn the_end_waits_for_answers_and_cuts_off_the_rest() {
    let limits = Limits { shutdown_time: SHORT, ..Limits::default() };
    let mut server = Server::with(limits, 0);
    let idle = server.connect();
    let mut busy = server.connect();
    let request = format!(
        "GET /api/v1/points/{FREE}/disks/5 HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    busy.write_all(request.as_bytes()).unwrap();
    busy.read_exact(&mut [0; 64]).unwrap();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert!(TcpStream::connect(server.address).is_err(), "the port is still open");
    drop(idle);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes over the wire, the next client is served.
    #[test]
    fn noise_does_no_harm(
        requests in proptest::collection::vec(
            (
                prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("HEAD"), Just("\u{0}")],
                "/(api/v1/)?(status|runs|points|vms)?[/%?&=.a-f0-9\\[\\]]{0,40}",
                proptest::collection::vec(any::<u8>(), 0..200),
            ),
            1..8,
        ),
    ) {
        let server = Server::start();
        for (method, path, body) in requests {
            let mut stream = server.connect();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
                 Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
                body.len()
            );
            // The server may have closed already.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            let (_, answer) = closed_after(&mut stream);
            let text = String::from_utf8_lossy(&answer).into_owned();
            prop_assert!(!text.starts_with("HTTP/1.1 5"), "{method} {path}: {text}");
        }
        prop_assert_eq!(server.get("/api/v1/status").status, 200);
    }
}
