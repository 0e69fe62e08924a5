//! The LUN images: partition tables and LVM, and reads and writes of the logical volume.

use super::bytes::{MIB, Random, get64, index, uuid, uuid_text};
use super::error::FormatError;
use super::gpt::{self, PARTITION_FIRST, SECTOR};
use super::lvm;
use super::spec::VolumeSpec;
use super::version::Version;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of one unit of volume space.
pub(super) const UNIT: u64 = 256 * MIB;
/// Start of the partition on the LUN.
const PARTITION: u64 = PARTITION_FIRST * SECTOR;
/// First byte of the logical volume, relative to the partition.
pub(super) const DATA: u64 = 0x110_0000;

/// The identities and the host that a volume is made with.
pub(super) struct Identity {
    pub(super) file_system: [u8; 16],
    pub(super) logical_volume: [u8; 16],
    pub(super) host: [u8; 16],
    pub(super) mac: [u8; 6],
}

impl Identity {
    pub(super) fn new(time: u32, random: &mut Random) -> Self {
        let bits = random.next().to_le_bytes();
        let mac = [0x00, 0x50, 0x56, bits[0], bits[1], bits[2]];
        Self {
            file_system: uuid(time, random, mac),
            logical_volume: uuid(time, random, mac),
            host: uuid(time, random, mac),
            mac,
        }
    }
}

/// The images of a volume's LUNs, in the order of the volume.
pub(super) struct Image {
    pub(super) version: Version,
    luns: Vec<Lun>,
    /// Bytes of the logical volume.
    pub(super) volume_bytes: u64,
    /// Text form of the logical volume's UUID.
    pub(super) lvm_uuid: String,
}

struct Lun {
    file: File,
    /// Offset in the volume of the first byte that lies here, and of the first that does not.
    start: u64,
    end: u64,
}

impl Image {
    /// Makes sparse files with partition tables and LVM structures.
    pub(super) fn create(
        spec: &VolumeSpec,
        identity: &Identity,
        random: &mut Random,
        paths: &[&Path],
    ) -> Result<Self, FormatError> {
        let sectors = spec.size / SECTOR;
        let partition = (gpt::last_usable(sectors) + 1) * SECTOR - PARTITION;
        let units = (partition - DATA) / UNIT;
        let members = paths.len() as u64;
        let mut luns = Vec::new();
        for (path, number) in paths.iter().zip(0..) {
            let file = open(OpenOptions::new().create(true).truncate(true), path)?;
            file.set_len(spec.size)
                .map_err(|source| FormatError::Open { path: (*path).into(), source })?;
            let (start, end) = (number * units * UNIT, (number + 1) * units * UNIT);
            let lun = Lun { file, start, end };
            for (offset, bytes) in gpt::table(sectors, random) {
                lun.write(offset, &bytes)?;
            }
            let member = lvm::Member {
                number,
                members,
                uuid: uuid(spec.time, random, identity.mac),
                first_unit: number * units,
                units,
                all_units: members * units,
                partition,
            };
            for (offset, bytes) in lvm::structures(spec, identity, &member) {
                lun.write(PARTITION + lvm::HEADER + offset, &bytes)?;
            }
            luns.push(lun);
        }
        Ok(Self {
            version: spec.version,
            luns,
            volume_bytes: members * units * UNIT,
            lvm_uuid: uuid_text(&identity.logical_volume),
        })
    }

    /// Opens images that [`Image::create`] made, alone against other writers.
    pub(super) fn open(paths: &[&Path]) -> Result<Self, FormatError> {
        let not_ours = || FormatError::NotOurs {
            structure: "LVM header",
            offset: PARTITION + lvm::HEADER,
            problem: "it is not that of a volume made by this formatter",
        };
        let (mut luns, mut versions, mut entry) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let mut lun = Lun { file: open(&mut OpenOptions::new(), path)?, start: 0, end: 0 };
            let header = lun.read(PARTITION + lvm::HEADER, 512)?;
            let version = lvm::version(&header).ok_or_else(not_ours)?;
            entry = lun.read(PARTITION + lvm::HEADER + lvm::tables_at(version), 512)?;
            (lun.start, lun.end) = (get64(&entry, 0x78) * UNIT, (get64(&entry, 0x80) + 1) * UNIT);
            versions.push(version);
            luns.push(lun);
        }
        luns.sort_by_key(|lun| lun.start);
        let version = *versions.first().ok_or_else(not_ours)?;
        Ok(Self {
            version,
            luns,
            volume_bytes: get64(&entry, 0),
            lvm_uuid: uuid_text(entry[0x54..0x64].try_into().expect("16 bytes")),
        })
    }

    /// Bytes of a LUN; all are equally large.
    pub(super) fn lun_bytes(&self) -> Result<u64, FormatError> {
        let failed =
            |source| FormatError::Io { operation: "measure", offset: 0, length: 0, source };
        self.luns[0].file.metadata().map(|metadata| metadata.len()).map_err(failed)
    }

    /// Start of the partition on each LUN.
    pub(super) fn partition(&self) -> u64 {
        PARTITION
    }

    /// `length` bytes of the logical volume.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::with_capacity(index(length));
        for (lun, offset, length) in self.parts(offset, length)? {
            bytes.append(&mut lun.read(offset, length)?);
        }
        Ok(bytes)
    }

    /// Overwrites bytes of the logical volume.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let mut done = 0;
        for (lun, offset, length) in self.parts(offset, bytes.len() as u64)? {
            lun.write(offset, &bytes[done..done + index(length)])?;
            done += index(length);
        }
        Ok(())
    }

    /// The LUNs that hold a range of the volume, with offset and length on each.
    fn parts(&self, offset: u64, length: u64) -> Result<Vec<(&Lun, u64, u64)>, FormatError> {
        if offset + length > self.volume_bytes {
            return Err(FormatError::Full("block"));
        }
        let overlap = self.luns.iter().filter_map(|lun| {
            let (start, end) = (offset.max(lun.start), (offset + length).min(lun.end));
            (start < end).then(|| (lun, PARTITION + DATA + start - lun.start, end - start))
        });
        Ok(overlap.collect())
    }
}

impl Lun {
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; index(length)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| FormatError::Io {
            operation: "read",
            offset,
            length,
            source,
        })?;
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let length = bytes.len() as u64;
        self.file.write_all_at(bytes, offset).map_err(|source| FormatError::Io {
            operation: "write",
            offset,
            length,
            source,
        })
    }
}

/// Opens an image for one writer at a time: `vmfs-tool` may be started twice.
fn open(options: &mut OpenOptions, path: &Path) -> Result<File, FormatError> {
    let failed = |source| FormatError::Open { path: path.into(), source };
    let file = options.read(true).write(true).open(path).map_err(failed)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed(errno.into()))?;
    Ok(file)
}
