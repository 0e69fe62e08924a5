//! From a blueprint to what vSphere builds a VM from: `VirtualMachineConfigSpec`.
//!
//! Elements stand in the order of the WSDL. New devices carry negative keys: the server gives
//! them their own.

use super::{Blueprint, Controller};
use crate::wire::{MoRef, Writer};

/// A VM to be made.
#[derive(Clone, Debug)]
pub struct ImportSpec {
    /// What it is like.
    pub blueprint: Blueprint,
    /// The name it is made under.
    pub name: String,
    /// Name of the datastore for its files.
    pub datastore: String,
    /// Its disks: those of the blueprint that are wanted.
    pub disks: Vec<NewDisk>,
    /// Its network cards.
    pub cards: Vec<NewCard>,
}

/// A disk to be made.
#[derive(Clone, Debug)]
pub struct NewDisk {
    /// Key of the blueprint's disk.
    pub key: i32,
    /// Bytes, whole KiB.
    pub capacity: u64,
    /// Space is taken when it is written to.
    pub thin: bool,
}

/// A network card to be made.
#[derive(Clone, Debug)]
pub struct NewCard {
    /// Its type.
    pub kind: &'static str,
    /// What it is connected to.
    pub network: CardNetwork,
    /// Connected at power-on.
    pub connected: bool,
    /// `addressType` and MAC address; `None`: the server gives it one.
    pub address: Option<(String, String)>,
}

/// What a card is connected to.
#[derive(Clone, Debug)]
pub enum CardNetwork {
    /// A standard network, by name.
    Standard(String),
    /// A port group of a distributed switch.
    Distributed {
        /// UUID of the switch.
        switch: String,
        /// Key of the port group.
        portgroup: String,
    },
}

/// Who a VM is: given to a replacement once the VM that it replaces is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `uuid` (BIOS).
    pub uuid: Option<String>,
    /// `instanceUuid`.
    pub instance_uuid: Option<String>,
}

/// `VirtualMachineImportSpec` under the name `spec`.
pub(crate) fn write_import(w: &mut Writer, spec: &ImportSpec) {
    w.open("spec", Some("VirtualMachineImportSpec"));
    w.open("configSpec", Some("VirtualMachineConfigSpec"));
    write_config(w, spec);
    w.close().close();
}

fn write_config(w: &mut Writer, spec: &ImportSpec) {
    let print = &spec.blueprint;
    w.text("name", &spec.name);
    optional(w, "version", print.hardware_version.as_deref());
    optional(w, "guestId", print.guest_id.as_deref());
    optional(w, "annotation", print.notes.as_deref());
    w.open("files", None).text("vmPathName", &format!("[{}]", spec.datastore)).close();
    w.number("numCPUs", print.cpus);
    if let Some(cores) = print.cores_per_socket {
        w.number("numCoresPerSocket", cores);
    }
    w.number("memoryMB", print.memory_mib);
    truth(w, "memoryHotAddEnabled", print.memory_hot_add);
    truth(w, "cpuHotAddEnabled", print.cpu_hot_add);
    write_devices(w, spec);
    if let Some(secure) = print.secure_boot {
        w.open("bootOptions", None).boolean("efiSecureBootEnabled", secure).close();
    }
    optional(w, "firmware", print.firmware.as_deref());
    truth(w, "nestedHVEnabled", print.nested);
}

fn write_devices(w: &mut Writer, spec: &ImportSpec) {
    let wanted = |controller: &&Controller| {
        let on_it = |disk: &&super::BlueprintDisk| disk.controller == controller.key;
        let mut disks = spec.blueprint.disks.iter().filter(on_it);
        disks.any(|disk| spec.disks.iter().any(|new| new.key == disk.key))
    };
    for controller in spec.blueprint.controllers.iter().filter(wanted) {
        write_controller(w, controller);
    }
    for new in &spec.disks {
        if let Some(disk) = spec.blueprint.disks.iter().find(|disk| disk.key == new.key) {
            open_device(w, Some("create"), "VirtualDisk", disk.key);
            w.open("backing", Some("VirtualDiskFlatVer2BackingInfo"));
            w.text("fileName", &format!("[{}]", spec.datastore)).text("diskMode", "persistent");
            w.boolean("thinProvisioned", new.thin).close();
            w.number("controllerKey", temporary(disk.controller)).number("unitNumber", disk.unit);
            w.number("capacityInKB", new.capacity / 1024).number("capacityInBytes", new.capacity);
            w.close().close();
        }
    }
    for (number, card) in (4000..).zip(&spec.cards) {
        write_card(w, "add", temporary(number), card);
    }
}

fn write_controller(w: &mut Writer, controller: &Controller) {
    open_device(w, None, controller.kind, controller.key);
    w.number("busNumber", controller.bus);
    if controller.kind.contains("SCSI") || controller.kind.contains("Logic") {
        w.text("sharedBus", controller.sharing.as_deref().unwrap_or("noSharing"));
    }
    w.close().close();
}

fn write_card(w: &mut Writer, operation: &str, key: i32, card: &NewCard) {
    w.open("deviceChange", Some("VirtualDeviceConfigSpec")).text("operation", operation);
    w.open("device", Some(card.kind)).number("key", key);
    match &card.network {
        CardNetwork::Standard(name) => {
            w.open("backing", Some("VirtualEthernetCardNetworkBackingInfo"));
            w.text("deviceName", name).close();
        }
        CardNetwork::Distributed { switch, portgroup } => {
            w.open("backing", Some("VirtualEthernetCardDistributedVirtualPortBackingInfo"));
            w.open("port", None).text("switchUuid", switch).text("portgroupKey", portgroup);
            w.close().close();
        }
    }
    w.open("connectable", None).boolean("startConnected", card.connected);
    w.boolean("allowGuestControl", true).boolean("connected", card.connected).close();
    let address = card.address.as_ref().map(|(kind, mac)| (kind.as_str(), Some(mac.as_str())));
    let (kind, mac) = address.unwrap_or(("generated", None));
    w.text("addressType", kind);
    optional(w, "macAddress", mac);
    w.close().close();
}

