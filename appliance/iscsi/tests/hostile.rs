//! Bytes that nobody should send: never a panic, never memory without bound, and a connection
//! that was ended stays ended.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{SECOND, command, config, data_in, feed, logged_in};
use iscsi::{Connection, Event, Outcome, Time};
use proptest::prelude::*;

/// A header that is plausible enough to get past the first look.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let opcodes = vec![0x20u8, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f];
    let tags =
        vec![0u32, 1 << 16, 1 << 16 | 1, 0xf000, 0xf001, 0xf002, 0xf003, !0, 1 << 16 | 0x8000];
    (
        prop::sample::select(opcodes),
        any::<u8>(),
        prop::sample::select(tags),
        prop::collection::vec(any::<u8>(), 28),
        prop::collection::vec(any::<u8>(), 0..64),
        0usize..8,
    )
        .prop_map(|(opcode, flags, tag, rest, data, zeroed)| {
            let mut bytes = common::pdu(opcode, flags, &[(16, tag)], &data);
            bytes[20..48].copy_from_slice(&rest);
            // Often zeros where a number would have to fit.
            for word in 0..zeroed {
                bytes[20 + word * 4..24 + word * 4].fill(0);
            }
            bytes
        })
}

fn drain(connection: &mut Connection<u32>) -> (usize, bool) {
    let (mut finished, mut closed) = (0, false);
    while let Some(event) = connection.poll_event() {
        assert!(!closed, "nothing happens after the end");
        match event {
            Event::Finished(_) => finished += 1,
            Event::Closed(_) | Event::LoggedOut => closed = true,
            _ => {}
        }
    }
    (finished, closed)
}

/// The entry for fuzzers over a corpus of its own making: real PDUs, damaged.
#[test]
fn the_fuzz_entry_survives_damaged_sessions() {
    let texts = ["AuthMethod=None", "CHAP_A=5", "CHAP_I=1", "CHAP_C=0x01", "TargetAddress=[::1],1"];
    let corpus = [
        common::login_response(0x81, 0, &texts),
        [data_in(1 << 16, 0, 0, 0, &[1; 32]), data_in(1 << 16, 0x81, 1, 32, &[2; 32])].concat(),
        common::pdu(0x21, 0x82, &[(16, 1 << 16), (44, 64)], &[0, 3, 0x70, 0, 6]),
        common::pdu(0x20, 0x80, &[(16, !0), (20, 7)], &[]),
        common::pdu(0x32, 0x80, &[(16, !0), (36, 0x0100_0000), (40, 9)], &[]),
        common::pdu(0x24, 0x80, &[(16, 0xf002), (20, !0)], b"TargetName=iqn.a\0"),
        common::pdu(0x22, 0x80, &[(16, 1 << 16 | 0x8000)], &[]),
        common::pdu(0x3f, 0x80, &[(16, !0)], &[0; 48]),
    ];
    for pdu in &corpus {
        for first in [0, 1, 0xbd, 0xff] {
            let bytes = [&[first], &pdu[..]].concat();
            iscsi::fuzz(&bytes);
            for at in 1..bytes.len().min(90) {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[at] = value;
                    iscsi::fuzz(&bytes);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_fuzz_entry_survives_arbitrary_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        pdus in prop::collection::vec(plausible(), 0..6),
    ) {
        iscsi::fuzz(&bytes);
        iscsi::fuzz(&[bytes, pdus.concat()].concat());
        iscsi::fuzz(&pdus.concat());
    }

    #[test]
    fn arbitrary_bytes_during_login(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        step in 1usize..200,
    ) {
        let mut connection = Connection::<u32>::new(config(), Time::ZERO).unwrap();
        feed(&mut connection, &bytes, step, SECOND);
        drain(&mut connection);
    }

    /// Whatever comes: each command ends once, with a result or given back.
    #[test]
    fn plausible_pdus_in_full_feature_phase(
        pdus in prop::collection::vec(plausible(), 1..12),
        step in 1usize..300,
        exchangeable in any::<bool>(),
    ) {
        let mut connection = logged_in(config(), 9);
        for context in 0..3 {
            let command = iscsi::Command { exchangeable, ..command(context, 64) };
            connection.submit(command).unwrap();
        }
        feed(&mut connection, &pdus.concat(), step, SECOND);
        let (finished, closed) = drain(&mut connection);
        let unfinished = connection.in_flight();
        prop_assert_eq!(finished + unfinished, 3);
        prop_assert_eq!(closed, connection.poll_timeout().is_none());
        let back = connection.take_unfinished();
        prop_assert!(back.len() == unfinished && back.iter().all(|(_, buffer)| buffer.len() == 64));
        prop_assert!(connection.transmit().len() < 1 << 20);
    }

    /// A bit flipped anywhere in a stream with both digests is noticed: no command ends well
    /// with bytes that were not sent.
    #[test]
    fn a_flipped_bit_is_noticed(position in 0usize..5_000, bit in 0u8..8, step in 1usize..6_000) {
        let mut config = config();
        (config.header_digest, config.data_digest) = (true, true);
        let mut connection = Connection::<u32>::new(config, Time::ZERO).unwrap();
        let keys = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"];
        feed(&mut connection, &common::login_response(0x81, 0, &["AuthMethod=None"]), 99, SECOND);
        feed(&mut connection, &common::login_response(0x87, 1, &keys), 99, SECOND);
        prop_assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(_))));
        connection.transmitted(connection.transmit().len());
        connection.submit(command(1, 4_001)).unwrap();
        let tag = common::word(&connection.transmit()[..48], 16);
        let content: Vec<u8> = (0..4_001u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
        let mut stream = Vec::new();
        for (sn, (flags, range)) in (0u32..).zip([(0, 0..2_000), (0x81, 2_000..4_001)]) {
            let offset = u32::try_from(range.start).unwrap();
            stream.extend(with_digests(&data_in(tag, flags, sn, offset, &content[range])));
        }
        let position = position % stream.len();
        stream[position] ^= 1 << bit;
        feed(&mut connection, &stream, step, SECOND);
        while let Some(event) = connection.poll_event() {
            if let Event::Finished(finished) = event {
                prop_assert_eq!(finished.outcome, Outcome::Damaged);
            }
        }
    }
}

/// A PDU with its digests, computed here bit by bit.
fn with_digests(pdu: &[u8]) -> Vec<u8> {
    let (header, data) = pdu.split_at(48);
    [header, &castagnoli(header), data, &castagnoli(data)].concat()
}

fn castagnoli(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes()
}
