//! The socket with a service of its own: peers of several users, hostile ones, lost answers.

#![allow(clippy::unwrap_used)] // helpers of tests

use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use warden::frames::{self, FrameError, Hello, Role, VERSION, Welcome};
use warden::line::{Line, LineError};
use warden::server::{Limits, Peer, Peers, Server, ServerError, Service};

/// A user that no machine has, and that is not the daemon's.
const STRANGER: u32 = 61002;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
enum Ask {
    Add(usize),
    /// Does the work and never answers in time.
    AddSlowly(usize),
}

/// Counts what was carried out, and what was noticed.
#[derive(Default)]
struct Counter {
    sum: AtomicUsize,
    noticed: Mutex<Vec<String>>,
}

impl Service for Counter {
    type Request = Ask;
    type Answer = (String, usize);

    fn handle(&self, peer: Peer, request: Ask) -> (String, usize) {
        let sum = match request {
            Ask::Add(number) => self.sum.fetch_add(number, Ordering::SeqCst) + number,
            Ask::AddSlowly(number) => {
                self.sum.fetch_add(number, Ordering::SeqCst);
                std::thread::sleep(Duration::from_secs(2));
                0
            }
        };
        (format!("{:?}", peer.role), sum)
    }

    fn noticed(&self, what: &str) {
        self.noticed.lock().unwrap().push(what.to_owned());
    }
}

struct Running {
    service: Arc<Counter>,
    path: PathBuf,
    _place: TempDir,
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn limits() -> Limits {
    let short = Duration::from_millis(300);
    Limits { hello: short, frame: short, officer_idle: short, connections: 4, reserved: 2 }
}

fn running() -> Running {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.path().join("socket");
    let service = Arc::new(Counter::default());
    serve(&path, &service, Peers { daemon: me(), own: me() });
    Running { service, path, _place: place }
}

/// Serves until the test's process ends.
fn serve(path: &Path, service: &Arc<Counter>, peers: Peers) {
    let server = Server::bind(path, None, peers, limits()).unwrap();
    let service = Arc::clone(service);
    std::thread::spawn(move || server.run(&service));
}

impl Running {
    fn line(&self, role: Role) -> Line {
        Line::new(&self.path, role, PATIENCE)
    }

