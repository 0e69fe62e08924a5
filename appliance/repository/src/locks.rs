//! Locks, holds, deletion and the record: what the warden is asked for in people's names.

use crate::core::locked;
use crate::delete::Deleted;
use crate::open::read_header;
use crate::{DeleteError, Repository, StoreError, VerifyReport, keys};
use ledger::event::SERIALS_PER_LEAF;
use model::{RecoveryPointId, RetentionTime};
use warden::wire::{ClockView, Evidence, Outcome, Request, Status};

impl Repository {
    /// Deletes points whose locks have ended, all of them or none, and the segments that nothing
    /// reaches any more.
    pub fn delete(&self, points: &[RecoveryPointId]) -> Result<Deleted, DeleteError> {
        crate::delete::delete(&self.inner.core, points)
    }

    /// Removes segments that no point reaches: what abandoned and interrupted runs left.
    pub fn reclaim(&self) -> Result<Deleted, StoreError> {
        crate::delete::reclaim(&self.inner.core)
    }

    /// Lets a lock end later.
    pub fn extend(&self, point: RecoveryPointId, until: RetentionTime) -> Result<(), StoreError> {
        self.ask(Request::Extend { point, until })
    }

    /// Turns a governance lock into a compliance lock.
    pub fn tighten(&self, point: RecoveryPointId) -> Result<(), StoreError> {
        self.ask(Request::Tighten { point })
    }

    /// Begins a legal hold. It ends with an officer's signature only.
    pub fn hold(&self, point: RecoveryPointId, matter: &str) -> Result<(), StoreError> {
        self.ask(Request::Hold { point, matter: matter.into() })
    }

    /// Adds a data key to an encrypted repository; gives back its epoch. Segments are written under
    /// it from now on, also those of runs that have begun; what is stored does not change.
    pub fn rotate_key(&self) -> Result<u32, StoreError> {
        let core = &self.inner.core;
        let Some(kek) = &core.options.encryption else {
            return Err(StoreError::misuse("the repository is not encrypted"));
        };
        let epoch = {
            let catalog = locked(&core.catalog);
            let known = catalog.state.keys().keys().chain(catalog.state.destroyed_keys());
            known.max().map_or(keys::FIRST, |last| last.saturating_add(1))
        };
        let (header, _) = read_header(&*core.storage)?;
        let file = keys::new_epoch(&*core.storage, &header, kek, epoch)?;
        self.ask(Request::AddKey { epoch, file })?;
        // As it is on the disk: what cannot be read back is not written under.
        let epochs: Vec<u32> = locked(&core.catalog).state.keys().keys().copied().collect();
        let (_, ring) = keys::open(&*core.storage, &header, Some(kek), epochs.into_iter())?;
        *locked(&core.ring) = ring;
        let sealer = core.new_sealer()?;
        *locked(&core.sealer) = sealer;
        Ok(epoch)
    }

    /// Puts the outcome of [`Self::verify`] on record. Chunks of segments with damage are stored
    /// anew when they come again, so that the next full backup heals.
    pub fn record_verification(
        &self,
        point: RecoveryPointId,
        report: &VerifyReport,
    ) -> Result<(), StoreError> {
        locked(&self.inner.core.index).forget(&report.segments);
        let mut segments: Vec<u32> = report.segments.iter().copied().collect();
        // More than a leaf takes stand in several.
        loop {
            let rest = segments.split_off(segments.len().min(SERIALS_PER_LEAF));
            self.note(Evidence::Verified {
                point,
                chunks: report.chunks,
                bytes: report.bytes,
                damage: report.damage_total(),
                segments,
            })?;
            if rest.is_empty() {
                return Ok(());
            }
            segments = rest;
        }
    }

    /// Puts something on record.
    pub fn note(&self, evidence: Evidence) -> Result<(), StoreError> {
        self.ask(Request::Note(evidence))
    }

    /// The retention clock as of the last answer of the warden.
    #[must_use]
    pub fn clock(&self) -> ClockView {
        locked(&self.inner.core.catalog).clock().clone()
    }

    /// Lets the warden look at its clocks and files. To be called about every minute: what lies
    /// between the last look and a crash is lost to the clock. Gives back what it found wrong;
    /// each is on record.
    pub fn tick(&self) -> Result<Vec<String>, StoreError> {
        match self.inner.core.ask(Request::Tick)?.outcome {
            Outcome::Ticked { alarms } => Ok(alarms),
            _ => Ok(Vec::new()),
        }
    }

    /// How the warden is: head, findings of its start, what it cannot enforce.
    pub fn warden_status(&self) -> Result<Status, StoreError> {
        match self.inner.core.ask(Request::Status)?.outcome {
            Outcome::Status(status) => Ok(*status),
            other => Err(StoreError::misuse(format!("the warden answered {other:?}"))),
        }
    }

    /// Number of leaves of the ledger and the root over them.
    #[must_use]
    pub fn ledger_head(&self) -> (u64, [u8; 32]) {
        locked(&self.inner.core.catalog).head()
    }

    fn ask(&self, request: Request) -> Result<(), StoreError> {
        self.inner.core.ask(request).map(drop)
    }
}
