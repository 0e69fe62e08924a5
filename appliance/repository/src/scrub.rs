//! The scrub: every sealed segment is read again and again as a whole, from the medium, and what
//! it finds is repaired (FORMAT.md 10). The ledger says when a segment was read last, so an order
//! and a pace need no other memory.
//!
//! | question | answer |
//! |---|---|
//! | what comes next | never scrubbed first, then what was read longest ago |
//! | how much a day | as little as keeps every segment's last reading within the goal |
//! | what counts as read | a scrub; for pace and coverage also the read-back at the sealing |

use crate::core::locked;
use crate::repair::{Quarantine, Repair, repair};
use crate::whole::{Health, Recorded, examine};
use crate::{Repository, StoreError};
use ledger::Runs;
use ledger::event::SERIALS_PER_LEAF;
use model::{ErrorKind, RetentionTime};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use warden::wire::{Evidence, Request};

/// Segments that are put on record at once.
const BATCH: usize = 64;
/// Bytes after which what was read is put on record, so that a crash loses little work.
const BATCH_BYTES: u64 = 16 << 30;
const DAY: i64 = 24 * 3600;

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
    /// It ended because its caller wanted that.
    pub stopped: bool,
}

/// How much of the repository was read back lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Bytes of segments whose last reading is within the goal.
    pub bytes_within: u64,
    /// Bytes of all segments.
    pub bytes_total: u64,
    /// The last reading of the segment that was read longest ago, by the retention clock; `None`
    /// without segments.
    pub oldest: Option<RetentionTime>,
    /// Bytes that no scrub has read since they were sealed.
    pub bytes_never: u64,
    /// Segments with damage that is not repaired.
    pub damaged: u64,
    /// Every segment's last reading is within the goal.
    pub on_track: bool,
}

/// What has to be read today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubDue {
    /// Bytes to read within a day so that all are read within the goal: a budget for
    /// [`Repository::scrub`].
    pub bytes: u64,
    /// Of these: bytes whose time has come already.
    pub overdue: u64,
}

/// A segment as the order and the pace see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) serial: u32,
    pub(crate) bytes: u64,
    pub(crate) recorded: RetentionTime,
    pub(crate) scrubbed: Option<RetentionTime>,
    /// Found damaged, and neither repaired nor given up: a repair was interrupted or postponed.
    pub(crate) doubtful: bool,
}

impl Aged {
    fn last_read(&self) -> RetentionTime {
        self.scrubbed.unwrap_or(self.recorded)
    }
}

impl Repository {
    /// Reads the segments whose repair is not complete, then those that were read longest ago, up
    /// to `budget` bytes but one at least, and repairs what is damaged. `progress` is told
    /// after each segment; it may take its time, and it may end the scrub.
    pub fn scrub(
        &self,
        budget: u64,
        progress: &mut dyn FnMut(ScrubProgress) -> ControlFlow<()>,
    ) -> Result<ScrubReport, StoreError> {
        let chosen = choose(self.aged(), budget);
        let total = chosen.iter().map(|aged| aged.bytes).sum();
        let mut report = ScrubReport::default();
        let mut batch = Batch::default();
        for aged in chosen {
            let Some(segment) = Recorded::find(&self.inner.core, aged.serial) else { continue };
            let health = match examine(&self.inner.core, &segment) {
                Ok(health) => health,
                Err(error) => {
                    self.finish(std::mem::take(&mut batch), &mut report)?;
                    return Err(error);
                }
            };
            batch.add(&segment, health);
            report.segments += 1;
            report.bytes += aged.bytes;
            if batch.is_full() {
                self.finish(std::mem::take(&mut batch), &mut report)?;
            }
            if progress(ScrubProgress { done: report.bytes, total }).is_break() {
                report.stopped = true;
                break;
            }
        }
        self.finish(batch, &mut report)?;
        Ok(report)
    }

