//! From the configuration's XML.

use super::{Blueprint, BlueprintDisk, Card, Controller};
use crate::wire::{Limits, Node, WireError, parse};

/// Controllers that disks can hang on.
const CONTROLLERS: [&str; 7] = [
    "ParaVirtualSCSIController",
    "VirtualLsiLogicController",
    "VirtualLsiLogicSASController",
    "VirtualBusLogicController",
    "VirtualAHCIController",
    "VirtualNVMEController",
    "VirtualIDEController",
];
/// Network cards that need no hardware of a certain host.
const CARDS: [&str; 5] =
    ["VirtualVmxnet3", "VirtualE1000", "VirtualE1000e", "VirtualVmxnet2", "VirtualPCNet32"];
/// What every VM has, made by the host.
const HOSTS_OWN: [&str; 8] = [
    "VirtualPCIController",
    "VirtualPS2Controller",
    "VirtualSIOController",
    "VirtualKeyboard",
    "VirtualPointingDevice",
    "VirtualMachineVideoCard",
    "VirtualMachineVMCIDevice",
    "VirtualHdAudioCard",
];

impl Blueprint {
    /// Reads a `VirtualMachineConfigInfo` as XML: [`crate::Configuration::xml`].
    ///
    /// # Errors
    /// When it is not one, or what a VM cannot be built without is missing.
    pub fn parse(xml: &str) -> Result<Self, WireError> {
        let document = parse(xml.as_bytes(), Limits::ANSWER)?;
        decode(document.root())
    }
}

fn decode(config: Node<'_>) -> Result<Blueprint, WireError> {
    let text = |name: &str| config.get(name).map(str::to_owned);
    let hardware = config.need("hardware")?;
    let small = |name: &str| -> Result<Option<u32>, WireError> {
        Ok(hardware.get_u64(name)?.and_then(|number| u32::try_from(number).ok()))
    };
    let boot = config.child("bootOptions");
    let mut print = Blueprint {
        name: text("name").unwrap_or_default(),
        hardware_version: text("version"),
        guest_id: text("guestId"),
        notes: text("annotation"),
        firmware: text("firmware"),
        secure_boot: boot.and_then(|boot| boot.get_bool("efiSecureBootEnabled")),
        uuid: text("uuid"),
        instance_uuid: text("instanceUuid"),
        cpus: small("numCPU")?.unwrap_or(1).max(1),
        cores_per_socket: small("numCoresPerSocket")?.filter(|cores| *cores > 0),
        memory_mib: hardware.need_u64("memoryMB")?,
        cpu_hot_add: config.get_bool("cpuHotAddEnabled"),
        memory_hot_add: config.get_bool("memoryHotAddEnabled"),
        nested: config.get_bool("nestedHVEnabled"),
        vmx_path: config.child("files").and_then(|files| files.get("vmPathName")).map(Into::into),
        ..Blueprint::default()
    };
    for device in hardware.all("device") {
        read_device(&mut print, device)?;
    }
    let used: Vec<i32> = print.disks.iter().map(|disk| disk.controller).collect();
    print.controllers.retain(|controller| used.contains(&controller.key));
    if config.child("keyId").is_some() {
        print.left_out.push("the VM was encrypted by vSphere; the new one is not".into());
    }
    Ok(print)
}

fn read_device(print: &mut Blueprint, device: Node<'_>) -> Result<(), WireError> {
    let kind = device.xsi_type().unwrap_or_default();
    let label = device.child("deviceInfo").and_then(|info| info.get("label")).unwrap_or(kind);
    if kind == "VirtualDisk" {
        print.disks.push(disk(device, label)?);
    } else if let Some(kind) = CONTROLLERS.into_iter().find(|known| *known == kind) {
        print.controllers.push(Controller {
            key: device.need_i32("key")?,
            kind,
            bus: device.need_i32("busNumber")?,
            sharing: device.get("sharedBus").map(str::to_owned),
        });
    } else if let Some(kind) = CARDS.into_iter().find(|known| *known == kind) {
        print.cards.push(card(device, kind, label)?);
    } else if !HOSTS_OWN.contains(&kind) {
        print.left_out.push(format!("device '{label}' ({kind}) is not carried over"));
    }
    Ok(())
}

fn disk(device: Node<'_>, label: &str) -> Result<BlueprintDisk, WireError> {
    let backing = device.need("backing")?;
    let capacity = match device.get_u64("capacityInBytes")? {
        Some(bytes) => bytes,
        None => device.need_u64("capacityInKB")?.saturating_mul(1024),
    };
    Ok(BlueprintDisk {
        key: device.need_i32("key")?,
        label: label.to_owned(),
        controller: device.need_i32("controllerKey")?,
        unit: device.need_i32("unitNumber")?,
        capacity,
        thin: backing.get_bool("thinProvisioned").unwrap_or(false),
        file: backing.get("fileName").unwrap_or_default().to_owned(),
    })
}

