//! Which devices may be read as SAN LUNs: disks behind a SAN transport that the appliance itself
//! does not use. What it does use (mounted, swap, part of md, dm or LVM) is never a candidate, and
//! neither is a second path to it.

use super::device::{Address, Route, ScsiDevice};
use super::error::KernelError;
use super::tree::{Tree, names, text};
use std::collections::BTreeMap;
use std::fmt;

/// Why a device is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another type of device, or one that does not tell.
    NotADisk(Option<u8>),
    /// Neither Fibre Channel, SAS nor iSCSI.
    NotOfASan,
    /// The appliance has it mounted.
    Mounted {
        /// The disk or partition.
        what: String,
        /// Where.
        at: String,
    },
    /// The appliance swaps to it.
    Swap {
        /// The disk or partition.
        what: String,
    },
    /// Another block device of the appliance stands on it.
    Held {
        /// The disk or partition.
        what: String,
        /// Who holds it, such as `md0` or `dm-3`.
        by: String,
    },
    /// The kernel says that somebody has it, but not who.
    Claimed,
    /// It is the same device as one of the appliance's own, by another path.
    SameAs(Address),
    /// The kernel's generic driver does not hold it, so nothing can be asked of it.
    NoGenericNode,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADisk(Some(kind)) => write!(f, "not a disk (device type {kind})"),
            Self::NotADisk(None) => f.write_str("it does not say what it is"),
            Self::NotOfASan => f.write_str("a disk of this box: not behind FC, SAS or iSCSI"),
            Self::Mounted { what, at } => write!(f, "this box has {what} mounted at {at}"),
            Self::Swap { what } => write!(f, "this box swaps to {what}"),
            Self::Held { what, by } => write!(f, "{by} of this box stands on {what}"),
            Self::Claimed => f.write_str("this box uses it (its kernel refuses exclusive use)"),
            Self::SameAs(address) => {
                write!(f, "another path to disk {address}, which this box uses itself")
            }
            Self::NoGenericNode => {
                f.write_str("it has no generic node; load the kernel's sg driver")
            }
        }
    }
}

/// What the running system has mounted or swaps to.
#[derive(Debug, Default)]
pub(super) struct InUse {
    /// Mount points by device number, such as `8:1`.
    mounted: BTreeMap<String, String>,
    /// Mount points by name of the source, such as `sda1`: file systems over several disks have
    /// a device number of their own.
    sources: BTreeMap<String, String>,
    swaps: Vec<String>,
}

impl InUse {
    /// An error when it cannot be known: then nothing is a candidate.
    ///
    /// Asked of ourselves and of the first process, since we may have a mount namespace of our
    /// own; where the first one's list may not be read, ours has to do.
    pub(super) fn look(tree: &Tree) -> Result<Self, KernelError> {
        let mut in_use = Self::default();
        in_use.mounts(&tree.list("self/mountinfo")?);
        if let Ok(list) = tree.list("1/mountinfo") {
            in_use.mounts(&list);
        }
        // Without the file the kernel has no swap at all.
        let swaps = tree.list("swaps").unwrap_or_default();
        let names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        in_use.swaps = names.map(|name| last_part(&unescaped(name))).collect();
        Ok(in_use)
    }

    /// Lines of mountinfo (proc(5)): `36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw`.
    fn mounts(&mut self, list: &str) {
        for line in list.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (Some(number), Some(point)) = (fields.get(2), fields.get(4)) else { continue };
            let point = unescaped(point);
            let dash = fields.iter().position(|field| *field == "-");
            let source = dash.and_then(|dash| fields.get(dash + 2));
            if let Some(source) = source.filter(|source| source.starts_with("/dev/")) {
                self.sources.entry(last_part(&unescaped(source))).or_insert_with(|| point.clone());
            }
            self.mounted.entry((*number).to_owned()).or_insert(point);
        }
    }

    /// Why the appliance uses this device itself; `None` when it does not.
    pub(super) fn of(&self, device: &ScsiDevice) -> Option<Refusal> {
        let disk = device.block.as_deref()?;
        let folder = device.folder.join("block").join(disk);
        let partitions = names(&folder).into_iter().filter(|name| name.starts_with(disk));
        let parts = partitions.map(|name| (folder.join(&name), name));
        std::iter::once((folder.clone(), disk.to_owned())).chain(parts).find_map(
            |(folder, what)| {
                if let Some(by) = names(&folder.join("holders")).into_iter().next() {
                    return Some(Refusal::Held { what, by });
                }
                if self.swaps.contains(&what) {
                    return Some(Refusal::Swap { what });
                }
                let number = text(&folder, "dev");
                let by_number = number.and_then(|number| self.mounted.get(&number));
                let at = by_number.or_else(|| self.sources.get(&what))?.clone();
                Some(Refusal::Mounted { what, at })
            },
        )
    }
}

/// Every device with the reason for which it is not read, if there is one.
pub(super) fn judge(
    devices: Vec<ScsiDevice>,
    in_use: &InUse,
) -> Vec<(ScsiDevice, Option<Refusal>)> {
    let own: BTreeMap<String, Address> = devices
        .iter()
        .filter(|device| in_use.of(device).is_some())
        .filter_map(|device| Some((device.wwid.clone()?, device.address)))
        .collect();
    let refusal = |device: &ScsiDevice| {
        by_nature(device).or_else(|| in_use.of(device)).or_else(|| {
            let address = own.get(device.wwid.as_ref()?)?;
            Some(Refusal::SameAs(*address))
        })
    };
    let judged = devices.into_iter().map(|device| {
        let refusal = refusal(&device);
        (device, refusal)
    });
    judged.collect()
}

