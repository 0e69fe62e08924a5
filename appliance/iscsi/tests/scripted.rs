//! What no well-behaved target does, and the clock: a scripted peer without a socket.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;
mod sending;

use common::{
    SECOND, command, config, data_in, feed, logged_in, login_response, numbers, pdu, sent, submit,
    word,
};
use iscsi::{Config, Connection, Event, IscsiError, Outcome, Residual, Time};
use model::ErrorKind;

fn closed(connection: &mut Connection<u32>) -> IscsiError {
    loop {
        match connection.poll_event() {
            Some(Event::Closed(error)) => return error,
            Some(_) => {}
            None => panic!("the connection is still open"),
        }
    }
}

fn finished(connection: &mut Connection<u32>) -> (u32, Outcome, Vec<u8>) {
    match connection.poll_event() {
        Some(Event::Finished(finished)) => {
            (finished.context, finished.outcome, finished.buffer.to_vec())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_in_pieces_of_every_size_lands_in_its_command() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1001).collect();
    for step in [1, 2, 47, 48, 49, 333, 5000] {
        let mut connection = logged_in(config(), 9);
        let (a, b) = (submit(&mut connection, 1, 1001), submit(&mut connection, 2, 500));
        // Two commands, interleaved; the first ends in its last data PDU, the second by a response.
        let stream = [
            data_in(a, 0, 0, 0, &bytes[..600]),
            data_in(b, 0x80, 0, 0, &bytes[..499]),
            data_in(a, 0x81, 1, 600, &bytes[600..]),
            pdu(0x21, 0x82, &[&numbers(3, 3, 9)[..], &[(16, b), (44, 1)]].concat(), &[]),
        ];
        feed(&mut connection, &stream.concat(), step, SECOND);
        let (context, outcome, buffer) = finished(&mut connection);
        assert_eq!((context, &buffer), (1, &bytes), "step {step}");
        assert!(matches!(outcome, Outcome::Completed(c) if c.transferred == 1001 && c.status == 0));
        let (context, outcome, buffer) = finished(&mut connection);
        assert_eq!((context, &buffer[..499]), (2, &bytes[..499]));
        let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
        assert_eq!((completion.transferred, completion.residual), (499, Residual::Under(1)));
        assert_eq!(connection.in_flight(), 0);
    }
}

#[test]
fn exchangeable_buffers_go_round_and_none_is_lost() {
    let mut connection = logged_in(config(), 9);
    let tags: Vec<u32> = [(1, 8), (2, 4), (3, 8)]
        .into_iter()
        .map(|(context, length)| {
            let mut command = command(context, length);
            command.exchangeable = true;
            command.buffer.fill(u8::try_from(context).unwrap());
            connection.submit(command).unwrap();
            word(&sent(&mut connection)[0], 16)
        })
        .collect();
    // The first command's data goes to the buffer that came last with that length.
    feed(&mut connection, &data_in(tags[0], 0x81, 0, 0, b"firstone"), 5, SECOND);
    assert_eq!(finished(&mut connection).2, b"firstone");
    let mut left: Vec<_> = connection.take_unfinished();
    left.sort_by_key(|(context, _)| *context);
    let left: Vec<_> = left.iter().map(|(context, buffer)| (*context, &buffer[..])).collect();
    assert_eq!(left, [(2, &[2; 4][..]), (3, &[1; 8][..])]);
}

#[test]
fn sense_data_comes_with_the_status() {
    let mut connection = logged_in(config(), 9);
    let tag = submit(&mut connection, 7, 512);
    let mut response =
        pdu(0x21, 0x80, &[&numbers(2, 2, 9)[..], &[(16, tag)]].concat(), &[0, 3, 0x70, 0, 6, 9]);
    response[3] = 2;
    feed(&mut connection, &response, 7, SECOND);
    let (_, outcome, _) = finished(&mut connection);
    let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
    assert_eq!((completion.status, completion.sense), (2, vec![0x70, 0, 6]));
}

#[test]
fn a_closed_window_holds_commands_back() {
    let mut connection = logged_in(config(), 2);
    let first = submit(&mut connection, 1, 8);
    submit(&mut connection, 2, 8);
    assert!(!connection.can_submit());
    assert!(connection.submit(command(3, 8)).is_err());
    let mut last = data_in(first, 0x81, 0, 0, &[1; 8]);
    last[28..36].copy_from_slice(&[0, 0, 0, 3, 0, 0, 0, 2]); // still closed
    feed(&mut connection, &last, usize::MAX, SECOND);
    assert!(!connection.can_submit());
    let nop = pdu(0x20, 0x80, &[&numbers(3, 3, 4)[..], &[(16, !0), (20, !0)]].concat(), &[]);
    feed(&mut connection, &nop, usize::MAX, SECOND);
    assert!(connection.can_submit());
    connection.submit(command(3, 8)).unwrap();
    let pdus = sent(&mut connection);
    assert_eq!(pdus.len(), 1, "no answer to a NOP-In that asks for none");
    assert_eq!((word(&pdus[0], 24), word(&pdus[0], 28)), (3, 3), "CmdSN, ExpStatSN");
}

#[test]
fn at_most_max_outstanding_are_in_flight() {
    let mut connection = logged_in(config(), 900);
    for context in 0..4 {
        connection.submit(command(context, 8)).unwrap();
    }
    assert!(!connection.can_submit());
    let tags: Vec<u32> = sent(&mut connection).iter().map(|pdu| word(pdu, 16)).collect();
    assert!((1..4).all(|n| !tags[..n].contains(&tags[n])), "tags differ: {tags:x?}");
}

#[test]
fn pings_are_answered_with_tag_and_lun() {
    let mut connection = logged_in(config(), 9);
    let fields = [&numbers(2, 1, 9)[..], &[(8, 0x0005_0000), (16, !0), (20, 77)]].concat();
    feed(&mut connection, &pdu(0x20, 0x80, &fields, &[]), usize::MAX, SECOND);
    let answer = &sent(&mut connection)[0];
    assert_eq!((answer[0], word(answer, 8)), (0x40, 0x0005_0000));
    assert_eq!((word(answer, 16), word(answer, 20)), (!0, 77));
}

#[test]
fn a_silent_target_is_pinged_and_then_given_up() {
    let mut connection = logged_in(config(), 9);
    assert_eq!(connection.poll_timeout(), Some(SECOND * 5));
    connection.handle_timeout(SECOND * 5);
    assert_eq!(sent(&mut connection)[0][0], 0x40);
    // Any sign of life will do.
    let nop = pdu(0x20, 0x80, &[&numbers(2, 1, 9)[..], &[(16, 0xf001), (20, !0)]].concat(), &[]);
    feed(&mut connection, &nop, usize::MAX, SECOND * 9);
    connection.handle_timeout(SECOND * 13);
    assert!(sent(&mut connection).is_empty());
    connection.handle_timeout(SECOND * 14);
    assert_eq!(sent(&mut connection).len(), 1);
    connection.handle_timeout(SECOND * 19);
    let error = closed(&mut connection);
    assert_eq!(error, IscsiError::TimedOut { waited_for: "a keep-alive ping" });
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn an_overdue_command_is_aborted_and_nothing_else() {
    let mut connection = logged_in(config(), 9);
    let tag = submit(&mut connection, 1, 8);
    connection.handle_timeout(SECOND * 5); // a ping, answered just before the deadline
    let nop = pdu(0x20, 0x80, &[&numbers(2, 2, 9)[..], &[(16, 0xf001), (20, !0)]].concat(), &[]);
    feed(&mut connection, &nop, usize::MAX, SECOND * 29);
    sent(&mut connection);
    connection.handle_timeout(SECOND * 30);
    let abort = &sent(&mut connection)[0];
    assert_eq!((abort[0], abort[1]), (0x42, 0x81), "task management, ABORT TASK");
    assert_eq!((word(abort, 20), word(abort, 32)), (tag, 1), "the task's tag and CmdSN");
    let fields = [&numbers(3, 2, 9)[..], &[(16, word(abort, 16))]].concat();
    feed(&mut connection, &pdu(0x22, 0x80, &fields, &[]), usize::MAX, SECOND * 31);
    assert!(matches!(finished(&mut connection), (1, Outcome::TimedOut, _)));
    // Its tag is dead: data that still comes for it is a fault.
    feed(&mut connection, &data_in(tag, 0x81, 0, 0, &[0; 8]), usize::MAX, SECOND * 31);
    assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved);
}

#[test]
fn an_abort_without_answer_ends_the_session() {
    let mut connection = logged_in(config(), 9);
    submit(&mut connection, 1, 8);
    let nop = pdu(0x20, 0x80, &[&numbers(2, 2, 9)[..], &[(16, !0), (20, !0)]].concat(), &[]);
    for second in [29, 33, 37, 41, 44] {
        feed(&mut connection, &nop, usize::MAX, SECOND * second);
        connection.handle_timeout(SECOND * (second + 1));
    }
    assert_eq!(closed(&mut connection), IscsiError::TimedOut { waited_for: "ABORT TASK" });
    let unfinished = connection.take_unfinished();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].0, unfinished[0].1.len()), (1, 8));
}

