//! The LUN image: partition table and LVM 6 header, and reads and writes of the logical volume.

use super::bytes::{MIB, Random, get32, get64, index, low32, put, put32, put64, uuid, uuid_text};
use super::error::FormatError;
use super::gpt::{self, PARTITION_FIRST, SECTOR};
use super::spec::VolumeSpec;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of one unit of volume space.
pub(super) const UNIT: u64 = 256 * MIB;
/// Start of the partition on the LUN.
const PARTITION: u64 = PARTITION_FIRST * SECTOR;
/// LVM header, relative to the partition.
const LVM_HEADER: u64 = 0x10_0000;
/// First byte of the logical volume, relative to the partition.
const LVM_DATA: u64 = 0x110_0000;
const LVM_MAGIC: u32 = 0xC001_D00D;

/// The identities and the host that a volume is made with.
pub(super) struct Identity {
    pub(super) file_system: [u8; 16],
    pub(super) logical_volume: [u8; 16],
    device: [u8; 16],
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
            device: uuid(time, random, mac),
            host: uuid(time, random, mac),
            mac,
        }
    }
}

/// An image with the position of the logical volume in it.
pub(super) struct Image {
    file: File,
    /// Bytes of the logical volume.
    pub(super) volume_bytes: u64,
    /// Text form of the logical volume's UUID.
    pub(super) lvm_uuid: String,
}

impl Image {
    /// Makes the sparse file with partition table and LVM structures.
    pub(super) fn create(
        spec: &VolumeSpec,
        identity: &Identity,
        random: &mut Random,
        path: &Path,
    ) -> Result<Self, FormatError> {
        let open_failed = |source| FormatError::Open { path: path.into(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(open_failed)?;
        lock(&file, path)?;
        file.set_len(spec.size).map_err(open_failed)?;
        let sectors = spec.size / SECTOR;
        let partition = (gpt::last_usable(sectors) + 1) * SECTOR - PARTITION;
        let units = (partition - LVM_DATA) / UNIT;
        let lvm_uuid = uuid_text(&identity.logical_volume);
        let image = Self { file, volume_bytes: units * UNIT, lvm_uuid };
        for (offset, bytes) in gpt::table(sectors, random) {
            image.write_lun(offset, &bytes)?;
        }
        for (offset, bytes) in lvm(spec, identity, units, partition) {
            image.write_lun(PARTITION + LVM_HEADER + offset, &bytes)?;
        }
        Ok(image)
    }

    /// Opens an image that [`Image::create`] made, alone against other writers.
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let open_failed = |source| FormatError::Open { path: path.into(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(open_failed)?;
        lock(&file, path)?;
        let mut image = Self { file, volume_bytes: 0, lvm_uuid: String::new() };
        let header = image.read_lun(PARTITION + LVM_HEADER, 512)?;
        let entry = image.read_lun(PARTITION + LVM_HEADER + 0x1000, 512)?;
        if get32(&header, 0) != LVM_MAGIC || get64(&header, 0x7A) != LVM_DATA {
            return Err(FormatError::NotOurs {
                structure: "LVM header",
                offset: PARTITION + LVM_HEADER,
                problem: "it is not that of a volume made by this formatter",
            });
        }
        image.volume_bytes = get64(&entry, 0);
        image.lvm_uuid = uuid_text(entry[0x54..0x64].try_into().expect("16 bytes"));
        Ok(image)
    }

    /// Bytes of the LUN.
    pub(super) fn lun_bytes(&self) -> Result<u64, FormatError> {
        let failed =
            |source| FormatError::Io { operation: "measure", offset: 0, length: 0, source };
        self.file.metadata().map(|metadata| metadata.len()).map_err(failed)
    }

    /// Start of the partition on the LUN.
    pub(super) fn partition(&self) -> u64 {
        PARTITION
    }

    /// Where a byte of the logical volume lies on the LUN.
    pub(super) fn lun_offset(&self, volume_offset: u64) -> u64 {
        PARTITION + LVM_DATA + volume_offset
    }

    /// `length` bytes of the logical volume.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        self.read_lun(self.lun_offset(offset), length)
    }

    /// Overwrites bytes of the logical volume.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        if offset + bytes.len() as u64 > self.volume_bytes {
            return Err(FormatError::Full("block"));
        }
        self.write_lun(self.lun_offset(offset), bytes)
    }