    fn add(&self, line: &Line, number: usize) -> usize {
        let (_, sum): (String, usize) = line.exchange(&Ask::Add(number)).unwrap();
        sum
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn greeted(&self, role: Role) -> UnixStream {
        let stream = self.raw();
        let hello = Hello { holdfast_warden: VERSION, role };
        frames::send(&stream, "hello", &hello, PATIENCE).unwrap();
        let welcome: Welcome =
            frames::receive(&stream, "welcome", Some(PATIENCE), PATIENCE).unwrap();
        assert_eq!(welcome, Welcome::Welcome { version: VERSION });
        stream
    }

    /// Waits until something with this text was noticed.
    fn noticed(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.service.noticed.lock().unwrap().iter().any(|what| what.contains(text)) {
            let all = self.service.noticed.lock().unwrap().clone();
            assert!(Instant::now() < end, "{text:?} was not noticed, but {all:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads until the peer closes; the time limit of `raw` makes the opposite an error.
fn closed(mut stream: UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn requests_are_answered_in_both_roles_over_one_connection() {
    let running = running();
    let daemon = running.line(Role::Daemon);
    assert_eq!(running.add(&daemon, 1), 1);
    assert_eq!(running.add(&daemon, 2), 3);
    let officer = running.line(Role::Officer);
    let (role, sum): (String, usize) = officer.exchange(&Ask::Add(4)).unwrap();
    assert_eq!((role.as_str(), sum), ("Officer", 7));
}

#[test]
fn a_second_daemon_is_turned_away_until_the_first_has_gone() {
    let running = running();
    let first = running.line(Role::Daemon);
    running.add(&first, 1);
    let second = running.line(Role::Daemon);
    let error = second.exchange::<_, (String, usize)>(&Ask::Add(1)).unwrap_err();
    assert!(error.to_string().contains("a daemon is connected already"), "{error}");
    drop(first);
    let end = Instant::now() + PATIENCE;
    while second.exchange::<_, (String, usize)>(&Ask::Add(1)).is_err() {
        assert!(Instant::now() < end, "the seat was not given back");
    }
    assert_eq!(running.service.sum.load(Ordering::SeqCst), 2);
}

#[test]
fn garbage_oversize_and_silence_end_one_connection_and_nothing_else() {
    let running = running();
    let daemon = running.line(Role::Daemon);
    running.add(&daemon, 1);

    let mut garbage = running.raw();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    closed(garbage);
    running.noticed("the limits are");

    let mut wrong = running.greeted(Role::Officer);
    wrong.write_all(b"\x07\0\0\0{\"No\":1").unwrap();
    closed(wrong);
    running.noticed("not a request");

    let mut oversized = running.greeted(Role::Officer);
    oversized.write_all(&u32::MAX.to_le_bytes()).unwrap();
    closed(oversized);
    running.noticed("4294967295 bytes");

    let mut half = running.greeted(Role::Officer);
    half.write_all(b"\x10\0\0\0{\"Add").unwrap();
    closed(half); // nothing more is sent: the time limit ends it
    running.noticed("nothing more came");

    closed(running.greeted(Role::Officer)); // never asks
    closed(running.raw()); // never greets

    assert_eq!(running.add(&daemon, 1), 2, "the daemon's connection is not concerned");
}

#[test]
fn another_version_is_refused_with_a_reason() {
    let running = running();
    let stream = running.raw();
    let hello = Hello { holdfast_warden: VERSION + 1, role: Role::Daemon };
    frames::send(&stream, "hello", &hello, PATIENCE).unwrap();
    let welcome: Welcome = frames::receive(&stream, "welcome", Some(PATIENCE), PATIENCE).unwrap();
    assert!(matches!(welcome, Welcome::Refused { reason } if reason.contains("version 1")));
    closed(stream);
}

#[test]
fn too_many_connections_are_closed_and_the_daemon_stays() {
    let running = running();
    let daemon = running.line(Role::Daemon);
    running.add(&daemon, 1);
    let many: Vec<UnixStream> = (0..40).map(|_| running.raw()).collect();
    running.noticed("too many connections");
    assert_eq!(running.add(&daemon, 1), 2);
    many.into_iter().for_each(closed);
}

#[test]
fn a_lost_answer_is_told_and_the_request_is_not_repeated() {
    let running = running();
    let line = Line::new(&running.path, Role::Officer, Duration::from_millis(300));
    let error = line.exchange::<_, (String, usize)>(&Ask::AddSlowly(5)).unwrap_err();
    assert!(matches!(error, LineError::Unanswered { source: FrameError::Silent { .. }, .. }));
    assert!(error.to_string().contains("seen in the ledger"), "{error}");
    assert_eq!(running.add(&running.line(Role::Officer), 1), 6, "carried out once");
}

#[test]
fn a_line_outlives_its_warden() {
    let running = running();
    let line = running.line(Role::Officer);
    running.add(&line, 1);
    std::thread::sleep(limits().officer_idle * 2); // the server ends the idle connection
    assert_eq!(running.add(&line, 1), 2);

    let nowhere = Line::new(&running.path.with_file_name("nobody"), Role::Daemon, PATIENCE);
    let error = nowhere.exchange::<_, (String, usize)>(&Ask::Add(1)).unwrap_err();
    assert!(matches!(error, LineError::Absent { .. }));
}

#[test]
fn a_warden_that_is_stopped_is_not_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let _accepts_nothing = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let line = Line::new(&path, Role::Daemon, Duration::from_millis(300));
    let begin = Instant::now();
    let error = line.exchange::<_, (String, usize)>(&Ask::Add(1)).unwrap_err();
    assert!(matches!(error, LineError::NotHandedOver { .. }), "{error}");
    assert!(begin.elapsed() < PATIENCE);
}

#[test]
fn a_left_over_socket_is_replaced_and_nothing_else_is() {
    let place = tempfile::tempdir().unwrap();
    let bind = |path: &Path| {
        Server::bind(path, None, Peers { daemon: me(), own: me() }, Limits::default())
    };
    let path = place.path().join("socket");
    let first = bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(ServerError::Taken { .. })));
    drop(first);
    assert!(path.exists());
    drop(bind(&path).unwrap());
    let file = place.path().join("file");
    std::fs::write(&file, b"data").unwrap();
    assert!(matches!(bind(&file), Err(ServerError::Occupied { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

const PROBE: &str = "HOLDFAST_SOCKET_PROBE";

/// Not a test by itself: what the next one starts as another user.
#[test]
fn probe_of_another_user() {
    let Some(path) = std::env::var_os(PROBE) else { return };
    for role in [Role::Daemon, Role::Officer] {
        let line = Line::new(Path::new(&path), role, PATIENCE);
        let error = line.exchange::<_, (String, usize)>(&Ask::Add(1)).unwrap_err();
        assert!(matches!(error, LineError::TurnedAway { .. }), "{error}");
    }
}

#[test]
fn a_peer_of_another_user_is_turned_away_whatever_he_says() {
    if me() != 0 {
        return skipped("a_peer_of_another_user", "only root can start a process of another user");
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.path().join("socket");
    let service = Arc::new(Counter::default());
    serve(&path, &service, Peers { daemon: 61001, own: 61000 });
    // Even with a socket that everybody may connect to.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let probe = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "probe_of_another_user", "--nocapture"])
        .env(PROBE, &path)
        .uid(STRANGER)
        .gid(STRANGER)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(probe.status.success(), "{probe:?}");
    // Root may speak as an officer, but is not the daemon.
    let error = Line::new(&path, Role::Daemon, PATIENCE)
        .exchange::<_, (String, usize)>(&Ask::Add(1))
        .unwrap_err();
    assert!(error.to_string().contains("user 0 is not the daemon's user"), "{error}");
    let officer = Line::new(&path, Role::Officer, PATIENCE);
    officer.exchange::<_, (String, usize)>(&Ask::Add(1)).unwrap();
    assert_eq!(service.sum.load(Ordering::SeqCst), 1);
    let running = Running { service, path, _place: place };
    running.noticed("user 61002 connected and was turned away");
}

const SITTER: &str = "HOLDFAST_SOCKET_SITTER";

/// Not a test by itself: a daemon's user who takes every seat that he gets, and stays.
#[test]
fn sitter_of_the_daemons_user() {
    let Some(path) = std::env::var_os(SITTER) else { return };
    let seats: Vec<UnixStream> =
        (0..40).map(|_| UnixStream::connect(Path::new(&path)).unwrap()).collect();
    std::fs::write(Path::new(&path).with_extension("sits"), b"").unwrap();
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap(); // until the one who started it closes
    drop(seats);
}

#[test]
fn the_daemons_user_takes_no_seat_of_root() {
    if me() != 0 {
        return skipped("the_daemons_user_takes_no_seat", "only root can start another user");
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = place.path().join("socket");
    let service = Arc::new(Counter::default());
    let server = Server::bind(
        &path,
        None,
        Peers { daemon: STRANGER, own: 61000 },
        Limits { hello: PATIENCE, ..limits() }, // the seats are kept for as long as that
    );
    let (server, serving) = (server.unwrap(), Arc::clone(&service));
    std::thread::spawn(move || server.run(&serving));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut sitter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sitter_of_the_daemons_user", "--nocapture"])
        .env(SITTER, &path)
        .uid(STRANGER)
        .gid(STRANGER)
        .current_dir("/")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let running = Running { service, path: path.clone(), _place: place };
    let end = Instant::now() + PATIENCE;
    while !path.with_extension("sits").exists() {
        assert!(Instant::now() < end, "it does not sit");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.noticed("too many connections");
    let officer = Line::new(&path, Role::Officer, Duration::from_secs(5));
    let asked = officer.exchange::<_, (String, usize)>(&Ask::Add(1));
    drop(sitter.stdin.take());
    assert!(sitter.wait().unwrap().success());
    assert_eq!(asked.unwrap().1, 1);
}

#[allow(clippy::print_stdout)] // to be seen by whoever runs the tests
fn skipped(test: &str, why: &str) {
    println!("SKIPPED: {test}: {why}");
}