/// Leaves `deviceChange` and `device` open.
fn open_device(w: &mut Writer, file: Option<&str>, kind: &'static str, key: i32) {
    w.open("deviceChange", Some("VirtualDeviceConfigSpec")).text("operation", "add");
    optional(w, "fileOperation", file);
    w.open("device", Some(kind)).number("key", temporary(key));
}

/// Keys of new devices are negative until the server has given its own.
fn temporary(key: i32) -> i32 {
    -key.saturating_abs().max(1)
}

/// What makes a VM the one that it replaces: a `spec` for ReconfigVM_Task. `cards` are the keys
/// that its network cards have now, with what they shall be like.
pub(crate) fn write_identity(w: &mut Writer, identity: &Identity, cards: &[(i32, NewCard)]) {
    w.open("spec", Some("VirtualMachineConfigSpec"));
    optional(w, "uuid", identity.uuid.as_deref());
    optional(w, "instanceUuid", identity.instance_uuid.as_deref());
    for (key, card) in cards {
        write_card(w, "edit", *key, card);
    }
    w.close();
}

fn optional(w: &mut Writer, name: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        w.text(name, text);
    }
}

fn truth(w: &mut Writer, name: &'static str, value: Option<bool>) {
    if let Some(value) = value {
        w.boolean(name, value);
    }
}

/// Where a VM is made.
#[derive(Clone, Debug)]
pub struct ImportPlace {
    /// Resource pool.
    pub pool: MoRef,
    /// Folder of VMs.
    pub folder: Option<MoRef>,
    /// Host; `None`: the server chooses.
    pub host: Option<MoRef>,
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::CONFIG;
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::method("M", &MoRef::new("X", "x"));
        write(&mut writer);
        let text = String::from_utf8(writer.finish().unwrap()).unwrap();
        let (_, rest) = text.split_once("</_this>").unwrap();
        rest.strip_suffix("</M></soapenv:Body></soapenv:Envelope>").unwrap().to_owned()
    }

    fn card(address: Option<(String, String)>) -> NewCard {
        let network = CardNetwork::Standard("Lab".into());
        NewCard { kind: "VirtualVmxnet3", network, connected: false, address }
    }

    fn spec() -> ImportSpec {
        ImportSpec {
            blueprint: Blueprint::parse(CONFIG).unwrap(),
            name: "copy".into(),
            datastore: "nfs01".into(),
            disks: vec![NewDisk { key: 2008, capacity: 1 << 20, thin: true }],
            cards: vec![card(None)],
        }
    }

    /// The order is that of the WSDL, which servers insist on and the simulator does not check.
    #[test]
    fn a_vm_is_written_in_the_order_of_the_wsdl() {
        let text = written(|w| write_import(w, &spec()));
        let mut at = 0;
        for part in [
            "<spec xsi:type=\"VirtualMachineImportSpec\">",
            "<configSpec xsi:type=\"VirtualMachineConfigSpec\"><name>copy</name>",
            "<version>vmx-19</version><guestId>debian12_64Guest</guestId>",
            "<annotation>the shop</annotation><files><vmPathName>[nfs01]</vmPathName></files>",
            "<numCPUs>4</numCPUs><numCoresPerSocket>2</numCoresPerSocket><memoryMB>8192</memoryMB>",
            "<operation>add</operation><device xsi:type=\"ParaVirtualSCSIController\">",
            "<key>-1000</key><busNumber>0</busNumber><sharedBus>noSharing</sharedBus></device>",
            "<fileOperation>create</fileOperation><device xsi:type=\"VirtualDisk\">",
            "<key>-2008</key><backing xsi:type=\"VirtualDiskFlatVer2BackingInfo\">",
            "<fileName>[nfs01]</fileName><diskMode>persistent</diskMode>",
            "<thinProvisioned>true</thinProvisioned></backing><controllerKey>-1000</controllerKey>",
            "<unitNumber>8</unitNumber><capacityInKB>1024</capacityInKB>",
            "<device xsi:type=\"VirtualVmxnet3\"><key>-4000</key>",
            "<startConnected>false</startConnected>",
            "<addressType>generated</addressType></device>",
            "<bootOptions><efiSecureBootEnabled>true</efiSecureBootEnabled></bootOptions>",
            "<firmware>efi</firmware></configSpec></spec>",
        ] {
            let found = text[at..].find(part).unwrap_or_else(|| panic!("{part} in {text}"));
            at += found + part.len();
        }
        assert!(!text.contains("uuid") && !text.contains("00:50"), "a copy is somebody else");
        assert!(!text.contains("-2000"), "only the disks that are wanted");
    }

    #[test]
    fn a_replacement_becomes_who_it_replaces() {
        let identity = Identity { uuid: Some("42-1".into()), instance_uuid: Some("50-1".into()) };
        let address = Some(("assigned".to_owned(), "00:50:56:9a:00:01".to_owned()));
        let text = written(|w| write_identity(w, &identity, &[(4000, card(address))]));
        assert!(text.contains("<uuid>42-1</uuid><instanceUuid>50-1</instanceUuid>"), "{text}");
        assert!(text.contains("<operation>edit</operation>"), "{text}");
        assert!(
            text.contains(
                "<addressType>assigned</addressType><macAddress>00:50:56:9a:00:01</macAddress>"
            ),
            "{text}"
        );
    }
}
