//! Data that goes out: against a target that counts every byte, whatever was agreed on.

use crate::common::{
    SECOND, command, config, feed, logged_in, login_response, numbers, pdu, sent, submit, word,
};
use crate::{closed, finished};
use iscsi::{Connection, Event, Outcome, Residual, Time};
use model::ErrorKind;
use proptest::prelude::*;

const NO_TAG: u32 = u32::MAX;
const FINAL: u8 = 0x80;

/// What the target answers at login.
#[derive(Clone, Copy, Debug)]
struct Deal {
    first: u32,
    max: u32,
    segment: u32,
    initial_r2t: bool,
    immediate: bool,
}

impl Deal {
    fn open(self) -> Connection<u32> {
        let yes = |yes| if yes { "Yes" } else { "No" };
        let keys = [
            format!("FirstBurstLength={}", self.first),
            format!("MaxBurstLength={}", self.max),
            format!("MaxRecvDataSegmentLength={}", self.segment),
            format!("InitialR2T={}", yes(self.initial_r2t)),
            format!("ImmediateData={}", yes(self.immediate)),
        ];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut connection = Connection::new(config(), Time::ZERO).unwrap();
        let begin = login_response(0x81, 0, &["AuthMethod=None"]);
        feed(&mut connection, &begin, usize::MAX, Time::ZERO);
        let mut last = login_response(0x87, 1, &keys);
        last[32..36].copy_from_slice(&9_u32.to_be_bytes());
        feed(&mut connection, &last, usize::MAX, Time::ZERO);
        assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(_))));
        sent(&mut connection);
        connection
    }

    /// Takes the PDUs of one sequence; its bytes, which begin at `offset`.
    fn sequence(self, pdus: &[Vec<u8>], tags: (u32, u32), offset: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, pdu) in pdus.iter().enumerate() {
            let data = data(pdu);
            assert_eq!(pdu[0], 0x05);
            assert_eq!((word(pdu, 16), word(pdu, 20)), tags);
            assert_eq!(
                (word(pdu, 36) as usize, word(pdu, 40) as usize),
                (number, offset + bytes.len())
            );
            assert_eq!(pdu[1], if number + 1 == pdus.len() { FINAL } else { 0 });
            assert!(!data.is_empty() && data.len() <= self.segment as usize);
            bytes.extend_from_slice(data);
        }
        bytes
    }
}

