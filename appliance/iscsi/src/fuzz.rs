//! The entry for fuzzers: arbitrary bytes as texts, as a login, and as a session.

use crate::pdu::HEADER;
use crate::{
    ChapAlgorithm, ChapConfig, Command, Config, Connection, Event, Secret, TargetAddress, Time,
    Timers, discovery, keys,
};
use bytes::BytesMut;

/// Commands that a fuzzed session has in flight, and the bytes that each asks for.
const COMMANDS: usize = 3;
const LENGTH: usize = 64;

/// Takes `bytes` for everything that a target can send, in pieces whose size its first byte
/// tells, and checks what a connection promises whatever comes.
///
/// # Panics
/// When a promise is broken, which is what a fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    texts(bytes);
    let Some((&first, rest)) = bytes.split_first() else { return };
    let step = usize::from(first >> 2) + 1;
    for target in [Some("iqn.2026-01.test:them".to_owned()), None] {
        for chap in [None, Some(chap())] {
            let mut connection = open(Config { target: target.clone(), chap, ..config() });
            feed(&mut connection, rest, step);
            check(&mut connection, 0);
        }
    }
    session(rest, step, first & 1 == 1);
}

fn texts(bytes: &[u8]) {
    let _ = discovery::targets(bytes);
    if let Ok(pairs) = keys::Pairs::parse(bytes) {
        for (key, value) in pairs.iter() {
            let _ = (keys::number(key, value, 0, 99), keys::binary(key, value, 64));
            let address = TargetAddress::parse(value);
            assert!(address.portal.contains(':'), "a portal has a port");
        }
    }
}

/// A session in its full feature phase with commands in flight.
fn session(bytes: &[u8], step: usize, exchangeable: bool) {
    let mut connection = open(config());
    feed(&mut connection, &login_response(0x81), HEADER);
    feed(&mut connection, &login_response(0x87), HEADER);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(_))), "a plain login works");
    for context in 0..COMMANDS {
        let command = Command {
            context,
            lun: [0; 8],
            cdb: [0; 16],
            buffer: BytesMut::zeroed(LENGTH),
            exchangeable,
            deadline: Time::from_secs(30),
        };
        // The last one sends.
        let taken = if context + 1 == COMMANDS {
            connection.submit_out(command)
        } else {
            connection.submit(command)
        };
        assert!(taken.is_ok(), "the window is open");
    }
    connection.transmitted(connection.transmit().len());
    feed(&mut connection, bytes, step);
    check(&mut connection, COMMANDS);
}

/// Every command ends once, nothing happens after the end, and little is kept to be sent.
fn check(connection: &mut Connection<usize>, submitted: usize) {
    connection.handle_timeout(Time::from_secs(20));
    let (mut finished, mut closed) = (0, false);
    while let Some(event) = connection.poll_event() {
        assert!(!closed, "nothing happens after the end");
        match event {
            Event::Finished(over) => {
                assert_eq!(over.buffer.len(), LENGTH, "a buffer comes back whole");
                finished += 1;
            }
            Event::Closed(error) => {
                assert!(!error.to_string().is_empty(), "an end has words");
                closed = true;
            }
            Event::LoggedOut => closed = true,
            Event::LoggedIn(_) | Event::Targets(_) => {}
        }
    }
    assert_eq!(closed, connection.poll_timeout().is_none(), "only the end waits for nothing");
    assert!(connection.transmit().len() < 2 << 20, "a peer that does not read is cut off");
    let unfinished = connection.take_unfinished();
    assert_eq!(finished + unfinished.len(), submitted, "each command ends once");
}

fn feed(connection: &mut Connection<usize>, bytes: &[u8], step: usize) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut count = 0;
        for buffer in connection.receive_buffers() {
            let part = buffer.len().min(rest.len()).min(step - count);
            buffer[..part].copy_from_slice(&rest[..part]);
            rest = &rest[part..];
            count += part;
        }
        assert!(count > 0, "there is always room for more bytes");
        connection.received(count, Time::from_secs(1));
    }
}

fn open(config: Config) -> Connection<usize> {
    Connection::new(config, Time::ZERO).expect("the configuration is a good one")
}

fn config() -> Config {
    Config {
        initiator: "iqn.2026-01.test:us".into(),
        target: Some("iqn.2026-01.test:them".into()),
        isid: [0x80, 0, 0, 0, 0, 1],
        first_cmd_sn: u32::MAX,
        chap: None,
        header_digest: false,
        data_digest: false,
        max_recv_data: 4096,
        max_outstanding: 4,
        timers: Timers::default(),
    }
}

fn chap() -> ChapConfig {
    ChapConfig {
        user: "us".into(),
        secret: Secret::new("a secret of ours"),
        mutual: Some(("them".into(), Secret::new("a secret of theirs"))),
        algorithms: ChapAlgorithm::STRONGEST_FIRST.to_vec(),
        challenge: [7; 32],
        identifier: 1,
        answered: Vec::new(),
    }
}

/// The shortest answer of a target that agrees: `flags` say to which stage it moves.
fn login_response(flags: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = 0x23;
    header[1] = flags;
    header[18] = 0xf0; // the tag of our login
    header[28..32].copy_from_slice(&u32::MAX.to_be_bytes());
    header[32..36].copy_from_slice(&8_u32.to_be_bytes()); // the window: ten commands
    header
}
