//! Reads streamOptimized disks as they come: every byte once and in order, so that the source may
//! be a socket. Written for what a host sends for a lease.
//!
//! ```text
//! header | descriptor, up to the overhead | grain .. | marker, table | grain .. | marker, table
//! marker, directory | marker, footer | marker of the end
//! ```
//! Grains ascend; what is left out is zeros. Nothing counts before the end: tables, directory and
//! footer must name exactly the grains that came, so that one that was lost, doubled or put at
//! another place shows even where each grain is right in itself. Streams with the directory in
//! front, as qemu-img writes them, have no end of their own: there the tables say beforehand what
//! has to come.
//!
//! Memory: a grain, a table, the directory (4 bytes for 32 MiB of disk), and of the other kind
//! the overhead, which is limited.

use crate::bytes::{index, u16_at, u32_at, u64_at};
use crate::error::{At, VmdkError};
use crate::sparse::SECTOR;
use crate::sparse::hosted::{
    AT_END, COPY, DEFLATED, MAGIC, MARKER_DIRECTORY, MARKER_END, MARKER_FOOTER, MARKER_TABLE,
    MARKERS, NEWLINE, NEWLINES, PER_TABLE, ZERO_GRAINS,
};
use flate2::{Decompress, FlushDecompress, Status};
use std::collections::VecDeque;

/// Largest disk: its directory has 8 MB.
const CAPACITY_MAX: u64 = 64 << 40;
/// Largest area before the first grain: tables of a disk of 1 TiB, twice.
const OVERHEAD_MAX: u64 = 256 << 20;
/// Where no directory lies in front, only header and descriptor do.
const FRONT_MAX: u64 = 1 << 20;
/// Bytes before the zlib stream of a grain.
const GRAIN_HEADER: usize = 12;
/// Bytes of a table: 4 for each of its [`PER_TABLE`] entries.
const TABLE: usize = 512 * 4;
const _: () = assert!(TABLE as u64 == PER_TABLE * 4);

/// A grain that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamGrain {
    /// Where it lies on the disk, bytes.
    pub offset: u64,
    /// Its bytes; fewer than a whole grain only at the end of the disk.
    pub bytes: Vec<u8>,
}

/// A disk that is being read. Bytes go in by [`StreamReader::feed`], grains come out by
/// [`StreamReader::grain`], and [`StreamReader::finish`] says whether that was all.
pub struct StreamReader {
    name: String,
    capacity: u64,
    buffer: VecDeque<u8>,
    /// Bytes of the stream before the buffer.
    position: u64,
    state: State,
}

enum State {
    Front,
    Grains(Shape),
    Footer(Shape),
    End,
    /// Something was wrong: nothing more is said about this stream.
    Failed,
}

/// What the header says, and what came so far.
struct Shape {
    header: Vec<u8>,
    /// Bytes of a grain.
    grain: u64,
    /// The first grain that may come now.
    next: u64,
    seen: Seen,
}

/// How the grains are accounted for.
enum Seen {
    /// By the tables that follow them.
    Behind {
        /// Places of the grains of table `directory.len()`, sectors.
        table: Vec<u32>,
        directory: Vec<u32>,
        /// Tables without grains that were written all the same.
        empty: Vec<u32>,
        /// Place of the directory, once it came.
        closed: Option<u64>,
    },
    /// By the tables in front: grains that have to come, and their places.
    Front(VecDeque<(u64, u32)>),
}

impl StreamReader {
    /// Begins with a disk that must have `capacity` bytes. `name` is for errors.
    #[must_use]
    pub fn new(name: impl Into<String>, capacity: u64) -> Self {
        let (name, buffer) = (name.into(), VecDeque::new());
        Self { name, capacity, buffer, position: 0, state: State::Front }
    }