fn data(pdu: &[u8]) -> &[u8] {
    let length = u32::from_be_bytes([0, pdu[5], pdu[6], pdu[7]]) as usize;
    &pdu[48..48 + length]
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

fn submit_out(connection: &mut Connection<u32>, length: usize) {
    let mut command = command(7, length);
    command.buffer.copy_from_slice(&pattern(length));
    connection.submit_out(command).unwrap();
}

fn r2t(tag: u32, sn: u32, offset: u32, length: u32) -> Vec<u8> {
    let numbers = numbers(2, 2, 9);
    let fields = [(16, tag), (20, 0x77 + sn), (36, sn), (40, offset), (44, length)];
    pdu(0x31, FINAL, &[&numbers[..], &fields].concat(), &[])
}

fn deals() -> impl Strategy<Value = Deal> {
    let lengths = 512_u32..6000;
    (lengths.clone(), lengths.clone(), lengths, any::<bool>(), any::<bool>()).prop_map(
        |(first, more, segment, initial_r2t, immediate)| {
            // 13.14: the first burst is no longer than any.
            Deal { first, max: first + more - 512, segment, initial_r2t, immediate }
        },
    )
}

proptest! {
    /// Every byte arrives once and in order, no more unasked than was agreed, and what was asked.
    #[test]
    fn what_goes_out_is_what_was_agreed(
        deal in deals(),
        length in 0_usize..40_000,
        asks in prop::collection::vec(1_u32..9000, 1..8),
    ) {
        let mut connection = deal.open();
        submit_out(&mut connection, length);
        let pdus = sent(&mut connection);
        let (head, behind) = pdus.split_first().unwrap();
        let (tag, with_it) = (word(head, 16), data(head));
        let direction = if length > 0 { 0x20 } else { 0 };
        prop_assert_eq!((head[0], head[1] & 0x60), (0x01, direction));
        prop_assert_eq!(word(head, 20) as usize, length);
        prop_assert_eq!(head[1] & FINAL != 0, behind.is_empty(), "F: nothing follows unasked");
        prop_assert!(with_it.len() <= deal.segment as usize);
        prop_assert!(deal.immediate || with_it.is_empty());
        prop_assert!(!deal.initial_r2t || behind.is_empty());
        let mut got = with_it.to_vec();
        got.extend(deal.sequence(behind, (tag, NO_TAG), with_it.len()));
        let unasked = length.min(deal.first as usize);
        match (deal.initial_r2t, deal.immediate) {
            (false, _) => prop_assert_eq!(got.len(), unasked),
            (true, true) => prop_assert_eq!(got.len(), unasked.min(deal.segment as usize)),
            (true, false) => prop_assert_eq!(got.len(), 0),
        }
        for (sn, ask) in (0..).zip(asks.iter().cycle()) {
            let rest = u32::try_from(length - got.len()).unwrap();
            if rest == 0 {
                break;
            }
            let ask = (*ask).min(deal.max).min(rest);
            let offset = u32::try_from(got.len()).unwrap();
            feed(&mut connection, &r2t(tag, sn, offset, ask), usize::MAX, SECOND);
            let answer = deal.sequence(&sent(&mut connection), (tag, 0x77 + sn), got.len());
            prop_assert_eq!(answer.len(), ask as usize);
            got.extend(answer);
        }
        prop_assert!(got == pattern(length), "the bytes differ");
        let fields = [&numbers(2, 2, 9)[..], &[(16, tag)]].concat();
        feed(&mut connection, &pdu(0x21, FINAL, &fields, &[]), usize::MAX, SECOND);
        let (context, outcome, buffer) = finished(&mut connection);
        let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
        prop_assert_eq!((context, completion.transferred as usize), (7, length));
        prop_assert!(buffer == pattern(length), "the buffer comes back as it was");
    }
}

const PLAIN: Deal =
    Deal { first: 1024, max: 4096, segment: 1024, initial_r2t: true, immediate: false };

#[test]
fn what_a_device_did_not_take_is_told() {
    let mut connection = PLAIN.open();
    submit_out(&mut connection, 6000);
    let tag = word(&sent(&mut connection)[0], 16);
    feed(&mut connection, &r2t(tag, 0, 0, 4096), usize::MAX, SECOND);
    sent(&mut connection);
    let fields = [&numbers(2, 2, 9)[..], &[(16, tag), (44, 2500)]].concat();
    feed(&mut connection, &pdu(0x21, 0x82, &fields, &[]), usize::MAX, SECOND);
    let (_, outcome, _) = finished(&mut connection);
    let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
    assert_eq!((completion.transferred, completion.residual), (3500, Residual::Under(2500)));
}

/// 11.8: StatSN of an R2T is that of the next status, which it does not carry.
#[test]
fn a_request_for_data_acknowledges_nothing() {
    let mut connection = PLAIN.open();
    submit_out(&mut connection, 512);
    let tag = word(&sent(&mut connection)[0], 16);
    feed(&mut connection, &r2t(tag, 0, 0, 512), usize::MAX, SECOND);
    assert_eq!(word(&sent(&mut connection)[0], 28), 2, "ExpStatSN");
}

#[test]
fn requests_for_data_that_make_no_sense_end_the_connection() {
    type Make = fn(u32) -> Vec<u8>;
    let cases: [(&str, Make); 8] = [
        ("for nobody", |_| r2t(0x55, 0, 0, 512)),
        ("R2TSN skipped", |tag| r2t(tag, 1, 0, 512)),
        ("not where the data ended", |tag| r2t(tag, 0, 512, 512)),
        ("nothing", |tag| r2t(tag, 0, 0, 0)),
        ("more than a burst", |tag| r2t(tag, 0, 0, 4097)),
        ("beyond the end", |tag| [r2t(tag, 0, 0, 4096), r2t(tag, 1, 4096, 1905)].concat()),
        ("the same again", |tag| [r2t(tag, 0, 0, 512), r2t(tag, 0, 0, 512)].concat()),
        ("without a transfer tag", |tag| {
            let mut bytes = r2t(tag, 0, 0, 512);
            bytes[20..24].fill(0xff);
            bytes
        }),
    ];
    for (fault, bytes) in cases {
        let mut connection = PLAIN.open();
        submit_out(&mut connection, 6000);
        let tag = word(&sent(&mut connection)[0], 16);
        feed(&mut connection, &bytes(tag), usize::MAX, SECOND);
        assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved, "{fault}");
        assert_eq!(connection.take_unfinished().len(), 1, "{fault}");
    }
}

/// A command that reads has no data to give, and one that sends takes none.
#[test]
fn the_directions_are_not_mixed_up() {
    let mut connection = logged_in(config(), 9);
    let tag = submit(&mut connection, 1, 512);
    feed(&mut connection, &r2t(tag, 0, 0, 512), usize::MAX, SECOND);
    assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved);
    assert!(sent(&mut connection).is_empty(), "not a byte of the buffer goes out");

    let mut connection = PLAIN.open();
    submit_out(&mut connection, 512);
    let tag = word(&sent(&mut connection)[0], 16);
    let data = crate::common::data_in(tag, 0, 0, 0, &[1; 512]);
    feed(&mut connection, &data, usize::MAX, SECOND);
    assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved);
}
