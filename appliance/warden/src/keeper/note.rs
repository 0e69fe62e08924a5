//! What the daemon reports for the record: checked for form and size, believed for nothing that
//! decides about a lock.

use super::{Keeper, shortened};
use crate::WardenError;
use crate::wire::{Evidence, Outcome};
use ledger::event::{POINTS_PER_LEAF, PointText, RUNS_PER_LEAF, SERIALS_PER_LEAF};
use ledger::{Event, Runs};
use model::ErrorKind;
use model::RecoveryPointId;
use retention::Reading;

impl Keeper {
    pub(super) fn note(
        &mut self,
        evidence: Evidence,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let event = match evidence {
            Evidence::Verified { point, chunks, bytes, damage, segments } => {
                self.known(point)?;
                at_most(segments.len(), SERIALS_PER_LEAF)?;
                Event::Verified { point, chunks, bytes, damage, segments }
            }
            Evidence::Scrubbed { segments, bytes, damaged } => {
                at_most(segments.as_slice().len(), RUNS_PER_LEAF)?;
                at_most(damaged.len(), SERIALS_PER_LEAF)?;
                if segments.contains(0) {
                    return Err(WardenError::denied("serials begin with 1"));
                }
                Event::Scrubbed { segments, bytes, damaged }
            }
            Evidence::Quarantined { serial } => self.quarantine(serial)?,
            Evidence::Exported { point, medium, detail } => {
                self.known(point)?;
                let (medium, detail) = (shortened(&medium), shortened(&detail));
                Event::Exported { point, medium, detail }
            }
            Evidence::Alarm { what, detail } => {
                Event::Alarm { what: shortened(&what), detail: shortened(&detail) }
            }
            Evidence::Refused { point, action, reason } => {
                let (action, reason) = (shortened(&action), shortened(&reason));
                Event::Refused { point, action, reason, until: None }
            }
        };
        self.record(vec![event], reading)?;
        Ok(Outcome::Done)
    }

    /// The points concerned are those that the ledger knows to reach the segment.
    fn quarantine(&self, serial: u32) -> Result<Event, WardenError> {
        if self.state.segment(serial).is_none() {
            let problem = format!("there is no segment {serial:08x} on record");
            return Err(WardenError::Denied { problem, kind: ErrorKind::NotFound });
        }
        let one: Runs = [serial].into_iter().collect();
        let points =
            self.state.reaching(&one).take(POINTS_PER_LEAF).map(|(id, _)| PointText(id)).collect();
        let total = u64::from(self.state.references(serial));
        Ok(Event::Quarantined { serial, points, total })
    }

    fn known(&self, point: RecoveryPointId) -> Result<(), WardenError> {
        if self.state.point(point).is_some() {
            return Ok(());
        }
        let problem = format!("there is no recovery point {point}");
        Err(WardenError::Denied { problem, kind: ErrorKind::NotFound })
    }
}

fn at_most(count: usize, limit: usize) -> Result<(), WardenError> {
    if count <= limit {
        return Ok(());
    }
    Err(WardenError::denied(format!("a note names at most {limit} entries, not {count}")))
}
