//! What is on record, for people and for those who check: protection of points, the ledger's
//! leaves, and proofs over them. Nothing here changes anything.

use crate::core::locked;
use crate::{Repository, StoreError};
use ledger::event::LockBounds;
use ledger::{Hash, Runs};
use model::{RecoveryPointId, RetentionLock};
use retention::Verdict;

/// What keeps a point from being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Its lock; the end is by the retention clock.
    pub lock: RetentionLock,
    /// Names of its legal holds.
    pub matters: Vec<String>,
    /// What may happen to it now, doubts of the clock aside.
    pub verdict: Verdict,
}

/// How much of a repository may not be deleted now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Points that are locked or held.
    pub points: u64,
    /// Bytes of the segments that these points need.
    pub bytes: u64,
}

impl Repository {
    /// What protects a point.
    pub fn protection(&self, id: RecoveryPointId) -> Result<Protection, StoreError> {
        let catalog = locked(&self.inner.core.catalog);
        let retention = catalog.state.retention();
        let (lock, verdict) = retention
            .lock(id)
            .zip(retention.may_delete(id, catalog.clock().value))
            .ok_or_else(|| StoreError::no_point(id))?;
        let matters = retention.matters(id).map(str::to_owned).collect();
        Ok(Protection { lock, matters, verdict })
    }

    /// How much is locked or held: what a full disk cannot get back, whoever asks.
    #[must_use]
    pub fn protected(&self) -> Protected {
        let catalog = locked(&self.inner.core.catalog);
        let now = catalog.clock().value;
        let expired = |id: &RecoveryPointId| {
            catalog.state.retention().may_delete(*id, now) == Some(Verdict::Expire)
        };
        let going: Vec<_> = catalog.state.points().map(|(id, _)| id).filter(expired).collect();
        let freed = catalog.state.unreached_after(&going, &Runs::default());
        let all: u64 = catalog.state.segments().map(|(_, segment)| segment.bytes).sum();
        Protected {
            points: (catalog.state.point_count() - going.len()) as u64,
            bytes: all.saturating_sub(freed.bytes),
        }
    }

    /// Shortest and longest lock that is accepted now.
    #[must_use]
    pub fn bounds(&self) -> LockBounds {
        let bounds = locked(&self.inner.core.catalog).state.retention().bounds();
        LockBounds { min_seconds: bounds.min_seconds, max_seconds: bounds.max_seconds }
    }

    /// Names of the officers in office.
    #[must_use]
    pub fn officers(&self) -> Vec<String> {
        let catalog = locked(&self.inner.core.catalog);
        catalog.state.officers().keys().cloned().collect()
    }

    /// Id of the repository, as the ledger's origin names it.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.inner.core.id.0
    }

    /// Whether what is stored is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.inner.core.epoch() != 0
    }

    /// The data of up to `limit` leaves from number `from` on, as they stand in the ledger.
    pub fn leaves(&self, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let core = &self.inner.core;
        let (size, _) = self.ledger_head();
        let frames = locked(&core.catalog).before(from);
        Ok(warden::read_leaves(&*core.storage, frames, (from, limit), size)?)
    }

    /// The proof that leaf `leaf` is in the ledger of `size` leaves (RFC 9162, 2.1.3).
    pub fn prove_inclusion(&self, leaf: u64, size: u64) -> Result<Vec<Hash>, StoreError> {
        let core = &self.inner.core;
        Ok(warden::prove_inclusion(&*core.storage, core.id.0, leaf, size)?)
    }

    /// The proof that the ledger of `new` leaves begins with the one of `old` (RFC 9162, 2.1.4).
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, StoreError> {
        let core = &self.inner.core;
        Ok(warden::prove_consistency(&*core.storage, core.id.0, old, new)?)
    }
}
