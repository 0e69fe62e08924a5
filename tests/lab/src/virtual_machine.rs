//! The files of a VM that are not its disks' data, worded as ESXi words them.

use crate::datastore::{Disk, Vm};
use std::fmt::Write as _;

/// Bytes of an EFI machine's `.nvram`.
const NVRAM_BYTES: usize = 8684;

/// The `.vmx` of a VM with one paravirtual SCSI controller and one network card.
#[must_use]
pub fn vmx(vm: &Vm) -> String {
    let mut text = String::from(
        ".encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"20\"\n\
         vmci0.present = \"TRUE\"\nfloppy0.present = \"FALSE\"\nnumvcpus = \"2\"\n\
         memSize = \"4096\"\nfirmware = \"efi\"\npowerType.powerOff = \"default\"\n\
         tools.syncTime = \"FALSE\"\nscsi0.virtualDev = \"pvscsi\"\nscsi0.present = \"TRUE\"\n\
         ethernet0.virtualDev = \"vmxnet3\"\nethernet0.networkName = \"VM Network\"\n\
         ethernet0.present = \"TRUE\"\nethernet0.addressType = \"vpx\"\n",
    );
    let uuid = vmx_uuid(&vm.uuid);
    let _ = writeln!(text, "displayName = \"{}\"", vm.name);
    let _ = writeln!(text, "guestOS = \"{}\"", vm.guest_id.trim_end_matches("Guest"));
    let _ = writeln!(text, "nvram = \"{}.nvram\"", vm.name);
    let _ = writeln!(text, "uuid.bios = \"{uuid}\"\nuuid.location = \"{uuid}\"");
    let _ = writeln!(text, "vc.uuid = \"{}\"", vmx_uuid(&vm.instance_uuid));
    for disk in &vm.disks {
        let unit = disk.unit;
        let _ = writeln!(text, "scsi0:{unit}.deviceType = \"scsi-hardDisk\"");
        let _ = writeln!(text, "scsi0:{unit}.fileName = \"{}\"", file_name(&disk.file));
        let _ = writeln!(text, "scsi0:{unit}.present = \"TRUE\"");
        let _ = writeln!(text, "scsi0:{unit}.ctkEnabled = \"FALSE\"");
    }
    text
}

/// The descriptor of a disk whose data lies in one flat VMFS file.
#[must_use]
pub fn descriptor(disk: &Disk) -> String {
    let sectors = disk.capacity / 512;
    let cylinders = sectors / (255 * 63);
    let thin = if disk.thin { "ddb.thinProvisioned = \"1\"\n" } else { "" };
    let digits: String = disk.uuid.chars().filter(char::is_ascii_hexdigit).collect();
    let content = &digits[..8];
    format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={content}\n\
         parentCID=ffffffff\ncreateType=\"vmfs\"\n\n# Extent description\n\
         RW {sectors} VMFS \"{}\"\n\n# The Disk Data Base \n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.longContentID = \"{digits}\"\n{thin}ddb.toolsVersion = \"2147483647\"\n\
         ddb.uuid = \"{}\"\nddb.virtualHWVersion = \"20\"\n",
        file_name(&disk.flat),
        vmx_uuid(&disk.uuid),
    )
}

/// An `.nvram`: its magic and filling that differs from VM to VM. Nothing here reads into it; it
/// is kept and given back byte for byte.
#[must_use]
pub fn nvram(vm: &Vm) -> Vec<u8> {
    let mut bytes = vec![0; NVRAM_BYTES];
    blake3::Hasher::new().update(vm.name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes[..8].copy_from_slice(b"MRVN\x01\0\0\0");
    bytes
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `42 1f 0a … -… ` as `.vmx` and `.vmdk` spell a UUID: pairs, a hyphen in the middle.
fn vmx_uuid(uuid: &str) -> String {
    let digits: Vec<char> = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    let (left, right) = pairs.split_at(pairs.len() / 2);
    format!("{}-{}", left.join(" "), right.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_spelt_in_pairs() {
        assert_eq!(
            vmx_uuid("421f0a0b-0c0d-0e0f-1011-121314151617"),
            "42 1f 0a 0b 0c 0d 0e 0f-10 11 12 13 14 15 16 17"
        );
    }
}
