//! One sealed segment, with everything that its file and its leaf can tell. FORMAT.md, section 4.
//!
//! The data is read once, record by record, and goes into three things at the same time: the
//! hash of the data, the parity and table computed anew, and the check of the record.

mod locate;
mod record;
mod sweep;

pub(crate) use locate::{Located, locate};
pub(crate) use record::{Harmless, check_record};

use crate::files::Source;
use crate::keys::Unlocked;
use crate::report::{Damage, Findings};
use crate::repository::Repository;
use format::codec::Opener;
use format::footer::Entry;
use format::record::{RECORD_HEADER, RecordHeader};
use format::segment::SegmentHeader;
use format::{BLOCK, SEGMENT_MAX};
use ledger::event::Segment;
use std::collections::BTreeSet;
use sweep::Sweep;

/// Damaged records known one by one in a segment; with more, all count as damaged.
const BAD_KEPT: usize = 65_536;
/// Bytes read at once where no record tells how many.
const PIECE: usize = 1 << 20;

/// Which records of a segment are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Those that begin at these blocks.
    Blocks(BTreeSet<u32>),
    /// None is known to be right.
    All,
}

impl Bad {
    /// True when the record at `block` is, or may be, damaged.
    pub(crate) fn has(&self, block: u32) -> bool {
        match self {
            Self::Blocks(blocks) => blocks.contains(&block),
            Self::All => true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::Blocks(BTreeSet::new())
    }

    fn add(&mut self, block: u32) {
        if let Self::Blocks(blocks) = self {
            blocks.insert(block);
            if blocks.len() > BAD_KEPT {
                *self = Self::All;
            }
        }
    }
}

/// What was found of a segment.
pub(crate) struct SegmentCheck {
    pub(crate) bad: Bad,
    pub(crate) findings: Findings,
}

impl SegmentCheck {
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.list().is_empty()
    }
}

/// What a check of segments works with; one for each thread.
pub(crate) struct Checker<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) unlocked: &'a Unlocked,
    pub(crate) opener: Option<Opener>,
}

impl Checker<'_> {
    /// Checks the segment that the ledger names.
    pub(crate) fn check(&mut self, leaf: &Segment) -> SegmentCheck {
        let opener = self.opener.as_mut().filter(|_| self.unlocked.can_open(leaf.epoch));
        let bad = Bad::Blocks(BTreeSet::new());
        let mut run =
            Run { repository: self.repository, leaf, opener, bad, findings: Findings::default() };
        if let Err(damage) = run.file() {
            run.add("", damage);
            run.bad = Bad::All;
        }
        SegmentCheck { bad: run.bad, findings: run.findings }
    }
}

/// The check of one segment while it runs.
struct Run<'a> {
    repository: &'a Repository,
    leaf: &'a Segment,
    opener: Option<&'a mut Opener>,
    bad: Bad,
    findings: Findings,
}

