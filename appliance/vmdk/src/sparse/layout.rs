//! What the headers of the sparse formats have in common once they are understood.

use crate::bytes::index;
use crate::error::VmdkError;
use crate::pages::Pages;

/// Bytes of a sector; all numbers of all formats count these.
pub(crate) const SECTOR: u64 = 512;
/// Most tables of a file: 64 TiB in SEsparse, 128 TiB in hosted grains of 64 KiB. A directory in
/// memory has 8 bytes for each table that exists.
const TABLES_MAX: u64 = 1 << 22;

/// How entries of grain tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Cowd,
    Hosted {
        /// The entry 1 means zeros.
        zero_grains: bool,
        /// Grains are deflated, with their place on the disk in front.
        packed: bool,
        /// A marker stands before each table.
        marked: bool,
        /// First byte behind the metadata in front of the file.
        overhead: u64,
    },
    SeSparse {
        tables: Area,
        /// Tables of that area in use; the first free one has this number.
        used: u64,
        grains: Area,
    },
}

/// Bytes `[start, end)` of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Where the grains of a sparse file are found.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    /// Bytes of the disk that the file holds.
    pub(crate) capacity: u64,
    /// Bytes of a grain: a power of two.
    pub(crate) grain: u64,
    /// Entries of a grain table.
    pub(crate) per_table: u64,
    /// Bytes of an entry: 4 or 8.
    pub(crate) width: u64,
    /// Offset of the grain directory.
    pub(crate) directory: u64,
    /// Offset of its copy, where there is one.
    pub(crate) copy: Option<u64>,
    /// Where neither tables nor grains can be: headers, descriptor, areas of other things. The
    /// directories are added by [`Layout::fixed`].
    pub(crate) reserved: Vec<Area>,
}

impl Layout {
    /// Grains of the disk; the last one may be short.
    pub(crate) fn grains(&self) -> u64 {
        self.capacity.div_ceil(self.grain)
    }

    /// Grain tables of the disk.
    pub(crate) fn tables(&self) -> u64 {
        self.grains().div_ceil(self.per_table)
    }

    pub(crate) fn table_bytes(&self) -> u64 {
        self.per_table * self.width
    }

    pub(crate) fn directory_bytes(&self) -> u64 {
        self.tables() * self.width
    }

    /// Bytes of the disk in grain `number`.
    pub(crate) fn grain_bytes(&self, number: u64) -> u64 {
        self.grain.min(self.capacity - number * self.grain)
    }

    /// Everything that has a fixed place.
    pub(crate) fn fixed(&self) -> Vec<Area> {
        let directory = |start| Area { start, end: start + self.directory_bytes() };
        let directories = [Some(self.directory), self.copy].into_iter().flatten().map(directory);
        self.reserved.iter().copied().chain(directories).collect()
    }

    /// Refuses sizes that nobody has, and fixed areas that overlap or leave the file.
    pub(crate) fn check(&self, pages: &Pages) -> Result<(), VmdkError> {
        let at = pages.at("header", 0);
        at.require(self.capacity > 0, "the capacity", 0, "more than nothing")?;
        at.known(self.tables() <= TABLES_MAX, "a number of grain tables of", self.tables())?;
        let mut fixed = self.fixed();
        fixed.sort_by_key(|area| area.start);
        let apart = fixed.windows(2).all(|pair| pair[0].end <= pair[1].start);
        at.require(apart, "the places of its areas", "overlapping", "one behind the other")?;
        let end = fixed.last().map_or(0, |area| area.end);
        let end = end.max(self.directory + self.directory_bytes());
        at.require(end <= pages.size(), "the end of its areas", end, "within the file")
    }
}

impl Area {
    /// An area given in sectors; `None` when its end is beyond every file.
    pub(crate) fn of_sectors(start: u64, count: u64) -> Option<Self> {
        let bytes = |sectors: u64| sectors.checked_mul(SECTOR).filter(|bytes| *bytes <= 1 << 62);
        let start = bytes(start)?;
        Some(Self { start, end: start + bytes(count)? })
    }

    pub(crate) fn length(self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Bytes of `sectors`, which a field of a header gives; refused when no file is as long.
pub(crate) fn bytes_of(pages: &Pages, field: &'static str, sectors: u64) -> Result<u64, VmdkError> {
    let area = Area::of_sectors(sectors, 0);
    let at = pages.at("header", 0);
    area.map(|area| area.start).ok_or_else(|| at.damaged(field, sectors, "a place in a file"))
}

/// Refuses padding that holds something: another version may mean something by it.
pub(crate) fn require_zeros(
    pages: &Pages,
    structure: &'static str,
    offset: u64,
    bytes: &[u8],
) -> Result<(), VmdkError> {
    let found = bytes.iter().position(|byte| *byte != 0);
    let value = found.map_or(0, |at| bytes[at]);
    let offset = offset + found.map_or(0, |at| at as u64);
    pages.at(structure, offset).known(found.is_none(), "padding of", value.into())
}

/// A power of two of sectors within limits, in bytes.
pub(crate) fn grain_size(
    pages: &Pages,
    sectors: u64,
    limits: std::ops::RangeInclusive<u64>,
) -> Result<u64, VmdkError> {
    let good = sectors.is_power_of_two() && limits.contains(&sectors);
    pages.at("header", 0).known(good, "a grain size in sectors of", sectors)?;
    Ok(sectors * SECTOR)
}

/// A slice of a header as an array of `N` u64.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    std::array::from_fn(|n| crate::bytes::u64_at(bytes, index(n as u64 * 8)))
}
