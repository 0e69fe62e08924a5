//! Several paths to one LUN, against tgtd: two daemons with one file behind them, or one daemon
//! behind two relays that cut, stall and refuse. Whatever happens to a path, every byte is right.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests

#[path = "../common/mod.rs"]
mod common;
mod twin;

use common::{DISK, NAA, SIZE, Tgtd, assert_same, disk, names};
use model::ErrorKind;
use san::{Lun, OwnDisk, PathState, PortalConfig, San, SanConfig, SanError};
use std::time::{Duration, Instant};
use twin::{OTHER, Twin, other_target};

/// No hesitation of a machine is as long.
const LONG: Duration = Duration::from_secs(30);

/// With times short enough for a test.
fn quick(config: PortalConfig) -> PortalConfig {
    let mut config = PortalConfig {
        failover_after: Duration::from_millis(500),
        busy_patience: Duration::from_secs(5),
        command_timeout: Duration::from_secs(3),
        ..config
    };
    config.timers.login = Duration::from_secs(1);
    config
}

fn only(san: &San) -> Lun {
    let luns = san.luns();
    assert_eq!(luns.len(), 1, "{:?}", san.skipped());
    luns[0].clone()
}

fn states(lun: &Lun) -> Vec<PathState> {
    lun.paths().iter().map(|path| path.state).collect()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(15);
    while !is() {
        assert!(Instant::now() < late, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await; // polls what another task does
    }
}

/// Reads the whole LUN in steps and compares, again and again, until `done`.
async fn read_until(lun: &Lun, content: &[u8], mut done: impl FnMut(usize) -> bool) {
    let late = Instant::now() + Duration::from_secs(20);
    let mut reads = 0;
    while !done(reads) {
        assert!(Instant::now() < late, "{reads} reads, {:?}", lun.paths());
        let at = reads * 1_234_567 % (SIZE - (3 << 20));
        let bytes = lun.read(at as u64, 3 << 20).await.unwrap();
        assert_same(&bytes, &content[at..at + (3 << 20)]);
        reads += 1;
    }
}

#[tokio::test]
async fn two_portals_of_a_target_are_one_lun_and_share_its_reads() {
    let Some(tgtd) = Tgtd::start("two_portals_of_a_target_are_one_lun") else { return };
    let relays = [tgtd.proxy(), tgtd.proxy()];
    let portals = relays.iter().map(|relay| quick(disk(relay.address()))).collect();
    let san = San::login(portals).await.unwrap();
    let lun = only(&san);
    assert_eq!(states(&lun), [PathState::Active; 2], "{:?}", lun.paths());
    read_until(&lun, &tgtd.content, |reads| reads == 30).await;
    let by_path: Vec<u64> = lun.paths().iter().map(|path| path.counters.bytes_read).collect();
    assert!(by_path.iter().all(|bytes| *bytes > 10 << 20), "{by_path:?}");
    assert_eq!(lun.counters().bytes_read, 30 * (3 << 20));
    assert_eq!(san.sessions().len(), 2);
    assert_eq!(lun.write_protected(), Some(false));
    lun.verify().await.unwrap();
    san.logout().await;
    assert_eq!(lun.read(0, 512).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_path_that_is_cut_costs_no_read_and_comes_back() {
    let Some(tgtd) = Tgtd::start("a_path_that_is_cut_costs_no_read") else { return };
    let relays = [tgtd.proxy(), tgtd.proxy()];
    let portals = relays.iter().map(|relay| quick(disk(relay.address()))).collect();
    let san = San::login(portals).await.unwrap();
    let lun = only(&san);
    read_until(&lun, &tgtd.content, |reads| reads == 3).await;
    relays[0].refuse(true);
    relays[0].cut_after(700_000);
    read_until(&lun, &tgtd.content, |reads| reads > 20 && states(&lun)[0] == PathState::Lost).await;
    assert_eq!(states(&lun), [PathState::Lost, PathState::Active]);
    assert!(lun.paths()[0].note.is_some());
    assert!(san.sessions()[0].lost && !san.sessions()[1].lost);
    relays[0].refuse(false);
    until("the path comes back", || states(&lun) == [PathState::Active; 2]).await;
    let before = lun.paths()[0].counters.bytes_read;
    let more = || lun.paths()[0].counters.bytes_read > before + (4 << 20);
    read_until(&lun, &tgtd.content, |_| more()).await;
    san.logout().await;
}

#[tokio::test]
async fn a_silent_path_is_overtaken() {
    let Some(tgtd) = Tgtd::start("a_silent_path_is_overtaken") else { return };
    let relays = [tgtd.proxy(), tgtd.proxy()];
    let portals = relays.iter().map(|relay| quick(disk(relay.address()))).collect();
    let san = San::login(portals).await.unwrap();
    let lun = only(&san);
    read_until(&lun, &tgtd.content, |reads| reads == 2).await;
    relays[1].stall(true);
    let begun = Instant::now();
    read_until(&lun, &tgtd.content, |reads| reads == 10).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(states(&lun), [PathState::Active, PathState::Lost]);
    relays[1].stall(false);
    until("the path comes back", || states(&lun) == [PathState::Active; 2]).await;
    read_until(&lun, &tgtd.content, |reads| reads == 5).await;
    san.logout().await;
}

#[tokio::test]
async fn both_paths_lost_is_waited_for_and_then_an_error() {
    let Some(tgtd) = Tgtd::start("both_paths_lost_is_waited_for") else { return };
    let relays = [tgtd.proxy(), tgtd.proxy()];
    let portals = relays.iter().map(|relay| quick(disk(relay.address()))).collect();
    let san = San::login(portals).await.unwrap();
    let lun = only(&san);
    for relay in &relays {
        relay.refuse(true);
        relay.cut();
    }
    let reading = tokio::spawn({
        let lun = lun.clone();
        async move { lun.read(4096, 1 << 20).await }
    });
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{}", model::chain(&error));
    for relay in &relays {
        relay.refuse(false);
    }
    let bytes = lun.read(4096, 1 << 20).await.unwrap();
    assert_same(&bytes, &tgtd.content[4096..4096 + (1 << 20)]);
    san.logout().await;
}

#[tokio::test]
async fn a_target_of_its_own_is_taken_only_when_the_first_is_lost() {
    let Some(tgtd) = Tgtd::start("a_target_of_its_own_is_taken_only") else { return };
    // The same file by another target: another port, and no states are told (TPGS 0).
    let other = "iqn.2026-01.test.lab:disk-b";
    other_target(&tgtd, other, &tgtd.path().join("disk"));
    let relays = [tgtd.proxy(), tgtd.proxy()];
    // The port in use changes for good: a machine that hesitates for a moment must not do it.
    let patient = |config| PortalConfig { failover_after: LONG, ..quick(config) };
    let first = patient(disk(relays[0].address()));
    let second = PortalConfig { target: other.into(), ..patient(disk(relays[1].address())) };
    let san = San::login(vec![first, second]).await.unwrap();
    let lun = only(&san);
    assert_eq!(states(&lun), [PathState::Active, PathState::Ready], "{:?}", lun.paths());
    let idle = lun.paths()[1].counters.bytes_read;
    read_until(&lun, &tgtd.content, |reads| reads == 10).await;
    assert_eq!(lun.paths()[1].counters.bytes_read, idle, "one port at a time");
    relays[0].refuse(true);
    relays[0].cut_after(300_000);
    read_until(&lun, &tgtd.content, |reads| reads == 10).await;
    assert_eq!(states(&lun), [PathState::Lost, PathState::Active]);
    relays[0].refuse(false);
    until("the path comes back", || states(&lun)[0] != PathState::Lost).await;
    assert_eq!(states(&lun), [PathState::Ready, PathState::Active], "it does not jump back");
    read_until(&lun, &tgtd.content, |reads| reads == 5).await;
    san.logout().await;
}

#[tokio::test]
async fn a_daemon_that_dies_is_no_error_while_another_serves_the_file() {
    let Some(tgtd) = Tgtd::start("a_daemon_that_dies_is_no_error") else { return };
    let mut twin = Twin::start(&tgtd.path().join("disk"));
    let portals = [tgtd.address(), twin.address()].map(|portal| quick(disk(portal))).to_vec();
    let san = San::login(portals).await.unwrap();
    let lun = only(&san);
    assert_eq!(lun.paths().len(), 2);
    read_until(&lun, &tgtd.content, |reads| {
        if reads == 5 {
            twin.kill();
        }
        reads == 30
    })
    .await;
    assert_eq!(states(&lun), [PathState::Active, PathState::Lost]);
    lun.verify().await.unwrap();
    twin.restart();
    until("the path comes back", || states(&lun) == [PathState::Active; 2]).await;
    read_until(&lun, &tgtd.content, |reads| reads == 10).await;
    san.logout().await;
}

#[tokio::test]
async fn a_name_that_another_content_has_is_refused() {
    let Some(tgtd) = Tgtd::start("a_name_that_another_content_has") else { return };
    let copy = tgtd.path().join("copy");
    let mut bytes = tgtd.content.clone();
    bytes[700_000] ^= 1; // in the first MiB, and nowhere else
    std::fs::write(&copy, bytes).unwrap();
    let other = "iqn.2026-01.test.lab:disk-b";
    other_target(&tgtd, other, &copy);
    let second = PortalConfig { target: other.into(), ..disk(tgtd.address()) };
    let san = San::login(vec![disk(tgtd.address()), second]).await.unwrap();
    assert!(san.luns().is_empty());
    let error = san.find(&NAA.parse().unwrap()).unwrap_err();
    assert!(matches!(error, SanError::Ambiguous { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    for named in [DISK, other, "the first MiB"] {
        assert!(text.contains(named), "{named}: {text}");
    }
    san.logout().await;
}

#[tokio::test]
async fn a_path_that_comes_back_with_another_content_is_not_used() {
    let Some(tgtd) = Tgtd::start("a_path_that_comes_back_with_another_content") else { return };
    let other = "iqn.2026-01.test.lab:disk-b";
    other_target(&tgtd, other, &tgtd.path().join("disk"));
    let relay = tgtd.proxy();
    let first = quick(disk(tgtd.address()));
    let second = PortalConfig { target: other.into(), ..quick(disk(relay.address())) };
    let san = San::login(vec![first, second]).await.unwrap();
    let lun = only(&san);
    relay.refuse(true);
    relay.cut();
    // Another size: the LUN behind the path is not the one that joined.
    let small = tgtd.path().join("small");
    std::fs::write(&small, vec![7; SIZE / 2]).unwrap();
    tgtd.order("logicalunit", "delete", &format!("--tid {OTHER} --lun 1"));
    tgtd.lun(OTHER, 1, &small, &names());
    san.rescan().await;
    relay.refuse(false);
    san.rescan().await;
    until("the path is refused", || states(&lun)[1] == PathState::Refused).await;
    read_until(&lun, &tgtd.content, |reads| reads == 10).await;
    assert_eq!(states(&lun)[0], PathState::Active);
    san.logout().await;
}

#[tokio::test]
async fn luns_and_portals_that_come_later_are_found() {
    let Some(tgtd) = Tgtd::start("luns_and_portals_that_come_later") else { return };
    let late = tgtd.proxy();
    late.refuse(true);
    let portals = vec![quick(disk(tgtd.address())), quick(disk(late.address()))];
    let san = San::login(portals).await.unwrap();
    assert_eq!(only(&san).paths().len(), 1);
    assert_eq!(san.skipped().len(), 1, "{:?}", san.skipped());
    late.refuse(false);
    let file = tgtd.path().join("more");
    std::fs::write(&file, vec![9; 2 << 20]).unwrap();
    tgtd.lun(1, 5, &file, "");
    san.rescan().await;
    assert!(san.skipped().is_empty(), "{:?}", san.skipped());
    let luns = san.luns();
    assert_eq!(luns.len(), 2);
    assert!(luns.iter().all(|lun| states(lun) == [PathState::Active; 2]), "{luns:?}");
    let more = luns.iter().find(|lun| lun.info().capacity == 2 << 20).unwrap();
    assert_same(&more.read(0, 2 << 20).await.unwrap(), &vec![9; 2 << 20]);
    tgtd.order("logicalunit", "delete", "--tid 1 --lun 5");
    san.rescan().await;
    assert_eq!(san.luns().len(), 1, "no target shows it any more");
    san.logout().await;
}

#[tokio::test]
async fn several_sessions_to_one_portal_are_several_paths() {
    let Some(tgtd) = Tgtd::start("several_sessions_to_one_portal") else { return };
    let config = PortalConfig { sessions: 3, ..quick(disk(tgtd.address())) };
    let san = San::login(vec![config]).await.unwrap();
    assert_eq!((san.sessions().len(), states(&only(&san)).len()), (3, 3));
    read_until(&only(&san), &tgtd.content, |reads| reads == 10).await;
    assert!(only(&san).paths().iter().all(|path| path.counters.bytes_read > 0));
    san.logout().await;
}

#[tokio::test]
async fn a_disk_of_this_box_is_never_a_source() {
    let Some(tgtd) = Tgtd::start("a_disk_of_this_box_is_never_a_source") else { return };
    let own = OwnDisk {
        names: vec![NAA.parse().unwrap()],
        serial: None,
        what: "sdq, below /var/lib/holdfast".into(),
        fabric: None,
    };
    let config =
        SanConfig { portals: vec![disk(tgtd.address())], own: vec![own], ..SanConfig::default() };
    let san = San::open(config).await.unwrap();
    assert!(san.luns().is_empty());
    let error = san.find(&NAA.parse().unwrap()).unwrap_err();
    assert!(matches!(error, SanError::OwnDisk { .. }), "{error:?}");
    assert!(error.to_string().contains("sdq, below /var/lib/holdfast"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Refused);
    san.logout().await;
}

#[tokio::test]
async fn a_lun_is_measured_within_its_time() {
    let Some(tgtd) = Tgtd::start("a_lun_is_measured_within_its_time") else { return };
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    let begun = Instant::now();
    let measured = san::measure(&only(&san), Duration::from_secs(1), 7).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(measured.latency_reads > 10 && measured.latency_p50 <= measured.latency_p99);
    assert!(measured.sequential_bytes_per_second > 1 << 20, "{measured:?}");
    assert!(measured.random_reads_per_second > 10, "{measured:?}");
    san.logout().await;
}
