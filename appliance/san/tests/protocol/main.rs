//! Against a target that does what no well-behaved one does: it hangs up, stalls, redirects,
//! lies, and says that it is busy. Whatever happens, a read gives the right bytes or an error.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests

mod alua;
mod hostile;
mod inventory;
#[path = "../common/reading.rs"]
#[allow(unreachable_pub, reason = "a test has no outside")]
mod reading;
mod sessions;
mod statuses;
mod windows;

use fakes::target::{Disk, FakeTarget, NAME, Spec};
use san::{Lun, PortalConfig, Reconnect, San};
use scsi::Role;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes of the disk of a target.
const SIZE: usize = 1 << 20;

/// A session with a fake target by `portal`, with times so short that faults show soon, and so
/// long that a busy machine is none.
fn config(portal: SocketAddr) -> PortalConfig {
    let mut config = PortalConfig {
        portal: portal.to_string(),
        target: NAME.into(),
        initiator: "iqn.2026-01.test.holdfast:san".into(),
        data_digest: false,
        busy_patience: Duration::from_secs(1),
        command_timeout: Duration::from_secs(1),
        reconnect: Reconnect {
            attempts: 3,
            delay: Duration::from_millis(20),
            patience: Duration::from_secs(10),
        },
        ..PortalConfig::default()
    };
    config.timers.login = Duration::from_millis(1500);
    config.timers.abort = Duration::from_millis(500);
    config.timers.farewell = Duration::from_secs(1);
    config
}

async fn start(spec: Spec) -> FakeTarget {
    FakeTarget::start(spec).await.unwrap()
}

async fn login_with(config: PortalConfig) -> (San, Lun) {
    let san = San::login(vec![config]).await.unwrap();
    let lun = san.luns()[0].clone();
    (san, lun)
}

async fn login(target: &FakeTarget) -> (San, Lun) {
    login_with(config(target.address())).await
}

/// A whole read of the first disk, and nothing sent that a source disk must not see.
async fn assert_reads(lun: &Lun, target: &FakeTarget, disk: &Disk) {
    let bytes = lun.read(0, disk.content.len()).await.unwrap();
    assert!(bytes[..] == disk.content[..], "the bytes differ");
    assert_harmless(target);
}

/// Every PDU that the target saw is one that asks.
fn assert_harmless(target: &FakeTarget) {
    for pdu in target.seen().iter().flatten() {
        match pdu.opcode() {
            0x01 => assert!(Role::SourceDisk.allows(&pdu.cdb()), "{:02x?}", pdu.cdb()),
            0x02 => assert_eq!(pdu.header[1] & 0x7f, 1, "of task management only ABORT TASK"),
            0x00 | 0x03 | 0x04 | 0x06 => {}
            other => panic!("PDU of opcode {other:02x}h"),
        }
    }
}

fn spec() -> (Spec, Disk) {
    let disk = Disk::new(1, SIZE);
    (Spec { disks: vec![disk.clone()], ..Spec::default() }, disk)
}

/// Waits for what another task does.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(15);
    while !is() {
        assert!(Instant::now() < late, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // polls
    }
}
