//! What a volume is to be. Also a part of the JSON that `vmfs-tool create` reads.

use super::error::FormatError;
use super::version::Version;
use super::volume::Volume;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// LUNs of a volume: the names of as many fit the LVM's table.
const LUNS_MAX: usize = 32;

/// A volume on one LUN or several. Two equal specifications give two equal sets of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Bytes of each whole LUN, partition tables included; at least 640 MiB, a multiple of 512.
    pub size: u64,
    /// VMFS-5 or VMFS-6.
    #[serde(default)]
    pub version: Version,
    /// VMFS-L, which hosts use for themselves.
    #[serde(default)]
    pub local: bool,
    /// Name of the datastore, up to 127 bytes.
    pub label: String,
    /// The first LUN's name (`naa.` and 32 hex digits), recorded in the LVM header as ESXi does;
    /// the last digits of the others count on from it.
    #[serde(default = "default_naa")]
    pub naa: model::NaaName,
    /// All identities (file system, LVM, hosts) come from this number.
    #[serde(default)]
    pub uuid_seed: u64,
    /// Seconds since 1970 at which the volume is made; every time stamp is this one.
    #[serde(default = "default_time")]
    pub time: u32,
    /// How blocks of files follow one another.
    #[serde(default)]
    pub layout: Layout,
    /// Room for files and folders, in steps of 2048 (12,800 on VMFS-5), 1 to 8.
    #[serde(default = "one")]
    pub fd_groups: u32,
    /// Room for sub-blocks (small files, folders, pointer blocks), in steps of 2048 (1 to 8).
    /// Each step takes 128 MiB of the volume. On VMFS-5: 4096 sub-blocks and 1024 pointer blocks
    /// in 36 MiB.
    #[serde(default = "one")]
    pub sb_groups: u32,
}

/// How the blocks of new files are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The next free block.
    #[default]
    Contiguous,
    /// Runs of 1 to 6 blocks, scattered over the volume, in the order of the seed.
    Fragmented,
}

impl VolumeSpec {
    /// A volume of `size` bytes of LUN with the label `label`; everything else as by default.
    #[must_use]
    pub fn new(size: u64, label: &str) -> Self {
        Self {
            size,
            version: Version::default(),
            local: false,
            label: label.into(),
            naa: default_naa(),
            uuid_seed: 0,
            time: default_time(),
            layout: Layout::Contiguous,
            fd_groups: 1,
            sb_groups: 1,
        }
    }

    /// Writes an empty volume to `image`, a new or emptied sparse file, and opens it.
    pub fn create(&self, image: &Path) -> Result<Volume, FormatError> {
        self.create_on(&[image])
    }

    /// Writes an empty volume that spans several LUNs of equal size, in this order.
    pub fn create_on(&self, images: &[&Path]) -> Result<Volume, FormatError> {
        self.check()?;
        if !(1..=LUNS_MAX).contains(&images.len()) {
            return Err(FormatError::Spec("a volume has 1 to 32 LUNs".into()));
        }
        Volume::format(self, images)
    }

    fn check(&self) -> Result<(), FormatError> {
        let refuse = |why: &str| Err(FormatError::Spec(why.into()));
        if self.size < 640 << 20 || !self.size.is_multiple_of(512) {
            return refuse("its size must be at least 640 MiB and a multiple of 512");
        }
        if self.size > 16 << 40 {
            return refuse("one LUN of more than 16 TiB would need several LVM extents");
        }
        if self.label.is_empty() || self.label.len() > 127 {
            return refuse("the label must have 1 to 127 bytes");
        }
        if !(1..=8).contains(&self.fd_groups) || !(1..=8).contains(&self.sb_groups) {
            return refuse("fd_groups and sb_groups must be 1 to 8");
        }
        Ok(())
    }
}

fn default_naa() -> model::NaaName {
    "naa.6001405a5a5a5a5a5a5a5a5a5a5a5a5a".parse().expect("an NAA name of 32 digits")
}

fn default_time() -> u32 {
    1_750_000_000
}

fn one() -> u32 {
    1
}
