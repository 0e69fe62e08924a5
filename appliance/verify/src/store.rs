//! Single records by place and id, also those that a compaction moved.

use crate::VerifyError;
use crate::check::Checked;
use crate::files::Source;
use crate::keys::Unlocked;
use crate::report::Damage;
use crate::repository::Repository;
use crate::segment::locate;
use crate::state::State;
use format::codec::{Opener, Wanted};
use format::footer::Footer;
use format::header::Keys;
use format::record::{Kind, RECORD_HEADER, RecordHeader};
use format::{BLOCK, Place};
use model::ChunkId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Footer entries kept in memory while points are walked (64 bytes each).
const ENTRIES_KEPT: usize = 4 << 20;
const FILES_OPEN: usize = 64;
const MOVES_KEPT: usize = 100_000;

/// Which record, and how long its content must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) id: ChunkId,
    pub(crate) place: Place,
    pub(crate) length: Option<u32>,
}

/// What the check of the segments already knows about chunks.
pub(crate) struct Known<'a> {
    pub(crate) checks: &'a BTreeMap<u32, Checked>,
    /// Read them all the same.
    pub(crate) full: bool,
}

/// Finds and reads records.
pub(crate) struct Store<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) state: &'a State,
    opener: Option<Opener>,
    keys: Option<Keys>,
    files: BTreeMap<u32, Rc<Source>>,
    footers: BTreeMap<u32, Option<Rc<Footer>>>,
    entries: usize,
    moved: BTreeMap<u32, Rc<Vec<u32>>>,
}

impl<'a> Store<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        state: &'a State,
        unlocked: &Unlocked,
    ) -> Result<Self, VerifyError> {
        Ok(Self {
            repository,
            state,
            opener: unlocked.opener(repository)?,
            keys: unlocked.keys.clone(),
            files: BTreeMap::new(),
            footers: BTreeMap::new(),
            entries: 0,
            moved: BTreeMap::new(),
        })
    }

    /// The keys of hashes; `None`: no key was given.
    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    fn file(&mut self, serial: u32) -> Result<Rc<Source>, Damage> {
        if let Some(file) = self.files.get(&serial) {
            return Ok(Rc::clone(file));
        }
        let path = self.repository.segments.get(&serial);
        let path = path.ok_or_else(|| Damage(format!("segment {serial} is missing")))?;
        let file = Rc::new(Source::open(path)?);
        if self.files.len() >= FILES_OPEN {
            self.files.clear();
        }
        self.files.insert(serial, Rc::clone(&file));
        Ok(file)
    }

    /// The footer with the ledger's seal; `None` when there is none.
    fn footer(&mut self, serial: u32) -> Option<Rc<Footer>> {
        if let Some(footer) = self.footers.get(&serial) {
            return footer.clone();
        }
        let (state, repository) = (self.state, self.repository.header.id);
        let leaf = state.segments.get(&serial)?;
        let located =
            self.file(serial).ok().and_then(|f| locate(&f, leaf, repository, &mut |_| {}));
        let footer = located.and_then(|located| located.footer).map(Rc::new);
        self.entries += footer.as_ref().map_or(0, |footer| footer.entries.len());
        if self.entries > ENTRIES_KEPT {
            self.footers.clear();
            self.entries = footer.as_ref().map_or(0, |footer| footer.entries.len());
        }
        self.footers.insert(serial, footer.clone());
        footer
    }

    /// Segments in which chunks of a compacted one may lie.
    fn moved_to(&mut self, serial: u32) -> Rc<Vec<u32>> {
        if let Some(known) = self.moved.get(&serial) {
            return Rc::clone(known);
        }
        let runs = self.state.moved_to(serial);
        let live = runs.as_slice().iter().flat_map(|&(first, last)| {
            self.state.segments.range(first..=last).map(|(serial, _)| *serial)
        });
        let live = Rc::new(live.collect());
        if self.moved.len() >= MOVES_KEPT {
            self.moved.clear();
        }
        self.moved.insert(serial, Rc::clone(&live));
        live
    }

    /// Places where the record may lie: its own, and where it was moved to.
    fn places(&mut self, record: &Record) -> Vec<Place> {
        let mut places = vec![record.place];
        for &target in &*self.moved_to(record.place.segment()) {
            let Some(footer) = self.footer(target) else { continue };
            let from = footer.entries.partition_point(|entry| entry.id < record.id);
            let same = footer.entries[from..].iter().take_while(|entry| entry.id == record.id);
            places.extend(same.filter_map(|entry| entry.place(target)));
        }
        places
    }

    fn first<T>(
        &mut self,
        record: &Record,
        mut attempt: impl FnMut(&mut Self, Place) -> Result<T, Damage>,
    ) -> Result<T, Damage> {
        let mut first = None;
        for place in self.places(record) {
            match attempt(self, place) {
                Ok(value) => return Ok(value),
                Err(damage) => {
                    let (serial, block) = (place.segment(), place.offset() / BLOCK as u64);
                    let told = Damage(format!("segment {serial}, block {block}: {damage}"));
                    first.get_or_insert(told);
                }
            }
        }
        Err(first.unwrap_or_else(|| Damage::new("it is nowhere")))
    }

    /// The plain bytes of a record, from wherever they are right.
    pub(crate) fn read(&mut self, record: &Record) -> Result<Vec<u8>, Damage> {
        self.first(record, |store, place| store.read_at(record, place))
    }

    fn read_at(&mut self, record: &Record, place: Place) -> Result<Vec<u8>, Damage> {
        let file = self.file(place.segment())?;
        let header = RecordHeader::decode(&file.bytes(place.offset(), RECORD_HEADER)?)?;
        let fits = record.length.is_none_or(|length| length == header.plain_length);
        Damage::unless(fits, "a record of another length")?;
        let blocks = RecordHeader::blocks(header.stored_length) as usize;
        let end = RECORD_HEADER + header.stored_length as usize;
        let mut bytes = file.bytes(place.offset(), end)?;
        bytes.resize(blocks * BLOCK, 0); // what stands behind the record spares its content
        let wanted = Wanted { place, kind: record.kind, id: record.id };
        let mut plain = Vec::new();
        let opener = self.opener.as_mut().ok_or_else(|| Damage::new("no key was given"))?;
        opener.open(&bytes, &wanted, &mut plain)?;
        Ok(plain)
    }

    /// Whether a chunk is there and right, by what the check of its segment found.
    pub(crate) fn chunk(&mut self, record: &Record, known: &Known<'_>) -> Result<(), Damage> {
        if known.full {
            return self.read(record).map(drop);
        }
        self.first(record, |store, place| store.known(record, place, known))
    }

    fn known(&mut self, record: &Record, place: Place, known: &Known<'_>) -> Result<(), Damage> {
        let (check, footer) = (known.checks.get(&place.segment()), self.footer(place.segment()));
        let (Some(check), Some(footer)) = (check, footer) else {
            return self.read_at(record, place).map(drop);
        };
        let block = u32::try_from(place.offset() / BLOCK as u64).unwrap_or(u32::MAX);
        let from = footer.entries.partition_point(|e| (e.id, e.block) < (record.id, block));
        let entry = footer.entries.get(from).filter(|e| (e.id, e.block) == (record.id, block));
        let entry = entry.ok_or_else(|| Damage::new("no record of that id"))?;
        let same = entry.kind == record.kind && Some(entry.plain_length) == record.length;
        Damage::unless(same, "another record than the one named")?;
        Damage::unless(!check.bad.has(block), "the record is damaged")
    }
}
