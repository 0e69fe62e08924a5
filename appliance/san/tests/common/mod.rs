//! A private tgtd on loopback: its own control socket, free port and directory, stopped by its
//! own command.

#![allow(dead_code)] // each test binary uses a part of it

use fakes::proxy::Proxy;
use san::{Chap, ChapAlgorithm, PortalConfig, Reconnect, Secret};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DISK: &str = "iqn.2026-01.test.lab:disk";
pub(crate) const CHAP: &str = "iqn.2026-01.test.lab:chap";
pub(crate) const NAA: &str = "naa.624a9370cdef0123456789abcdef0123";
pub(crate) const INITIATOR: &str = "iqn.2026-01.test.holdfast:san";
pub(crate) const USER: (&str, &str) = ("inuser", "insecretinsecret");
pub(crate) const TARGET_USER: (&str, &str) = ("outuser", "outsecretoutsecret");
/// Bytes of LUN 1 of the disk target.
pub(crate) const SIZE: usize = 32 << 20;
/// Bytes of LUN 1 of the CHAP target.
pub(crate) const CHAP_SIZE: usize = 4 << 20;

/// The daemon; `None` from [`Tgtd::start`] when it is not installed.
pub(crate) struct Tgtd {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
    /// What LUN 1 of the disk target holds.
    pub(crate) content: Vec<u8>,
    /// What LUN 1 of the CHAP target holds.
    pub(crate) chap_content: Vec<u8>,
}

impl Tgtd {
    /// Starts it with the two targets; prints `SKIPPED` and returns `None` without tgtd.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let found = |name: &str| Command::new(name).arg("--version").output().is_ok();
        if !found("tgtd") || !found("tgtadm") {
            eprintln!("SKIPPED: {test}: tgtd is not installed (Debian package tgt)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new("tgtd")
            .args(["-f", "-t", "2", "--iscsi"])
            .arg(format!("portal=127.0.0.1:{port},nop_interval=1,nop_count=3"))
            .env("TGT_IPC_SOCKET", directory.path().join("ipc"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut tgtd = Self {
            child,
            directory,
            port,
            content: noise(1, SIZE),
            chap_content: noise(2, CHAP_SIZE),
        };
        tgtd.wait_until_up();
        tgtd.set_up();
        Some(tgtd)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Runs tgtadm against this daemon; true when it succeeded.
    pub(crate) fn try_admin(&self, arguments: &str) -> bool {
        Command::new("tgtadm")
            .args(["--lld", "iscsi"])
            .args(arguments.split_whitespace())
            .env("TGT_IPC_SOCKET", self.path().join("ipc"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    pub(crate) fn admin(&self, arguments: &str) {
        assert!(self.try_admin(arguments), "tgtadm {arguments}");
    }

    fn wait_until_up(&mut self) {
        let late = Instant::now() + Duration::from_secs(20);
        while !self.try_admin("--mode sys --op show") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < late, "tgtd did not come up: {ended:?}");
            std::thread::sleep(Duration::from_millis(20)); // polls another process
        }
    }

    fn set_up(&self) {
        let disk = self.path().join("disk");
        let chap = self.path().join("chap");
        std::fs::write(&disk, &self.content).unwrap();
        std::fs::write(&chap, &self.chap_content).unwrap();
        self.admin(&format!("--mode target --op new --tid 1 --targetname {DISK}"));
        self.lun(1, 1, &disk);
        self.admin(&format!(
            "--mode logicalunit --op update --tid 1 --lun 1 --params \
             vendor_id=PURE,product_id=FlashArray,scsi_sn=0123456789ABCDEF,scsi_id={}",
            &NAA[4..]
        ));
        self.target_key(1, "DefaultTime2Wait=0");
        self.admin("--mode target --op bind --tid 1 --initiator-address ALL");
        self.admin(&format!("--mode target --op new --tid 2 --targetname {CHAP}"));
        self.lun(2, 1, &chap);
        for (user, secret) in [USER, TARGET_USER] {
            self.admin(&format!("--mode account --op new --user {user} --password {secret}"));
        }
        self.admin(&format!("--mode account --op bind --tid 2 --user {}", USER.0));
        self.admin(&format!(
            "--mode account --op bind --tid 2 --user {} --outgoing",
            TARGET_USER.0
        ));
        for key in [
            "HeaderDigest=CRC32C",
            "DataDigest=CRC32C",
            "DefaultTime2Wait=0",
            "MaxQueueCmd=1",
            "MaxRecvDataSegmentLength=512",
            "FirstBurstLength=512",
            "InitialR2T=No",
        ] {
            self.target_key(2, key);
        }
        self.admin("--mode target --op bind --tid 2 --initiator-address ALL");
    }

    pub(crate) fn lun(&self, tid: u32, lun: u32, file: &Path) {
        self.admin(&format!(
            "--mode logicalunit --op new --tid {tid} --lun {lun} --bstype rdwr --backing-store {}",
            file.display()
        ));
    }

    fn target_key(&self, tid: u32, key: &str) {
        let (name, value) = key.split_once('=').unwrap();
        self.admin(&format!("--mode target --op update --tid {tid} --name {name} --value {value}"));
    }

    /// A relay in front of it.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(self.address()).unwrap()
    }
}

impl Drop for Tgtd {
    fn drop(&mut self) {
        for tid in [1, 2] {
            self.try_admin(&format!("--mode target --op delete --force --tid {tid}"));
        }
        self.try_admin("--op delete --mode system");
        let late = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(20)); // polls another process
        }
        let _ = self.child.kill(); // does nothing when it has left by itself
        let _ = self.child.wait();
    }
}

/// The disk target by `portal`, with short times so that faults show soon.
pub(crate) fn disk(portal: SocketAddr) -> PortalConfig {
    PortalConfig {
        portal: portal.to_string(),
        target: DISK.into(),
        initiator: INITIATOR.into(),
        data_digest: false,
        reconnect: Reconnect {
            attempts: 3,
            delay: Duration::from_millis(50),
            patience: Duration::from_secs(10),
        },
        ..PortalConfig::default()
    }
}

/// The CHAP target by `portal`, with mutual authentication.
pub(crate) fn chap(portal: SocketAddr) -> PortalConfig {
    PortalConfig { target: CHAP.into(), chap: Some(mutual()), ..disk(portal) }
}

pub(crate) fn mutual() -> Chap {
    Chap {
        user: USER.0.into(),
        secret: Secret::new(USER.1),
        mutual: Some((TARGET_USER.0.into(), Secret::new(TARGET_USER.1))),
        algorithms: vec![ChapAlgorithm::Md5],
    }
}

/// Bytes that differ everywhere (xorshift), the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fails with a clear text when bytes differ, without printing them all.
pub(crate) fn assert_same(got: &[u8], wanted: &[u8]) {
    assert_eq!(got.len(), wanted.len(), "length");
    if let Some(at) = got.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!("byte {at:#x} differs");
    }
}
