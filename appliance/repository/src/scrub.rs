//! The scrub: every sealed segment is read again and again as a whole, from the medium, and what
//! it finds is repaired (FORMAT.md 10).
//!
//! | question | answer |
//! |---|---|
//! | what comes next | never scrubbed first, then what was read longest ago (`due`) |
//! | how much a day | as little as keeps every segment's last reading within the goal |
//! | what counts as read | a scrub; for pace and coverage also the read-back at the sealing |
//! | what cannot be read, and is no damage | told at the end; others are read instead |

use crate::core::{Core, locked};
use crate::due::{Aged, choose, in_order};
use crate::repair::{Quarantine, Repair, repair};
use crate::whole::{Health, Recorded, examine, still_there};
use crate::{Repository, StoreError};
use ledger::Runs;
use ledger::event::SERIALS_PER_LEAF;
use model::ErrorKind;
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use warden::wire::{Evidence, Request};

/// Segments that are put on record at once.
const BATCH: usize = 64;
/// Bytes after which what was read is put on record, so that a crash loses little work.
const BATCH_BYTES: u64 = 16 << 30;
/// Bytes after which the caller is asked again whether to go on.
const STEP: u64 = 8 << 20;
/// Failures that are listed.
const LISTED: usize = 100;

/// How far a scrub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Bytes read.
    pub done: u64,
    /// Bytes that will be read.
    pub total: u64,
}

/// What a scrub did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Segments read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that were not what had been sealed.
    pub damaged: u64,
    /// Those that were repaired, with the blocks that were wrong.
    pub repaired: Vec<(u32, u64)>,
    /// Those that could not be.
    pub quarantined: Vec<Quarantine>,
    /// Those for which there was no room; they are not trusted until then.
    pub postponed: Vec<u32>,
    /// Those that could not be read or repaired for a reason that is no damage, with that reason;
    /// at most 100. A volume that is gone is named once.
    pub failed: Vec<(u32, String)>,
    /// How many of them there are.
    pub failed_total: u64,
    /// It ended because its caller wanted that.
    pub stopped: bool,
}

/// Tells how far it is; may take its time, and may end the work.
type Tell<'a> = &'a mut dyn FnMut(ScrubProgress) -> ControlFlow<()>;

impl Repository {
    /// Repairs what is known to be damaged, one after another; `go_on` is asked before each.
    pub fn mend(&self, go_on: &mut dyn FnMut() -> ControlFlow<()>) -> ScrubReport {
        let mut scrub = Scrub::new(&self.inner.core);
        for serial in self.to_repair() {
            if go_on().is_break() {
                scrub.report.stopped = true;
                break;
            }
            scrub.repair(serial);
        }
        scrub.report
    }

    /// Reads the segments that were read longest ago, up to `budget` bytes but one at least, and
    /// repairs what is damaged. `progress` is told every few MiB and after each segment; a segment
    /// in the middle of which it ends the scrub does not count.
    pub fn scrub(&self, budget: u64, progress: Tell<'_>) -> Result<ScrubReport, StoreError> {
        let mut order: VecDeque<Aged> = in_order(self.aged()).into();
        let (mut scrub, mut budget) = (Scrub::new(&self.inner.core), budget);
        while budget > 0 && !scrub.report.stopped {
            let chosen = choose(&mut order, budget);
            budget = scrub.read(chosen, progress)?;
            order.retain(|aged| !scrub.gone.contains(&aged.volume));
        }
        scrub.finish()?;
        if scrub.gone.contains(&0) {
            still_there(&self.inner.core, 0)?; // without it there is no repository
        }
        Ok(scrub.report)
    }
}

/// Why the reading of a segment ended early.
enum End {
    Stopped,
    Failed(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

struct Scrub<'a> {
    core: &'a Core,
    report: ScrubReport,
    batch: Batch,
    /// Volumes that went away.
    gone: BTreeSet<u8>,
}

impl<'a> Scrub<'a> {
    fn new(core: &'a Core) -> Self {
        let (report, batch, gone) = <(ScrubReport, Batch, BTreeSet<u8>)>::default();
        Self { core, report, batch, gone }
    }