    /// Takes the next bytes. Take out all grains before feeding more, then no more than a grain
    /// and these bytes are in memory.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// The next grain; `None`: more bytes are needed, or there are no more grains.
    ///
    /// # Errors
    /// [`VmdkError::Damaged`] for what cannot be; the reader is of no use afterwards.
    pub fn grain(&mut self) -> Result<Option<StreamGrain>, VmdkError> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let (state, grain) = self.step(state)?;
        self.state = state;
        Ok(grain)
    }

    /// True when the mark of the end was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.state {
            State::End => true,
            State::Grains(Shape { seen: Seen::Front(left), .. }) => left.is_empty(),
            _ => false,
        }
    }

    /// The stream has ended: this was the whole disk.
    ///
    /// # Errors
    /// A stream that broke off, also between two grains.
    pub fn finish(mut self) -> Result<(), VmdkError> {
        while self.grain()?.is_some() {}
        let (whole, left) = (self.is_complete(), self.buffer.len());
        let at = self.at("end of the stream");
        at.require(whole, "the mark of its end", "not there", "there")?;
        at.require(left == 0, "what follows the end, in bytes,", left, "nothing")
    }

    fn at(&self, structure: &'static str) -> At<'_> {
        At { file: &self.name, structure, offset: self.position }
    }

    fn step(&mut self, mut state: State) -> Result<(State, Option<StreamGrain>), VmdkError> {
        loop {
            state = match state {
                State::Front => match self.front()? {
                    Some(shape) => State::Grains(shape),
                    None => return Ok((State::Front, None)),
                },
                State::Grains(mut shape) => match self.item(&mut shape)? {
                    Item::Wait => return Ok((State::Grains(shape), None)),
                    Item::Grain(grain) => return Ok((State::Grains(shape), Some(grain))),
                    Item::Other => State::Grains(shape),
                    Item::Footer => State::Footer(shape),
                },
                State::Footer(shape) => match self.footer(&shape)? {
                    true => State::End,
                    false => return Ok((State::Footer(shape), None)),
                },
                State::End => return Ok((State::End, None)),
                State::Failed => {
                    let at = self.at("stream");
                    return Err(at.damaged("it", "known to be damaged", "read no further"));
                }
            };
        }
    }

    /// Header, descriptor, and with the directory in front all that comes before the grains.
    fn front(&mut self) -> Result<Option<Shape>, VmdkError> {
        let Some(header) = self.peek(SECTOR) else { return Ok(None) };
        let grain = self.check(&header)?;
        let at = self.at("header");
        let (directory, overhead) = (u64_at(&header, 56), u64_at(&header, 64));
        let limit = if directory == AT_END { FRONT_MAX } else { OVERHEAD_MAX };
        let possible = overhead > 0 && overhead <= limit / SECTOR;
        at.require(possible, "the overhead, in sectors,", overhead, "what such a disk needs")?;
        let Some(front) = self.peek(overhead * SECTOR) else { return Ok(None) };
        let seen = if directory == AT_END {
            let (directory, empty) = (Vec::new(), Vec::new());
            Seen::Behind { table: empty_table(), directory, empty, closed: None }
        } else {
            Seen::Front(self.announced(&front, directory, grain)?)
        };
        self.skip(overhead * SECTOR);
        Ok(Some(Shape { header, grain, next: 0, seen }))
    }

    /// Checks a header; gives the bytes of a grain.
    fn check(&self, header: &[u8]) -> Result<u64, VmdkError> {
        let at = self.at("header");
        at.require(header[..4] == MAGIC, "the signature", "another", "\"KDMV\"")?;
        let (version, flags) = (u32_at(header, 4), u32_at(header, 8));
        at.known((1..=3).contains(&version), "version", version.into())?;
        let unknown = flags & !(NEWLINE | COPY | ZERO_GRAINS | DEFLATED | MARKERS);
        at.known(unknown == 0, "flags", unknown.into())?;
        let packed = flags & DEFLATED != 0 && flags & MARKERS != 0 && u16_at(header, 77) == 1;
        at.require(packed, "its kind", "another", "a compressed stream")?;
        let whole = flags & NEWLINE == 0 || header[73..77] == NEWLINES;
        at.require(whole, "the newline test", "altered", "line ends as they were written")?;
        let per_table = u32_at(header, 44);
        at.known(u64::from(per_table) == PER_TABLE, "tables of", per_table.into())?;
        let grain = u64_at(header, 20);
        let possible = grain.is_power_of_two() && (8..=4096).contains(&grain);
        at.require(possible, "the grain size, in sectors,", grain, "a power of two, 8 to 4096")?;
        let (sectors, wanted) = (u64_at(header, 12), self.capacity);
        // Writers round up to whole grains.
        let rounded = wanted.div_ceil(grain * SECTOR).checked_mul(grain);
        let same = wanted <= CAPACITY_MAX
            && (sectors == wanted.div_ceil(SECTOR) || Some(sectors) == rounded);
        at.require(same, "the capacity, in sectors,", sectors, "that of the disk")?;
        Ok(grain * SECTOR)
    }

    /// The grains that the tables in front announce.
    fn announced(
        &self,
        front: &[u8],
        directory: u64,
        grain: u64,
    ) -> Result<VecDeque<(u64, u32)>, VmdkError> {
        let at = self.at("directory in front");
        let slice = |sector: u64, length: usize| {
            let start = sector.checked_mul(SECTOR).map(index)?;
            front.get(start..start.checked_add(length)?)
        };
        let outside = || at.damaged("its place, or that of a table,", "elsewhere", "in front");
        let tables = self.capacity.div_ceil(grain).div_ceil(PER_TABLE);
        let places = slice(directory, index(tables * 4)).ok_or_else(outside)?;
        let mut grains = VecDeque::new();
        for table in 0..tables {
            let place = u32_at(places, index(table * 4));
            if place == 0 {
                continue;
            }
            let entries = slice(place.into(), TABLE).ok_or_else(outside)?;
            for number in 0..PER_TABLE {
                let sector = u32_at(entries, index(number * 4));
                if sector > 1 {
                    grains.push_back((table * PER_TABLE + number, sector));
                }
            }
        }
        Ok(grains)
    }

    /// A grain or a marker with what follows it.
    fn item(&mut self, shape: &mut Shape) -> Result<Item, VmdkError> {
        if matches!(&shape.seen, Seen::Front(left) if left.is_empty()) {
            return self.padding();
        }
        let Some(head) = self.peek(SECTOR) else { return Ok(Item::Wait) };
        let (value, size, kind) = (u64_at(&head, 0), u32_at(&head, 8), u32_at(&head, 12));
        if size > 0 {
            return self.packed(shape, value, size);
        }
        let at = self.at("marker");
        let Seen::Behind { closed, .. } = &shape.seen else {
            return Err(at.damaged("it", "a marker", "a grain; the directory is in front"));
        };
        let tables = self.capacity.div_ceil(shape.grain).div_ceil(PER_TABLE);
        let sectors = match (kind, closed) {
            (MARKER_TABLE, None) => TABLE as u64 / SECTOR,
            (MARKER_DIRECTORY, None) => (tables * 4).div_ceil(SECTOR),
            (MARKER_FOOTER, Some(_)) => 1,
            (MARKER_END, _) => {
                return Err(at.damaged("it", "that of the end", "directory and footer before it"));
            }
            _ => return Err(at.damaged("its type", kind, "what can follow here")),
        };
        at.require(value == sectors, "its sectors", value, "those of what follows it")?;
        if kind == MARKER_FOOTER {
            self.skip(SECTOR);
            return Ok(Item::Footer);
        }
        let Some(both) = self.peek(SECTOR * (1 + sectors)) else { return Ok(Item::Wait) };
        let body = &both[index(SECTOR)..];
        let place = self.position / SECTOR + 1;
        match kind {
            MARKER_TABLE => self.table(shape, body, place)?,
            _ => self.directory(shape, body, place, index(tables))?,
        }
        self.skip(SECTOR * (1 + sectors));
        Ok(Item::Other)
    }

    /// All that was announced has come: only zeros may follow, up to where the writer ends files.
    fn padding(&mut self) -> Result<Item, VmdkError> {
        let zeros = self.buffer.iter().all(|byte| *byte == 0);
        self.at("end").require(zeros, "what follows the last grain", "more", "zeros at most")?;
        self.skip(self.buffer.len() as u64);
        Ok(Item::Wait)
    }

    fn packed(&mut self, shape: &mut Shape, sector: u64, size: u32) -> Result<Item, VmdkError> {
        let at = self.at("compressed grain");
        let per_grain = shape.grain / SECTOR;
        let number = sector / per_grain;
        let fits = sector.is_multiple_of(per_grain)
            && sector < self.capacity.div_ceil(SECTOR)
            && number >= shape.next;
        at.require(fits, "its sector on the disk", sector, "on the disk, behind the one before")?;
        // zlib never needs twice the room of what it packs.
        let possible = u64::from(size) <= 2 * shape.grain;
        at.require(possible, "its size", size, "what a grain can have")?;
        let length = GRAIN_HEADER as u64 + u64::from(size);
        let padded = length.next_multiple_of(SECTOR);
        let Some(whole) = self.peek(padded) else { return Ok(Item::Wait) };
        let here = u32::try_from(self.position / SECTOR);
        let here = here.map_err(|_| at.damaged("its place", "beyond 2 TiB", "what tables hold"))?;
        self.account(shape, number, here)?;
        let bytes = self.inflate(&whole[GRAIN_HEADER..index(length)], shape.grain, number)?;
        shape.next = number + 1;
        self.skip(padded);
        Ok(Item::Grain(StreamGrain { offset: number * shape.grain, bytes }))
    }

    /// Takes note of a grain.
    fn account(&self, shape: &mut Shape, number: u64, here: u32) -> Result<(), VmdkError> {
        let at = self.at("compressed grain");
        match &mut shape.seen {
            Seen::Front(expected) => {
                let right = expected.pop_front() == Some((number, here));
                at.require(right, "its place", "another", "as the tables in front announce it")
            }
            Seen::Behind { table, directory, closed, .. } => {
                at.require(closed.is_none(), "its place", "behind the directory", "before it")?;
                let own = number / PER_TABLE;
                let pending = table.iter().any(|entry| *entry != 0);
                let reached = directory.len() as u64;
                let right = own == reached || own > reached && !pending;
                at.require(right, "its table", own, "the one that was not written yet")?;
                directory.resize(index(own), 0); // tables without grains
                table[index(number % PER_TABLE)] = here;
                Ok(())
            }
        }
    }

    fn inflate(&self, packed: &[u8], grain: u64, number: u64) -> Result<Vec<u8>, VmdkError> {
        let at = self.at("compressed grain");
        let mut bytes = Vec::with_capacity(index(grain));
        let mut zlib = Decompress::new(true);
        let status = zlib.decompress_vec(packed, &mut bytes, FlushDecompress::Finish);
        let whole =
            matches!(status, Ok(Status::StreamEnd)) && zlib.total_in() == packed.len() as u64;
        at.require(whole, "its content", "no whole zlib stream", "one with a right checksum")?;
        let wanted = grain.min(self.capacity - number * grain);
        let length = bytes.len() as u64;
        let right = length == grain || length == wanted;
        at.require(right, "its length when unpacked", length, "that of a grain")?;
        bytes.truncate(index(wanted));
        Ok(bytes)
    }

    /// A table names the grains that came since the last one.
    fn table(&self, shape: &mut Shape, body: &[u8], place: u64) -> Result<(), VmdkError> {
        let at = self.at("table");
        let Seen::Behind { table, directory, empty, .. } = &mut shape.seen else { return Ok(()) };
        let place = u32::try_from(place);
        let place = place.map_err(|_| at.damaged("its place", "beyond 2 TiB", "nearer"))?;
        let entries = body.chunks_exact(4).map(|entry| u32_at(entry, 0));
        if table.iter().all(|entry| *entry == 0) {
            let nothing = entries.clone().all(|entry| entry <= 1);
            at.require(nothing, "an entry", "of a grain that did not come", "none")?;
            let tables = self.capacity.div_ceil(shape.grain).div_ceil(PER_TABLE);
            let few = (empty.len() as u64) < tables;
            at.require(few, "the number of tables", "more", "those of the disk")?;
            empty.push(place);
            return Ok(());
        }
        // 1 stands for zeros, as 0 does.
        let same =
            entries.zip(table.iter()).all(|(entry, seen)| entry == *seen || entry + *seen == 1);
        at.require(same, "an entry", "another", "the place where the grain came")?;
        directory.push(place);
        shape.next = shape.next.max(directory.len() as u64 * PER_TABLE);
        *table = empty_table();
        Ok(())
    }

    /// The directory names the tables that came.
    fn directory(
        &self,
        shape: &mut Shape,
        body: &[u8],
        place: u64,
        tables: usize,
    ) -> Result<(), VmdkError> {
        let at = self.at("directory");
        let Seen::Behind { table, directory, empty, closed } = &mut shape.seen else {
            return Ok(());
        };
        let written = table.iter().all(|entry| *entry == 0);
        at.require(written, "the last table", "not there", "before the directory")?;
        directory.resize(tables, 0);
        for (number, seen) in directory.iter().enumerate() {
            let entry = u32_at(body, number * 4);
            let right = entry == *seen || *seen == 0 && empty.binary_search(&entry).is_ok();
            at.require(right, "an entry", entry, "the place where the table came")?;
        }
        *closed = Some(place);
        Ok(())
    }

    /// The header again, with the place of the directory; then the mark of the end.
    fn footer(&mut self, shape: &Shape) -> Result<bool, VmdkError> {
        let Some(both) = self.peek(2 * SECTOR) else { return Ok(false) };
        let (footer, end) = both.split_at(index(SECTOR));
        let at = self.at("footer");
        let (before, after) = (..56, 64..79);
        let same =
            footer[before] == shape.header[before] && footer[after.clone()] == shape.header[after];
        at.require(same, "a field", "another than in the header", "the same")?;
        let Seen::Behind { closed, .. } = &shape.seen else { return Ok(false) };
        let right = Some(u64_at(footer, 56)) == *closed;
        at.require(right, "the place of the directory", u64_at(footer, 56), "where it came")?;
        let marked = end[..16] == [0; 16];
        at.require(marked, "the mark of the end behind it", "another", "of zeros")?;
        self.skip(2 * SECTOR);
        Ok(true)
    }

    /// The next bytes, when they are there.
    fn peek(&self, length: u64) -> Option<Vec<u8>> {
        let length = index(length);
        (self.buffer.len() >= length).then(|| self.buffer.range(..length).copied().collect())
    }

    fn skip(&mut self, length: u64) {
        self.buffer.drain(..index(length));
        self.position += length;
    }
}

/// What was taken from the stream.
enum Item {
    Wait,
    Grain(StreamGrain),
    /// A table or the directory.
    Other,
    /// The marker of the footer.
    Footer,
}

fn empty_table() -> Vec<u32> {
    vec![0; index(PER_TABLE)]
}
