//! The entry for fuzzers: arbitrary bytes as every structure that is read from a LUN.

use crate::address::{self, Leaf};
use crate::bytes::{Fields, index};
use crate::descriptor::{self, Zla};
use crate::directory;
use crate::error::VmfsError;
use crate::lvm;
use crate::partition::find_partition;
use crate::resource::{Kind, ResourceFile};
use crate::space::Space;
use crate::superblock::{self, Family, Geometry};
use crate::volume::Volume;
use block::{ReadAt, ReadError};
use std::collections::BTreeSet;
use std::sync::Arc;

const MIB: u64 = 1 << 20;
/// Bytes of the devices and volumes that the structures are put on.
const SIZE: u64 = 4 << 30;

/// Takes `bytes` for each structure of a LUN in turn: partition table, LVM, file-system header,
/// descriptor, resource file with a cluster, directory, addresses; and checks what their parsers
/// promise whatever comes.
///
/// # Panics
/// When a promise is broken, which is what a fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    partition(bytes);
    logical_volume(bytes);
    header(bytes);
    for family in [Family::Vmfs5, Family::Vmfs6] {
        let geometry = superblock::usual(family);
        addresses(&geometry, bytes);
        file_descriptor(&geometry, bytes);
        resources(&geometry, bytes);
        folder(family, bytes);
    }
}

/// A device with some bytes at some places and zeros elsewhere.
struct Islands(Vec<(u64, Vec<u8>)>);

impl ReadAt for Islands {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), SIZE)?;
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for (start, bytes) in &self.0 {
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                let island = &bytes[index(from - start)..index(to - start)];
                buffer[index(from - offset)..index(to - offset)].copy_from_slice(island);
            }
        }
        Ok(())
    }
}

fn refused<T>(result: Result<T, VmfsError>) -> Option<T> {
    match result {
        Ok(found) => Some(found),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal has words");
            None
        }
    }
}

fn partition(bytes: &[u8]) {
    let device = Islands(vec![(0, bytes.to_vec())]);
    if let Some(found) = refused(find_partition(&device)) {
        assert!(found.offset + found.length <= SIZE, "a partition lies on its device");
    }
}

/// Header, volume entry, bitmap and extents, one behind the other in `bytes`.
fn logical_volume(bytes: &[u8]) {
    let part = |start: usize, end: usize| {
        bytes.get(start..end.min(bytes.len())).unwrap_or_default().to_vec()
    };
    for alignment in [512, 4096] {
        let tables = MIB + alignment + 0x8_0000;
        let bitmap = alignment.max(1024);
        let device = Islands(vec![
            (MIB, part(0, 512)),
            (MIB + alignment, part(512, 1024)),
            (tables, part(1024, 1152)),
            (tables + bitmap, part(1152, 4096)),
        ]);
        if let Some(found) = refused(lvm::read(&device)) {
            for extent in &found.extents {
                assert!(extent.physical + extent.length <= SIZE, "extents lie on their device");
            }
        }
        assert!(refused(Volume::open(vec![Arc::new(device)])).is_none(), "there is no volume");
    }
}

fn header(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.resize(512, 0);
    if let Some(found) = refused(superblock::parse(bytes, SIZE)) {
        assert!(found.pb2_at < SIZE, "descriptors lie in the volume");
    }
}

fn addresses(geometry: &Geometry, bytes: &[u8]) {
    for word in bytes.chunks_exact(8).take(64) {
        let mut address = u64::from_le_bytes(word.try_into().expect("8 bytes"));
        if geometry.family == Family::Vmfs5 {
            address &= 0xFFFF_FFFF;
        }
        let _ = address::pointer(geometry, address);
        match address::leaf(geometry, address) {
            Ok(Leaf::Block { number, .. }) => assert!(number < 1 << 40, "blocks can be placed"),
            Ok(Leaf::Hole) => assert_eq!(address, 0, "only 0 is a hole"),
            _ => {}
        }
    }
}

fn file_descriptor(geometry: &Geometry, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.resize(index(geometry.fd_bytes()), 0);
    // A descriptor knows its own place and address: take those that it gives.
    let fields = Fields(&bytes);
    let (offset, own) = (fields.u64(4), fields.u32(index(geometry.metadata)));
    let Some(fd) = refused(descriptor::parse(geometry, own, offset, bytes)) else { return };
    assert!(fd.zla != Zla::Resident || fd.resident().len() as u64 == fd.length);
    let blocks = fd.length.div_ceil(1 << fd.block_shift);
    let reach = descriptor::pointers_per_block(geometry).pow(fd.zla.levels());
    if !matches!(fd.zla, Zla::Resident | Zla::RawDevice) && blocks > 0 {
        let _ = fd.slot((blocks - 1) / reach);
    }
    let _ = fd.raw_device_id();
}

/// A file header, and then a cluster header, at the places where they are read.
fn resources(geometry: &Geometry, bytes: &[u8]) {
    let (header, cluster) = bytes.split_at(bytes.len().min(128));
    let device = Arc::new(Islands(vec![
        (0, header.to_vec()),
        (0x1000, header.to_vec()),
        (0x1_0000, cluster.to_vec()),
        (0x2_0000, cluster.to_vec()),
    ]));
    let space = Space::bare(device);
    let sizes = [Some(geometry.fd_bytes()), Some(geometry.sub_block), None];
    for (size, lock_type) in sizes.into_iter().zip([0x10C0_0005, 0x10C0_0003, 0x10C0_0002]) {
        let kind = Kind { name: "resources", lock_type, size };
        let blocks = (0..64).map(|block| block * MIB).collect();
        let opened = ResourceFile::open(&space, geometry, kind, blocks, 64 * MIB);
        let Some(file) = refused(opened).filter(|file| file.count() > 0) else { continue };
        if let Some(used) = refused(file.cluster_in_use(&space, geometry, 0)) {
            assert!(used.len() <= 8, "a cluster has at most 512 resources");
        }
    }
}

fn folder(family: Family, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    match family {
        Family::Vmfs5 => bytes.truncate(bytes.len() / 140 * 140),
        Family::Vmfs6 => bytes.resize(bytes.len().max(0x1_1000).next_multiple_of(4096), 0),
    }
    let Some(listing) = refused(directory::parse(family, 0, &bytes)) else { return };
    let names: BTreeSet<_> = listing.entries.iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), listing.entries.len(), "no name is there twice");
    if family == Family::Vmfs6 {
        for entry in &listing.entries {
            refused(directory::check_lookup(0, &bytes, false, entry));
        }
    }
}
