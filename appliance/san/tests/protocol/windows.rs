//! Windows, sequence numbers, the order of data, digests, residuals.

use super::{assert_reads, config, login, login_with, spec, start};
use fakes::target::{Disk, Exchange, FakeTarget, Pdu, Rule, Spec, Then, When};
use std::time::{Duration, Instant};

const READ: When = When::Command(0x88);

/// A window of one: commands go one by one, and all arrive in the order of their numbers.
#[tokio::test]
async fn a_narrow_window_holds_commands_back() {
    for window in [1, 2] {
        let disk = Disk::new(1, 4 << 20);
        let target = start(Spec { disks: vec![disk.clone()], window, ..Spec::default() }).await;
        let (san, lun) = login(&target).await;
        assert_reads(&lun, &target, &disk).await;
        let seen = target.seen();
        let numbers: Vec<_> =
            seen[0].iter().filter(|pdu| pdu.opcode() == 1).map(|pdu| pdu.word(24)).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        san.logout().await;
    }
}

/// A window that is closed: nothing is sent until the target opens it.
#[tokio::test]
async fn a_closed_window_is_waited_for() {
    let disk = Disk::new(1, 1 << 20);
    let target = start(Spec { disks: vec![disk.clone()], window: 2, ..Spec::default() }).await;
    let mut config = config(target.address());
    config.command_timeout = Duration::from_secs(10);
    let (san, lun) = login_with(config).await;
    target.set_window(0);
    let before = target.count(0x88);
    let reading = tokio::spawn({
        let lun = lun.clone();
        async move { lun.read(0, 1 << 20).await }
    });
    seen(&target, |pdus| pdus.iter().filter(|pdu| is_read(pdu)).count() == before + 2).await;
    // Whoever answers a ping that was sent later has seen the answers to both reads.
    target.announce(|exchange| vec![exchange.ping(7)]).await;
    seen(&target, |pdus| pdus.iter().any(|pdu| pdu.opcode() == 0 && pdu.word(20) == 7)).await;
    assert_eq!(target.count(0x88), before + 2, "the window is closed");
    target.set_window(8);
    target.announce(|exchange| vec![exchange.unasked(0x20, 0x80).with(20, u32::MAX)]).await;
    assert!(reading.await.unwrap().unwrap()[..] == disk.content[..]);
    assert_eq!(target.count(0x88), before + 8, "a MiB by 128 KiB");
    san.logout().await;
}

fn is_read(pdu: &Pdu) -> bool {
    pdu.opcode() == 1 && pdu.cdb()[0] == 0x88
}

/// Waits until the first connection's PDUs are as wanted.
async fn seen(target: &FakeTarget, wanted: impl Fn(&[Pdu]) -> bool) {
    let late = Instant::now() + Duration::from_secs(10);
    while !wanted(&target.seen()[0]) {
        assert!(Instant::now() < late, "it did not come");
        tokio::task::yield_now().await;
    }
}

/// StatSN goes round the end of 32 bits; every command acknowledges the right one.
#[tokio::test]
async fn statuses_go_round_the_end_of_their_numbers() {
    let (mut spec, disk) = spec();
    spec.first_stat_sn = u32::MAX - 5;
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    for _ in 0..3 {
        assert_reads(&lun, &target, &disk).await;
    }
    let seen = target.seen();
    let last = seen[0].last().unwrap();
    assert!(last.word(28) < 100, "ExpStatSN went round: {:08x}", last.word(28));
    assert_eq!(target.arrivals().len(), 1);
    san.logout().await;
}

/// Data of several commands may come mixed and in any order of the commands.
#[tokio::test]
async fn data_may_come_out_of_order_across_commands() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let mut config = config(target.address());
    config.command_timeout = Duration::from_secs(10);
    let (san, lun) = login_with(config).await;
    // Of the four commands of the read each one is answered later than the next.
    for delay in [200, 150, 100, 50] {
        target.rule(Rule::once(READ, Then::Later(Duration::from_millis(delay))));
    }
    assert_reads(&lun, &target, &disk).await;
    assert_eq!((target.rules_left(), lun.counters().retries), (0, 0));
    san.logout().await;
}

/// Small PDUs, odd sizes, and one that is as large as the whole answer.
#[tokio::test]
async fn data_comes_in_pieces_of_any_size() {
    for (segment, declared) in
        [(512, 512), (4092, 8192), (65_536, 1 << 18), (4 << 20, (1 << 24) - 1)]
    {
        let disk = Disk::new(1, 4 << 20);
        let target = start(Spec { disks: vec![disk.clone()], segment, ..Spec::default() }).await;
        let mut config = config(target.address());
        config.segment = declared;
        config.transfer = 4 << 20;
        config.command_timeout = Duration::from_secs(10);
        let (san, lun) = login_with(config).await;
        assert_reads(&lun, &target, &disk).await;
        san.logout().await;
    }
}

fn damaged(exchange: &Exchange) -> Vec<Pdu> {
    let whole = exchange.data.len();
    let half = Pdu { damage: 1, ..exchange.data_in(0, 0..whole / 2, false) };
    vec![half, exchange.data_in(1, whole / 2..whole, true)]
}

/// A wrong data digest fails the command, which is sent again by the same session.
#[tokio::test]
async fn a_wrong_data_digest_is_read_again() {
    for digests in [(false, true), (true, true)] {
        let (mut spec, disk) = spec();
        spec.digests = digests;
        let target = start(spec).await;
        let mut config = config(target.address());
        config.data_digest = true;
        let (san, lun) = login_with(config).await;
        target.rule(Rule::times(2, READ, Then::instead(damaged)));
        assert_reads(&lun, &target, &disk).await;
        assert_eq!((lun.counters().retries, target.arrivals().len()), (2, 1));
        san.logout().await;
    }
}

/// Fewer bytes than asked for are never taken for a whole read, whatever the status says.
#[tokio::test]
async fn a_short_read_is_an_error() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    let short = |exchange: &Exchange| {
        let most = exchange.data.len() - 512;
        let end = exchange.answer(0x21, 0x82).with(44, 512);
        vec![exchange.data_in(0, 0..most, false), end]
    };
    let silent = |exchange: &Exchange| {
        vec![exchange.data_in(0, 0..exchange.data.len() - 512, true)] // and no residual
    };
    for then in [Then::instead(short), Then::instead(silent)] {
        target.rule(Rule::once(READ, then));
        let error = lun.read(0, 4096).await.unwrap_err();
        assert_eq!(error.kind(), model::ErrorKind::Misbehaved, "{error}");
        assert_reads(&lun, &target, &disk).await;
    }
    san.logout().await;
}