#[test]
fn a_login_without_answer_ends_in_time() {
    let mut connection = Connection::<u32>::new(config(), SECOND).unwrap();
    assert_eq!(connection.poll_timeout(), Some(SECOND * 16));
    connection.handle_timeout(SECOND * 16);
    assert_eq!(closed(&mut connection), IscsiError::TimedOut { waited_for: "the login" });
}

/// One fault each, in the full feature phase with one command of 8 bytes in flight.
#[test]
fn faults_of_the_target_end_the_connection() {
    let with = |fields: &[(usize, u32)]| [&numbers(2, 2, 9)[..], fields].concat();
    let faults: Vec<(&str, Vec<u8>)> = vec![
        ("data for nobody", data_in(0x55, 0x81, 0, 0, &[0; 8])),
        ("DataSN skipped", data_in(0, 0x81, 1, 0, &[0; 8])),
        ("a hole before the data", data_in(0, 0x81, 0, 4, &[0; 4])),
        ("offset far away", data_in(0, 0x81, 0, u32::MAX, &[0; 8])),
        ("too much data", data_in(0, 0x81, 0, 0, &[0; 12])),
        ("a PDU beyond what we declared", data_in(0, 0x81, 0, 0, &[0; 8196])),
        ("status for nobody", pdu(0x21, 0x80, &with(&[(16, 0x55)]), &[])),
        ("ready to transfer", pdu(0x31, 0x80, &with(&[]), &[])),
        ("a login response", login_response(0x87, 2, &[])),
        ("a text response", pdu(0x24, 0x80, &with(&[]), &[])),
        ("a logout response", pdu(0x26, 0x80, &with(&[(16, 0xf003)]), &[])),
        ("an unknown opcode", pdu(0x3e, 0x80, &with(&[]), &[])),
        ("a reject", pdu(0x3f, 0x80, &with(&[(16, !0)]), &[])),
    ];
    for (fault, mut bytes) in faults {
        let mut connection = logged_in(config(), 9);
        let tag = submit(&mut connection, 1, 8);
        if word(&bytes, 16) == 0 && bytes[0] == 0x25 {
            bytes[16..20].copy_from_slice(&tag.to_be_bytes());
        }
        feed(&mut connection, &bytes, usize::MAX, SECOND);
        assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved, "{fault}");
        assert_eq!(connection.take_unfinished().len(), 1, "{fault}");
    }
}

