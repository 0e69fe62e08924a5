//! Against Linux tgtd on loopback: login, authentication, digests, limits, reading.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests

mod common;

use common::{CHAP_SIZE, DISK, INITIATOR, NAA, SIZE, Tgtd, assert_same, chap, disk, mutual};
use fakes::recorded::cdbs;
use model::ErrorKind;
use san::{Chap, Lun, PortalConfig, San, Secret, discover};
use scsi::Role;

async fn read_all(lun: &Lun, step: usize) -> Vec<u8> {
    let size = usize::try_from(lun.info().capacity).unwrap();
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let length = step.min(size - bytes.len());
        bytes.extend_from_slice(&lun.read(bytes.len() as u64, length).await.unwrap());
    }
    bytes
}

fn only_lun(san: &San) -> Lun {
    assert_eq!(san.luns().len(), 1, "{:?}", san.skipped());
    san.luns()[0].clone()
}

#[tokio::test]
async fn a_whole_lun_equals_its_file() {
    let Some(tgtd) = Tgtd::start("a_whole_lun_equals_its_file") else { return };
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    let lun = san.find(&NAA.parse().unwrap()).unwrap();
    let info = lun.info();
    assert_eq!(info.capacity, SIZE as u64);
    assert_eq!(info.block_size, 512);
    assert_eq!((info.vendor.as_str(), info.product.as_str()), ("PURE", "FlashArray"));
    assert_eq!(info.serial.as_deref(), Some("0123456789ABCDEF"));
    assert_eq!(info.lun.number(), Some(1));
    assert_eq!(info.target, DISK);
    assert_same(&read_all(&lun, 3_000_000).await, &tgtd.content);
    assert_eq!(lun.counters().bytes_read, SIZE as u64);
    san.logout().await;
    let error = lun.read(0, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}

#[tokio::test]
async fn any_offset_and_length() {
    let Some(tgtd) = Tgtd::start("any_offset_and_length") else { return };
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    let lun = only_lun(&san);
    let mut buffer = bytes::BytesMut::new();
    for (offset, length) in [
        (0, 0),
        (0, 1),
        (511, 2),
        (513, 511),
        (12_345, 262_144),
        (1 << 20, 4 << 20),
        (SIZE - 1, 1),
        (SIZE - (4 << 20), 4 << 20),
        (777, (4 << 20) - 5),
        (SIZE, 0),
    ] {
        buffer = lun.read_into(offset as u64, length, buffer).await.unwrap();
        assert_same(&buffer, &tgtd.content[offset..offset + length]);
    }
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (usize::MAX, 2), (0, (4 << 20) + 1)] {
        let error = lun.read(offset as u64, length).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{offset} {length}: {error}");
    }
    san.logout().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_a_session_and_parsers_may_block() {
    let Some(tgtd) = Tgtd::start("many_readers_share_a_session") else { return };
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    let lun = only_lun(&san);
    let mut readers = Vec::new();
    for reader in 0..16u64 {
        let lun = lun.clone();
        readers.push(tokio::spawn(async move {
            let mut out = Vec::new();
            for round in 0..20u64 {
                let offset = (reader * 7919 + round * 104_729) * 97 % (SIZE as u64 - 300_000);
                out.push((offset, lun.read(offset, 300_000).await.unwrap()));
            }
            out
        }));
    }
    let blocking = lun.blocking();
    let whole =
        tokio::task::spawn_blocking(move || block::ReadAt::read_vec(&blocking, 3, SIZE - 7));
    assert_same(&whole.await.unwrap().unwrap(), &tgtd.content[3..SIZE - 4]);
    for reader in readers {
        for (offset, bytes) in reader.await.unwrap() {
            let offset = usize::try_from(offset).unwrap();
            assert_same(&bytes, &tgtd.content[offset..offset + 300_000]);
        }
    }
    san.logout().await;
}

#[tokio::test]
async fn mutual_chap_digests_and_the_tightest_limits() {
    let Some(tgtd) = Tgtd::start("mutual_chap_digests_and_the_tightest_limits") else { return };
    for (header_digest, data_digest, segment) in
        [(true, false, 512), (false, true, 516), (true, true, 4096)]
    {
        let config = PortalConfig { header_digest, data_digest, segment, ..chap(tgtd.address()) };
        let san = San::login(vec![config]).await.unwrap();
        // tgtd may turn on what was not preferred, but never leaves out what was.
        let agreed = &san.sessions()[0];
        assert!(agreed.header_digest >= header_digest && agreed.data_digest >= data_digest);
        let lun = only_lun(&san);
        assert_eq!(lun.info().capacity, CHAP_SIZE as u64);
        assert_same(&read_all(&lun, 1_000_001).await, &tgtd.chap_content);
        san.logout().await;
    }
}

#[tokio::test]
async fn authentication_is_needed_and_errors_hide_secrets() {
    let Some(tgtd) = Tgtd::start("authentication_is_needed") else { return };
    let with = |chap: Option<Chap>| PortalConfig { chap, ..chap_portal(&tgtd) };
    let one_way = Chap { mutual: None, ..mutual() };
    let san = San::login(vec![with(Some(one_way))]).await.unwrap();
    san.logout().await;
    let wrong = Chap { secret: Secret::new("wrongwrongwrong"), ..mutual() };
    let impostor =
        Chap { mutual: Some(("outuser".into(), Secret::new("wrongwrongwrong"))), ..mutual() };
    let other_name =
        Chap { mutual: Some(("x".into(), Secret::new("outsecretoutsecret"))), ..mutual() };
    for chap in [None, Some(wrong), Some(impostor), Some(other_name)] {
        let error = San::login(vec![with(chap)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        let text = format!("{} {error:?}", model::chain(&error));
        assert!(
            text.contains(common::CHAP) && text.contains(&tgtd.address().to_string()),
            "{text}"
        );
        assert!(!text.contains("secretinsecret") && !text.contains("wrongwrong"), "{text}");
    }
}

fn chap_portal(tgtd: &Tgtd) -> PortalConfig {
    chap(tgtd.address())
}

#[tokio::test]
async fn what_cannot_be_logged_in_to_says_why() {
    let Some(tgtd) = Tgtd::start("what_cannot_be_logged_in_to_says_why") else { return };
    let absent = PortalConfig { target: "iqn.2026-01.test.lab:no".into(), ..disk(tgtd.address()) };
    let error = San::login(vec![absent]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let nobody = PortalConfig { portal: "127.0.0.1:1".into(), ..disk(tgtd.address()) };
    let error = San::login(vec![nobody.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    let bad = PortalConfig { target: "not a name".into(), ..disk(tgtd.address()) };
    let error = San::login(vec![bad]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(San::login(vec![]).await.is_err());
    // One bad portal does not shut out a good one, and is named when a LUN is missing.
    let san = San::login(vec![nobody, disk(tgtd.address())]).await.unwrap();
    let error = san.find(&"naa.5000000000000001".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains(NAA) && text.contains("127.0.0.1:1"), "{text}");
    assert!(san.find(&NAA.parse().unwrap()).is_ok());
    san.logout().await;
}

#[tokio::test]
async fn discovery_lists_both_targets() {
    let Some(tgtd) = Tgtd::start("discovery_lists_both_targets") else { return };
    let portal = tgtd.address().to_string();
    let targets = discover(&portal, INITIATOR, None).await.unwrap();
    let mut names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [common::CHAP, DISK]);
    assert_eq!(targets[0].addresses[0].portal, portal);
}

#[tokio::test]
async fn two_luns_that_claim_one_name_are_refused() {
    let Some(tgtd) = Tgtd::start("two_luns_that_claim_one_name_are_refused") else { return };
    let copy = tgtd.path().join("copy");
    std::fs::write(&copy, vec![0; 1 << 20]).unwrap();
    tgtd.lun(1, 2, &copy, &format!("scsi_id={}", &NAA[4..]));
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    assert!(san.luns().is_empty(), "neither of them can be believed");
    let error = san.find(&NAA.parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let text = error.to_string();
    assert!(text.contains("LUN 1 of") && text.contains("LUN 2 of"), "{text}");
    assert!(text.contains(DISK) && text.contains("its size"), "{text}");
    san.logout().await;
}

#[tokio::test]
async fn the_target_sees_only_what_is_on_the_list() {
    let Some(tgtd) = Tgtd::start("the_target_sees_only_what_is_on_the_list") else { return };
    let proxy = tgtd.proxy();
    let san = San::login(vec![disk(proxy.address())]).await.unwrap();
    let lun = only_lun(&san);
    proxy.cut_after(5_000_000); // the fault handling counts too
    assert_same(&read_all(&lun, 4 << 20).await, &tgtd.content);
    san.logout().await;
    let streams: Vec<_> = proxy.requests().iter().map(|stream| cdbs(stream, false)).collect();
    assert_eq!(streams.len(), 2, "cut once, reinstated once");
    assert_eq!(streams[1].1, 0, "the last session ends with a whole PDU");
    let seen: Vec<_> = streams.into_iter().flat_map(|(cdbs, _)| cdbs).collect();
    assert!(seen.iter().all(|cdb| Role::SourceDisk.allows(cdb)), "only what asks");
    let counted = lun.counters();
    assert!(counted.retries > 0);
    let reads = seen.iter().filter(|cdb| cdb[0] == 0x88).count();
    assert!(reads >= SIZE / (128 * 1024), "{reads} reads");
    assert!(reads as u64 <= counted.commands[&0x88], "no read that was not counted");
}
