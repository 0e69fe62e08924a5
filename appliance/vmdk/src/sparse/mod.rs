//! One sparse file: from the number of a grain to the place of its bytes.
//!
//! The directory is read when the file is opened (8 bytes of memory for each table that exists),
//! tables when a grain of theirs is asked for. Every place is checked before it is believed: in
//! the file, on no header, directory or table, of no other table's room.

mod cowd;
mod directory;
pub(crate) mod hosted;
mod layout;
mod packed;
mod sesparse;
mod verify;

pub(crate) use layout::SECTOR;

use crate::error::VmdkError;
use crate::pages::Pages;
use block::ReadAt;
use directory::Directory;
use layout::{Area, Format, Layout};
use packed::Unpacked;
use std::sync::Arc;

/// The three formats, by the type that a descriptor gives their extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cowd,
    Hosted,
    SeSparse,
}

/// Where the bytes of a grain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Not in this file.
    Absent,
    Zero,
    /// At this offset of the file.
    At(u64),
    /// Deflated, from this offset of the file on.
    Packed(u64),
}

/// An open sparse file.
pub(crate) struct Sparse {
    pages: Pages,
    layout: Layout,
    directory: Directory,
    /// A second directory with tables of its own, which must say the same.
    copy: Option<Directory>,
    /// Where no grain can be: fixed areas, and tables of both directories, ascending.
    fixed: Vec<Area>,
    unpacked: Unpacked,
}

/// The descriptor inside a file that holds a whole disk; `None` for all other files.
pub(crate) fn embedded_descriptor(
    name: &str,
    file: &Arc<dyn ReadAt>,
) -> Result<Option<Vec<u8>>, VmdkError> {
    let pages = Pages::new(name, Arc::clone(file));
    if pages.size() < SECTOR || pages.bytes("header", 0, 4)? != hosted::MAGIC {
        return Ok(None);
    }
    hosted::descriptor(&pages)
}

impl Sparse {
    pub(crate) fn open(kind: Kind, name: &str, file: Arc<dyn ReadAt>) -> Result<Self, VmdkError> {
        let pages = Pages::new(name, file);
        let layout = match kind {
            Kind::Cowd => cowd::layout(&pages)?,
            Kind::Hosted => hosted::layout(&pages)?,
            Kind::SeSparse => sesparse::layout(&pages)?,
        };
        layout.check(&pages)?;
        let directory = Directory::read(&pages, &layout, layout.directory)?;
        let copy = layout.copy.map(|at| Directory::read(&pages, &layout, at)).transpose()?;
        directory::check(&pages, &layout, &directory, copy.as_ref())?;
        let fixed = layout.fixed();
        Ok(Self { pages, layout, directory, copy, fixed, unpacked: Unpacked::default() })
    }

    /// Bytes of the disk that the file holds.
    pub(crate) fn capacity(&self) -> u64 {
        self.layout.capacity
    }

    /// Bytes of a grain.
    pub(crate) fn grain(&self) -> u64 {
        self.layout.grain
    }

    /// Where grain `number` is, and for how many grains from it on that is the same answer
    /// without asking (more than one only where there is no table).
    pub(crate) fn find(&self, number: u64) -> Result<(Grain, u64), VmdkError> {
        let (table, within) = (number / self.layout.per_table, number % self.layout.per_table);
        let Some(place) = self.directory.table(table) else {
            return Ok((Grain::Absent, self.layout.per_table - within));
        };
        let start = self.layout.table_offset(place);
        if matches!(self.layout.format, Format::Hosted { marked: true, .. }) {
            hosted::require_table_marker(&self.pages, start)?;
        }
        let offset = start + within * self.layout.width;
        let value = self.pages.entry("grain table", offset, self.layout.width)?;
        if let Some(copy) = self.copy.as_ref().and_then(|copy| copy.table(table)) {
            let other = self.layout.table_offset(copy) + within * self.layout.width;
            let second = self.pages.entry("copy of the grain table", other, self.layout.width)?;
            let at = self.pages.at("grain table", offset);
            let expected = "the same as in its copy";
            at.require(value == second, "an entry", format_args!("{value:#x}"), expected)?;
        }
        Ok((self.decode(number, offset, value)?, 1))
    }

