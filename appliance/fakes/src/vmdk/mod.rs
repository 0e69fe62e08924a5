//! A formatter for sparse VMDK files: deltas as ESXi makes them, and hosted ones. Test data only.
//!
//! What this is: from a list of grains to the bytes of a file, after the tables of the format
//! reference. What it is not: the reader's twin (it shares no code with the `vmdk` crate, so that
//! the two can disagree), and no proof of what ESXi writes.
//!
//! | module | what it makes |
//! |---|---|
//! | [`image`](Image) | a file of any length in little memory |
//! | `cowd` | `vmfsSparse`: tables and grains as they came |
//! | `sesparse` | `seSparse`: eight areas, bitmap and back map filled as in the one real sample |
//! | `hosted` | `monolithicSparse` and parts of `twoGbMaxExtentSparse`, tables laid out before |

mod cowd;
mod hosted;
mod image;
mod sesparse;

pub use cowd::cowd;
pub use hosted::hosted;
pub use image::Image;
pub use sesparse::{GRAIN as SESPARSE_GRAIN, sesparse};

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// What a sparse file says about a grain. The others are left to the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grain {
    /// These bytes, a whole grain, or less for a last grain that is short.
    Data(Vec<u8>),
    /// Zeros by a mark (not in COWD, which has none).
    Zero,
    /// SEsparse only: given up by the guest; these old bytes still lie in the file.
    Unmapped(Vec<u8>),
}

/// A sparse file to be made.
#[derive(Clone, Debug)]
pub struct SparseSpec {
    /// Bytes of the disk, whole sectors.
    pub capacity: u64,
    /// Sectors of a grain; SEsparse always has 8.
    pub grain_sectors: u64,
    /// The grains, by number.
    pub grains: BTreeMap<u64, Grain>,
    /// Grains are written in an order that this decides; 0 for the order of the disk.
    pub seed: u64,
    /// Areas begin at multiples of this; ESXi uses 2048 sectors in SEsparse.
    pub align_sectors: u64,
}

impl SparseSpec {
    /// An empty disk with the usual numbers of ESXi: grains of one sector for COWD.
    #[must_use]
    pub fn new(capacity: u64, grain_sectors: u64) -> Self {
        let grains = BTreeMap::new();
        Self { capacity, grain_sectors, grains, seed: 0, align_sectors: 2048 }
    }

    /// The numbers of all grains, in the order in which they are written.
    fn order(&self) -> Vec<u64> {
        let mut order: Vec<u64> = self.grains.keys().copied().collect();
        if self.seed != 0 {
            order.sort_by_key(|number| mix(number.wrapping_add(self.seed)));
        }
        order
    }

    fn grain_bytes(&self) -> u64 {
        self.grain_sectors * SECTOR
    }
}

/// A descriptor as ESXi writes it; `parent` is the parent's CID and name, `extents` are lines.
#[must_use]
pub fn descriptor(
    create_type: &str,
    cid: u32,
    parent: Option<(u32, &str)>,
    extents: &[String],
) -> String {
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={cid:08x}\nparentCID={:08x}\n\
         isNativeSnapshot=\"no\"\ncreateType=\"{create_type}\"\n",
        parent.map_or(u32::MAX, |(cid, _)| cid)
    );
    if let Some((_, name)) = parent {
        let _ = writeln!(text, "parentFileNameHint=\"{name}\""); // a String takes everything
    }
    text.push_str("\n# Extent description\n");
    for extent in extents {
        text.push_str(extent);
        text.push('\n');
    }
    text.push_str("\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n");
    text.push_str("ddb.virtualHWVersion = \"14\"\n");
    text
}

/// `SplitMix64` of one number.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn sectors32(sectors: u64) -> u32 {
    u32::try_from(sectors).expect("the formatter is asked for files below 2 TiB")
}
