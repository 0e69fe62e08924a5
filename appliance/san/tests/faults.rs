//! Lost paths, damaged data, devices that have trouble: against tgtd behind a relay that cuts,
//! stalls and damages. Whatever happens, a read gives the right bytes or an error.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests

mod common;

use common::{NAA, SIZE, TARGET_USER, Tgtd, USER, assert_same, chap, disk};
use model::ErrorKind;
use san::{Lun, PortalConfig, San, SanError};
use std::time::{Duration, Instant};

async fn login(config: PortalConfig) -> (San, Lun) {
    let san = San::login(vec![config]).await.unwrap();
    let lun = san.luns()[0].clone();
    (san, lun)
}

#[tokio::test]
async fn cut_in_the_middle_of_a_read_it_comes_back() {
    let Some(tgtd) = Tgtd::start("cut_in_the_middle_of_a_read_it_comes_back") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    // In a header, right behind one, in data, and between two PDUs.
    for after in [20, 48, 100_000, 262_144 + 48] {
        proxy.cut_after(after);
        let bytes = lun.read(1_000_000, 4 << 20).await.unwrap();
        assert_same(&bytes, &tgtd.content[1_000_000..1_000_000 + (4 << 20)]);
    }
    assert_eq!(proxy.accepted(), 5);
    assert!(lun.counters().retries >= 4);
    san.logout().await;
}

