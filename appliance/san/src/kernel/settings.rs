//! What is set in our own kernel for a SAN LUN, so that it behaves as a reader's should.
//!
//! All of it changes how *this* kernel acts and sends nothing to any LUN. All but the last but one
//! are attributes of sysfs; this is the only file of the crate that opens something for writing.
//!
//! - `fast_io_fail_tmo` of a remote port, 5 s: a command on a cut path fails then, not only after
//!   `dev_loss_tmo`.
//! - `dev_loss_tmo` of a remote port, 30 s: the devices of a lost port vanish then.
//! - `timeout` of a device, 1 h: when it runs out, the kernel aborts the command, and where that
//!   does not help it resets the LUN. ESXi hosts share it, so that must not happen. Our own clock
//!   is `command_timeout`, and much shorter.
//! - `cache_type` of a disk, `temporary write through`: the disk driver then has no cache to
//!   flush, so it sends no SYNCHRONIZE CACHE when the LUN goes away. `temporary` makes it a note
//!   of the kernel's, without MODE SELECT.
//! - `ro` of a disk, `1` (BLKROSET): nobody on this box writes to it by its node.
//! - `scan` of a host, `- - -`: look for new LUNs.
//!
//! Best is a kernel that does not bind SAN LUNs to its disk driver at all
//! (`/sys/bus/scsi/drivers_autoprobe` is 0, as the image has it): the driver's own first look at a
//! disk that is not ready can contain START STOP UNIT, and nothing here can forbid that.

use super::device::{Route, ScsiDevice};
use super::direct;
use super::tree::{Tree, names, text};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Seconds after which commands on a lost remote port fail.
const FAST_IO_FAIL: &str = "5";
/// Seconds after which a lost remote port's devices vanish. Must be longer.
const DEV_LOSS: &str = "30";
/// Seconds that the kernel gives a command before its error handler begins.
const TIMEOUT: &str = "3600";
/// What the disk driver is told about the disk's cache, and what it then says about it.
const CACHE: (&str, &str) = ("temporary write through", "write through");

/// One attribute that was looked at, and set where it was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The remote port, device or host.
    pub of: String,
    /// Name of the attribute.
    pub attribute: &'static str,
    /// What it was.
    pub before: Option<String>,
    /// What it should be.
    pub wanted: &'static str,
    /// How it ended.
    pub result: SettingResult,
}

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingResult {
    /// It was so before.
    AlreadySo,
    /// It is so now.
    Done,
    /// The kernel has no such attribute for it.
    Missing,
    /// It could not be changed: why, and what that means.
    Failed(String),
}

/// Sets what a candidate needs. To be done when it is found, before its path is ever lost: the
/// kernel refuses the timers of a port that is blocked.
pub(super) fn prepare(tree: &Tree, devices: &[&ScsiDevice]) -> Vec<Setting> {
    let ports: BTreeSet<&str> = devices
        .iter()
        .filter_map(|device| match &device.route {
            Route::Fc { remote_port, .. } => Some(remote_port.as_str()),
            _ => None,
        })
        .collect();
    let mut settings = Vec::new();
    for port in ports {
        let folder = tree.class("fc_remote_ports").join(port);
        settings.extend(timers(&folder, port));
    }
    for device in devices {
        let of = device.address.to_string();
        let disk = device.folder.join("scsi_disk").join(&of);
        settings.push(set(&device.folder, &of, "timeout", (TIMEOUT, TIMEOUT)));
        if let Some(name) = &device.block {
            settings.push(set(&disk, &of, "cache_type", CACHE));
            settings.push(read_only(tree, &device.folder, name));
        }
    }
    settings
}

/// The kernel wants `fast_io_fail_tmo` below `dev_loss_tmo` at any moment: the first is set first,
/// and once more behind the second where that was too short for it.
fn timers(folder: &Path, port: &str) -> [Setting; 2] {
    let fast = || set(folder, port, "fast_io_fail_tmo", (FAST_IO_FAIL, FAST_IO_FAIL));
    let first = fast();
    let loss = set(folder, port, "dev_loss_tmo", (DEV_LOSS, DEV_LOSS));
    let refused = matches!(first.result, SettingResult::Failed(_));
    [if refused { fast() } else { first }, loss]
}

/// Makes an attribute say `wanted.1` by writing `wanted.0`.
fn set(
    folder: &Path,
    of: &str,
    attribute: &'static str,
    wanted: (&'static str, &'static str),
) -> Setting {
    let before = text(folder, attribute);
    let result = match before.as_deref() {
        None => SettingResult::Missing,
        // Where the two differ, the attribute does not show whether it was set or found so.
        Some(now) if now == wanted.0 => SettingResult::AlreadySo,
        Some(_) => match store(&folder.join(attribute), wanted.0) {
            Err(error) => SettingResult::Failed(explained(&error)),
            Ok(()) => match text(folder, attribute) {
                Some(now) if now == wanted.1 => SettingResult::Done,
                now => SettingResult::Failed(format!("the kernel took it and says {now:?}")),
            },
        },
    };
    if let SettingResult::Failed(why) = &result {
        tracing::warn!(of, attribute, wanted = wanted.0, "not set: {why}");
    }
    Setting { of: of.to_owned(), attribute, before, wanted: wanted.0, result }
}

/// There is no attribute to be written: the node itself takes it.
fn read_only(tree: &Tree, folder: &Path, name: &str) -> Setting {
    let before = text(&folder.join("block").join(name), "ro");
    let result = match before.as_deref() {
        None => SettingResult::Missing,
        Some("1") => SettingResult::AlreadySo,
        Some(_) => match direct::protect(tree, name) {
            Ok(()) => SettingResult::Done,
            Err(error) => SettingResult::Failed(explained(&error.into())),
        },
    };
    Setting { of: name.to_owned(), attribute: "ro", before, wanted: "1", result }
}

