//! One path of a LUN, with what is remembered of it, and how a path joins.

use super::Lun;
use crate::facts::Facts;
use crate::inventory::{self, Found};
use crate::job::Mark;
use crate::multipath::{Link, Time, View};
use crate::path::Path;
use crate::transport::{Place, Transport};
use crate::{Counters, SanError};
use scsi::{AccessState, LunId};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A path and its history.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) path: Path,
    /// As it was when the path joined.
    pub(super) facts: Facts,
    /// Writes would be refused, as last told.
    write_protected: Mutex<Option<bool>>,
    /// The moment up to which the path is known to lead to the LUN.
    verified: Mutex<Option<Mark>>,
    /// Held while the path is asked who it leads to.
    pub(super) asking: tokio::sync::Mutex<()>,
    /// It brought bytes since the LUN was last asked as a whole.
    pub(super) used: AtomicBool,
    /// What was last the matter.
    note: Mutex<Option<String>>,
    /// Why it is never used again.
    refusal: Mutex<Option<SanError>>,
}

/// A path, for people.
#[derive(Clone, Debug)]
pub struct PathInfo {
    /// `host:port` of an iSCSI portal, or our own port.
    pub portal: String,
    /// iSCSI name of the target, or the WWPN of its port.
    pub target: String,
    /// Number of the LUN by this path.
    pub lun: LunId,
    /// Whether it is used.
    pub state: PathState,
    /// What the array says of it; `None`: it has no such states, or does not tell.
    pub access: Option<AccessState>,
    /// Target port group of its port.
    pub group: Option<u16>,
    /// Commands in a row that failed.
    pub failures: u32,
    /// Since the last command that was answered well.
    pub last_good: Option<Duration>,
    /// Of one read, smoothed; `None` before the first one.
    pub latency: Option<Duration>,
    /// Commands that are in flight.
    pub in_flight: usize,
    /// What was sent by it, and the bytes that came, in whole blocks.
    pub counters: Counters,
    /// What was last the matter with it.
    pub note: Option<String>,
}

/// Whether a path is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Commands take it.
    Active,
    /// It could be used; a better one is, or the one in use is enough.
    Ready,
    /// The array serves no reads by it now.
    Passive,
    /// It was lost; it counts again when it has proved its identity.
    Lost,
    /// It has not been compared with the others yet.
    Unproven,
    /// It shows something else: never used.
    Refused,
}

impl Lun {
    /// Another path joins: it is proven by the caller, or later. `None`: there are too many.
    pub(crate) fn join(&self, found: Found, proven: bool) -> Option<usize> {
        let Found { path, facts, mark } = found;
        let port = self.port_number(path.transport.target_port());
        let mut ways = self.0.ways.write().unwrap_or_else(PoisonError::into_inner);
        let at = self.lock().join(port, facts.access, proven, self.now())?;
        let verified = Mutex::new(proven.then_some(mark));
        let write_protected = Mutex::new(facts.write_protected);
        ways.push(Arc::new(Way {
            path,
            facts,
            write_protected,
            verified,
            asking: tokio::sync::Mutex::default(),
            used: AtomicBool::new(false),
            note: Mutex::default(),
            refusal: Mutex::default(),
        }));
        drop(ways);
        self.announce();
        Some(at)
    }

    /// Equal names have equal numbers.
    fn port_number(&self, name: String) -> usize {
        let mut ports = self.0.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ports.iter().position(|port| *port == name);
        known.unwrap_or_else(|| {
            ports.push(name);
            ports.len() - 1
        })
    }

    /// The path by this transport to this number, when the LUN has it already.
    pub(crate) fn known(&self, transport: &Transport, lun: LunId) -> Option<Path> {
        let ways = self.ways();
        let known = ways.iter().find(|way| way.leads(transport, lun));
        known.map(|way| way.path.clone())
    }

    /// Takes note of the state of a path that it has already; false when it has not.
    pub(crate) fn update(&self, found: &Found) -> bool {
        let (transport, lun) = (&found.path.transport, found.path.lun);
        let Some(at) = self.ways().iter().position(|way| way.leads(transport, lun)) else {
            return false;
        };
        self.way(at).told_protection(found.facts.write_protected);
        if let Some(access) = found.facts.access {
            self.lock().reported(at, access, self.now());
            self.announce();
        }
        true
    }

    /// The states of its paths by this transport.
    pub(crate) fn states_by(&self, transport: &Transport) -> Vec<PathState> {
        let (ways, paths) = (self.ways(), self.lock());
        let by = ways.iter().enumerate().filter(|(_, way)| way.path.transport.is_same(transport));
        by.map(|(at, _)| PathState::of(&paths.view(at))).collect()
    }
}

impl Way {
    fn leads(&self, transport: &Transport, lun: LunId) -> bool {
        self.path.lun == lun && self.path.transport.is_same(transport)
    }

    pub(super) fn verified(&self) -> Option<Mark> {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) // a Copy value: never half
    }

    pub(super) fn set_verified(&self, mark: Mark) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    pub(super) fn write_protected(&self) -> Option<bool> {
        *self.write_protected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn told_protection(&self, write_protected: Option<bool>) {
        *self.write_protected.lock().unwrap_or_else(PoisonError::into_inner) = write_protected;
    }

    /// Bytes came by it.
    pub(super) fn brought(&self, bytes: u32) {
        self.path.cells.read(bytes);
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    pub(super) fn remember(&self, error: &SanError) {
        let text = model::chain(error);
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(super) fn refuse(&self, error: &SanError) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    pub(super) fn refusal(&self) -> Option<SanError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line for messages about paths that do not belong together.
    pub(super) fn line(&self) -> String {
        inventory::line(&self.path, &self.facts)
    }

    pub(super) fn changed(&self, what: &'static str) -> SanError {
        SanError::IdentityChanged { lun: self.path.lun, target: self.path.target(), what }
    }

    pub(super) fn info(&self, view: View, now: Time) -> PathInfo {
        let Place { portal, target } = self.path.transport.place().clone();
        PathInfo {
            portal,
            target,
            lun: self.path.lun,
            state: PathState::of(&view),
            access: view.access,
            group: self.facts.group,
            failures: view.failures,
            last_good: view.last_good.map(|good| now.saturating_sub(good)),
            latency: self.path.depth.latency(),
            in_flight: self.path.depth.load().in_flight,
            counters: self.path.cells.now(),
            note: self.note.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl PathInfo {
    /// One line for messages.
    pub(crate) fn line(&self) -> String {
        let access = self.access.map_or_else(String::new, |access| format!(", {access}"));
        let (lun, target, portal) = (self.lun, &self.target, &self.portal);
        format!("LUN {lun} of {target} by {portal} ({}{access})", self.state.name())
    }
}

impl PathState {
    fn of(view: &View) -> Self {
        match view {
            View { link: Link::Refused, .. } => Self::Refused,
            View { link: Link::Down, .. } => Self::Lost,
            View { access: Some(access), .. } if !access.reads() => Self::Passive,
            View { proven: false, .. } => Self::Unproven,
            View { chosen: true, .. } => Self::Active,
            _ => Self::Ready,
        }
    }

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ready => "ready",
            Self::Passive => "passive",
            Self::Lost => "lost",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
        }
    }
}