/// An asynchronous message (11.9) with Parameter2 and Parameter3.
fn asynchronous(event: u8, second: u32, third: u32) -> Vec<u8> {
    let word = (40, second << 16 | third);
    let fields = [&numbers(2, 1, 9)[..], &[(16, !0), (36, u32::from(event) << 24), word]].concat();
    pdu(0x32, 0x80, &fields, &[])
}

#[test]
fn asynchronous_messages_that_end_a_session_end_it() {
    for (event, ends) in [(0u8, None), (2, Some(7)), (3, Some(7)), (5, Some(0)), (99, Some(0))]
        .into_iter()
        .chain([(248, None), (255, None)])
    {
        let mut connection = logged_in(config(), 9);
        feed(&mut connection, &asynchronous(event, 7, 20), usize::MAX, SECOND);
        match ends {
            Some(wait) => {
                let wait = SECOND * wait;
                assert_eq!(closed(&mut connection), IscsiError::EndedByTarget { event, wait });
            }
            None => assert!(connection.can_submit() && connection.poll_event().is_none()),
        }
    }
}

/// Events 1 and 4: no new commands, those in flight end, then a logout.
#[test]
fn a_target_that_asks_for_a_logout_gets_it_in_time() {
    for event in [1, 4] {
        let mut connection = logged_in(config(), 9);
        let tag = submit(&mut connection, 1, 8);
        feed(&mut connection, &asynchronous(event, 0, 4), usize::MAX, SECOND);
        assert!(!connection.can_submit() && sent(&mut connection).is_empty());
        feed(&mut connection, &data_in(tag, 0x81, 0, 0, &[3; 8]), usize::MAX, SECOND);
        assert!(matches!(finished(&mut connection), (1, Outcome::Completed(_), _)));
        assert_eq!(sent(&mut connection)[0][0], 0x46, "logout");
        let fields = [&numbers(3, 2, 9)[..], &[(16, 0xf003), (40, 3 << 16)]].concat();
        feed(&mut connection, &pdu(0x26, 0x80, &fields, &[]), usize::MAX, SECOND);
        let wait = SECOND * 3;
        assert_eq!(closed(&mut connection), IscsiError::EndedByTarget { event, wait });
    }
}