impl Run<'_> {
    fn add(&mut self, place: &str, what: impl std::fmt::Display) {
        self.findings.add(format!("segment {}{place}", self.leaf.serial), what);
    }

    fn file(&mut self) -> Result<(), Damage> {
        let path = self.repository.segments.get(&self.leaf.serial);
        let file = Source::open(path.ok_or_else(|| Damage::new("the file is missing"))?)?;
        let (length, named) = (file.length(), self.leaf.bytes);
        if length != named {
            self.add("", format!("{length} bytes long; the ledger says {named}"));
        }
        if !(2 * BLOCK as u64..=SEGMENT_MAX).contains(&length) {
            return Err(Damage(format!("{length} bytes long, as no segment is")));
        }
        let header = self.header(&file);
        let mut explained = header.is_err();
        if let Err(damage) = header {
            self.add("", damage);
        }
        let (repository, leaf) = (self.repository.header.id, self.leaf);
        let mut wrong = Vec::new();
        let located = locate(&file, leaf, repository, &mut |damage| wrong.push(damage));
        for damage in wrong {
            self.add("", damage);
        }
        let Some(located) = located else {
            self.add("", "neither trailer nor footer can be found; records are looked for");
            self.bad = Bad::All;
            self.scan(&file, length);
            return Ok(());
        };
        let whole = self.sweep(&file, &located, &mut explained);
        if located.footer.is_some() && !whole && self.bad.is_empty() && !explained {
            self.bad = Bad::All; // something is wrong, and nothing says what
        }
        Ok(())
    }

    fn header(&self, file: &Source) -> Result<(), Damage> {
        let header = SegmentHeader::decode(&file.bytes(0, BLOCK)?)?;
        let own =
            header.repository == self.repository.header.id && header.serial == self.leaf.serial;
        Damage::unless(own, "segment header: belongs to another segment or repository")?;
        let same = locate::same_as_leaf(self.leaf, header.class, header.cohort, header.epoch);
        Damage::unless(same, "segment header: class, cohort or epoch are not those of the ledger")
    }

    /// Everything once, in order; whether the data is what the footer says.
    fn sweep(&mut self, file: &Source, located: &Located, explained: &mut bool) -> bool {
        let mut sweep = Sweep::new(file, &located.trailer);
        match &located.footer {
            Some(footer) => {
                let mut order: Vec<&Entry> = footer.entries.iter().collect();
                order.sort_unstable_by_key(|entry| entry.block);
                sweep.take(BLOCK);
                for entry in order {
                    let blocks = RecordHeader::blocks(entry.stored_length) as usize;
                    let mut record = sweep.take(blocks * BLOCK);
                    let outcome = self.record(&mut record, Some(entry));
                    *explained |= matches!(outcome, Ok(Some(_)));
                    self.note_record(entry.block, outcome);
                }
                sweep.finish_protected();
            }
            None => {
                sweep.finish_protected();
                self.scan(file, located.trailer.footer_offset);
            }
        }
        let swept = sweep.finish(located.trailer_right);
        for (place, what) in swept.wrong {
            self.add(&place, what);
        }
        let expected = located.footer.as_ref().map(|footer| footer.data_hash);
        let whole = expected == Some(swept.data_hash);
        if located.footer.is_some() && !whole {
            self.add("", "the data has not the hash of the footer");
        }
        whole
    }

    fn record(
        &mut self,
        bytes: &mut [u8],
        entry: Option<&Entry>,
    ) -> Result<Option<Harmless>, Damage> {
        let expected = (self.repository.header.id, self.leaf);
        check_record(bytes, expected, entry, self.opener.as_deref_mut())
    }

    fn note_record(&mut self, block: u32, outcome: Result<Option<Harmless>, Damage>) {
        let place = format!(", block {block}");
        match outcome {
            Ok(None) => {}
            Ok(Some(harmless)) => self.add(&place, harmless),
            Err(damage) => {
                self.bad.add(block);
                self.add(&place, damage);
            }
        }
    }

    /// Without a footer: each header gives the next block; after a wrong one, the next block that
    /// begins with a header of this segment.
    fn scan(&mut self, file: &Source, end: u64) {
        let end = end.min(file.length()) / BLOCK as u64;
        let (mut block, mut lost) = (1, false);
        while u64::from(block) < end {
            let at = u64::from(block) * BLOCK as u64;
            let header = file.bytes(at, RECORD_HEADER).and_then(|h| Ok(RecordHeader::decode(&h)?));
            let own = header.ok().filter(|header| {
                (header.repository, header.segment) == (self.repository.header.id, self.leaf.serial)
            });
            if let Some(header) = own {
                let blocks = RecordHeader::blocks(header.stored_length);
                let outcome = file
                    .bytes(at, blocks as usize * BLOCK)
                    .and_then(|mut bytes| self.record(&mut bytes, None));
                self.note_record(block, outcome);
                (block, lost) = (block.saturating_add(blocks), false);
                continue;
            }
            if !lost {
                self.note_record(block, Err(Damage::new("no record of this segment begins here")));
            }
            (block, lost) = (block + 1, true);
        }
    }
}
