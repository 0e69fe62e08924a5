//! SCSI devices as the kernel lists them: where they are, what they are, how they are reached.

use super::fc;
use super::tree::{Tree, link_name, names, only_name, text};
use super::wwn::Wwn;
use crate::transport::Place;
use scsi::LunId;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Host, channel, target and LUN: the kernel's name for one path to one LUN. It is no identity:
/// after a reboot or a lost link another one may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Number of the host adapter.
    pub host: u32,
    /// Channel of the adapter.
    pub channel: u32,
    /// Number of the target.
    pub target: u32,
    /// The LUN as the kernel writes it; see [`Self::lun_id`].
    pub lun: u64,
}

impl Address {
    /// The LUN's 8 bytes. The kernel's number has the first two of them, big-endian, as its
    /// lowest 16 bits, the next two above them, and so on: flat LUN 258 (41h 02h) is 16642.
    #[must_use]
    pub fn lun_id(self) -> LunId {
        let mut bytes = [0; 8];
        for (level, field) in bytes.chunks_exact_mut(2).enumerate() {
            let [.., high, low] = (self.lun >> (16 * level)).to_be_bytes();
            field.copy_from_slice(&[high, low]);
        }
        LunId(bytes)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host, self.channel, self.target, self.lun)
    }
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let mut next = || {
            let digits = parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<u64>().ok()
        };
        let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let (host, channel, target) = (small(next()), small(next()), small(next()));
        let lun = next();
        match (host, channel, target, lun, parts.next()) {
            (Some(host), Some(channel), Some(target), Some(lun), None) => {
                Ok(Self { host, channel, target, lun })
            }
            _ => Err(()),
        }
    }
}

/// How a device is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Fibre Channel.
    Fc {
        /// WWPN of our port.
        local: Wwn,
        /// WWPN of the port behind which the LUN is.
        remote: Wwn,
        /// The kernel's name for the remote port.
        remote_port: String,
    },
    /// Serial Attached SCSI.
    Sas {
        /// SAS address of the device's port.
        remote: Wwn,
        /// The kernel's name for the end device.
        end_device: String,
    },
    /// An iSCSI session of the kernel.
    Iscsi {
        /// iSCSI name of the target.
        target: String,
        /// `address:port`.
        portal: String,
    },
    /// Anything else: USB, SATA, virtual. Never a SAN LUN.
    Other,
}

impl Route {
    /// The same way, whatever the kernel calls it at the moment.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fc { local, remote, .. }, Self::Fc { local: to, remote: there, .. }) => {
                (local, remote) == (to, there)
            }
            (Self::Sas { remote, .. }, Self::Sas { remote: there, .. }) => remote == there,
            (a @ Self::Iscsi { .. }, b @ Self::Iscsi { .. }) => a == b,
            _ => false,
        }
    }
}

/// One device of the kernel's SCSI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiDevice {
    /// Where it is now.
    pub address: Address,
    /// Its LUN, as the target numbers it.
    pub lun: LunId,
    /// How it is reached.
    pub route: Route,
    /// Peripheral device type; 0 is a disk.
    pub kind: Option<u8>,
    /// T10 vendor.
    pub vendor: Option<String>,
    /// Product.
    pub model: Option<String>,
    /// The kernel's idea of its name, such as `naa.6001405...`. For lists; identity is asked of
    /// the device itself.
    pub wwid: Option<String>,
    /// The kernel's word: `running`, `blocked`, `transport-offline`, ...
    pub state: Option<String>,
    /// The ALUA state that the kernel knows, if its handler is loaded.
    pub access_state: Option<String>,
    /// Its generic node, such as `sg3`.
    pub generic: Option<String>,
    /// Its block node, such as `sda`, when the kernel's disk driver holds it.
    pub block: Option<String>,
    /// The driver that holds it: none, or `sd`.
    pub driver: Option<String>,
    /// Its folder in sysfs.
    pub(super) folder: PathBuf,
}

impl ScsiDevice {
    /// Where the way begins and ends, for messages.
    pub(crate) fn place(&self) -> Place {
        let here = self.address;
        let (portal, target) = match &self.route {
            Route::Fc { local, remote, .. } => {
                (format!("FC port {local} ({here})"), remote.to_string())
            }
            Route::Sas { remote, .. } => {
                (format!("SAS host{} ({here})", here.host), remote.to_string())
            }
            Route::Iscsi { target, portal } => {
                (format!("{portal} (kernel, {here})"), target.clone())
            }
            Route::Other => (format!("host{} ({here})", here.host), "local device".to_owned()),
        };
        Place { portal, target }
    }
}

/// All devices, by their addresses. Entries that are no devices (hosts, targets) are left out.
pub(super) fn devices(tree: &Tree) -> Vec<ScsiDevice> {
    let bus = tree.sys.join("bus/scsi/devices");
    let mut devices: Vec<ScsiDevice> =
        names(&bus).iter().filter_map(|name| device(tree, &bus, name)).collect();
    devices.sort_by_key(|device| device.address);
    devices
}

fn device(tree: &Tree, bus: &Path, name: &str) -> Option<ScsiDevice> {
    let address: Address = name.parse().ok()?;
    // A device that vanishes meanwhile has no folder any more.
    let folder = bus.join(name).canonicalize().ok()?;
    Some(ScsiDevice {
        address,
        lun: address.lun_id(),
        route: route(tree, address, &folder),
        kind: text(&folder, "type").and_then(|kind| kind.parse().ok()),
        vendor: text(&folder, "vendor"),
        model: text(&folder, "model"),
        wwid: text(&folder, "wwid"),
        state: text(&folder, "state"),
        access_state: text(&folder, "access_state"),
        generic: only_name(&folder.join("scsi_generic")),
        block: only_name(&folder.join("block")),
        driver: link_name(&folder, "driver"),
        folder,
    })
}

