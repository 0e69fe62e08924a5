//! For tests: what the engine shall do, written a second time in another way. Points, matters and
//! officers are numbers, sets are bits, and there are no reasons for a no.

use super::{Authority, Bounds, Event, Right};
use crate::clock::{ClockEvent, ClockView, Doubt};
use model::{LockMode, RecoveryPointId, RetentionLock, RetentionTime};
use std::collections::BTreeSet;

pub(super) const RELEASE_HOLD: u8 = 1;
pub(super) const OVERRIDE: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Point {
    pub(super) compliance: bool,
    pub(super) end: i64,
    pub(super) matters: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Officer {
    pub(super) serving: bool,
    pub(super) rights: u8,
    pub(super) approvers: u8,
}

/// The whole state: locks, offices, and the clock as it is shown to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) points: Vec<Option<Point>>,
    pub(super) officers: Vec<Officer>,
    pub(super) bounds: (u64, u64),
    pub(super) forbidden: bool,
    pub(super) now: i64,
    pub(super) doubt: bool,
}

/// A request, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Commit { p: usize, compliance: bool, end: i64 },
    Extend { p: usize, end: i64 },
    Tighten { p: usize },
    Hold { p: usize, m: u8 },
    Unhold { p: usize, m: u8 },
    Override { p: usize, at: i64, by: u8 },
    Forbid,
    Bounds { min: u64, max: u64 },
    Enrol { o: usize, rights: u8, by: u8 },
    Dismiss { o: usize },
    Delete { p: usize, at: i64 },
}

/// Who signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) signed: u8,
    pub(super) local: bool,
}

impl Spec {
    pub(super) fn new(points: usize, officers: usize, now: i64) -> Self {
        Self {
            points: vec![None; points],
            officers: vec![Officer::default(); officers],
            bounds: (0, u64::MAX),
            forbidden: false,
            now,
            doubt: false,
        }
    }

    /// Whether the request is granted.
    pub(super) fn grants(&self, ask: &Ask, who: Who) -> bool {
        let one_with = |right| self.serving(right) & who.signed != 0;
        let manage = self.pairs_in(who.signed) || self.local(who);
        match *ask {
            Ask::Commit { p, end, .. } => self.points[p].is_none() && self.fits(end),
            Ask::Extend { p, end } => {
                self.points[p].is_some_and(|point| end >= point.end) && self.fits(end)
            }
            Ask::Tighten { p } | Ask::Hold { p, .. } => self.points[p].is_some(),
            Ask::Unhold { p, m } => {
                one_with(RELEASE_HOLD) && self.points[p].is_some_and(|x| x.matters & m != 0)
            }
            Ask::Override { p, at, by } => {
                self.points[p].is_some_and(|point| !point.compliance && point.matters == 0)
                    && !self.forbidden
                    && self.pair(by, OVERRIDE)
                    && by & !who.signed == 0
                    && self.releases_at(at)
            }
            Ask::Forbid => one_with(OVERRIDE),
            Ask::Bounds { min, max } => min <= max && manage,
            Ask::Enrol { o, by: 0, .. } => !self.officers[o].serving && self.local(who),
            Ask::Enrol { o, by, .. } => {
                !self.officers[o].serving && self.pair(by, 0) && by & !who.signed == 0
            }
            Ask::Dismiss { o } => self.officers[o].serving && manage,
            Ask::Delete { p, at } => self.free(p) && self.releases_at(at),
        }
    }

    /// What becomes of the state when a granted request is carried out.
    pub(super) fn carry_out(&mut self, ask: &Ask) {
        let points = &mut self.points;
        let mut point = |p: usize, change: &dyn Fn(&mut Point)| {
            points[p].as_mut().into_iter().for_each(change);
        };
        match *ask {
            Ask::Commit { p, compliance, end } => {
                self.points[p] = Some(Point { compliance, end, matters: 0 });
            }
            Ask::Extend { p, end } => point(p, &|x| x.end = end),
            Ask::Tighten { p } => point(p, &|x| x.compliance = true),
            Ask::Hold { p, m } => point(p, &|x| x.matters |= m),
            Ask::Unhold { p, m } => point(p, &|x| x.matters &= !m),
            Ask::Override { p, at, .. } => point(p, &|x| x.end = x.end.min(at)),
            Ask::Forbid => self.forbidden = true,
            Ask::Bounds { min, max } => self.bounds = (min, max),
            Ask::Enrol { o, rights, by } => {
                let approvers = self.officers[o].approvers | by;
                self.officers[o] = Officer { serving: true, rights, approvers };
            }
            Ask::Dismiss { o } => self.officers[o].serving = false,
            Ask::Delete { p, .. } => self.points[p] = None,
        }
    }

