//! The ways of placing that were compared.

use model::RetentionTime;
use policy::placement::{Cohort, Sharing, cohort, should_copy_forward};

/// What a run knows about a segment that its new map reaches.
#[derive(Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) sharing: Sharing,
    pub(crate) now: RetentionTime,
    pub(crate) lock: RetentionTime,
}

#[derive(Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Points are locked, so nothing is moved; otherwise a point goes when it is not wanted.
    pub(crate) locks: bool,
    /// Segments with this share of dead chunks are rewritten every night.
    pub(crate) compacted: Option<u64>,
    /// Cohort of a chunk: when the one that it replaces was written, now.
    pub(crate) cohort: fn(Option<RetentionTime>, RetentionTime) -> Cohort,
    pub(crate) copies: fn(Reached) -> bool,
    /// The share of a disk in percent after which a run copies no more.
    pub(crate) budget: u64,
}

const LOCKED: Variant = Variant {
    name: "locks, nothing done",
    locks: true,
    compacted: None,
    cohort: |_, _| Cohort::Cold,
    copies: |_| false,
    budget: 100,
};

/// What everything is measured against: no locks, and hardly a dead byte.
pub(crate) const WITHOUT_LOCKS: Variant = Variant {
    name: "no locks, compaction from 20 % dead",
    locks: false,
    compacted: Some(20),
    ..LOCKED
};

/// What the repository does.
pub(crate) const CHOSEN: Variant = Variant {
    name: "policy::placement",
    cohort,
    copies: |r| should_copy_forward(r.sharing, r.now, r.lock),
    ..LOCKED
};

/// Byte-seconds without a horizon; `cost` in halves.
fn weighed(r: Reached, cost: i64) -> bool {
    let dead = i64::try_from(r.sharing.size - r.sharing.reached).unwrap();
    let reached = i64::try_from(r.sharing.reached).unwrap();
    let twice = (r.sharing.until.0 - r.now.0).max(0);
    2 * dead * (r.lock.0 - r.sharing.until.0.max(r.now.0)).max(0) > reached * twice * cost
}

/// Less than `percent` of the segment is reached.
fn thin(r: Reached, percent: u64) -> bool {
    r.sharing.reached * 100 < r.sharing.size * percent
}

/// A monthly or yearly point.
fn long(r: Reached) -> bool {
    r.lock.0 - r.now.0 > 180 * 24 * 3600
}

pub(crate) const OTHERS: &[Variant] = &[
    Variant { name: "no locks, compaction from 10 % dead", compacted: Some(10), ..WITHOUT_LOCKS },
    Variant { name: "no locks, compaction from 50 % dead", compacted: Some(50), ..WITHOUT_LOCKS },
    Variant { name: "no locks, no compaction", compacted: None, ..WITHOUT_LOCKS },
    LOCKED,
    Variant { name: "hot and cold apart", cohort, ..LOCKED },
    Variant { name: "copy at month if < 25 % used", copies: |r| long(r) && thin(r, 25), ..LOCKED },
    Variant { name: "copy at month if < 50 % used", copies: |r| long(r) && thin(r, 50), ..LOCKED },
    Variant { name: "copy if < 25 % used", copies: |r| thin(r, 25), ..LOCKED },
    Variant { name: "byte-seconds x1", copies: |r| weighed(r, 2), ..LOCKED },
    Variant { name: "byte-seconds x1.5", copies: |r| weighed(r, 3), ..LOCKED },
    Variant { name: "byte-seconds x4", copies: |r| weighed(r, 8), ..LOCKED },
    Variant {
        name: "byte-seconds x1.5, hot and cold",
        copies: |r| weighed(r, 3),
        cohort,
        ..LOCKED
    },
    Variant { name: "policy::placement, one cohort", cohort: LOCKED.cohort, ..CHOSEN },
    Variant { name: "policy::placement, at most 25 %", budget: 25, ..CHOSEN },
    Variant { name: "policy::placement, at most 10 %", budget: 10, ..CHOSEN },
];