    /// Puts what was read on record, and repairs.
    fn finish(&self, batch: Batch, report: &mut ScrubReport) -> Result<(), StoreError> {
        let core = &self.inner.core;
        let Batch { segments, bytes, damaged, doubtful } = batch;
        if segments.is_empty() {
            return Ok(());
        }
        report.damaged += damaged.len() as u64;
        locked(&core.index).forget(&damaged.iter().copied().collect());
        let segments: Runs = segments.into_iter().collect();
        core.ask(Request::Note(Evidence::Scrubbed { segments, bytes, damaged }))?;
        for serial in doubtful {
            let _alone = locked(&core.maintenance);
            let Some(segment) = Recorded::find(core, serial) else { continue }; // deleted since
            match repair(core, &segment) {
                Ok(Repair::Whole) => {}
                Ok(Repair::Repaired { blocks }) => report.repaired.push((serial, blocks)),
                Ok(Repair::Quarantined(quarantine)) => report.quarantined.push(quarantine),
                Err(error) if error.kind() == ErrorKind::Full => report.postponed.push(serial),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How much was read within the last `goal_days`, by the retention clock.
    #[must_use]
    pub fn scrub_coverage(&self, goal_days: u32) -> Coverage {
        let (aged, now) = (self.aged(), self.clock().value);
        let damaged = {
            let catalog = locked(&self.inner.core.catalog);
            catalog.state.segments().filter(|(_, segment)| segment.distrusted).count() as u64
        };
        Coverage { damaged, ..coverage(&aged, goal_days, now) }
    }

    /// What has to be read within the next day so that every segment is read within `goal_days`.
    #[must_use]
    pub fn scrub_due(&self, goal_days: u32, now: RetentionTime) -> ScrubDue {
        due(self.aged(), goal_days, now)
    }

    /// Recorded segments on volumes that are there.
    fn aged(&self) -> Vec<Aged> {
        let core = &self.inner.core;
        let catalog = locked(&core.catalog);
        let there =
            |serial: &u32| core.volumes.present.contains(&catalog.volume_of_segment(*serial));
        let aged = |(serial, segment): (u32, &warden::state::Segment)| Aged {
            serial,
            bytes: segment.bytes,
            recorded: segment.recorded,
            scrubbed: segment.scrubbed,
            doubtful: segment.distrusted && !segment.quarantined,
        };
        let segments = catalog.state.segments().filter(|(serial, _)| there(serial));
        segments.map(aged).collect()
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

/// In the order in which they are read.
fn in_order(mut aged: Vec<Aged>) -> Vec<Aged> {
    aged.sort_unstable_by_key(|aged| (aged.scrubbed.is_some(), aged.last_read(), aged.serial));
    aged
}

fn choose(aged: Vec<Aged>, budget: u64) -> Vec<Aged> {
    let mut bytes = 0u64;
    let fits = |aged: &Aged| {
        let first = bytes == 0;
        bytes += aged.bytes;
        (first && budget > 0) || bytes <= budget
    };
    let mut order = in_order(aged);
    order.sort_by_key(|aged| !aged.doubtful);
    let mut chosen: Vec<Aged> = order.into_iter().take_while(fits).collect();
    chosen.sort_unstable_by_key(|aged| aged.serial); // forwards on the disk
    chosen
}

fn seconds(goal_days: u32) -> i64 {
    i64::from(goal_days.max(1)) * DAY
}

fn coverage(aged: &[Aged], goal_days: u32, now: RetentionTime) -> Coverage {
    let since = now.0.saturating_sub(seconds(goal_days));
    let bytes = |chosen: &dyn Fn(&Aged) -> bool| {
        aged.iter().filter(|aged| chosen(aged)).map(|aged| aged.bytes).sum()
    };
    let (bytes_total, bytes_within) =
        (bytes(&|_| true), bytes(&|aged| aged.last_read().0 >= since));
    Coverage {
        bytes_within,
        bytes_total,
        oldest: aged.iter().map(Aged::last_read).min(),
        bytes_never: bytes(&|aged| aged.scrubbed.is_none()),
        damaged: 0,
        on_track: bytes_within == bytes_total,
    }
}

/// For each segment, in the order of reading: all bytes up to it have to be read until its time
/// has come. The steepest of these demands is today's pace.
fn due(aged: Vec<Aged>, goal_days: u32, now: RetentionTime) -> ScrubDue {
    let (mut sum, mut due) = (0u64, ScrubDue::default());
    for aged in in_order(aged) {
        sum += aged.bytes;
        let deadline = aged.last_read().0.saturating_add(seconds(goal_days));
        let left = deadline.saturating_sub(now.0);
        if left <= 0 {
            due.overdue += aged.bytes;
        }
        // A deadline within the coming day has to be met today.
        let days = u64::try_from(left / DAY).unwrap_or(0).max(1);
        due.bytes = due.bytes.max(sum.div_ceil(days));
    }
    due
}

#[cfg(test)]
#[path = "tests/scrub_pace.rs"]
mod pace;
