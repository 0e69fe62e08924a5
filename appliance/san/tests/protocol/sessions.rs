//! Login, redirection, asynchronous messages, stalls, and coming back.

use super::{assert_harmless, assert_reads, config, login, login_with, spec, start};
use fakes::target::{FakeTarget, Pdu, Rule, Spec, Then, When};
use model::ErrorKind;
use san::{IscsiError, San, SanError};
use std::time::{Duration, Instant};

const READ: When = When::Command(0x88);

/// Sends whoever logs in to another portal.
fn redirect(to: impl ToString, detail: u8) -> Then {
    Then::LoginStatus(1, detail, format!("TargetAddress={},1\0", to.to_string()))
}

fn moves(target: &FakeTarget) -> usize {
    target.arrivals().len()
}

#[tokio::test]
async fn a_temporary_redirection_is_followed_and_forgotten() {
    let (spec, disk) = spec();
    let (door, room) = (start(Spec::default()).await, start(spec).await);
    door.rule(Rule::always(When::Login(0), redirect(room.address(), 1)));
    let (san, lun) = login(&door).await;
    assert_reads(&lun, &room, &disk).await;
    assert_eq!((moves(&door), moves(&room)), (1, 1));
    // The session is lost: it begins where it was configured.
    room.rule(Rule::once(READ, Then::Close));
    assert_reads(&lun, &room, &disk).await;
    assert_eq!((moves(&door), moves(&room)), (2, 2));
    san.logout().await;
}

#[tokio::test]
async fn a_permanent_redirection_is_remembered_for_the_session() {
    let (spec, disk) = spec();
    let (door, room) = (start(Spec::default()).await, start(spec).await);
    door.rule(Rule::always(When::Login(0), redirect(room.address(), 2)));
    let (san, lun) = login(&door).await;
    room.rule(Rule::once(READ, Then::Close));
    assert_reads(&lun, &room, &disk).await;
    assert_eq!((moves(&door), moves(&room)), (1, 2), "it goes straight to the new place");
    san.logout().await;
}

#[tokio::test]
async fn where_it_moved_for_good_it_may_be_gone_again() {
    let (first, disk) = spec();
    let (door, room, other) =
        (start(Spec::default()).await, start(first.clone()).await, start(first).await);
    door.rule(Rule::once(When::Login(0), redirect(room.address(), 2)));
    door.rule(Rule::once(When::Login(0), redirect(other.address(), 2)));
    let (san, lun) = login(&door).await;
    drop(room);
    assert_reads(&lun, &other, &disk).await;
    assert_eq!((moves(&door), moves(&other)), (2, 1));
    san.logout().await;
}

#[tokio::test]
async fn redirections_in_a_circle_are_refused() {
    let (one, two) = (start(Spec::default()).await, start(Spec::default()).await);
    one.rule(Rule::always(When::Login(0), redirect(two.address(), 1)));
    two.rule(Rule::always(When::Login(0), redirect(one.address(), 2)));
    let error = San::login(vec![config(one.address())]).await.unwrap_err();
    let SanError::Session { source: IscsiError::RedirectionLoop { trail }, .. } = &error else {
        panic!("{error:?}")
    };
    let (one_at, two_at) = (one.address().to_string(), two.address().to_string());
    assert_eq!(trail, &[one_at.clone(), two_at, one_at]);
    assert_eq!(error.kind(), ErrorKind::Misbehaved);
    assert_eq!((moves(&one), moves(&two)), (1, 1));
}

#[tokio::test]
async fn redirections_on_and_on_are_refused() {
    let mut chain = Vec::new();
    for _ in 0..7 {
        chain.push(start(Spec::default()).await);
    }
    for pair in chain.windows(2) {
        pair[0].rule(Rule::always(When::Login(0), redirect(pair[1].address(), 1)));
    }
    let error = San::login(vec![config(chain[0].address())]).await.unwrap_err();
    assert!(
        matches!(&error, SanError::Session { source: IscsiError::RedirectionLoop { .. }, .. }),
        "{error:?}"
    );
    let asked: Vec<_> = chain.iter().map(moves).collect();
    assert_eq!(asked, [1, 1, 1, 1, 1, 0, 0], "a bounded number of hops");
}