    /// Reads `chosen`; the bytes of those that could not be.
    fn read(&mut self, chosen: Vec<Aged>, tell: Tell<'_>) -> Result<u64, StoreError> {
        let total = self.report.bytes + chosen.iter().map(|aged| aged.bytes).sum::<u64>();
        let mut missed = 0;
        for aged in chosen.into_iter() {
            if self.gone.contains(&aged.volume) {
                missed += aged.bytes;
                continue;
            }
            let Some(segment) = Recorded::find(self.core, aged.serial) else { continue };
            match self.look(&segment, total, tell) {
                Ok(health) => self.batch.add(&segment, health),
                Err(End::Stopped) => {
                    self.report.stopped = true;
                    break;
                }
                Err(End::Failed(error)) => {
                    self.failed(aged.serial, aged.volume, &error);
                    missed += aged.bytes;
                    continue;
                }
            }
            self.report.segments += 1;
            self.report.bytes += aged.bytes;
            if self.batch.is_full() {
                self.finish()?;
            }
            if tell(ScrubProgress { done: self.report.bytes, total }).is_break() {
                self.report.stopped = true;
                break;
            }
        }
        Ok(missed)
    }

    /// Reads one segment.
    fn look(&self, segment: &Recorded, total: u64, tell: Tell<'_>) -> Result<Health, End> {
        let (mut read, mut told) = (0, 0);
        examine(self.core, segment, |bytes| {
            read += bytes;
            if read - told < STEP {
                return Ok(());
            }
            told = read;
            let done = self.report.bytes + read.min(segment.bytes);
            match tell(ScrubProgress { done, total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(End::Stopped),
            }
        })
    }

    fn failed(&mut self, serial: u32, volume: u8, error: &StoreError) {
        let why = model::chain(error);
        tracing::error!(segment = serial, error = why, "neither read nor repaired now");
        self.report.failed_total += 1;
        if self.report.failed.len() < LISTED {
            self.report.failed.push((serial, why));
        }
        if still_there(self.core, volume).is_err() {
            self.gone.insert(volume);
        }
    }

    /// Puts what was read on record, and repairs.
    fn finish(&mut self) -> Result<(), StoreError> {
        let Batch { segments, bytes, damaged, doubtful } = std::mem::take(&mut self.batch);
        if segments.is_empty() {
            return Ok(());
        }
        self.report.damaged += damaged.len() as u64;
        locked(&self.core.index).forget(&damaged.iter().copied().collect());
        let segments: Runs = segments.into_iter().collect();
        self.core.ask(Request::Note(Evidence::Scrubbed { segments, bytes, damaged }))?;
        doubtful.into_iter().for_each(|serial| self.repair(serial));
        Ok(())
    }

    /// One that fails does not keep the others from being repaired.
    fn repair(&mut self, serial: u32) {
        let _alone = locked(&self.core.maintenance);
        let Some(segment) = Recorded::find(self.core, serial) else { return }; // deleted since
        if self.gone.contains(&segment.volume) {
            return;
        }
        match repair(self.core, &segment) {
            Ok(Repair::Whole) => {}
            Ok(Repair::Repaired { blocks }) => self.report.repaired.push((serial, blocks)),
            Ok(Repair::Quarantined(quarantine)) => self.report.quarantined.push(quarantine),
            Err(error) if error.kind() == ErrorKind::Full => self.report.postponed.push(serial),
            Err(error) => self.failed(serial, segment.volume, &error),
        }
    }
}

/// Segments that were read and are not on record yet.
#[derive(Default)]
struct Batch {
    segments: BTreeSet<u32>,
    bytes: u64,
    damaged: Vec<u32>,
    /// Damaged, or whole and not trusted yet.
    doubtful: Vec<u32>,
}

impl Batch {
    fn add(&mut self, segment: &Recorded, health: Health) {
        self.segments.insert(segment.serial);
        self.bytes += segment.bytes;
        if health != Health::Whole {
            self.damaged.push(segment.serial);
        }
        if health != Health::Whole || segment.distrusted {
            self.doubtful.push(segment.serial);
        }
    }

    fn is_full(&self) -> bool {
        const { assert!(BATCH <= SERIALS_PER_LEAF) };
        self.segments.len() >= BATCH || self.bytes >= BATCH_BYTES || !self.doubtful.is_empty()
    }
}
