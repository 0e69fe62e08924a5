//! The grain directory of a sparse file: which tables there are, and where.

use super::layout::{Area, Format, Layout, SECTOR};
use super::sesparse;
use crate::error::VmdkError;
use crate::pages::Pages;

/// The tables that exist.
pub(crate) struct Directory {
    /// (number of the table, its place), ascending by number. The place counts sectors of the
    /// file, in SEsparse tables of the area of tables.
    tables: Vec<(u32, u32)>,
    /// The places alone, ascending.
    places: Vec<u32>,
}

impl Layout {
    /// Offset of the table at a place of the directory.
    pub(crate) fn table_offset(&self, place: u32) -> u64 {
        match self.format {
            Format::SeSparse { tables, .. } => tables.start + u64::from(place) * self.table_bytes(),
            Format::Cowd | Format::Hosted { .. } => u64::from(place) * SECTOR,
        }
    }

    fn table_area(&self, place: u32) -> Area {
        let start = self.table_offset(place);
        Area { start, end: start + self.table_bytes() }
    }
}

impl Directory {
    /// Reads all entries of the directory at `offset`. Bounded by [`Layout::check`].
    pub(crate) fn read(pages: &Pages, layout: &Layout, offset: u64) -> Result<Self, VmdkError> {
        let fixed = layout.fixed();
        let mut tables = Vec::new();
        for number in 0..layout.tables() {
            let entry = offset + number * layout.width;
            let value = pages.entry("grain directory", entry, layout.width)?;
            if let Some(place) = place(pages, layout, &fixed, entry, value)? {
                tables.push((u32::try_from(number).expect("bounded by the layout"), place));
            }
        }
        let mut places: Vec<u32> = tables.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        Ok(Self { tables, places })
    }

    /// The place of table `number`, if it exists.
    pub(crate) fn table(&self, number: u64) -> Option<u32> {
        let found = self.tables.binary_search_by_key(&number, |(table, _)| u64::from(*table));
        found.ok().map(|index| self.tables[index].1)
    }

    /// Numbers and places of all tables.
    pub(crate) fn tables(&self) -> &[(u32, u32)] {
        &self.tables
    }

    /// Whether `area` touches a table.
    pub(crate) fn overlaps(&self, layout: &Layout, area: Area) -> bool {
        let next = self.places.partition_point(|place| layout.table_area(*place).end <= area.start);
        self.places.get(next).is_some_and(|place| layout.table_area(*place).overlaps(area))
    }
}

/// The place that an entry of a directory names, which must lie in the file.
fn place(
    pages: &Pages,
    layout: &Layout,
    fixed: &[Area],
    entry: u64,
    value: u64,
) -> Result<Option<u32>, VmdkError> {
    let at = pages.at("grain directory", entry);
    let wrong = |expected| at.damaged("an entry", format_args!("{value:#x}"), expected);
    let place = match layout.format {
        Format::SeSparse { .. } => sesparse::table(value).map_err(wrong)?,
        Format::Cowd | Format::Hosted { .. } => u32::try_from(value).ok().filter(|at| *at != 0),
    };
    let Some(place) = place else { return Ok(None) };
    let area = layout.table_area(place);
    let there = match layout.format {
        Format::SeSparse { tables, used, .. } => area.end <= tables.end && u64::from(place) < used,
        Format::Cowd | Format::Hosted { .. } => true,
    };
    if !there || area.end > pages.size() {
        return Err(wrong("a table of the file"));
    }
    if fixed.iter().any(|fixed| fixed.overlaps(area)) {
        return Err(wrong("a table where nothing else is"));
    }
    Ok(Some(place))
}

/// No two tables share a byte; a copy of the directory has the same tables, somewhere else.
pub(crate) fn check(
    pages: &Pages,
    layout: &Layout,
    directory: &Directory,
    copy: Option<&Directory>,
) -> Result<(), VmdkError> {
    let at = pages.at("grain directory", layout.directory);
    let mut places = directory.places.clone();
    if let Some(copy) = copy {
        let numbers = |directory: &Directory| {
            directory.tables.iter().map(|(number, _)| *number).collect::<Vec<_>>()
        };
        let same = numbers(directory) == numbers(copy);
        at.require(same, "the list of tables", "another", "the same as in its copy")?;
        places.extend(&copy.places);
        places.sort_unstable();
    }
    let mut areas = places.windows(2).map(|pair| (pair[0], pair[1]));
    let shared = areas.find(|(a, b)| layout.table_area(*a).end > layout.table_offset(*b));
    match shared {
        None => Ok(()),
        Some((place, _)) => Err(at.damaged("the place of a table", place, "no other table's")),
    }
}
