//! Locks that grow and holds that begin: what nobody has to sign for.

use super::Keeper;
use crate::WardenError;
use crate::state::lock_event;
use crate::wire::Outcome;
use ledger::Event;
use model::RecoveryPointId;
use retention::{Authority, Reading};

impl Keeper {
    pub(super) fn lock_change(
        &mut self,
        point: RecoveryPointId,
        event: Event,
        action: &str,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let view = self.clock.view();
        let Some(engine) = lock_event(&event, view.value()) else {
            return Err(WardenError::denied("this changes no lock"));
        };
        let nobody = Authority::nobody();
        if let Err(refusal) = self.state.retention().check(&engine, &nobody, &view) {
            return Err(self.refuse(Some(point), action, refusal, reading));
        }
        if self.is_so_already(point, &event) {
            return Ok(Outcome::Done);
        }
        self.record(vec![event], reading)?;
        Ok(Outcome::Done)
    }

    /// A repeated request changes nothing and needs no leaf.
    fn is_so_already(&self, point: RecoveryPointId, event: &Event) -> bool {
        let retention = self.state.retention();
        match event {
            Event::Extend { until, .. } => {
                retention.lock(point).is_some_and(|lock| lock.until == *until)
            }
            Event::Tighten { .. } => {
                retention.lock(point).is_some_and(|lock| lock.mode == model::LockMode::Compliance)
            }
            Event::Hold { matter, .. } => retention.matters(point).any(|known| known == matter),
            _ => false,
        }
    }
}