#[tokio::test]
async fn login_statuses_say_what_to_do() {
    for (class, detail, kind, word) in [
        (2, 0x01, ErrorKind::Refused, "secret"),
        (2, 0x02, ErrorKind::Refused, "access list"),
        (2, 0x03, ErrorKind::NotFound, "no such target"),
        (2, 0x04, ErrorKind::Gone, "removed"),
        (2, 0x06, ErrorKind::Busy, "too many"),
        (3, 0x01, ErrorKind::Retryable, "unavailable"),
        (3, 0x02, ErrorKind::Retryable, "resources"),
        (4, 0x00, ErrorKind::Misbehaved, "unknown"),
    ] {
        let target = start(Spec::default()).await;
        target.rule(Rule::once(When::Login(0), Then::LoginStatus(class, detail, String::new())));
        let error = San::login(vec![config(target.address())]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{class:02x}{detail:02x}");
        assert!(model::chain(&error).contains(word), "{}", model::chain(&error));
    }
}

/// A refusal at reinstatement is final; trouble of the target's is waited out.
#[tokio::test]
async fn a_lost_session_tries_again_where_that_can_help() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::once(READ, Then::Close));
    target.rule(Rule::times(2, When::Login(0), Then::LoginStatus(3, 1, String::new())));
    assert_reads(&lun, &target, &disk).await;
    assert_eq!(moves(&target), 1 + 3);
    target.rule(Rule::once(READ, Then::Close));
    target.rule(Rule::always(When::Login(0), Then::LoginStatus(2, 2, String::new())));
    let error = lun.read(0, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", model::chain(&error));
    assert_eq!(moves(&target), 4 + 1, "asked once");
    drop(san);
}

/// Reinstatement (6.3.5): the same ISID, TSIH 0; another session has an ISID of its own.
#[tokio::test]
async fn a_session_keeps_its_isid_and_no_two_share_one() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (first, lun) = login(&target).await;
    let (second, _) = login(&target).await;
    target.rule(Rule::once(READ, Then::Close));
    assert_reads(&lun, &target, &disk).await;
    let logins: Vec<_> = target.seen().iter().map(|pdus| pdus[0].clone()).collect();
    let isid = |at: usize| logins[at].header[8..14].to_vec();
    assert_eq!(logins.len(), 3);
    assert_eq!(isid(0), isid(2), "the lost one came back");
    assert_ne!(isid(0), isid(1));
    assert!(logins.iter().all(|login| login.header[14..16] == [0, 0]), "TSIH 0");
    first.logout().await;
    second.logout().await;
}

#[tokio::test]
async fn the_time_to_wait_is_waited() {
    let (mut spec, disk) = spec();
    spec.keys = vec![("DefaultTime2Wait".into(), "1".into())];
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::once(READ, Then::Close));
    let lost = Instant::now();
    assert_reads(&lun, &target, &disk).await;
    assert!(lost.elapsed() >= Duration::from_secs(1), "{:?}", lost.elapsed());
    san.logout().await;
}

/// A target that wants to be left alone for longer than a read waits is not besieged.
#[tokio::test]
async fn a_wait_beyond_all_patience_is_an_error_at_once() {
    let (spec, _) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.announce(|exchange| vec![exchange.asynchronous(3, [0, 3600, 0])]).await;
    let begun = Instant::now();
    for _ in 0..2 {
        let error = lun.read(0, 512).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retryable, "{}", model::chain(&error));
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(moves(&target), 1, "nobody knocked");
    drop(san);
}

/// Asynchronous messages in the middle of a read: the bytes are right, whatever was announced.
#[tokio::test]
async fn asynchronous_messages_cost_at_most_the_session() {
    for (event, sessions) in [(0, 1), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (255, 1)] {
        let (spec, disk) = spec();
        let target = start(spec).await;
        let (san, lun) = login(&target).await;
        let message =
            move |exchange: &fakes::target::Exchange| vec![exchange.asynchronous(event, [0, 0, 1])];
        target.rule(Rule::once(READ, Then::before(message)).after(1));
        assert_reads(&lun, &target, &disk).await;
        assert_reads(&lun, &target, &disk).await; // one that was asked to leave has left
        assert_eq!(moves(&target), sessions, "event {event}");
        let asked_to = matches!(event, 1 | 4);
        let logouts = target.seen()[0].iter().filter(|pdu| pdu.opcode() == 0x06).count();
        assert_eq!(logouts, usize::from(asked_to), "event {event}: logged out when asked to");
        san.logout().await;
    }
}

/// An idle session that is asked to leave leaves, and comes back for the next read.
#[tokio::test]
async fn an_idle_session_leaves_when_asked() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.announce(|exchange| vec![exchange.asynchronous(1, [0, 0, 1])]).await;
    let late = Instant::now() + Duration::from_secs(10);
    while target.seen()[0].last().is_none_or(|pdu: &Pdu| pdu.opcode() != 0x06) {
        assert!(Instant::now() < late, "no logout was sent");
        tokio::task::yield_now().await;
    }
    assert_eq!(moves(&target), 1, "it stays quiet");
    assert_reads(&lun, &target, &disk).await;
    assert_eq!(moves(&target), 2);
    san.logout().await;
}