/// Read off the device's folder, which lies below everything on its way: the adapter's host, then
/// a remote port, an end device or a session. A way that has no name is as good as none.
fn route(tree: &Tree, address: Address, folder: &Path) -> Route {
    let host = format!("host{}", address.host);
    let parts = folder.components().filter_map(|part| part.as_os_str().to_str());
    let after_host = parts.skip_while(|part| *part != host).skip(1);
    after_host
        .map(|part| hop(tree, &host, part))
        .find(Option::is_some)
        .flatten()
        .unwrap_or(Route::Other)
}

fn hop(tree: &Tree, host: &str, part: &str) -> Option<Route> {
    if part.starts_with("rport-") {
        let local = fc::port_name(tree, host)?;
        let remote = fc::remote_port_name(tree, part)?;
        return Some(Route::Fc { local, remote, remote_port: part.to_owned() });
    }
    if part.starts_with("end_device-") {
        let folder = tree.class("sas_device").join(part);
        let remote = text(&folder, "sas_address")?.parse().ok()?;
        return Some(Route::Sas { remote, end_device: part.to_owned() });
    }
    let number = part.strip_prefix("session")?;
    let target = text(&tree.class("iscsi_session").join(part), "targetname")?;
    let connection = tree.class("iscsi_connection").join(format!("connection{number}:0"));
    let address = text(&connection, "persistent_address")?;
    let port = text(&connection, "persistent_port")?;
    let portal = if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    };
    Some(Route::Iscsi { target, portal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fixture::Fixture;
    use proptest::prelude::*;

    #[test]
    fn a_lun_of_fibre_channel() {
        let fixture = Fixture::new();
        fixture.fc_lun("1:0:0:16642", 1, "sg0", None);
        let devices = devices(&fixture.tree());
        assert_eq!(devices.len(), 1, "hosts and targets are no devices");
        let device = &devices[0];
        assert_eq!(device.lun, LunId([0x41, 0x02, 0, 0, 0, 0, 0, 0]));
        assert_eq!(device.lun.number(), Some(258));
        let Route::Fc { local, remote, remote_port } = &device.route else {
            panic!("{:?}", device.route)
        };
        assert_eq!(local.to_string(), "20:00:52:54:00:00:01:0b");
        assert_eq!(remote.to_string(), "20:00:52:54:00:00:01:0a");
        assert_eq!(remote_port, "rport-1:0-0");
        assert_eq!((device.kind, device.generic.as_deref()), (Some(0), Some("sg0")));
        assert_eq!((device.block.as_deref(), device.driver.as_deref()), (None, None));
        assert_eq!(device.vendor.as_deref(), Some("LIO-ORG"));
        let place = device.place();
        assert_eq!(place.portal, "FC port 20:00:52:54:00:00:01:0b (1:0:0:16642)");
        assert_eq!(place.target, "20:00:52:54:00:00:01:0a");
    }

    #[test]
    fn sas_kernel_iscsi_and_the_rest() {
        let fixture = Fixture::new();
        fixture.sas_lun("6:0:3:0", "end_device-6:0:3", "0x5000c50012345678");
        fixture.iscsi_lun("7:0:0:1", 2, "iqn.2026-01.test.lab:disk", "2001:db8::5");
        fixture.local_disk("0:0:0:0", "sda");
        fixture.fc_lun("1:0:0:0", 1, "sg9", Some("sdc"));
        fixture.remove("class/fc_remote_ports/rport-1:0-0/port_name");
        let devices = devices(&fixture.tree());
        let routes: Vec<_> = devices.iter().map(|device| device.route.clone()).collect();
        let sas = Wwn(0x5000_c500_1234_5678);
        assert_eq!(
            routes,
            [
                Route::Other,
                Route::Other, // Fibre Channel, but behind a port without a name
                Route::Sas { remote: sas, end_device: "end_device-6:0:3".into() },
                Route::Iscsi {
                    target: "iqn.2026-01.test.lab:disk".into(),
                    portal: "[2001:db8::5]:3260".into()
                },
            ]
        );
        assert_eq!(devices[1].driver.as_deref(), Some("sd"));
        assert_eq!(devices[1].block.as_deref(), Some("sdc"));
    }

    #[test]
    fn an_empty_or_torn_tree_has_no_devices() {
        let fixture = Fixture::new();
        assert_eq!(devices(&fixture.tree()), []);
        fixture.folder("bus/scsi/devices");
        std::os::unix::fs::symlink("nowhere", fixture.path("bus/scsi/devices/1:0:0:0")).unwrap();
        assert_eq!(devices(&fixture.tree()), [], "it vanished while it was looked at");
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_they_are_written(parts: (u32, u32, u32, u64)) {
            let (host, channel, target, lun) = parts;
            let address = Address { host, channel, target, lun };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            let bytes = address.lun_id().0;
            let words = bytes.chunks(2).rev().map(|two| u64::from(two[0]) << 8 | u64::from(two[1]));
            prop_assert_eq!(words.fold(0, |sum, word| sum << 16 | word), lun);
        }

        #[test]
        fn any_name_is_an_address_or_not(name in "[0-9:+a-z-]{0,24}") {
            if let Ok(address) = name.parse::<Address>() {
                prop_assert_eq!(name.split(':').count(), 4);
                prop_assert!(address.to_string().len() <= name.len());
            }
        }
    }
}