fn explained(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return "the port is blocked at the moment; it is tried again with the next scan".into();
    }
    error.to_string()
}

/// Asks every host adapter that has SAN ports to look for new LUNs: the kernel sends REPORT LUNS
/// and INQUIRY. Blocks until it has.
pub(super) fn rescan(tree: &Tree) -> Vec<Setting> {
    let classes = ["fc_host", "sas_host", "iscsi_host"];
    let hosts: BTreeSet<String> =
        classes.iter().flat_map(|class| names(&tree.class(class))).collect();
    let scan = |host: String| {
        let result = match store(&tree.class("scsi_host").join(&host).join("scan"), "- - -") {
            Ok(()) => SettingResult::Done,
            Err(error) if error.kind() == io::ErrorKind::NotFound => SettingResult::Missing,
            Err(error) => SettingResult::Failed(explained(&error)),
        };
        Setting { of: host, attribute: "scan", before: None, wanted: "- - -", result }
    };
    hosts.into_iter().map(scan).collect()
}

/// Never creates a file, so it can only reach what is there.
fn store(path: &Path, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    // The kernel takes an attribute in one piece or not at all.
    let length = rustix::io::write(&file, text.as_bytes())?;
    if length == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::device::devices;
    use crate::kernel::fixture::Fixture;

    fn results(fixture: &Fixture) -> Vec<(String, &'static str, SettingResult)> {
        let tree = fixture.tree();
        let devices = devices(&tree);
        let settings = prepare(&tree, &devices.iter().collect::<Vec<_>>());
        settings.into_iter().map(|one| (one.of, one.attribute, one.result)).collect()
    }

    #[test]
    fn each_port_once_each_device_and_then_nothing_is_left_to_do() {
        let fixture = Fixture::new();
        fixture.fc_lun("1:0:0:0", 1, "sg0", None);
        fixture.fc_lun("1:0:0:1", 1, "sg1", Some("sda"));
        let wanted = |result: SettingResult| {
            let of = |of: &str, attribute| (of.to_owned(), attribute, result.clone());
            vec![
                of("rport-1:0-0", "fast_io_fail_tmo"),
                of("rport-1:0-0", "dev_loss_tmo"),
                of("1:0:0:0", "timeout"),
                of("1:0:0:1", "timeout"),
                of("1:0:0:1", "cache_type"),
                ("sda".to_owned(), "ro", SettingResult::Missing),
            ]
        };
        let mut first = results(&fixture);
        // A file does not turn what was written into what the kernel shows for it.
        assert!(matches!(&first[4].2, SettingResult::Failed(why) if why.contains(CACHE.0)));
        first[4].2 = SettingResult::Done;
        assert_eq!(first, wanted(SettingResult::Done));
        let port = "class/fc_remote_ports/rport-1:0-0";
        assert_eq!(fixture.get(&format!("{port}/fast_io_fail_tmo")), "5");
        assert_eq!(fixture.get(&format!("{port}/dev_loss_tmo")), "30");
        let cache = "bus/scsi/devices/1:0:0:1/scsi_disk/1:0:0:1/cache_type";
        assert_eq!(fixture.get(cache), CACHE.0, "the word that keeps MODE SELECT away");
        assert_eq!(results(&fixture), wanted(SettingResult::AlreadySo));
        fixture.set(cache, CACHE.1); // as the kernel shows it, and also what it finds by itself
        assert_ne!(results(&fixture)[4].2, SettingResult::AlreadySo);
        assert_eq!(fixture.get(cache), CACHE.0);
    }

    #[test]
    fn what_is_missing_is_not_made_and_what_fails_is_said() {
        let fixture = Fixture::new();
        fixture.fc_lun("1:0:0:0", 1, "sg0", None);
        fixture.set("bus/scsi/devices/1:0:0:0/timeout", "60");
        fixture.remove("class/fc_remote_ports/rport-1:0-0/fast_io_fail_tmo");
        fixture.remove("class/fc_remote_ports/rport-1:0-0/dev_loss_tmo");
        std::os::unix::fs::symlink(
            fixture.path("bus/scsi/devices/1:0:0:0/timeout"),
            fixture.path("class/fc_remote_ports/rport-1:0-0/dev_loss_tmo"),
        )
        .unwrap();
        let results = results(&fixture);
        assert_eq!(results[0].2, SettingResult::Missing);
        assert!(matches!(&results[1].2, SettingResult::Failed(_)), "{results:?}");
        assert!(!fixture.path("class/fc_remote_ports/rport-1:0-0/fast_io_fail_tmo").exists());
    }

    #[test]
    fn a_blocked_port_is_named_as_the_reason() {
        let text = explained(&io::Error::from(rustix::io::Errno::BUSY));
        assert!(text.contains("blocked"), "{text}");
    }

    #[test]
    fn every_san_host_is_asked_to_scan_and_no_other() {
        let fixture = Fixture::new();
        fixture.fc_port(1, "0x200052540000000b", "Online");
        fixture.folder("class/iscsi_host/host7");
        for host in ["host0", "host1"] {
            fixture.set(&format!("class/scsi_host/{host}/scan"), "");
        }
        let results = rescan(&fixture.tree());
        let results: Vec<_> = results.into_iter().map(|one| (one.of, one.result)).collect();
        let missing = ("host7".to_owned(), SettingResult::Missing);
        assert_eq!(results, [("host1".to_owned(), SettingResult::Done), missing]);
        assert_eq!(fixture.get("class/scsi_host/host1/scan"), "- - -");
        assert_eq!(fixture.get("class/scsi_host/host0/scan"), "");
    }
}