/// Silence in each phase ends in time: login, inventory, read, logout, discovery.
#[tokio::test]
async fn a_target_that_stalls_is_given_up_in_each_phase() {
    for when in [When::Login(0), When::Login(1)] {
        let target = start(Spec::default()).await;
        target.rule(Rule::always(when, Then::Silence));
        let begun = Instant::now();
        let error = San::login(vec![config(target.address())]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retryable, "{when:?}: {}", model::chain(&error));
        assert!(begun.elapsed() < Duration::from_secs(20), "{when:?}");
        assert_harmless(&target);
    }
    let target = start(Spec::default()).await;
    target.rule(Rule::always(When::AnyCommand, Then::Silence));
    let san = San::login(vec![config(target.address())]).await.unwrap();
    let skipped = san.skipped();
    assert!(san.luns().is_empty() && skipped.len() == 1, "{skipped:?}");
    assert_eq!(skipped[0].error.kind(), ErrorKind::Retryable, "{skipped:?}");
    assert_harmless(&target);
    let target = start(Spec::default()).await;
    target.rule(Rule::always(When::Text, Then::Silence));
    let portal = target.address().to_string();
    // The default patience for a text is five seconds.
    let error = san::discover(&portal, "iqn.2026-01.test:a", None).await.unwrap_err();
    assert!(model::chain(&error).contains("text request"), "{}", model::chain(&error));
    let (san, _) = login(&target).await;
    target.rule(Rule::always(When::Logout, Then::Silence));
    san.logout().await;
}

/// A command without an answer is aborted and sent again; the session lives on.
#[tokio::test]
async fn a_command_without_answer_is_aborted_and_repeated() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::once(READ, Then::Silence));
    assert_reads(&lun, &target, &disk).await;
    let seen = target.seen();
    assert_eq!(seen.len(), 1, "the same session");
    let read = seen[0].iter().find(|pdu| pdu.opcode() == 1 && pdu.cdb()[0] == 0x88).unwrap();
    let abort = seen[0].iter().find(|pdu| pdu.opcode() == 2).unwrap();
    assert_eq!(abort.word(20), read.word(16), "the referenced task");
    assert_eq!(abort.word(32), read.word(24), "its CmdSN");
    san.logout().await;
}

/// One that does not even answer ABORT TASK, or refuses it, loses the session; the read comes.
#[tokio::test]
async fn an_abort_that_fails_costs_the_session() {
    let refusal = Then::instead(|exchange| vec![exchange.answer(0x22, 0x80).byte(2, 5)]);
    for then in [Then::Silence, refusal] {
        let (spec, disk) = spec();
        let target = start(spec).await;
        let (san, lun) = login(&target).await;
        target.rule(Rule::once(READ, Then::Silence));
        target.rule(Rule::once(When::Abort, then));
        assert_reads(&lun, &target, &disk).await;
        assert_eq!(moves(&target), 2);
        san.logout().await;
    }
}

/// A slow command is not killed by the keep-alive, which is answered meanwhile.
#[tokio::test]
async fn a_slow_answer_is_waited_for_while_pings_are_answered() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let mut config = config(target.address());
    config.command_timeout = Duration::from_secs(20);
    config.timers.ping_interval = Duration::from_millis(100);
    config.timers.ping_answer = Duration::from_millis(400);
    let (san, lun) = login_with(config).await;
    target.rule(Rule::once(READ, Then::Later(Duration::from_millis(1500))));
    assert_eq!(lun.read(0, 512).await.unwrap()[..], disk.content[..512]);
    let pings = target.seen()[0].iter().filter(|pdu| pdu.opcode() == 0).count();
    assert!(pings >= 5, "{pings} pings");
    assert_eq!(lun.counters().retries, 0);
    san.logout().await;
}

/// The target's own pings are answered with tag and LUN (11.18).
#[tokio::test]
async fn pings_of_the_target_are_answered() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::once(
        READ,
        Then::before(|exchange| vec![exchange.ping(0x77).with(8, 0x0001_0000)]),
    ));
    assert_reads(&lun, &target, &disk).await;
    san.logout().await;
    let seen = target.seen();
    let pong = seen[0].iter().find(|pdu| pdu.opcode() == 0 && pdu.word(20) == 0x77).unwrap();
    assert_eq!((pong.word(8), pong.word(16)), (0x0001_0000, u32::MAX));
}

/// A Reject ends the session at error recovery level 0; the read comes by the next one.
#[tokio::test]
async fn a_reject_costs_the_session() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    target.rule(Rule::once(
        READ,
        Then::instead(|exchange| {
            vec![exchange.unasked(0x3f, 0x80).byte(2, 0x0a).data(exchange.request.header)]
        }),
    ));
    assert_reads(&lun, &target, &disk).await;
    assert_eq!(moves(&target), 2);
    san.logout().await;
}
