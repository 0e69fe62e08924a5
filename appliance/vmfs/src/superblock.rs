//! The file-system header at volume offset 0x200000, and the geometry that follows from it.

use crate::bytes::{Fields, uuid_text};
use crate::error::{At, VmfsError};
use crate::space::Space;

const HEADER: At = At { structure: "file-system header", offset: 0x20_0000 };
pub(crate) const HEADER_BYTES: u64 = 512;
const MAGIC: u32 = 0x2FAB_F15E;
const MAGIC_LOCAL: u32 = 0x2FAB_F15F;
/// Sub-blocks of 8 KiB, 64 per cluster (VMFS-5); set on all VMFS-6 volumes.
const DENSE_SUB_BLOCKS: u32 = 0x4;
/// Bits seen on volumes made by ESXi, or documented and harmless to a reader.
const KNOWN_CONFIG: u32 = 0x6F0E;

/// Clusters of descriptors in a group.
const CLUSTERS_5: u64 = 64;
const CLUSTERS_6: u64 = 8;

/// The two families of layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Vmfs5,
    Vmfs6,
}

/// Sizes and places that every other structure depends on.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) family: Family,
    /// Bytes of a metadata block.
    pub(crate) metadata: u64,
    /// Bytes of a file block.
    pub(crate) file_block: u64,
    /// Bytes of a sub-block.
    pub(crate) sub_block: u64,
    /// VMFS-5 only: two more index bits in the addresses of sub-blocks.
    pub(crate) dense: bool,
    /// Bytes of a large block.
    pub(crate) large_block: u64,
    /// Volume offset of the first descriptor.
    pub(crate) first_fd: u64,
    /// End of header and heartbeats; no block of a file lies before it.
    pub(crate) start: u64,
}

impl Geometry {
    pub(crate) fn fd_bytes(&self) -> u64 {
        match self.family {
            Family::Vmfs5 => 2048,
            Family::Vmfs6 => 2 * self.metadata,
        }
    }
}

/// What the header says.
#[derive(Clone, Debug)]
pub(crate) struct Superblock {
    pub(crate) uuid: [u8; 16],
    pub(crate) label: String,
    pub(crate) minor: u8,
    pub(crate) config: u32,
    pub(crate) local: bool,
    pub(crate) created: u32,
    /// Logical volume and snapshot id that the header was made for; `None` without LVM.
    pub(crate) identity: Option<([u8; 16], u32)>,
    /// Volume offsets of the descriptors of `.pb2.sf` and `.sdd.sf`.
    pub(crate) pb2_at: u64,
    pub(crate) geometry: Geometry,
    pub(crate) bytes: Vec<u8>,
}

/// Reads and checks the header.
pub(crate) fn read(space: &Space) -> Result<Superblock, VmfsError> {
    parse(space.read(HEADER, HEADER_BYTES)?, space.size())
}

/// Checks the bytes of the header of a volume of `size` bytes.
pub(crate) fn parse(bytes: Vec<u8>, size: u64) -> Result<Superblock, VmfsError> {
    let fields = Fields(&bytes);
    let magic = fields.u32(0);
    let known = magic == MAGIC || magic == MAGIC_LOCAL;
    HEADER.require(known, "magic", format_args!("{magic:#x}"), "0x2fabf15e or 0x2fabf15f")?;
    let (major, minor, config) = (fields.u32(4), fields.u8(8), fields.u32(0x19));
    let family = match (major, minor) {
        (14, ..=81) => Family::Vmfs5,
        (24, ..=82) => Family::Vmfs6,
        _ => return Err(VmfsError::unsupported(format!("VMFS version {major}.{minor}"))),
    };
    refuse_unknown(fields, config)?;
    let identity = fields.array::<32>(0xB1);
    let superblock = Superblock {
        uuid: fields.array(0x09),
        label: String::from_utf8_lossy(fields.text(0x1D, 128)).into_owned(),
        minor,
        config,
        local: magic == MAGIC_LOCAL,
        created: fields.u32(0xA9),
        identity: (identity != [0; 32]).then(|| (fields.array(0xB1), fields.u32(0xC1))),
        pb2_at: fields.u64(0xE1),
        geometry: geometry(family, fields, config & DENSE_SUB_BLOCKS != 0)?,
        bytes: bytes.clone(),
    };
    if fields.u32(0x9D) == 4096 {
        return Err(VmfsError::unsupported("VMFS on a disk with sectors of 4 KiB (4Kn)"));
    }
    HEADER.expect("disk block size", fields.u32(0x9D), 512u32)?;
    HEADER.expect("address of .pb2.sf", fields.u32(0xE9), 0x0180_0004u32)?;
    HEADER.expect("address of .sdd.sf", fields.u32(0x10D), 0x01C0_0004u32)?;
    let behind_fixed = superblock.geometry.start..size;
    HEADER.require(
        behind_fixed.contains(&superblock.pb2_at),
        "place of .pb2.sf",
        format_args!("{:#x}", superblock.pb2_at),
        "within the volume",
    )?;
    Ok(superblock)
}

