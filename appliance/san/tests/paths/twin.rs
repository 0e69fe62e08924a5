//! A private tgtd on loopback: its own control socket, free port and directory, stopped by its
//! own command.

#![allow(dead_code)] // each test binary uses a part of it

use fakes::proxy::Proxy;
use san::{PortalConfig, Reconnect};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DISK: &str = "iqn.2026-01.test.lab:disk";
pub(crate) const NAA: &str = "naa.624a9370cdef0123456789abcdef0123";
pub(crate) const INITIATOR: &str = "iqn.2026-01.test.holdfast:san";
/// Bytes of LUN 1 of the disk target.
pub(crate) const SIZE: usize = 32 << 20;

/// The daemon; `None` from [`Tgtd::start`] when it is not installed.
pub(crate) struct Tgtd {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
    /// The file of [`Self::start_on`].
    disk: PathBuf,
    /// What LUN 1 of the disk target holds.
    pub(crate) content: Vec<u8>,
}

impl Tgtd {
    /// Starts it with the two targets; prints `SKIPPED` and returns `None` without tgtd.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let mut tgtd = Self::run(test)?;
        tgtd.content = noise(1, SIZE);
        let disk = tgtd.path().join("disk");
        std::fs::write(&disk, &tgtd.content).unwrap();
        tgtd.disk_target(&disk);
        Some(tgtd)
    }

    /// Another daemon whose disk target serves a file that exists, under the same names.
    pub(crate) fn start_on(test: &str, disk: &Path) -> Option<Self> {
        let mut tgtd = Self::run(test)?;
        tgtd.disk_target(disk);
        tgtd.disk = disk.to_owned();
        Some(tgtd)
    }

    /// As a machine that fails.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`Self::kill`] of a daemon of [`Self::start_on`]: as it was.
    pub(crate) fn restart(&mut self) {
        self.child = Self::spawn(&self.directory, self.port);
        self.wait_until_up();
        self.disk_target(&self.disk.clone());
    }

    fn run(test: &str) -> Option<Self> {
        let found = |name: &str| Command::new(name).arg("--version").output().is_ok();
        if !found("tgtd") || !found("tgtadm") {
            eprintln!("SKIPPED: {test}: tgtd is not installed (Debian package tgt)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Self::spawn(&directory, port);
        let content = Vec::new();
        let mut tgtd = Self { child, directory, port, disk: PathBuf::new(), content };
        tgtd.wait_until_up();
        Some(tgtd)
    }

    fn spawn(directory: &tempfile::TempDir, port: u16) -> Child {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        Command::new("tgtd")
            .args(["-f", "-t", "2", "--iscsi"])
            .arg(format!("portal=127.0.0.1:{port},nop_interval=1,nop_count=3"))
            .env("TGT_IPC_SOCKET", directory.path().join("ipc"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap()
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

    fn disk_target(&self, disk: &Path) {
        self.admin(&format!("--mode target --op new --tid 1 --targetname {DISK}"));
        self.lun(1, 1, disk);
        self.same_names(1);
        self.target_key(1, "DefaultTime2Wait=0");
        self.admin("--mode target --op bind --tid 1 --initiator-address ALL");
    }

    /// Another target of this daemon whose LUN 1 has the names of the disk target's; its number.
    pub(crate) fn second_target(&self, name: &str, disk: &Path) -> u32 {
        self.admin(&format!("--mode target --op new --tid 3 --targetname {name}"));
        self.lun(3, 1, disk);
        self.same_names(3);
        self.target_key(3, "DefaultTime2Wait=0");
        self.admin("--mode target --op bind --tid 3 --initiator-address ALL");
        3
    }

    /// Gives LUN 1 of a target the names of the disk.
    pub(crate) fn same_names(&self, tid: u32) {
        self.admin(&format!(
            "--mode logicalunit --op update --tid {tid} --lun 1 --params \
             vendor_id=PURE,product_id=FlashArray,scsi_sn=0123456789ABCDEF,scsi_id={}",
            &NAA[4..]
        ));
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
        for tid in [1, 2, 3] {
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
