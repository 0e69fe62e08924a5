//! Logical volumes that a real ESXi host made, of LVM 3 to 6: every MiB lies where the host put
//! it. Content and places are those that were recorded when the volumes were examined.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use block::{ReadAt, ReadError};
use common::{devices, esxi};
use lab::place::test_cache;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use vmfs::{LogicalVolume, VmfsError};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// Number of bytes that are kept of every MiB of the images.
const KEPT: usize = 4096;

/// Compares the start of every MiB of the volume: it is filled with its number.
fn compare(members: &[&str], mibs: u64) {
    let Some(images) = esxi("lvm", members) else { return };
    let luns = devices(&images);
    let volume = LogicalVolume::open(devices(&images))
        .unwrap_or_else(|error| panic!("{members:?}: {error}"));
    assert_eq!(volume.size(), mibs * MIB, "{members:?}");
    for number in 0..mibs {
        let extents = volume.map(number * MIB, KEPT as u64).unwrap();
        let [extent] = extents[..] else { panic!("{extents:?}") };
        let bytes = luns[extent.device].read_vec(extent.offset, KEPT).unwrap();
        let expected = number.to_le_bytes()[0];
        assert!(bytes.iter().all(|byte| *byte == expected), "{members:?}, MiB {number}");
    }
    let beyond = volume.map(volume.size() - 1, 2);
    assert!(matches!(beyond, Err(VmfsError::Damaged { .. })), "{beyond:?}");
}

#[test]
fn volumes_on_one_device_are_where_esxi_put_them() {
    compare(&["lvm3"], 512);
    compare(&["lvm4"], 512);
}

#[test]
fn volumes_on_two_devices_are_found_in_any_order() {
    compare(&["lvm3-span-0", "lvm3-span-1"], 1024);
    compare(&["lvm3-span-1", "lvm3-span-0"], 1024);
    compare(&["lvm4-span-1", "lvm4-span-0"], 1024);
}

#[test]
fn half_a_volume_is_refused() {
    for members in [&["lvm3-span-1"][..], &["lvm3-span-0", "lvm4-span-1"]] {
        let Some(images) = esxi("half_a_volume", members) else { return };
        let error = LogicalVolume::open(devices(&images)).err().unwrap();
        assert!(matches!(error, VmfsError::Incomplete { .. }), "{members:?}: {error}");
    }
}

/// A device of 64 TiB of which only some bytes were recorded; the rest is zeros.
struct Recorded {
    size: u64,
    bytes: BTreeMap<u64, Vec<u8>>,
}

impl Recorded {
    /// Lines of `offset,hexadecimal bytes`.
    fn parse(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let line = |line: &str| {
            let (offset, digits) = line.split_once(',').unwrap();
            (offset.trim().parse().unwrap(), hex::decode(digits.trim()).unwrap())
        };
        let bytes: BTreeMap<u64, Vec<u8>> = text.lines().map(line).collect();
        Self { size: 64 * TIB, bytes }
    }
}

impl ReadAt for Recorded {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let before = self.bytes.range(..offset).next_back();
        for (start, bytes) in before.into_iter().chain(self.bytes.range(offset..end)) {
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                let at = |position: u64, base: u64| usize::try_from(position - base).unwrap();
                buffer[at(from, offset)..at(to, offset)]
                    .copy_from_slice(&bytes[at(from, *start)..at(to, *start)]);
            }
        }
        Ok(())
    }
}

#[test]
fn devices_of_64_tib_are_read_through_all_their_tables() {
    for name in ["lvm5", "lvm6"] {
        let Some(images) = esxi("devices_of_64_tib", &[]) else { return };
        assert!(images.is_empty());
        let path = test_cache().unwrap().join("esxi").join(format!("{name}.csv"));
        let device: Arc<dyn ReadAt> = Arc::new(Recorded::parse(&path));
        let volume = LogicalVolume::open(vec![Arc::clone(&device)])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(volume.size(), 64 * TIB - 256 * MIB, "{name}");
        for offset in [0, 16 * TIB, 32 * TIB, 48 * TIB] {
            let text = match offset {
                0 => "Logical offset 0".to_owned(),
                _ => format!("Logical offset 0x{offset:x}"),
            };
            let extent = volume.map(offset, text.len() as u64).unwrap()[0];
            let found = device.read_vec(extent.offset, text.len()).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), text, "{name}");
        }
    }
}