fn card(device: Node<'_>, kind: &'static str, label: &str) -> Result<Card, WireError> {
    let backing = device.child("backing");
    let standard = backing.and_then(|backing| backing.get("deviceName"));
    let port = backing.and_then(|backing| backing.child("port"));
    let network = standard.or_else(|| port.and_then(|port| port.get("portgroupKey")));
    Ok(Card {
        key: device.need_i32("key")?,
        kind,
        label: label.to_owned(),
        mac: device.get("macAddress").unwrap_or_default().to_owned(),
        address_type: device.get("addressType").map(str::to_owned),
        network: network.map(str::to_owned),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A VM with two disks on a SCSI controller, a CD drive and a card.
    pub(crate) const CONFIG: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<config xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<name>web01 &lt;a&gt;</name><version>vmx-19</version><uuid>42-1</uuid>
<instanceUuid>50-1</instanceUuid><guestId>debian12_64Guest</guestId>
<annotation>the shop</annotation>
<files><vmPathName>[san01] web01/web01.vmx</vmPathName></files>
<hardware><numCPU>4</numCPU><numCoresPerSocket>2</numCoresPerSocket><memoryMB>8192</memoryMB>
<device xsi:type="VirtualKeyboard"><key>600</key></device>
<device xsi:type="ParaVirtualSCSIController"><key>1000</key><busNumber>0</busNumber>
<sharedBus>noSharing</sharedBus></device>
<device xsi:type="VirtualIDEController"><key>200</key><busNumber>0</busNumber></device>
<device xsi:type="VirtualCdrom"><key>3000</key><deviceInfo><label>CD/DVD drive 1</label>
</deviceInfo><controllerKey>200</controllerKey><unitNumber>0</unitNumber></device>
<device xsi:type="VirtualDisk"><key>2000</key><deviceInfo><label>Hard disk 1</label></deviceInfo>
<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[san01] web01/web01.vmdk</fileName>
<thinProvisioned>true</thinProvisioned></backing><controllerKey>1000</controllerKey>
<unitNumber>0</unitNumber><capacityInKB>65536</capacityInKB></device>
<device xsi:type="VirtualDisk"><key>2008</key><deviceInfo><label>Hard disk 2</label></deviceInfo>
<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[san01] web01/web01_1.vmdk</fileName>
</backing><controllerKey>1000</controllerKey><unitNumber>8</unitNumber>
<capacityInKB>1024</capacityInKB><capacityInBytes>1048576</capacityInBytes></device>
<device xsi:type="VirtualVmxnet3"><key>4000</key><deviceInfo><label>Network adapter 1</label>
</deviceInfo><backing xsi:type="VirtualEthernetCardNetworkBackingInfo">
<deviceName>VM Network</deviceName></backing><addressType>assigned</addressType>
<macAddress>00:50:56:9a:00:01</macAddress></device>
</hardware><bootOptions><efiSecureBootEnabled>true</efiSecureBootEnabled></bootOptions>
<firmware>efi</firmware></config>"#;

    #[test]
    fn what_is_carried_over_and_what_is_not() {
        let print = Blueprint::parse(CONFIG).unwrap();
        assert_eq!(print.name, "web01 <a>");
        assert_eq!((print.cpus, print.cores_per_socket, print.memory_mib), (4, Some(2), 8192));
        assert_eq!((print.firmware.as_deref(), print.secure_boot), (Some("efi"), Some(true)));
        assert_eq!(print.controllers.len(), 1, "only those that disks hang on");
        let places: Vec<_> = print.disks.iter().map(|disk| print.place(disk).unwrap()).collect();
        assert_eq!(places, ["ParaVirtualSCSIController0:0", "ParaVirtualSCSIController0:8"]);
        assert_eq!((print.disks[0].capacity, print.disks[0].thin), (64 << 20, true));
        assert_eq!((print.disks[1].capacity, print.disks[1].thin), (1 << 20, false));
        assert_eq!(print.cards[0].network.as_deref(), Some("VM Network"));
        assert_eq!(print.left_out, ["device 'CD/DVD drive 1' (VirtualCdrom) is not carried over"]);
    }

    #[test]
    fn every_cut_of_a_configuration_is_an_error_and_no_panic() {
        for cut in 0..CONFIG.len() {
            assert!(Blueprint::parse(&CONFIG[..cut]).is_err(), "{cut}");
        }
    }
}