fn by_nature(device: &ScsiDevice) -> Option<Refusal> {
    if device.kind != Some(0) {
        return Some(Refusal::NotADisk(device.kind));
    }
    if device.route == Route::Other {
        return Some(Refusal::NotOfASan);
    }
    device.generic.is_none().then_some(Refusal::NoGenericNode)
}

fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// procfs writes blanks and backslashes as `\040` and the like.
fn unescaped(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte.filter(|_| first == b'\\') {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::device::devices;
    use crate::kernel::fixture::Fixture;
    use proptest::prelude::*;

    fn refusals(fixture: &Fixture) -> Vec<Option<Refusal>> {
        let tree = fixture.tree();
        let judged = judge(devices(&tree), &InUse::look(&tree).unwrap());
        judged.into_iter().map(|(_, refusal)| refusal).collect()
    }

    /// A LUN that `sd` holds, with one partition.
    fn bound() -> (Fixture, &'static str) {
        let fixture = Fixture::new();
        fixture.fc_lun("1:0:0:0", 1, "sg0", Some("sda"));
        let partition = "devices/pci0000:00/host1/rport-1:0-0/target1:0:0/1:0:0:0/block/sda/sda1";
        fixture.set(&format!("{partition}/dev"), "8:1");
        fixture.folder(&format!("{partition}/holders"));
        (fixture, partition)
    }

    #[test]
    fn a_free_lun_may_be_read() {
        let (fixture, _) = bound();
        fixture.mounts("22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n");
        assert_eq!(refusals(&fixture), [None]);
    }

    #[test]
    fn what_this_box_has_mounted_is_its_own() {
        let (fixture, _) = bound();
        fixture.mounts("22 1 8:1 / /mnt/a\\040b rw - ext4 /dev/disk/by-id/x rw\n");
        let at = "/mnt/a b".to_owned();
        assert_eq!(refusals(&fixture), [Some(Refusal::Mounted { what: "sda1".into(), at })]);
        // A file system over several disks: its device number is its own.
        fixture.mounts("22 1 0:35 /vol /repository rw - btrfs /dev/sda rw\n");
        let at = "/repository".to_owned();
        assert_eq!(refusals(&fixture), [Some(Refusal::Mounted { what: "sda".into(), at })]);
    }

    #[test]
    fn what_stands_below_md_dm_or_swap_is_its_own() {
        let (fixture, partition) = bound();
        fixture.folder(&format!("{partition}/holders/dm-3"));
        let held = Refusal::Held { what: "sda1".into(), by: "dm-3".into() };
        assert_eq!(refusals(&fixture), [Some(held)]);
        let (fixture, _) = bound();
        fixture.swaps("/dev/sda1                               partition\t100\t0\t-2\n");
        assert_eq!(refusals(&fixture), [Some(Refusal::Swap { what: "sda1".into() })]);
    }

    #[test]
    fn a_second_path_to_an_own_disk_is_no_candidate_either() {
        let (fixture, _) = bound();
        fixture.fc_lun("2:0:0:0", 2, "sg1", None);
        let name = fixture.get("bus/scsi/devices/1:0:0:0/wwid");
        fixture.set("bus/scsi/devices/2:0:0:0/wwid", &name);
        assert_eq!(refusals(&fixture), [None, None]);
        fixture.mounts("22 1 8:0 / / rw - xfs /dev/sda rw\n");
        let own: Address = "1:0:0:0".parse().unwrap();
        assert_eq!(refusals(&fixture)[1], Some(Refusal::SameAs(own)));
    }

    #[test]
    fn only_disks_of_a_san() {
        let fixture = Fixture::new();
        fixture.local_disk("0:0:0:0", "sdb");
        fixture.fc_lun("1:0:0:0", 1, "sg2", None);
        fixture.set("bus/scsi/devices/1:0:0:0/type", "13");
        fixture.fc_lun("2:0:0:0", 2, "sg3", None);
        fixture.remove("bus/scsi/devices/2:0:0:0/type");
        fixture.fc_lun("3:0:0:0", 3, "sg4", None);
        std::fs::remove_dir_all(fixture.path("bus/scsi/devices/3:0:0:0/scsi_generic")).unwrap();
        assert_eq!(
            refusals(&fixture),
            [
                Some(Refusal::NotOfASan),
                Some(Refusal::NotADisk(Some(13))),
                Some(Refusal::NotADisk(None)),
                Some(Refusal::NoGenericNode),
            ]
        );
    }

    #[test]
    fn without_a_list_of_mounts_nothing_is_known() {
        let (fixture, _) = bound();
        fixture.without_mounts();
        assert!(matches!(InUse::look(&fixture.tree()), Err(KernelError::Read { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))] // each makes a tree of files

        #[test]
        fn any_list_can_be_read(mounts in ".{0,200}", swaps in ".{0,100}") {
            let (fixture, _) = bound();
            fixture.mounts(&mounts);
            fixture.swaps(&swaps);
            prop_assert_eq!(refusals(&fixture).len(), 1);
        }
    }
}