#[tokio::test]
async fn a_target_that_stays_away_is_an_error_and_never_zeros() {
    let Some(tgtd) = Tgtd::start("a_target_that_stays_away_is_an_error") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    proxy.refuse(true);
    proxy.cut_after(300_000);
    let error = lun.read(0, 4 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{}", model::chain(&error));
    assert!(matches!(error, SanError::PathLost { .. }), "{error:?}");
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
    assert_eq!(proxy.accepted(), 1 + 3, "as many attempts as configured");
    // The next read tries again, and finds it.
    proxy.refuse(false);
    assert_same(&lun.read(4096, 4096).await.unwrap(), &tgtd.content[4096..8192]);
    san.logout().await;
}

#[tokio::test]
async fn a_path_that_is_cut_again_and_again_ends_in_an_error() {
    let Some(tgtd) = Tgtd::start("a_path_that_is_cut_again_and_again") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    proxy.cut_each_after(Some(100_000)); // more than a login, less than one answer
    proxy.cut_after(100_000);
    let error = lun.read(0, 4 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!((3..20).contains(&proxy.accepted()), "{} sessions", proxy.accepted());
    drop(san);
}

#[tokio::test]
async fn a_silent_target_is_found_out_by_ping() {
    let Some(tgtd) = Tgtd::start("a_silent_target_is_found_out_by_ping") else { return };
    let proxy = tgtd.proxy();
    let mut config = disk(proxy.address());
    config.timers.ping_interval = Duration::from_millis(200);
    config.timers.ping_answer = Duration::from_millis(200);
    config.timers.login = Duration::from_millis(500);
    let (san, lun) = login(config).await;
    proxy.stall(true);
    let begun = Instant::now();
    let error = lun.read(0, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    proxy.stall(false);
    assert_same(&lun.read(0, 4096).await.unwrap(), &tgtd.content[..4096]);
    san.logout().await;
}

#[tokio::test]
async fn an_idle_session_answers_the_targets_pings() {
    let Some(tgtd) = Tgtd::start("an_idle_session_answers_the_targets_pings") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    // tgtd pings every second and hangs up after three that were not answered.
    let late = Instant::now() + Duration::from_secs(5);
    while Instant::now() < late {
        tokio::time::sleep(Duration::from_millis(200)).await; // idle is what is tested
    }
    assert_same(&lun.read(0, 4096).await.unwrap(), &tgtd.content[..4096]);
    assert_eq!(proxy.accepted(), 1, "the session was never lost");
    san.logout().await;
}

#[tokio::test]
async fn damaged_data_is_noticed_and_read_again() {
    let Some(tgtd) = Tgtd::start("damaged_data_is_noticed_and_read_again") else { return };
    let proxy = tgtd.proxy();
    let config = PortalConfig {
        header_digest: true,
        data_digest: true,
        segment: 256 * 1024,
        ..chap(proxy.address())
    };
    let (san, lun) = login(config).await;
    for at in [52, 5_000, 200_000] {
        let retries = lun.counters().retries;
        proxy.flip_at(at);
        assert_same(&lun.read(0, 1 << 20).await.unwrap(), &tgtd.chap_content[..1 << 20]);
        assert_eq!(lun.counters().retries, retries + 1, "flipped at {at}");
    }
    assert_eq!(proxy.accepted(), 1, "a damaged read does not cost the session");
    // In a header: nothing after it can be trusted, so the session begins anew.
    proxy.flip_at(30);
    assert_same(&lun.read(0, 1 << 20).await.unwrap(), &tgtd.chap_content[..1 << 20]);
    assert_eq!(proxy.accepted(), 2);
    san.logout().await;
}

#[tokio::test]
async fn without_digests_the_relay_really_damages() {
    let Some(tgtd) = Tgtd::start("without_digests_the_relay_really_damages") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    assert!(!san.sessions()[0].data_digest);
    proxy.flip_at(5_000);
    let bytes = lun.read(0, 1 << 20).await.unwrap();
    let wrong = bytes.iter().zip(&tgtd.content).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 1, "otherwise the test above proves nothing");
    san.logout().await;
}

fn exchange(tgtd: &Tgtd) {
    let other = tgtd.path().join("other");
    std::fs::write(&other, vec![0; SIZE]).unwrap();
    tgtd.order("logicalunit", "delete", "--tid 1 --lun 1");
    tgtd.lun(1, 1, &other, "");
}

fn assert_exchanged(error: &SanError) {
    assert!(matches!(error, SanError::IdentityChanged { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_lun_that_was_exchanged_while_the_path_was_lost_is_refused() {
    let Some(tgtd) = Tgtd::start("a_lun_that_was_exchanged") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    exchange(&tgtd);
    proxy.cut();
    assert_exchanged(&lun.read(0, 4096).await.unwrap_err());
    assert_exchanged(&lun.read(0, 4096).await.unwrap_err());
    san.logout().await;
}

/// tgtd does not announce an exchange, so only asking finds it.
#[tokio::test]
async fn a_lun_that_was_exchanged_in_silence_is_found_by_asking() {
    let Some(tgtd) = Tgtd::start("a_lun_that_was_exchanged_in_silence") else { return };
    let (san, lun) = login(disk(tgtd.address())).await;
    lun.verify().await.unwrap();
    exchange(&tgtd);
    assert_exchanged(&lun.verify().await.unwrap_err());
    san.logout().await;
}

#[tokio::test]
async fn a_lun_that_went_away_is_an_error() {
    let Some(tgtd) = Tgtd::start("a_lun_that_went_away_is_an_error") else { return };
    let (san, lun) = login(disk(tgtd.address())).await;
    tgtd.order("logicalunit", "delete", "--tid 1 --lun 1");
    let error = lun.read(0, 4096).await.unwrap_err();
    assert!(matches!(error, SanError::Device { .. }), "{error:?}");
    assert!(error.to_string().contains("05/25/00"), "{error}");
    san.logout().await;
}

#[tokio::test]
async fn another_hosts_reservation_is_waited_for_and_then_reported() {
    let test = "another_hosts_reservation_is_waited_for";
    let Some(tgtd) = Tgtd::start(test) else { return };
    let config = PortalConfig { busy_patience: Duration::from_millis(400), ..disk(tgtd.address()) };
    let (san, lun) = login(config).await;
    let url = format!("iscsi://{}/{}/1", tgtd.address(), common::DISK);
    // libiscsi's conformance test reserves the LUN for a moment, again and again, from two
    // sessions of its own; a reader that runs beside it must never see anything but its bytes.
    let tool = std::process::Command::new("iscsi-test-cu")
        .args(["-V", "-d", "-n", "-t", "ALL.Reserve6.2Initiators", &url])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut tool) = tool else {
        eprintln!("SKIPPED: {test}: iscsi-test-cu is not installed (Debian package libiscsi-bin)");
        return;
    };
    let mut conflicts = 0;
    while tool.try_wait().unwrap().is_none() {
        match lun.read(0, 65_536).await {
            Ok(bytes) => assert_same(&bytes, &tgtd.content[..65_536]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{}", model::chain(&error));
                conflicts += 1;
            }
        }
    }
    tool.wait().unwrap();
    eprintln!("{conflicts} reads were shut out, {} repeated", lun.counters().retries);
    san.logout().await;
}

#[tokio::test]
async fn a_secret_that_changed_while_the_path_was_lost_is_refused() {
    let Some(tgtd) = Tgtd::start("a_secret_that_changed") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(chap(proxy.address())).await;
    tgtd.order("account", "unbind", &format!("--tid 2 --user {}", USER.0));
    tgtd.order("account", "delete", &format!("--user {}", USER.0));
    tgtd.order("account", "new", &format!("--user {} --password anothersecret99", USER.0));
    tgtd.order("account", "bind", &format!("--tid 2 --user {}", USER.0));
    proxy.cut();
    let error = lun.read(0, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", model::chain(&error));
    let text = format!("{} {error:?}", model::chain(&error));
    assert!(!text.contains(USER.1) && !text.contains(TARGET_USER.1), "{text}");
    san.logout().await;
}

#[tokio::test]
async fn the_session_ends_when_the_last_handle_goes() {
    let Some(tgtd) = Tgtd::start("the_session_ends_when_the_last_handle_goes") else { return };
    let proxy = tgtd.proxy();
    let (san, lun) = login(disk(proxy.address())).await;
    drop(san);
    lun.read(0, 512).await.unwrap();
    assert!(lun.info().names.contains(&NAA.parse().unwrap()));
    drop(lun);
    let late = Instant::now() + Duration::from_secs(10);
    // The last PDU is a logout request: 48 bytes that begin with 46h.
    while proxy.requests()[0].rchunks(48).next().is_none_or(|pdu| pdu[0] != 0x46) {
        assert!(Instant::now() < late, "no logout was sent");
        tokio::time::sleep(Duration::from_millis(10)).await; // polls the relay
    }
}