    /// Bytes of the deflated grain `number`, which [`Sparse::find`] found at `offset`.
    pub(crate) fn unpack(&self, number: u64, offset: u64) -> Result<Arc<Vec<u8>>, VmdkError> {
        self.unpacked.grain(&self.pages, &self.layout, number, offset)
    }

    /// Reads all metadata that was used again and compares it.
    pub(crate) fn recheck(&self) -> Result<(), VmdkError> {
        self.pages.recheck()
    }

    /// Understands the entry `value`, which stands at `entry`, for grain `number`.
    fn decode(&self, number: u64, entry: u64, value: u64) -> Result<Grain, VmdkError> {
        let found = match self.layout.format {
            Format::SeSparse { grains, .. } => {
                let decoded = sesparse::entry(value).map_err(|expected| {
                    let at = self.pages.at("grain table", entry);
                    at.damaged("an entry", format_args!("{value:#x}"), expected)
                })?;
                let place = |number| self.se_place(entry, value, grains, number);
                match decoded {
                    sesparse::Entry::Absent => Grain::Absent,
                    sesparse::Entry::Zero => Grain::Zero,
                    sesparse::Entry::Unmapped(old) => {
                        place(old)?;
                        Grain::Zero
                    }
                    sesparse::Entry::At(number) => Grain::At(place(number)?),
                }
            }
            Format::Cowd if value == 0 => Grain::Absent,
            Format::Hosted { .. } if value == 0 => Grain::Absent,
            Format::Hosted { zero_grains: true, .. } if value == 1 => Grain::Zero,
            Format::Hosted { packed: true, .. } => Grain::Packed(value * SECTOR),
            Format::Cowd | Format::Hosted { .. } => Grain::At(value * SECTOR),
        };
        self.check_place(number, entry, value, found)?;
        Ok(found)
    }

    /// The offset of a grain by its number in the area of grains.
    fn se_place(
        &self,
        entry: u64,
        value: u64,
        grains: Area,
        number: u64,
    ) -> Result<u64, VmdkError> {
        let at = self.pages.at("grain table", entry);
        let inside = number < grains.length() / self.layout.grain;
        at.require(inside, "an entry", format_args!("{value:#x}"), "a grain in its area")?;
        Ok(grains.start + number * self.layout.grain)
    }

    /// A grain lies in the file, and where no metadata is.
    fn check_place(
        &self,
        number: u64,
        entry: u64,
        value: u64,
        found: Grain,
    ) -> Result<(), VmdkError> {
        let area = match found {
            Grain::Absent | Grain::Zero => return Ok(()),
            Grain::At(start) => Area { start, end: start + self.layout.grain_bytes(number) },
            Grain::Packed(start) => Area { start, end: start + SECTOR },
        };
        let at = self.pages.at("grain table", entry);
        let wrong = |expected| Err(at.damaged("an entry", format_args!("{value:#x}"), expected));
        if area.end > self.pages.size() {
            return wrong("a grain in the file");
        }
        if matches!(self.layout.format, Format::Hosted { overhead, .. } if area.start < overhead) {
            return wrong("a grain behind the metadata");
        }
        let directories = [Some(&self.directory), self.copy.as_ref()].into_iter().flatten();
        let on_fixed = self.fixed.iter().any(|fixed| fixed.overlaps(area));
        let mut on_table = directories.map(|directory| directory.overlaps(&self.layout, area));
        if on_fixed || on_table.any(|overlaps| overlaps) {
            return wrong("a grain where no metadata is");
        }
        Ok(())
    }
}
