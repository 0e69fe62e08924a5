//! Against Linux tgtd with values that are rarely seen: narrow windows, tiny bursts, several
//! portals, IPv6, redirection, thin LUNs, reservations.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests

mod host;
mod raw;

use host::Host;
use lab::place::{FreshDirectory, fresh_directory};
use lab::tgtd::{Tgtd, TgtdSpec};
use model::ErrorKind;
use raw::Raw;
use san::{Addresses, IscsiError, Lun, PortalConfig, Reconnect, San, SanError, discover_all};
use scsi::{
    Capacity, Designators, Inquiry, LbaStatus, LogicalProvisioning, LunList, ModeHeader,
    Provisioning, Reservation, ReservationKeys, ReservationKind, Status, SupportedPages, disk,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const TARGET: &str = "iqn.2026-01.test.lab:extremes";
const INITIATOR: &str = "iqn.2026-01.test.holdfast:san";
const NAA: &str = "624a9370cdef0123456789abcdef0123";
/// Bytes of LUN 1; its second half is a hole.
const SIZE: usize = 4 << 20;
const GOOD: u8 = 0;

/// A tgtd with one target, and what its LUN 1 holds.
struct Array {
    tgtd: Tgtd,
    content: Vec<u8>,
    directory: FreshDirectory,
}

impl Array {
    /// Starts it with keys such as `MaxQueueCmd=1`; `None`, loudly, without tgtd.
    fn start(test: &str, address: IpAddr, keys: &[&str]) -> Option<Self> {
        if !Tgtd::is_installed() {
            eprintln!("SKIPPED: {test}: tgtd is not installed (Debian package tgt)");
            return None;
        }
        let directory = fresh_directory().unwrap();
        let image = directory.path().join("lun");
        let mut content: Vec<u8> =
            (0..SIZE / 2).map(|at| (at ^ (at >> 9)).to_le_bytes()[0]).collect();
        std::fs::write(&image, &content).unwrap();
        std::fs::File::options().write(true).open(&image).unwrap().set_len(SIZE as u64).unwrap();
        content.resize(SIZE, 0);
        let tgtd = Tgtd::start(directory.path(), TgtdSpec { address, ping: 1 }).unwrap();
        tgtd.new_target(1, TARGET).unwrap();
        let parameters = format!("scsi_id={NAA},scsi_sn=0123456789ABCDEF,thin_provisioning=1");
        tgtd.new_lun(1, 1, &image, &parameters).unwrap();
        tgtd.set(1, &["DefaultTime2Wait=0"]).unwrap();
        tgtd.set(1, keys).unwrap();
        tgtd.open(1).unwrap();
        Some(Self { tgtd, content, directory })
    }

    fn here(test: &str, keys: &[&str]) -> Option<Self> {
        Self::start(test, Ipv4Addr::LOCALHOST.into(), keys)
    }

    async fn raw(&self) -> Raw {
        Raw::login(self.tgtd.portal(), raw::config(TARGET)).await
    }
}

fn config(portal: SocketAddr) -> PortalConfig {
    PortalConfig {
        portal: portal.to_string(),
        target: TARGET.into(),
        initiator: INITIATOR.into(),
        reconnect: Reconnect { delay: Duration::from_millis(50), ..Reconnect::default() },
        ..PortalConfig::default()
    }
}

async fn assert_reads(config: PortalConfig, content: &[u8]) {
    let san = San::login(vec![config]).await.unwrap();
    let lun = san.luns()[0].clone();
    assert!(lun.read(0, SIZE).await.unwrap()[..] == *content, "the bytes differ");
    san.logout().await;
}

#[tokio::test]
async fn extreme_values_of_every_key() {
    for keys in [
        &["MaxQueueCmd=1"][..],
        &["MaxQueueCmd=2", "MaxRecvDataSegmentLength=512"],
        &["FirstBurstLength=512", "MaxBurstLength=512", "InitialR2T=Yes"],
        &["ImmediateData=No", "InitialR2T=No", "MaxOutstandingR2T=16"],
        &["MaxRecvDataSegmentLength=16777215", "MaxBurstLength=16777215"],
        &["HeaderDigest=CRC32C", "DataDigest=CRC32C", "MaxQueueCmd=1"],
    ] {
        let Some(array) = Array::here("extreme_values_of_every_key", keys) else { return };
        for segment in [512, 4096, (1 << 24) - 1] {
            let config = PortalConfig { segment, ..config(array.tgtd.portal()) };
            assert_reads(config, &array.content).await;
        }
    }
}

#[tokio::test]
async fn several_portals_and_ipv6_are_each_asked_and_each_read() {
    let test = "several_portals_and_ipv6";
    let Some(array) = Array::here(test, &[]) else { return };
    let mut portals = vec![array.tgtd.portal()];
    portals.push(array.tgtd.new_portal(Ipv4Addr::new(127, 0, 0, 3).into()).unwrap());
    match array.tgtd.new_portal(Ipv6Addr::LOCALHOST.into()) {
        Ok(portal) => portals.push(portal),
        Err(error) => eprintln!("SKIPPED: {test}: its IPv6 half: no ::1 here ({error:#})"),
    }
    let names: Vec<String> = portals.iter().map(SocketAddr::to_string).collect();
    let found = discover_all(&names, INITIATOR, None, Addresses::AsTold).await;
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    // tgtd names only the portal that was asked, so each one is known only from itself.
    let told: Vec<_> = found.portals.iter().map(|place| place.portal.clone()).collect();
    assert_eq!(told, names);
    for portal in portals {
        assert_reads(config(portal), &array.content).await;
    }
}

fn redirect(array: &Array, to: SocketAddr, reason: &str) {
    let keys = [
        format!("RedirectAddress={}", to.ip()),
        format!("RedirectPort={}", to.port()),
        format!("RedirectReason={reason}"),
    ];
    array.tgtd.set(1, &keys.each_ref().map(String::as_str)).unwrap();
}

#[tokio::test]
async fn tgtd_redirects_to_another_tgtd() {
    let test = "tgtd_redirects_to_another_tgtd";
    for reason in ["Temporary", "Permanent"] {
        let Some(door) = Array::here(test, &[]) else { return };
        let Some(room) = Array::start(test, Ipv4Addr::new(127, 0, 0, 2).into(), &[]) else {
            return;
        };
        // What is behind the door is not what is in the room.
        let image = door.directory.path().join("lun");
        std::fs::write(&image, vec![0xee; SIZE]).unwrap();
        redirect(&door, room.tgtd.portal(), reason);
        assert_reads(config(door.tgtd.portal()), &room.content).await;
    }
}

#[tokio::test]
async fn tgtd_that_redirects_to_itself_is_refused() {
    let test = "tgtd_that_redirects_to_itself_is_refused";
    let Some(array) = Array::start(test, Ipv4Addr::new(127, 0, 0, 2).into(), &[]) else { return };
    redirect(&array, array.tgtd.portal(), "Temporary");
    let error = San::login(vec![config(array.tgtd.portal())]).await.unwrap_err();
    assert!(
        matches!(&error, SanError::Session { source: IscsiError::RedirectionLoop { .. }, .. }),
        "{error:?}"
    );
}

/// Every question that a source disk may be asked, and what tgtd says.
#[tokio::test]
async fn every_reply_of_tgtd_is_understood() {
    let Some(array) = Array::here("every_reply_of_tgtd_is_understood", &[]) else { return };
    let mut raw = array.raw().await;
    let (status, data) = raw.run(1, &disk::inquiry()).await;
    assert_eq!(status.status, GOOD);
    assert!(Inquiry::decode(&data).unwrap().connected);
    let (_, data) = raw.run(1, &disk::inquiry_vpd(SupportedPages::PAGE)).await;
    let pages = SupportedPages::decode(&data).unwrap();
    assert!([0x80, 0x83, 0xb0, 0xb2].iter().all(|page| pages.contains(*page)));
    let (_, data) = raw.run(1, &disk::inquiry_vpd(Designators::PAGE)).await;
    let names = Designators::decode(&data).unwrap().naa_names();
    assert_eq!(names[0].as_str(), format!("naa.{NAA}"));
    let (_, data) = raw.run(1, &disk::inquiry_vpd(scsi::BlockLimits::PAGE)).await;
    scsi::BlockLimits::decode(&data).unwrap();
    let (_, data) = raw.run(1, &disk::inquiry_vpd(LogicalProvisioning::PAGE)).await;
    let thin = LogicalProvisioning::decode(&data).unwrap();
    assert!(thin.unmap, "{thin:?}");
    let (_, data) = raw.run(1, &disk::read_capacity_16()).await;
    let capacity = Capacity::decode(&data).unwrap();
    assert_eq!((capacity.bytes(), capacity.thin), (SIZE as u64, true));
    let (_, data) = raw.run(1, &disk::report_luns(4096)).await;
    assert!(LunList::decode(&data).unwrap().luns.len() == 2, "its controller and the disk");
    for cdb in [disk::mode_sense_6(255), disk::mode_sense_10(4096)] {
        let (_, data) = raw.run(1, &cdb).await;
        let header = if cdb.opcode() == 0x1a {
            ModeHeader::decode_6(&data)
        } else {
            ModeHeader::decode_10(&data)
        };
        assert!(!header.unwrap().write_protected);
    }
    let (_, data) = raw.run(1, &disk::read_10(7, 3, 512).unwrap()).await;
    assert_eq!(data, array.content[7 * 512..10 * 512]);
    // No ALUA here: the question is answered with an error, and the session lives.
    let (status, _) = raw.run(1, &disk::report_target_port_groups(1024)).await;
    let sense = scsi::Sense::decode(&status.sense).unwrap();
    assert_eq!(scsi::advise(Status::from(status.status), Some(&sense)), scsi::Advice::Unsupported);
    assert_eq!(raw.run(1, &disk::test_unit_ready()).await.0.status, GOOD);
}

/// The thin LUN says which half of it is a hole.
#[tokio::test]
async fn a_thin_lun_tells_its_holes() {
    let Some(array) = Array::here("a_thin_lun_tells_its_holes", &[]) else { return };
    let mut raw = array.raw().await;
    let blocks = (SIZE / 512) as u64;
    let (mut at, mut mapped) = (0, 0);
    while at < blocks {
        let (completion, data) = raw.run(1, &disk::get_lba_status(at, 24)).await;
        assert_eq!(completion.status, GOOD);
        let status = LbaStatus::decode(&data, at).unwrap();
        let extent = status.extents()[0];
        if extent.state == Provisioning::Mapped {
            mapped += extent.end() - at;
        }
        at = extent.end();
    }
    assert_eq!(mapped, blocks / 2);
}

#[tokio::test]
async fn a_read_only_lun_says_so() {
    let Some(array) = Array::here("a_read_only_lun_says_so", &[]) else { return };
    let readonly = ["--tid", "1", "--lun", "1", "--params", "readonly=1"];
    array.tgtd.order("logicalunit", "update", &readonly).unwrap();
    let mut raw = array.raw().await;
    let (_, data) = raw.run(1, &disk::mode_sense_6(4)).await;
    assert!(ModeHeader::decode_6(&data).unwrap().write_protected);
    let (_, data) = raw.run(1, &disk::mode_sense_10(8)).await;
    assert!(ModeHeader::decode_10(&data).unwrap().write_protected);
}

/// Several commands in flight while CmdSN goes round the end of its 32 bits.
#[tokio::test]
async fn tgtd_follows_command_numbers_round_their_end() {
    let Some(array) = Array::here("tgtd_follows_command_numbers", &[]) else { return };
    let near_the_end = iscsi::Config { first_cmd_sn: u32::MAX - 9, ..raw::config(TARGET) };
    let mut raw = Raw::login(array.tgtd.portal(), near_the_end).await;
    raw.run(1, &disk::test_unit_ready()).await;
    for round in 0..10_u64 {
        for block in 0..4 {
            raw.submit(1, &disk::read_16(round * 4 + block, 1, 512).unwrap());
        }
        for _ in 0..4 {
            assert_eq!(raw.finished().await.0.status, GOOD);
        }
    }
}

/// Data that goes out arrives, whatever bursts and requests for data tgtd agrees to. To a scratch
/// LUN, and not by the reader: it has no way to send any.
#[tokio::test]
async fn tgtd_gets_every_byte_that_is_sent_whatever_was_agreed() {
    for keys in [
        &["FirstBurstLength=512", "InitialR2T=No", "ImmediateData=Yes"][..],
        &["FirstBurstLength=512", "MaxBurstLength=512", "InitialR2T=Yes", "ImmediateData=No"],
        &["ImmediateData=No", "InitialR2T=No", "MaxOutstandingR2T=16"],
        &["ImmediateData=Yes", "InitialR2T=Yes", "MaxRecvDataSegmentLength=512"],
        &["InitialR2T=No", "HeaderDigest=CRC32C", "DataDigest=CRC32C"],
    ] {
        let test = "tgtd_gets_every_byte_that_is_sent";
        let Some(array) = Array::here(test, keys) else { return };
        let scratch = array.directory.path().join("scratch");
        std::fs::write(&scratch, vec![0; SIZE]).unwrap();
        array.tgtd.new_lun(1, 2, &scratch, "").unwrap();
        let digests = keys.contains(&"DataDigest=CRC32C");
        let config =
            iscsi::Config { header_digest: digests, data_digest: digests, ..raw::config(TARGET) };
        let mut raw = Raw::login(array.tgtd.portal(), config).await;
        raw.run(2, &disk::test_unit_ready()).await;
        let sent = lab::noise::bytes(7, SIZE);
        // Two at a time, of one block up to more than a burst.
        let mut at = 0;
        for blocks in [1_u16, 8, 129, 700, 1, 2100] {
            for half in [blocks / 2, blocks - blocks / 2] {
                let next = at + usize::from(half) * 512;
                let [one, two, three, four] = u32::try_from(at / 512).unwrap().to_be_bytes();
                let [high, low] = half.to_be_bytes();
                let write_10 = [0x2a, 0, one, two, three, four, 0, high, low, 0];
                raw.submit_out(2, &write_10, &sent[at..next]);
                at = next;
            }
            for _ in 0..2 {
                let (completion, _) = raw.finished().await;
                assert_eq!(completion.status, GOOD, "{keys:?}: {completion:02x?}");
            }
        }
        let got = std::fs::read(&scratch).unwrap();
        assert_eq!(lab::noise::difference(&got[..at], &sent[..at]), None, "{keys:?}");
        assert!(got[at..].iter().all(|byte| *byte == 0), "{keys:?}: more than was sent");
    }
}

/// A LUN that is mapped while others are read.
#[tokio::test]
async fn a_lun_that_tgtd_adds_is_found_and_one_that_it_takes_is_gone() {
    let Some(array) = Array::here("a_lun_that_tgtd_adds_is_found", &[]) else { return };
    let (san, lun) = reader(&array, Duration::from_secs(5)).await;
    let image = array.directory.path().join("more");
    let content = lab::noise::bytes(3, 1 << 20);
    std::fs::write(&image, &content).unwrap();
    let naa = "624a9370cdef0123456789abcdef0777";
    let names = format!("scsi_id={naa},scsi_sn=0777");
    array.tgtd.new_lun(1, 2, &image, &names).unwrap();
    assert!(lun.read(0, SIZE).await.unwrap()[..] == array.content[..]);
    san.rescan().await;
    let added = san.find(&format!("naa.{naa}").parse().unwrap()).unwrap();
    assert!(added.read(0, 1 << 20).await.unwrap()[..] == content[..]);
    array.tgtd.order("logicalunit", "delete", &["--tid", "1", "--lun", "2"]).unwrap();
    assert!(lun.read(0, SIZE).await.unwrap()[..] == array.content[..]);
    san.rescan().await;
    assert_eq!(san.luns().len(), 1);
    added.read(0, 4096).await.unwrap_err();
    san.logout().await;
}

async fn reader(array: &Array, patience: Duration) -> (San, Lun) {
    let config = PortalConfig { busy_patience: patience, ..config(array.tgtd.portal()) };
    let san = San::login(vec![config]).await.unwrap();
    let lun = san.luns()[0].clone();
    (san, lun)
}

/// A host reserves the LUN for a moment, as ESXi does on arrays without ATS.
#[tokio::test]
async fn a_reservation_of_a_moment_is_waited_for() {
    let Some(array) = Array::here("a_reservation_of_a_moment_is_waited_for", &[]) else { return };
    let (san, lun) = reader(&array, Duration::from_secs(15)).await;
    let mut host = Host::login(array.tgtd.portal(), TARGET, "esx1").await;
    host.reserve().await;
    let reading = tokio::spawn({
        let lun = lun.clone();
        async move { lun.read(0, 65_536).await }
    });
    while lun.counters().retries < 2 {
        assert!(!reading.is_finished(), "the reservation shuts others out");
        tokio::task::yield_now().await;
    }
    host.release().await;
    assert!(reading.await.unwrap().unwrap()[..] == array.content[..65_536]);
    san.logout().await;
}

/// One that stays is an error, and its holder is known by its key.
#[tokio::test]
async fn a_reservation_that_stays_is_reported_with_its_holder() {
    let Some(array) = Array::here("a_reservation_that_stays", &[]) else { return };
    let (san, lun) = reader(&array, Duration::from_millis(300)).await;
    let mut host = Host::login(array.tgtd.portal(), TARGET, "esx1").await;
    host.persistent(0x00, 0, 0, 0xbeef).await; // REGISTER
    host.persistent(0x01, 0x03, 0xbeef, 0).await; // RESERVE, exclusive access
    let error = lun.read(0, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", model::chain(&error));
    let holder = "exclusive reservation of the host with key 000000000000beefh";
    assert!(error.to_string().contains(holder), "{error}");
    let mut raw = array.raw().await;
    let (_, data) = raw.run(1, &disk::read_reservation_keys(520)).await;
    assert_eq!(ReservationKeys::decode(&data).unwrap().keys, [0xbeef]);
    let (_, data) = raw.run(1, &disk::read_reservation()).await;
    let held = Reservation::decode(&data).unwrap().unwrap();
    assert_eq!((held.key, held.kind), (0xbeef, ReservationKind::Exclusive));
    host.persistent(0x02, 0x03, 0xbeef, 0).await; // RELEASE
    assert!(lun.read(0, 4096).await.unwrap()[..] == array.content[..4096]);
    let (_, data) = raw.run(1, &disk::read_reservation()).await;
    assert_eq!(Reservation::decode(&data), Ok(None));
    san.logout().await;
}
