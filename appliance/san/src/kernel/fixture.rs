//! For tests: a tree of sysfs, procfs and device nodes, laid out as a running Linux has it, and
//! somebody who sends commands.

use super::KernelDisk;
use super::tree::Tree;
use crate::counters::Cells;
use crate::depth::Depth;
use crate::job::{Answer, Job};
use crate::reply::{Awaited, Replies};
use bytes::BytesMut;
use scsi::Cdb;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) struct Fixture {
    root: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["sys", "proc/self", "proc/1", "dev"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let fixture = Self { root };
        fixture.mounts("");
        fixture.swaps("");
        fixture
    }

    pub(crate) fn tree(&self) -> Tree {
        let below = |name: &str| self.root.path().canonicalize().unwrap().join(name);
        Tree { sys: below("sys"), proc: below("proc"), dev: below("dev") }
    }

    /// Below `/sys`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join("sys").join(path)
    }

    pub(crate) fn folder(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// An attribute.
    pub(crate) fn set(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), format!("{text}\n")).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap().trim().to_owned()
    }

    pub(crate) fn mounts(&self, lines: &str) {
        for process in ["self", "1"] {
            let file = self.root.path().join("proc").join(process).join("mountinfo");
            fs::write(file, lines).unwrap();
        }
    }

    pub(crate) fn swaps(&self, lines: &str) {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        fs::write(self.root.path().join("proc/swaps"), format!("{heading}{lines}")).unwrap();
    }

    pub(crate) fn without_mounts(&self) {
        fs::remove_file(self.root.path().join("proc/self/mountinfo")).unwrap();
    }

    pub(crate) fn fc_port(&self, host: u32, name: &str, state: &str) {
        let folder = format!("class/fc_host/host{host}");
        for (attribute, text) in [
            ("port_name", name),
            ("node_name", "0x100052540000000b"),
            ("port_state", state),
            ("port_type", "NPort (fabric via point-to-point)"),
            ("speed", "16 Gbit"),
            ("supported_speeds", "4 Gbit, 8 Gbit, 16 Gbit"),
            ("symbolic_name", "QLE2692 FW:v9.08 DVR:v10.02"),
        ] {
            self.set(&format!("{folder}/{attribute}"), text);
        }
    }

    pub(crate) fn rport(&self, name: &str, wwpn: &str, state: &str) {
        let folder = format!("class/fc_remote_ports/{name}");
        for (attribute, text) in [
            ("port_name", wwpn),
            ("node_name", "0x100052540000000a"),
            ("roles", "FCP Target, FCP Initiator"),
            ("port_state", state),
            ("dev_loss_tmo", "60"),
            ("fast_io_fail_tmo", "3"),
        ] {
            self.set(&format!("{folder}/{attribute}"), text);
        }
    }

    /// A LUN behind port `host` with its remote port; `block` when `sd` holds it.
    pub(crate) fn fc_lun(&self, address: &str, host: u32, generic: &str, block: Option<&str>) {
        self.fc_port(host, &format!("0x20005254000{host:03x}0b"), "Online");
        let rport = format!("rport-{host}:0-0");
        self.rport(&rport, &format!("0x20005254000{host:03x}0a"), "Online");
        let way = format!("devices/pci0000:00/host{host}/{rport}/target{host}:0:0/{address}");
        self.disk(address, &way, generic);
        if let Some(block) = block {
            self.bind(address, &way, block);
        }
    }

    pub(crate) fn sas_lun(&self, address: &str, end_device: &str, name: &str) {
        let host = address.split(':').next().unwrap();
        self.set(&format!("class/sas_device/{end_device}/sas_address"), name);
        let way = format!(
            "devices/pci0/host{host}/port-6:0/expander-6:0/port-6:0:3/{end_device}/target/{address}"
        );
        self.disk(address, &way, "sg6");
    }

    pub(crate) fn iscsi_lun(&self, address: &str, session: u32, target: &str, portal: &str) {
        let host = address.split(':').next().unwrap();
        self.set(&format!("class/iscsi_session/session{session}/targetname"), target);
        let connection = format!("class/iscsi_connection/connection{session}:0");
        self.set(&format!("{connection}/persistent_address"), portal);
        self.set(&format!("{connection}/persistent_port"), "3260");
        let way = format!("devices/platform/host{host}/session{session}/target/{address}");
        self.disk(address, &way, "sg7");
    }

    pub(crate) fn local_disk(&self, address: &str, block: &str) {
        let host = address.split(':').next().unwrap();
        let way = format!("devices/pci0/ata1/host{host}/target/{address}");
        self.disk(address, &way, "sg1");
        self.bind(address, &way, block);
    }

    fn disk(&self, address: &str, way: &str, generic: &str) {
        self.folder("bus/scsi/devices");
        for (attribute, text) in [
            ("type", "0"),
            ("vendor", "LIO-ORG "),
            ("model", "f1              "),
            ("state", "running"),
            ("timeout", "30"),
        ] {
            self.set(&format!("{way}/{attribute}"), text);
        }
        self.set(&format!("{way}/wwid"), &format!("naa.6001405{:0>25}", address.replace(':', "")));
        self.set(&format!("{way}/scsi_generic/{generic}/dev"), "21:0");
        for name in [address, &format!("host{}", address.split(':').next().unwrap())] {
            let link = self.path("bus/scsi/devices").join(name);
            if !link.is_symlink() {
                symlink(self.path(way), link).unwrap();
            }
        }
    }

    fn bind(&self, address: &str, way: &str, block: &str) {
        let minor = u32::from(block.as_bytes()[2] - b'a') * 16;
        self.set(&format!("{way}/block/{block}/dev"), &format!("8:{minor}"));
        self.set(&format!("{way}/block/{block}/queue/logical_block_size"), "512");
        self.folder(&format!("{way}/block/{block}/holders"));
        self.set(&format!("{way}/scsi_disk/{address}/cache_type"), "write back");
        self.folder("bus/scsi/drivers/sd");
        symlink(self.path("bus/scsi/drivers/sd"), self.path(&format!("{way}/driver"))).unwrap();
    }
}

/// Sends commands to a disk, as a path does.
pub(crate) struct Client {
    disk: KernelDisk,
    pub(crate) cells: Arc<Cells>,
    depth: Arc<Depth>,
    replies: Replies,
}

impl Client {
    pub(crate) fn new(disk: &KernelDisk) -> Self {
        let (cells, depth) = (Arc::new(Cells::new()), Depth::new(8));
        Self { disk: disk.clone(), cells, depth, replies: Replies::default() }
    }

    pub(crate) async fn job(&self, cdb: Cdb, exchangeable: bool) -> (Job, Awaited) {
        let buffer = BytesMut::zeroed(usize::try_from(cdb.data_in()).unwrap());
        let (lun, cells, permit) =
            (self.disk.lun(), Arc::clone(&self.cells), self.depth.acquire(false).await);
        let (reply, awaited) = self.replies.channel();
        (Job { lun, cdb, buffer, exchangeable, cells, permit, reply }, awaited)
    }

    /// As soon as fewer than eight are in flight.
    pub(crate) async fn start(&self, cdb: Cdb, exchangeable: bool) -> Awaited {
        let (job, awaited) = self.job(cdb, exchangeable).await;
        self.disk.start(job);
        awaited
    }

    pub(crate) async fn run(&self, cdb: Cdb) -> Answer {
        self.start(cdb, false).await.answer().await.unwrap()
    }
}
