//! The disks that this box itself lives on: never a source, whatever fabric shows them.
//!
//! And the reverse: a repository must not lie on a LUN of the SAN. Both are read from sysfs, from
//! the device number of a directory down to the disks below partitions, volumes and arrays.

use crate::LunInfo;
use crate::kernel::text;
use model::NaaName;
use scsi::SerialNumber;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Layers between a file system and its disks; a loop of them would be the kernel's fault.
const LAYERS_MAX: u32 = 16;

/// A disk that this box uses for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDisk {
    /// Its NAA names.
    pub names: Vec<NaaName>,
    /// Its serial number, and the product that it is one of.
    pub serial: Option<(String, String)>,
    /// What it is to us, such as `sda, below /var/lib/holdfast`.
    pub what: String,
    /// It is reached over Fibre Channel or iSCSI: a LUN of a SAN.
    pub fabric: Option<&'static str>,
}

impl OwnDisk {
    /// By what a LUN is this disk; `None`: it is another one.
    #[must_use]
    pub(crate) fn is(&self, lun: &LunInfo) -> Option<String> {
        if let Some(name) = self.names.iter().find(|name| lun.names.contains(name)) {
            return Some(format!("{}, by its name {name}", self.what));
        }
        let (serial, product) = self.serial.as_ref()?;
        let same = lun.serial.as_ref() == Some(serial) && lun.product == *product;
        same.then(|| format!("{}, by its serial number {serial}", self.what))
    }
}

/// The disks below the file systems of `folders`; a folder without a device of its own (such as
/// tmpfs) has none. What the kernel does not tell is left out.
#[must_use]
pub fn own_disks(folders: &[PathBuf]) -> Vec<OwnDisk> {
    let mut disks: Vec<OwnDisk> = Vec::new();
    for folder in folders {
        let Ok(metadata) = fs::metadata(folder) else { continue };
        let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
        let node = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
        let Ok(node) = node.canonicalize() else { continue };
        for disk in disks_below(&node, &folder.display().to_string()) {
            if !disks.iter().any(|known| known.what == disk.what) {
                disks.push(disk);
            }
        }
    }
    disks
}

/// The disks below a block device's directory of sysfs.
fn disks_below(node: &Path, purpose: &str) -> Vec<OwnDisk> {
    let mut open = vec![node.to_owned()];
    let mut seen = BTreeSet::new();
    let mut disks = Vec::new();
    for _ in 0..LAYERS_MAX {
        for node in std::mem::take(&mut open) {
            if !seen.insert(node.clone()) {
                continue;
            }
            let below = slaves(&node);
            if node.join("partition").exists() {
                open.extend(node.parent().map(Path::to_owned));
            } else if below.is_empty() {
                disks.push(disk(&node, purpose));
            }
            open.extend(below);
        }
    }
    disks
}

/// What a volume or an array is made of.
fn slaves(node: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(node.join("slaves")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.path().canonicalize().ok()).collect()
}

fn disk(node: &Path, purpose: &str) -> OwnDisk {
    let device = node.join("device");
    let page = fs::read(device.join("vpd_pg80")).ok();
    let serial = page.and_then(|page| SerialNumber::decode(&page).ok()).map(|serial| serial.0);
    let serial = serial.filter(|number| !number.is_empty());
    let name = node.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    OwnDisk {
        names: text(&device, "wwid").and_then(|name| name.parse().ok()).into_iter().collect(),
        serial: serial.or_else(|| text(&device, "serial")).zip(text(&device, "model")),
        what: format!("{name}, below {purpose}"),
        fabric: fabric(node),
    }
}

/// The SAN that a disk is reached over, by its place among the devices.
fn fabric(node: &Path) -> Option<&'static str> {
    let has = |prefix: &str| {
        node.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    if has("rport-") {
        Some("Fibre Channel")
    } else if has("session") {
        Some("iSCSI")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `sda1` and `sdb` below a volume, as sysfs shows it.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let sda = "devices/pci0/host0/target0:0:0/0:0:0:0/block/sda";
        let sdb = "devices/pci0/host3/rport-3:0-1/target3:0:0/3:0:0:5/block/sdb";
        let dm = "devices/virtual/block/dm-0";
        for path in [&format!("{sda}/sda1"), &sdb.to_owned(), &format!("{dm}/slaves")] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at(&format!("{sda}/sda1/partition")), "1\n").unwrap();
        for (disk, up) in [(sda, "../.."), (sdb, "../..")] {
            symlink(up, at(&format!("{disk}/device"))).unwrap();
        }
        let unit = at("devices/pci0/host0/target0:0:0/0:0:0:0");
        fs::write(unit.join("wwid"), "naa.5000c500a1b2c3d4\n").unwrap();
        fs::write(unit.join("model"), "DISK            \n").unwrap();
        fs::write(unit.join("vpd_pg80"), b"\0\x80\0\x08  WX1234").unwrap();
        symlink(at(&format!("{sda}/sda1")), at(&format!("{dm}/slaves/sda1"))).unwrap();
        symlink(at(sdb), at(&format!("{dm}/slaves/sdb"))).unwrap();
        root
    }

    #[test]
    fn the_disks_below_a_volume_are_found() {
        let root = tree();
        let node = root.path().join("devices/virtual/block/dm-0");
        let mut disks = disks_below(&node, "/repository");
        disks.sort_by(|a, b| a.what.cmp(&b.what));
        assert_eq!(disks.len(), 2, "{disks:?}");
        assert_eq!(disks[0].names, ["naa.5000c500a1b2c3d4".parse().unwrap()]);
        assert_eq!(disks[0].serial, Some(("WX1234".into(), "DISK".into())));
        assert_eq!((disks[0].what.as_str(), disks[0].fabric), ("sda, below /repository", None));
        let sdb = OwnDisk {
            names: vec![],
            serial: None,
            what: "sdb, below /repository".into(),
            fabric: Some("Fibre Channel"),
        };
        assert_eq!(disks[1], sdb);
    }

    #[test]
    fn a_lun_is_recognized_by_name_or_serial_number() {
        let own = OwnDisk {
            names: vec!["naa.5000c500a1b2c3d4".parse().unwrap()],
            serial: Some(("WX1234".into(), "DISK".into())),
            what: "sda, below /repository".into(),
            fabric: None,
        };
        let lun = |name: &str, serial: &str, product: &str| LunInfo {
            names: vec![name.parse().unwrap()],
            capacity: 1 << 20,
            block_size: 512,
            thin: false,
            vendor: "ACME".into(),
            product: product.into(),
            serial: Some(serial.into()),
            write_protected: None,
            target: "t".into(),
            portal: "p".into(),
            lun: scsi::LunId::ZERO,
        };
        let is = |name, serial, product| own.is(&lun(name, serial, product)).is_some();
        assert!(is("naa.5000c500a1b2c3d4", "other", "OTHER"));
        assert!(is("naa.5000c500a1b2c3d5", "WX1234", "DISK"));
        assert!(!is("naa.5000c500a1b2c3d5", "WX1234", "OTHER"));
        assert!(!is("naa.5000c500a1b2c3d5", "WX1235", "DISK"));
    }

    #[test]
    fn a_folder_without_a_disk_has_none() {
        assert_eq!(own_disks(&["/proc".into(), "/does/not/exist".into()]), []);
    }
}