    fn read_lun(&self, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; index(length)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| FormatError::Io {
            operation: "read",
            offset,
            length,
            source,
        })?;
        Ok(bytes)
    }

    fn write_lun(&self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let length = bytes.len() as u64;
        self.file.write_all_at(bytes, offset).map_err(|source| FormatError::Io {
            operation: "write",
            offset,
            length,
            source,
        })
    }
}

/// One writer at a time: `vmfs-tool` may be started twice.
fn lock(file: &File, path: &Path) -> Result<(), FormatError> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| FormatError::Open { path: path.into(), source: errno.into() })
}

/// The LVM structures as (offset from the header, bytes).
fn lvm(spec: &VolumeSpec, identity: &Identity, units: u64, partition: u64) -> [(u64, Vec<u8>); 5] {
    [
        (0, header(spec, identity, units, partition)),
        (0x1000, volume_entry(spec, identity, units)),
        (0x7_F000, format!("{}:1", spec.naa).into_bytes()),
        (0x8_1000, vec![1]),
        (0x8_2000, extent(units)),
    ]
}

fn header(spec: &VolumeSpec, identity: &Identity, units: u64, partition: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    put32(&mut bytes, 0x00, LVM_MAGIC);
    put32(&mut bytes, 0x04, 6);
    put32(&mut bytes, 0x08, 0x15);
    scsi_id(spec, &mut bytes[0x0C..0x5A]);
    put32(&mut bytes, 0x5A, low32(SECTOR));
    put64(&mut bytes, 0x5E, partition);
    put32(&mut bytes, 0x66, 1);
    put32(&mut bytes, 0x6A, 1);
    put64(&mut bytes, 0x72, 3);
    put64(&mut bytes, 0x7A, LVM_DATA);
    put(&mut bytes, 0x82, &identity.device);
    put64(&mut bytes, 0x92, microseconds(spec.time));
    put64(&mut bytes, 0x9A, microseconds(spec.time));
    put32(&mut bytes, 0xCA, 0x1000);
    put32(&mut bytes, 0xCE, low32(units));
    bytes
}

/// Type 2 (NAA), the 16 bytes of the name and 6 of the model, as in the host's `vml.` names.
/// On volumes made by ESXi only types 0 and 1 were seen.
fn scsi_id(spec: &VolumeSpec, bytes: &mut [u8]) {
    let digits = spec.naa.as_str().trim_start_matches("naa.");
    let mut id = hex::decode(digits).expect("an NAA name holds hex digits");
    id.extend_from_slice(b"VIRTUA");
    bytes[0] = 2;
    bytes[1] = id.len().to_le_bytes()[0];
    put(bytes, 34, &id);
}

fn volume_entry(spec: &VolumeSpec, identity: &Identity, units: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    put64(&mut bytes, 0x00, units * UNIT);
    put64(&mut bytes, 0x08, 2);
    put32(&mut bytes, 0x10, 1);
    put(&mut bytes, 0x14, uuid_text(&identity.logical_volume).as_bytes());
    put(&mut bytes, 0x54, &identity.logical_volume);
    put32(&mut bytes, 0x64, 1);
    put64(&mut bytes, 0x68, microseconds(spec.time));
    put32(&mut bytes, 0x74, low32(units));
    put64(&mut bytes, 0x80, units - 1);
    put64(&mut bytes, 0x88, microseconds(spec.time));
    put32(&mut bytes, 0x90, 1);
    put32(&mut bytes, 0x110, 1);
    bytes
}

fn extent(units: u64) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[0] = 1;
    put64(&mut bytes, 9, LVM_DATA);
    put64(&mut bytes, 25, units * UNIT);
    put32(&mut bytes, 33, 1);
    bytes
}

fn microseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000
}