#[test]
fn a_logout_that_was_asked_for_does_not_wait_for_a_slow_command() {
    let mut connection = logged_in(config(), 9);
    submit(&mut connection, 1, 8);
    feed(&mut connection, &asynchronous(1, 0, 4), usize::MAX, SECOND);
    assert_eq!(connection.poll_timeout(), Some(SECOND * 4), "a quarter is left for the logout");
    connection.handle_timeout(SECOND * 4);
    assert_eq!(sent(&mut connection)[0][0], 0x46, "logout");
    connection.received(0, SECOND * 5); // it hangs up
    let wait = Time::ZERO; // as negotiated at login
    assert_eq!(closed(&mut connection), IscsiError::EndedByTarget { event: 1, wait });
    assert_eq!(connection.take_unfinished().len(), 1);
}

#[test]
fn a_reject_says_what_was_rejected() {
    let mut connection = logged_in(config(), 9);
    let command = pdu(0x01, 0x80, &[], &[]);
    let mut reject = pdu(0x3f, 0x80, &[&numbers(2, 1, 9)[..], &[(16, !0)]].concat(), &command);
    reject[2] = 0x05;
    feed(&mut connection, &reject, 11, SECOND);
    let error = closed(&mut connection);
    assert_eq!(error, IscsiError::Rejected { reason: 5, opcode: Some(1) });
    assert_eq!(
        error.to_string(),
        "the target rejected our SCSI command: command not supported (reason 05h)"
    );
}