    /// Not held, and its lock has ended.
    pub(super) fn free(&self, p: usize) -> bool {
        self.points[p].is_some_and(|point| point.matters == 0 && point.end <= self.now)
    }

    pub(super) fn may_destroy_all(&self) -> bool {
        let there = |p: &usize| self.points[*p].is_some();
        let all = 0..self.points.len();
        all.clone().filter(there).all(|p| self.free(p))
            && !(self.doubt && all.clone().any(|p| there(&p)))
    }

    fn releases_at(&self, at: i64) -> bool {
        at == self.now && !self.doubt
    }

    fn fits(&self, end: i64) -> bool {
        let length = i128::from(end) - i128::from(self.now);
        i128::from(self.bounds.0) <= length && length <= i128::from(self.bounds.1)
    }

    /// Everybody in office with all of `rights`.
    fn serving(&self, rights: u8) -> u8 {
        let has = |o: &Officer| o.serving && o.rights & rights == rights;
        (0..self.officers.len()).filter(|&n| has(&self.officers[n])).fold(0, |all, n| all | 1 << n)
    }

    fn pair(&self, both: u8, rights: u8) -> bool {
        let named = |n: &usize| both & 1 << *n != 0;
        both.count_ones() == 2
            && both & !self.serving(rights) == 0
            && (0..self.officers.len())
                .filter(named)
                .all(|n| self.officers[n].approvers & both & !(1 << n) == 0)
    }

    fn pairs_in(&self, set: u8) -> bool {
        (0..=u8::MAX).any(|both| both & !set == 0 && self.pair(both, 0))
    }

    fn local(&self, who: Who) -> bool {
        who.local && !self.pairs_in(u8::MAX)
    }

    /// The clock as the engine is shown it.
    pub(super) fn view(&self) -> ClockView {
        let cause = ClockEvent::RtcMissing { seconds: 120 };
        let doubt = Doubt { cause, until: RetentionTime(i64::MAX) };
        ClockView::new(RetentionTime(self.now), self.doubt.then_some(doubt))
    }
}

pub(super) fn id(p: usize) -> RecoveryPointId {
    RecoveryPointId([u8::try_from(p).unwrap(); 16])
}

pub(super) fn matter(bit: u8) -> String {
    format!("matter {bit}")
}

fn names(set: u8) -> BTreeSet<String> {
    (0..8).filter(|n| set & 1 << n != 0).map(name).collect()
}

fn name(o: usize) -> String {
    format!("officer {o}")
}

fn mode(compliance: bool) -> LockMode {
    if compliance { LockMode::Compliance } else { LockMode::Governance }
}

impl Ask {
    /// The request in the words of the engine.
    pub(super) fn event(&self) -> Event {
        match *self {
            Self::Commit { p, compliance, end } => {
                let lock = RetentionLock { mode: mode(compliance), until: RetentionTime(end) };
                Event::Commit { point: id(p), lock }
            }
            Self::Extend { p, end } => Event::Extend { point: id(p), until: RetentionTime(end) },
            Self::Tighten { p } => Event::Tighten { point: id(p) },
            Self::Hold { p, m } => Event::Hold { point: id(p), matter: matter(m) },
            Self::Unhold { p, m } => Event::Unhold { point: id(p), matter: matter(m) },
            Self::Override { p, at, by } => {
                Event::Override { point: id(p), at: RetentionTime(at), by: names(by) }
            }
            Self::Forbid => Event::ForbidOverrides,
            Self::Bounds { min, max } => {
                Event::SetBounds(Bounds { min_seconds: min, max_seconds: max })
            }
            Self::Enrol { o, rights, by } => {
                let all = [(RELEASE_HOLD, Right::ReleaseHold), (OVERRIDE, Right::Override)];
                let rights = all.into_iter().filter(|(bit, _)| rights & bit != 0);
                let rights = rights.map(|(_, right)| right).collect();
                Event::Enrol { officer: name(o), rights, by: names(by) }
            }
            Self::Dismiss { o } => Event::Dismiss { officer: name(o) },
            Self::Delete { p, at } => Event::Deleted { point: id(p), at: RetentionTime(at) },
        }
    }
}

impl Who {
    pub(super) fn authority(self) -> Authority {
        if self.local { Authority::local() } else { Authority::of(names(self.signed)) }
    }
}