fn refuse_unknown(fields: Fields, config: u32) -> Result<(), VmfsError> {
    let unknown = config & !KNOWN_CONFIG;
    if unknown != 0 {
        return Err(VmfsError::unsupported(format!("VMFS configuration bit {unknown:#x}")));
    }
    if fields.u8(0x111) != 0 {
        let kind = fields.u8(0x111);
        return Err(VmfsError::unsupported(format!("VMFS metadata checksum type {kind}")));
    }
    Ok(())
}

fn geometry(family: Family, fields: Fields, dense: bool) -> Result<Geometry, VmfsError> {
    let file_block = fields.u64(0xA1);
    let sub_block = u64::from(fields.u32(0xD9));
    HEADER.expect("cluster group offset", fields.u32(0xD1), 0x1_0000u32)?;
    let clusters = u64::from(fields.u32(0xD5));
    match family {
        Family::Vmfs5 => vmfs5(file_block, sub_block, clusters, dense),
        Family::Vmfs6 => vmfs6(fields, file_block, sub_block, clusters),
    }
}

fn vmfs5(
    file_block: u64,
    sub_block: u64,
    clusters: u64,
    dense: bool,
) -> Result<Geometry, VmfsError> {
    if file_block != 0x8_0000 && file_block != 0x10_0000 {
        return Err(VmfsError::unsupported(format!("VMFS-5 with blocks of {file_block} bytes")));
    }
    HEADER.expect("sub-block size", sub_block, if dense { 0x2000u64 } else { 0x8000 })?;
    HEADER.expect("descriptor clusters per group", clusters, CLUSTERS_5)?;
    Ok(geometry_5(file_block, sub_block, dense))
}

fn geometry_5(file_block: u64, sub_block: u64, dense: bool) -> Geometry {
    let start = file_block * 0x40_0000u64.div_ceil(file_block);
    Geometry {
        family: Family::Vmfs5,
        metadata: 512,
        file_block,
        sub_block,
        dense,
        large_block: 0,
        first_fd: start + 0x1_0000 + CLUSTERS_5 * 1024,
        start,
    }
}

fn vmfs6(
    fields: Fields,
    file_block: u64,
    sub_block: u64,
    clusters: u64,
) -> Result<Geometry, VmfsError> {
    let metadata = u64::from(fields.u32(0x134));
    if metadata != 4096 {
        return Err(VmfsError::unsupported(format!("VMFS-6 metadata alignment {metadata}")));
    }
    if file_block != 0x10_0000 || sub_block != 0x1_0000 {
        return Err(VmfsError::unsupported(format!(
            "VMFS-6 with blocks of {file_block} and sub-blocks of {sub_block} bytes"
        )));
    }
    HEADER.expect("descriptor clusters per group", clusters, CLUSTERS_6)?;
    HEADER.expect("large-block shift", fields.u16(0x138), 9u16)?;
    HEADER.expect("pointer-block shift", fields.u16(0x13E), 16u16)?;
    HEADER.expect("file-block address bits", fields.u16(0x140), 44u16)?;
    HEADER.expect("'to be zeroed' granularity", fields.u32(0x144), 0x10_0000u32)?;
    Ok(geometry_6(metadata, file_block, sub_block))
}

fn geometry_6(metadata: u64, file_block: u64, sub_block: u64) -> Geometry {
    let start = ((metadata << 10) + 0x3F_FFFF) & !0xF_FFFF;
    Geometry {
        family: Family::Vmfs6,
        metadata,
        file_block,
        sub_block,
        dense: false,
        large_block: file_block << 9,
        first_fd: start + 0x1_0000 + CLUSTERS_6 * 2 * metadata,
        start,
    }
}

/// The geometry of most volumes: blocks of 1 MiB, dense sub-blocks, metadata aligned to 4 KiB.
pub(crate) fn usual(family: Family) -> Geometry {
    match family {
        Family::Vmfs5 => geometry_5(0x10_0000, 0x2000, true),
        Family::Vmfs6 => geometry_6(4096, 0x10_0000, 0x1_0000),
    }
}

impl Superblock {
    /// The header must have been made for this logical volume.
    pub(crate) fn check_identity(&self, uuid: &[u8; 16], snap_id: u32) -> Result<(), VmfsError> {
        let text = |(uuid, snap_id): &([u8; 16], u32)| format!("{} {snap_id}", uuid_text(uuid));
        let expected = (*uuid, snap_id);
        if self.identity == Some(expected) {
            return Ok(());
        }
        let found = self.identity.as_ref().map_or_else(|| "none".into(), text);
        Err(HEADER.damaged("logical volume", found, text(&expected)))
    }
}
