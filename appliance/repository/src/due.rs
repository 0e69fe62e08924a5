//! What is to be scrubbed next, how much of it today, and how much was read lately. Pure but for
//! the look into the catalog: the ledger says when a segment was read last, so an order and a pace
//! need no other memory.

use crate::Repository;
use crate::core::locked;
use model::RetentionTime;
use std::collections::VecDeque;

const DAY: i64 = 24 * 3600;

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
    pub(crate) volume: u8,
    pub(crate) bytes: u64,
    pub(crate) recorded: RetentionTime,
    pub(crate) scrubbed: Option<RetentionTime>,
}

impl Aged {
    fn last_read(&self) -> RetentionTime {
        self.scrubbed.unwrap_or(self.recorded)
    }
}

impl Repository {
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
    pub(crate) fn aged(&self) -> Vec<Aged> {
        let core = &self.inner.core;
        let catalog = locked(&core.catalog);
        let there =
            |serial: &u32| core.volumes.present.contains(&catalog.volume_of_segment(*serial));
        let aged = |(serial, segment): (u32, &warden::state::Segment)| Aged {
            serial,
            volume: catalog.volume_of_segment(serial),
            bytes: segment.bytes,
            recorded: segment.recorded,
            scrubbed: segment.scrubbed,
        };
        let segments = catalog.state.segments().filter(|(serial, _)| there(serial));
        segments.map(aged).collect()
    }
}

/// In the order in which they are read.
pub(crate) fn in_order(mut aged: Vec<Aged>) -> Vec<Aged> {
    aged.sort_unstable_by_key(|aged| (aged.scrubbed.is_some(), aged.last_read(), aged.serial));
    aged
}

/// Takes the next ones out of `order`, up to `budget` bytes but one at least.
pub(crate) fn choose(order: &mut VecDeque<Aged>, budget: u64) -> Vec<Aged> {
    let (mut bytes, mut count) = (0u64, 0);
    for aged in order.iter() {
        bytes = bytes.saturating_add(aged.bytes);
        if budget == 0 || (bytes > budget && count > 0) {
            break;
        }
        count += 1;
    }
    let mut chosen: Vec<Aged> = order.drain(..count).collect();
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
