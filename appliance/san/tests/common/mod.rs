//! A tgtd with two targets: one that is plain, and one with mutual CHAP and the tightest limits.

#![allow(dead_code)] // each test binary uses a part of it

mod short;

use fakes::proxy::Proxy;
use lab::noise;
use lab::place::{FreshDirectory, fresh_directory};
use lab::tgtd::TgtdSpec;
use san::{Chap, ChapAlgorithm, PortalConfig, Secret};
use std::net::SocketAddr;
use std::path::Path;

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

/// tgtd with two targets; `None` from [`Tgtd::start`] when it is not installed.
pub(crate) struct Tgtd {
    tgtd: lab::tgtd::Tgtd,
    directory: FreshDirectory,
    /// What LUN 1 of the disk target holds.
    pub(crate) content: Vec<u8>,
    /// What LUN 1 of the CHAP target holds.
    pub(crate) chap_content: Vec<u8>,
}

impl Tgtd {
    /// Starts it with the two targets; prints `SKIPPED` and returns `None` without tgtd.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !lab::tgtd::Tgtd::is_installed() {
            eprintln!("SKIPPED: {test}: tgtd is not installed (Debian package tgt)");
            return None;
        }
        let directory = fresh_directory().unwrap();
        let spec = TgtdSpec { ping: 1, ..TgtdSpec::default() };
        let tgtd = lab::tgtd::Tgtd::start(directory.path(), spec).unwrap();
        let (content, chap_content) = (noise::bytes(1, SIZE), noise::bytes(2, CHAP_SIZE));
        let tgtd = Self { tgtd, directory, content, chap_content };
        tgtd.set_up();
        Some(tgtd)
    }

    /// The daemon itself.
    pub(crate) fn daemon(&self) -> &lab::tgtd::Tgtd {
        &self.tgtd
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.tgtd.portal()
    }

    /// Tells tgtd something: mode, operation, and the rest in one text.
    pub(crate) fn order(&self, mode: &str, operation: &str, more: &str) {
        let more: Vec<&str> = more.split_whitespace().collect();
        self.tgtd.order(mode, operation, &more).unwrap();
    }

    fn set_up(&self) {
        let (disk, chap) = (self.path().join("disk"), self.path().join("chap"));
        std::fs::write(&disk, &self.content).unwrap();
        std::fs::write(&chap, &self.chap_content).unwrap();
        serve(&self.tgtd, 1, DISK, &disk);
        self.tgtd.new_target(2, CHAP).unwrap();
        self.lun(2, 1, &chap, "");
        for (user, secret) in [USER, TARGET_USER] {
            self.order("account", "new", &format!("--user {user} --password {secret}"));
        }
        self.order("account", "bind", &format!("--tid 2 --user {}", USER.0));
        self.order("account", "bind", &format!("--tid 2 --user {} --outgoing", TARGET_USER.0));
        let keys = [
            "HeaderDigest=CRC32C",
            "DataDigest=CRC32C",
            "DefaultTime2Wait=0",
            "MaxQueueCmd=1",
            "MaxRecvDataSegmentLength=512",
            "FirstBurstLength=512",
            "InitialR2T=No",
        ];
        self.tgtd.set(2, &keys).unwrap();
        self.tgtd.open(2).unwrap();
    }

    pub(crate) fn lun(&self, tid: u32, lun: u32, file: &Path, parameters: &str) {
        self.tgtd.new_lun(tid, lun, file, parameters).unwrap();
    }

    /// A relay in front of it.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(self.address()).unwrap()
    }
}

/// A target for everybody, with a file as its LUN 1 under the names of the disk.
pub(crate) fn serve(tgtd: &lab::tgtd::Tgtd, tid: u32, target: &str, file: &Path) {
    tgtd.new_target(tid, target).unwrap();
    tgtd.new_lun(tid, 1, file, &names()).unwrap();
    tgtd.set(tid, &["DefaultTime2Wait=0"]).unwrap();
    tgtd.open(tid).unwrap();
}

/// What makes a LUN of tgtd the disk.
pub(crate) fn names() -> String {
    format!("vendor_id=PURE,product_id=FlashArray,scsi_sn=0123456789ABCDEF,scsi_id={}", &NAA[4..])
}

/// The disk target by `portal`.
pub(crate) fn disk(portal: SocketAddr) -> PortalConfig {
    short::times(portal.to_string(), DISK, INITIATOR)
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

/// Fails with a clear text when bytes differ, without printing them all.
pub(crate) fn assert_same(got: &[u8], wanted: &[u8]) {
    if let Some(at) = noise::difference(got, wanted) {
        panic!("byte {at:#x} differs");
    }
}
