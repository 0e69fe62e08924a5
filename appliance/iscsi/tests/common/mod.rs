//! A scripted target: it answers as a test tells it to, byte by byte, without any socket.

#![allow(dead_code)] // each test binary uses a part of it

use bytes::BytesMut;
use iscsi::{Command, Config, Connection, Event, Time, Timers};

pub(crate) const SECOND: Time = Time::from_secs(1);

pub(crate) fn config() -> Config {
    Config {
        initiator: "iqn.2026-01.test:us".into(),
        target: Some("iqn.2026-01.test:them".into()),
        isid: [0x80, 1, 2, 3, 4, 5],
        first_cmd_sn: 1,
        chap: None,
        header_digest: false,
        data_digest: false,
        max_recv_data: 8192,
        max_outstanding: 4,
        timers: Timers::default(),
    }
}

/// A PDU from the target; `fields` are 32-bit words at byte offsets of the header.
pub(crate) fn pdu(opcode: u8, flags: u8, fields: &[(usize, u32)], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[0] = opcode;
    bytes[1] = flags;
    let length = u32::try_from(data.len()).unwrap();
    bytes[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
    for &(at, value) in fields {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes.extend_from_slice(data);
    bytes.resize(48 + data.len().next_multiple_of(4), 0);
    bytes
}

/// The three words that most PDUs carry: StatSN, ExpCmdSN, MaxCmdSN.
pub(crate) fn numbers(stat: u32, expected: u32, max: u32) -> [(usize, u32); 3] {
    [(24, stat), (28, expected), (32, max)]
}

/// Feeds bytes as a socket would, in pieces of at most `step`.
pub(crate) fn feed<T>(connection: &mut Connection<T>, bytes: &[u8], step: usize, now: Time) {
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
        connection.received(count, now);
    }
}

/// Everything that is waiting to be sent, as PDUs (without digests).
pub(crate) fn sent<T>(connection: &mut Connection<T>) -> Vec<Vec<u8>> {
    let bytes = connection.transmit().to_vec();
    connection.transmitted(bytes.len());
    let mut pdus = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let data = u32::from_be_bytes([0, rest[5], rest[6], rest[7]]);
        let length = 48 + usize::try_from(data).unwrap().next_multiple_of(4);
        let (pdu, next) = rest.split_at(length);
        pdus.push(pdu.to_vec());
        rest = next;
    }
    pdus
}

pub(crate) fn word(pdu: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(pdu[at..at + 4].try_into().unwrap())
}

pub(crate) fn text(pairs: &[&str]) -> Vec<u8> {
    pairs.iter().flat_map(|pair| pair.bytes().chain([0])).collect()
}

pub(crate) fn login_response(flags: u8, stat: u32, pairs: &[&str]) -> Vec<u8> {
    let fields = [&numbers(stat, 1, 1)[..], &[(16, 0xf000)]].concat();
    pdu(0x23, flags, &fields, &text(pairs))
}

/// A connection in its full feature phase with a command window of `window`.
pub(crate) fn logged_in(config: Config, window: u32) -> Connection<u32> {
    let mut connection = Connection::new(config, Time::ZERO).unwrap();
    feed(&mut connection, &login_response(0x81, 0, &["AuthMethod=None"]), usize::MAX, Time::ZERO);
    let mut last = login_response(0x87, 1, &["DefaultTime2Wait=0"]);
    last[32..36].copy_from_slice(&window.to_be_bytes());
    feed(&mut connection, &last, usize::MAX, Time::ZERO);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(_))));
    sent(&mut connection);
    connection
}

pub(crate) fn command(context: u32, length: usize) -> Command<u32> {
    let buffer = BytesMut::zeroed(length);
    let deadline = SECOND * 30;
    Command { context, lun: [0; 8], cdb: [0x88; 16], buffer, exchangeable: false, deadline }
}

/// Submits a command and returns its task tag.
pub(crate) fn submit(connection: &mut Connection<u32>, context: u32, length: usize) -> u32 {
    connection.submit(command(context, length)).unwrap();
    word(&sent(connection)[0], 16)
}

/// A Data-In PDU; with a status when `flags` has the S bit.
pub(crate) fn data_in(tag: u32, flags: u8, sn: u32, offset: u32, data: &[u8]) -> Vec<u8> {
    let fields = [&numbers(2, 2, 9)[..], &[(16, tag), (20, u32::MAX), (36, sn), (40, offset)]];
    pdu(0x25, flags, &fields.concat(), data)
}