/// CmdSN goes round the end of 32 bits while commands are in flight; so do StatSN and ExpCmdSN.
#[test]
fn sequence_numbers_go_round() {
    let first = u32::MAX - 2;
    let mut connection =
        Connection::new(Config { first_cmd_sn: first, ..config() }, SECOND).unwrap();
    assert_eq!(word(&sent(&mut connection)[0], 24), first);
    let answer = |flags: u8, stat: u32| {
        let window = [(24, stat), (28, first), (32, first.wrapping_add(3)), (16, 0xf000)];
        pdu(0x23, flags, &window, &[])
    };
    feed(&mut connection, &answer(0x81, u32::MAX - 1), usize::MAX, SECOND);
    feed(&mut connection, &answer(0x87, u32::MAX), usize::MAX, SECOND);
    assert!(matches!(connection.poll_event(), Some(Event::LoggedIn(_))));
    sent(&mut connection);
    for round in 0..12u32 {
        let cmd_sn = first.wrapping_add(round);
        connection.submit(command(round, 8)).unwrap();
        let request = &sent(&mut connection)[0];
        assert_eq!((word(request, 24), word(request, 28)), (cmd_sn, round), "CmdSN, ExpStatSN");
        let mut last = data_in(word(request, 16), 0x81, 0, 0, &[1; 8]);
        for (at, value) in [(24, round), (28, cmd_sn.wrapping_add(1)), (32, cmd_sn.wrapping_add(4))]
        {
            last[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        feed(&mut connection, &last, 50, SECOND);
        let (context, outcome, _) = finished(&mut connection);
        assert!(context == round && matches!(outcome, Outcome::Completed(_)));
    }
}

#[test]
fn one_pdu_may_carry_all_of_sixteen_mebibytes() {
    const LENGTH: usize = (1 << 24) - 1;
    let segment = u32::try_from(LENGTH).unwrap();
    let mut connection = logged_in(Config { max_recv_data: segment, ..config() }, 9);
    let tag = submit(&mut connection, 1, LENGTH);
    let content: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    feed(&mut connection, &data_in(tag, 0x81, 0, 0, &content), 1 << 20, SECOND);
    let (_, outcome, buffer) = finished(&mut connection);
    assert!(matches!(outcome, Outcome::Completed(c) if c.transferred == segment));
    assert!(buffer == content);
}

#[test]
fn residuals_are_told_in_both_directions() {
    for (flags, residual) in [(0x82, Residual::Under(4)), (0x84, Residual::Over(4))] {
        let mut connection = logged_in(config(), 9);
        let tag = submit(&mut connection, 1, 8);
        let fields = [&numbers(2, 2, 9)[..], &[(16, tag), (44, 4)]].concat();
        let stream = [data_in(tag, 0x80, 0, 0, &[1; 4]), pdu(0x21, flags, &fields, &[])].concat();
        feed(&mut connection, &stream, 99, SECOND);
        let (_, outcome, _) = finished(&mut connection);
        let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
        assert_eq!((completion.transferred, completion.residual), (4, residual));
    }
}

/// A command may take minutes: pings that are answered keep the session.
#[test]
fn a_slow_command_is_kept_alive_by_pings() {
    let mut connection = logged_in(config(), 9);
    let command = iscsi::Command { deadline: SECOND * 3600, ..command(1, 8) };
    connection.submit(command).unwrap();
    let tag = word(&sent(&mut connection)[0], 16);
    let pong = pdu(0x20, 0x80, &[&numbers(2, 2, 9)[..], &[(16, 0xf001), (20, !0)]].concat(), &[]);
    for _ in 0..100 {
        let now = connection.poll_timeout().unwrap();
        connection.handle_timeout(now);
        assert_eq!(sent(&mut connection).len(), 1, "a ping");
        feed(&mut connection, &pong, usize::MAX, now + SECOND);
    }
    feed(&mut connection, &data_in(tag, 0x81, 0, 0, &[1; 8]), usize::MAX, SECOND * 700);
    assert!(matches!(finished(&mut connection), (1, Outcome::Completed(_), _)));
}

/// Response codes of task management (11.6.1): what leaves doubt ends the session.
#[test]
fn answers_to_abort_task() {
    for (response, ends) in [(0u8, false), (1, false), (2, true), (5, true), (255, true)] {
        let mut connection = logged_in(config(), 9);
        let tag = submit(&mut connection, 1, 8);
        feed(&mut connection, &data_in(tag, 0, 0, 0, &[1; 4]), usize::MAX, SECOND * 29);
        connection.handle_timeout(SECOND * 30);
        let abort = word(&sent(&mut connection)[0], 16);
        let mut answer = pdu(0x22, 0x80, &[&numbers(2, 2, 9)[..], &[(16, abort)]].concat(), &[]);
        answer[2] = response;
        feed(&mut connection, &answer, usize::MAX, SECOND * 31);
        if ends {
            assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved, "{response}");
            assert_eq!(connection.take_unfinished().len(), 1);
        } else {
            assert!(matches!(finished(&mut connection), (1, Outcome::TimedOut, _)));
            assert!(connection.can_submit());
        }
    }
}

/// Commands may end in any order, and their data may be mixed; each has its own order within.
#[test]
fn commands_may_end_out_of_order() {
    let mut connection = logged_in(config(), 9);
    let tags: Vec<u32> = (0..3).map(|context| submit(&mut connection, context, 8)).collect();
    let stream = [
        data_in(tags[2], 0, 0, 0, &[2; 4]),
        data_in(tags[0], 0, 0, 0, &[0; 4]),
        data_in(tags[2], 0x81, 1, 4, &[2; 4]),
        data_in(tags[1], 0x81, 0, 0, &[1; 8]),
        data_in(tags[0], 0x81, 1, 4, &[0; 4]),
    ];
    feed(&mut connection, &stream.concat(), 31, SECOND);
    for context in [2, 1, 0] {
        let (got, outcome, buffer) = finished(&mut connection);
        assert_eq!((got, buffer), (context, vec![u8::try_from(context).unwrap(); 8]));
        assert!(matches!(outcome, Outcome::Completed(_)));
    }
}

#[test]
fn logout_ends_with_an_answer_or_a_hang_up() {
    for hang_up in [false, true] {
        let mut connection = logged_in(config(), 9);
        connection.logout(SECOND);
        assert!(!connection.can_submit());
        assert_eq!(sent(&mut connection)[0][0], 0x46);
        if hang_up {
            connection.received(0, SECOND);
        } else {
            let fields = [&numbers(2, 1, 9)[..], &[(16, 0xf003)]].concat();
            feed(&mut connection, &pdu(0x26, 0x80, &fields, &[]), usize::MAX, SECOND);
        }
        assert!(matches!(connection.poll_event(), Some(Event::LoggedOut)));
    }
}

#[test]
fn one_that_asks_but_never_reads_is_cut_off() {
    let mut connection = logged_in(config(), 9);
    let ping = pdu(0x20, 0x80, &[&numbers(2, 1, 9)[..], &[(16, !0), (20, 1)]].concat(), &[]);
    for _ in 0..30_000 {
        if connection.poll_timeout().is_none() {
            break;
        }
        feed(&mut connection, &ping, usize::MAX, SECOND);
    }
    assert_eq!(closed(&mut connection).kind(), ErrorKind::Misbehaved);
    assert!(connection.transmit().len() <= (1 << 20) + 48);
}

#[test]
fn discovery_over_several_answers() {
    let mut config = config();
    config.target = None;
    let mut connection = logged_in(config, 9);
    connection.send_targets(Time::ZERO);
    let request = &sent(&mut connection)[0];
    assert_eq!(&request[48..], b"SendTargets=All\0");
    let part = |flags: u8, transfer: u32, text: &[u8]| {
        let fields = [&numbers(2, 1, 9)[..], &[(16, 0xf002), (20, transfer)]].concat();
        pdu(0x24, flags, &fields, text)
    };
    feed(&mut connection, &part(0, 5, b"TargetName=iqn.a:1\0TargetAddr"), 10, SECOND);
    assert_eq!(word(&sent(&mut connection)[0], 20), 5, "asks for the rest");
    feed(&mut connection, &part(0x80, !0, b"ess=10.0.0.1:3260,1\0"), 10, SECOND);
    let Some(Event::Targets(targets)) = connection.poll_event() else { panic!("no targets") };
    assert_eq!(targets[0].addresses[0].portal, "10.0.0.1:3260");
}
