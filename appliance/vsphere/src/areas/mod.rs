//! The loop of `QueryChangedDiskAreas`, pure: answers in, next question or the areas out.
//!
//! One answer covers only a part of the disk, however much was asked for; a client that does not
//! go on loses changes. And a list with gaps is worse than none: a missed area is a silently wrong
//! recovery point. So every answer is checked against its question, and the parts must add up to
//! the disk. The next start is *assigned* from the answer's own start and length.

use crate::wire::{Node, WireError};
use model::{ChangedArea, DiskRange};

/// Answers to one query; a server that moves on by single sectors ends here.
const MAX_ANSWERS: usize = 1_000_000;
/// Areas of one disk (32 MiB of memory). A disk more fragmented than that is read in full.
const MAX_AREAS: usize = 2_000_000;

/// The server's list of changed areas cannot be right, or is larger than is worth holding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AreasError {
    /// The answer is about another part of the disk than the question.
    #[error("asked from byte {asked} on, the server answered from byte {returned} on")]
    OtherStart {
        /// `startOffset` of the question.
        asked: u64,
        /// `startOffset` of the answer.
        returned: u64,
    },
    /// An answer that covers nothing would make the loop endless.
    #[error("the answer from byte {start} on covers no bytes")]
    NoProgress {
        /// Where it happened.
        start: u64,
    },
    /// The answer goes beyond the disk.
    #[error("the answer covers {length} bytes from {start} on; the disk has {capacity}")]
    BeyondDisk {
        /// `startOffset` of the answer.
        start: u64,
        /// `length` of the answer.
        length: u64,
        /// Bytes of the disk.
        capacity: u64,
    },
    /// An area is empty or does not lie in the part that its answer covers.
    #[error("the area at {start} of {length} bytes is outside what its answer covers")]
    AreaOutside {
        /// First byte of the area.
        start: u64,
        /// Its bytes.
        length: u64,
    },
    /// Areas overlap or do not ascend.
    #[error("the area at {start} begins before the one before it ends, at {previous_end}")]
    OutOfOrder {
        /// First byte of the area.
        start: u64,
        /// End of the one before.
        previous_end: u64,
    },
    /// A bound of ours.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// One answer, as decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AreasAnswer {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) areas: Vec<(u64, u64)>,
}

/// Reads a `DiskChangeInfo`.
pub(crate) fn decode_answer(node: Node<'_>) -> Result<AreasAnswer, WireError> {
    let area = |area: Node<'_>| Ok((area.need_u64("start")?, area.need_u64("length")?));
    Ok(AreasAnswer {
        start: node.need_u64("startOffset")?,
        length: node.need_u64("length")?,
        areas: node.all("changedArea").map(area).collect::<Result<_, WireError>>()?,
    })
}

/// The state between two answers. Invariant: bytes `0..next` of the disk are accounted for, and
/// `areas` ascend, do not overlap and end at or before `next`.
#[derive(Debug)]
pub(crate) struct AreasQuery {
    capacity: u64,
    next: u64,
    answers: usize,
    areas: Vec<ChangedArea>,
    max_answers: usize,
    max_areas: usize,
}

impl AreasQuery {
    /// A query over a disk of `capacity` bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        Self::bounded(capacity, MAX_ANSWERS, MAX_AREAS)
    }

    fn bounded(capacity: u64, max_answers: usize, max_areas: usize) -> Self {
        Self { capacity, next: 0, answers: 0, areas: Vec::new(), max_answers, max_areas }
    }

    /// The `startOffset` to ask for; `None` when the whole disk is accounted for. Never the
    /// capacity itself: servers refuse that with InvalidArgument.
    pub(crate) fn question(&self) -> Option<u64> {
        (self.next < self.capacity).then_some(self.next)
    }

    /// Takes the answer to [`AreasQuery::question`].
    pub(crate) fn answer(&mut self, answer: &AreasAnswer) -> Result<(), AreasError> {
        self.answers += 1;
        if self.answers > self.max_answers {
            return Err(AreasError::TooMany { what: "answers", limit: self.max_answers });
        }
        if answer.start != self.next {
            return Err(AreasError::OtherStart { asked: self.next, returned: answer.start });
        }
        let end = self.window_end(answer)?;
        for &(start, length) in &answer.areas {
            self.take(start, length, answer.start, end)?;
        }
        self.next = end;
        Ok(())
    }

    /// All areas, once there is no question left.
    pub(crate) fn finish(self) -> Vec<ChangedArea> {
        debug_assert!(self.question().is_none(), "asked to finish at byte {}", self.next);
        self.areas
    }

    fn window_end(&self, answer: &AreasAnswer) -> Result<u64, AreasError> {
        let AreasAnswer { start, length, .. } = *answer;
        if length == 0 {
            return Err(AreasError::NoProgress { start });
        }
        let capacity = self.capacity;
        let end = start.checked_add(length).filter(|&end| end <= capacity);
        end.ok_or(AreasError::BeyondDisk { start, length, capacity })
    }

    fn take(&mut self, start: u64, length: u64, from: u64, to: u64) -> Result<(), AreasError> {
        let inside = start >= from && length > 0;
        let area = DiskRange::new(start, length).filter(|area| inside && area.end() <= to);
        let area = area.ok_or(AreasError::AreaOutside { start, length })?;
        let previous_end = self.areas.last().map_or(0, |last| last.end());
        if start < previous_end {
            return Err(AreasError::OutOfOrder { start, previous_end });
        }
        if self.areas.len() >= self.max_areas {
            return Err(AreasError::TooMany { what: "changed areas", limit: self.max_areas });
        }
        self.areas.push(area);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
