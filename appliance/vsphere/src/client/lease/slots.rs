//! Which disk is behind which url of a lease: hosts name disks by controller and unit.

use super::{DeviceUrl, LeaseInfo};
use crate::client::Client;
use crate::client::properties::withheld;
use crate::error::VsphereError;
use crate::wire::{MoRef, Node, WireError};

/// Where a snapshot keeps its own copy of the VM's devices.
const DEVICES: &str = "config.hardware.device";

/// A disk and where it is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `VirtualDevice.key` of the disk.
    pub key: i32,
    /// Such as `ParaVirtualSCSIController0:1`: the end of [`DeviceUrl::key`].
    pub place: String,
}

impl Client {
    /// The places of the disks as of a snapshot.
    pub async fn disk_slots(&self, snapshot: &MoRef) -> Result<Vec<Slot>, VsphereError> {
        let read = || {
            self.read_one(snapshot, &[DEVICES], |content| {
                let devices = content.get(DEVICES).ok_or_else(|| withheld(content, DEVICES))?;
                slots(devices).map_err(crate::client::caller::odd("RetrievePropertiesEx"))
            })
        };
        self.shared.session.keep(read).await
    }
}

fn slots(devices: Node<'_>) -> Result<Vec<Slot>, WireError> {
    let mut slots = Vec::new();
    for disk in devices.children().filter(|device| device.xsi_type() == Some("VirtualDisk")) {
        let (Some(own), Some(unit)) = (disk.get("controllerKey"), disk.get("unitNumber")) else {
            continue; // it has no place
        };
        let controller = devices.children().find(|device| device.get("key") == Some(own));
        let kind = controller.and_then(Node::xsi_type);
        let bus = controller.and_then(|controller| controller.get("busNumber"));
        if let (Some(kind), Some(bus)) = (kind, bus) {
            slots.push(Slot { key: disk.need_i32("key")?, place: format!("{kind}{bus}:{unit}") });
        }
    }
    Ok(slots)
}

impl LeaseInfo {
    /// The url of the disk in this place; `None`: there is none, or more than one.
    #[must_use]
    pub fn disk_at(&self, place: &str) -> Option<&DeviceUrl> {
        let at = |device: &&DeviceUrl| {
            let own = device.key.rsplit_once('/').map_or(device.key.as_str(), |(_, own)| own);
            own == place && device.disk != Some(false)
        };
        let mut found = self.devices.iter().filter(at);
        found.next().filter(|_| found.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_fragment;

    #[test]
    fn a_disk_is_known_by_its_controller_and_unit() {
        let text = "<d xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
            <v xsi:type=\"VirtualLsiLogicController\"><key>1000</key><busNumber>0</busNumber></v>\
            <v xsi:type=\"VirtualLsiLogicController\"><key>1001</key><busNumber>1</busNumber></v>\
            <v xsi:type=\"VirtualDisk\"><key>2000</key><controllerKey>1000</controllerKey>\
            <unitNumber>0</unitNumber></v>\
            <v xsi:type=\"VirtualDisk\"><key>2018</key><controllerKey>1001</controllerKey>\
            <unitNumber>2</unitNumber></v>\
            <v xsi:type=\"VirtualDisk\"><key>9</key></v></d>";
        let found = slots(parse_fragment(text).root()).unwrap();
        let places: Vec<_> = found.iter().map(|slot| (slot.key, slot.place.as_str())).collect();
        let lsi = ["VirtualLsiLogicController0:0", "VirtualLsiLogicController1:2"];
        assert_eq!(places, [(2000, lsi[0]), (2018, lsi[1])]);
    }
}
