//! The warden's core: one request after another, every input an argument, no effect but on the
//! storage. What it may do is decided from the ledger alone; what the daemon says is either
//! checked or only makes less happen.

mod budget;
mod commit;
mod copies;
mod create;
mod delete;
mod key;
mod locks;
mod note;
mod officer;
mod open;
mod repair;
mod seal;
mod tick;

pub use budget::UNITS_PER_DAY;
pub use create::{Creation, FirstOfficer};
pub use officer::officer_text;

use crate::found::Found;
use crate::ledger_file::LedgerFile;
use crate::mirror::Mirror;
use crate::state::State;
use crate::storage::{Immutable, Storage};
use crate::wire::{ClockView, Outcome, Reply, Request, Sealed, Status};
use crate::witness::Witness;
use crate::{WardenError, layout};
use ledger::{Event, Leaf, Runs};
use model::{RecoveryPointId, RetentionTime};
use retention::{ClockEvent, ComplianceClock, Reading, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Clock events that wait for the record while the ledger cannot be written. They are rare: the
/// clock merges them.
const PENDING_CLOCK: usize = 64;
/// The same refusal is on record once in this time, so that repeating it cannot fill the ledger.
const REFUSAL_AGAIN: Duration = Duration::from_secs(60);
/// Refusals that are remembered for that.
const REFUSALS: usize = 256;

/// 32 random bytes.
pub type Random = Box<dyn FnMut() -> io::Result<[u8; 32]> + Send>;

/// What a warden needs besides the repository.
pub struct Config {
    /// The 32 bytes of its private signing key.
    pub signer: [u8; 32],
    /// Where the last head is kept outside of the repository; `None`: nowhere, which is told.
    pub witness: Option<Box<dyn Witness>>,
    /// Randomness for challenges.
    pub random: Random,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The daemon, or anybody else who reached the socket.
    Daemon,
    /// The box's own local command, run by whoever has its console. It stands in for a pair of
    /// officers while there is none; it never ends a lock or a hold.
    Console,
}

/// A sealed segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileFact {
    volume: u8,
    bytes: u64,
}

/// The keeper of one repository.
///
/// Invariant: `state` is the replay of exactly the leaves in `ledger`.
pub struct Keeper {
    storage: Arc<dyn Storage>,
    repository: [u8; 16],
    ledger: LedgerFile,
    state: State,
    clock: ComplianceClock,
    /// Value of the clock on the last `clock` leaf.
    marked: RetentionTime,
    pending_clock: Vec<ClockEvent>,
    files: BTreeMap<u32, FileFact>,
    orphans: BTreeMap<u32, Sealed>,
    mirrors: Vec<Mirror>,
    challenges: Vec<officer::Challenge>,
    random: Random,
    found: Found,
    refusals: Vec<(String, Duration)>,
    budget: budget::Budget,
    alarmed: BTreeSet<String>,
    /// Volumes that were mounted and were not there at the last look.
    away: BTreeSet<u8>,
    next_check: u32,
}

impl Keeper {
    /// Fulfils a request of the daemon.
    pub fn handle(&mut self, request: Request, reading: Reading) -> Result<Reply, WardenError> {
        self.handle_from(Caller::Daemon, request, reading)
    }

    /// Fulfils a request. An error means that nothing happened, but for what the error says.
    pub fn handle_from(
        &mut self,
        caller: Caller,
        request: Request,
        reading: Reading,
    ) -> Result<Reply, WardenError> {
        let events = self.clock.advance(reading);
        self.pending_clock.extend(events);
        while self.pending_clock.len() > PENDING_CLOCK {
            // Never the newest disturbance: without it a restart would forget a doubt.
            let first = self.pending_clock.iter().position(|event| !event.is_disturbance());
            self.pending_clock.remove(first.unwrap_or(0));
        }
        if !self.pending_clock.is_empty()
            && let Err(error) = self.record(Vec::new(), reading)
        {
            tracing::warn!(error = model::chain(&error), "clock event not on record yet");
        }
        if caller == Caller::Daemon {
            self.afford(&request, reading)?;
        }
        let outcome = self.fulfil(caller, request, reading)?;
        self.update_copies();
        Ok(Reply { size: self.state.size(), clock: self.clock_view(), outcome })
    }

    fn fulfil(
        &mut self,
        caller: Caller,
        request: Request,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        match request {
            Request::Status => Ok(self.status()),
            Request::Seal { volume, serial } => self.seal(volume, serial),
            Request::Commit(commit) => self.commit(*commit, reading),
            Request::Extend { point, until } => {
                self.lock_change(point, Event::Extend { point, until }, "extend", reading)
            }
            Request::Tighten { point } => {
                self.lock_change(point, Event::Tighten { point }, "tighten", reading)
            }
            Request::Hold { point, matter } => {
                self.lock_change(point, Event::Hold { point, matter }, "hold", reading)
            }
            Request::Challenge => self.challenge(caller, reading),
            Request::Officer(request) => self.officer(caller, *request, reading),
            Request::Delete { points, keep } => self.delete(&points, &keep, reading),
            Request::Reclaim { keep, orphans } => self.reclaim(&keep, &orphans, reading),
            Request::Compact { from, to } => self.compact(from, to, reading),
            Request::Repair { volume, serial } => self.repair(volume, serial, reading),
            Request::Discard { volume, serial } => self.discard(volume, serial),
            Request::AddKey { epoch, file } => self.add_key(epoch, &file, reading),
            Request::AddVolume { number } => self.add_volume(number, reading),
            Request::Note(evidence) => self.note(evidence, reading),
            Request::Tick => self.tick(reading),
        }
    }

    /// The replay of the ledger.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Id of the repository.
    #[must_use]
    pub fn repository(&self) -> [u8; 16] {
        self.repository
    }

    fn status(&self) -> Outcome {
        Outcome::Status(Box::new(Status {
            head: self.ledger.head().to_owned(),
            signer: self.ledger.signer().vkey().to_string(),
            found: self.found.clone(),
            not_enforced: self.storage.not_enforced(),
            stopped: self.ledger.stopped().map(str::to_owned),
            orphans: self.orphans.keys().copied().collect(),
        }))
    }

    fn clock_view(&self) -> ClockView {
        let view = self.clock.view();
        let doubt = view.release_time().err().map(|doubt| doubt.to_string());
        ClockView { value: view.value(), doubt }
    }

    /// Puts events on record, after the clock events that wait for it.
    fn record(&mut self, events: Vec<Event>, reading: Reading) -> Result<(), WardenError> {
        let clock = self.clock.value();
        let waiting = self.pending_clock.iter().map(|event| Event::ClockEvent {
            what: serde_json::to_value(event).expect("numbers and names: always JSON"),
        });
        let leaves: Vec<Leaf> =
            waiting.chain(events).map(|event| Leaf::new(clock, reading.wall, event)).collect();
        self.ledger.append(&leaves, &mut self.state)?;
        self.pending_clock.clear();
        Ok(())
    }

    /// A refusal of the retention engine: on record first, then told.
    fn refuse(
        &mut self,
        point: Option<RecoveryPointId>,
        action: &str,
        refusal: Refusal,
        reading: Reading,
    ) -> WardenError {
        let until = match &refusal {
            Refusal::Kept { verdict: retention::Verdict::Locked { until, .. }, .. }
            | Refusal::Shorter { until, .. }
            | Refusal::Compliance { until, .. } => Some(*until),
            _ => None,
        };
        let reason = shortened(&refusal.to_string());
        self.record_refusal(point, action, reason, until, reading);
        WardenError::Refused { refusal: Box::new(refusal), size: self.state.size() }
    }

    /// A denial by another rule, on record.
    fn deny(
        &mut self,
        point: Option<RecoveryPointId>,
        action: &str,
        problem: impl Into<String>,
        reading: Reading,
    ) -> WardenError {
        let problem = problem.into();
        self.record_refusal(point, action, shortened(&problem), None, reading);
        WardenError::denied(problem)
    }

    fn record_refusal(
        &mut self,
        point: Option<RecoveryPointId>,
        action: &str,
        reason: String,
        until: Option<RetentionTime>,
        reading: Reading,
    ) {
        let now = reading.monotonic;
        let what = format!("{action} {point:?} {reason}");
        self.refusals.retain(|(_, at)| now.saturating_sub(*at) < REFUSAL_AGAIN);
        if self.refusals.len() >= REFUSALS || self.refusals.iter().any(|(told, _)| *told == what) {
            return;
        }
        if !self.pay(1, reading) {
            return;
        }
        let event = Event::Refused { point, action: action.into(), reason, until };
        match self.record(vec![event], reading) {
            Ok(()) => self.refusals.push((what, now)),
            // The refusal stands; that it is not on record must not turn it into another error.
            Err(error) => {
                tracing::error!(error = model::chain(&error), "a refusal is not on record");
            }
        }
    }

    /// Sets the immutable attribute; `true` when it was missing.
    fn protect(&self, path: &str) -> Result<bool, WardenError> {
        match self.storage.set_immutable(path, true) {
            Ok(outcome) => Ok(matches!(outcome, Immutable::Set)),
            Err(source) => Err(WardenError::io("protecting", path)(source)),
        }
    }

    /// Volumes that are there, volume 0 first.
    fn volumes(&self) -> impl Iterator<Item = u8> + '_ {
        std::iter::once(0).chain(self.mirrors.iter().map(|mirror| mirror.volume))
    }

    fn has_volume(&self, volume: u8) -> Result<(), WardenError> {
        if self.volumes().any(|known| known == volume) {
            return Ok(());
        }
        Err(WardenError::denied(format!(
            "volume {volume} does not belong to this repository or is not mounted"
        )))
    }

    /// Copies leaves and head to the other volumes. They may lag: a failure is told, not fatal.
    fn update_copies(&mut self) -> Vec<u8> {
        let (length, head) = (self.ledger.length(), self.ledger.head());
        let mut completed = Vec::new();
        for mirror in &mut self.mirrors {
            match mirror.complete(&*self.storage, length, head) {
                Ok(true) => completed.push(mirror.volume),
                Ok(false) => {}
                Err(error) => {
                    let (volume, error) = (mirror.volume, model::chain(&error));
                    tracing::warn!(volume, error, "the ledger's copy on a volume lags");
                }
            }
        }
        completed
    }

    fn sync_dir(&self, path: &str) -> Result<(), WardenError> {
        self.storage.sync_dir(path).map_err(WardenError::io("syncing", path))
    }

    /// Where a sealed segment lies, if it does.
    fn path_of(&self, serial: u32) -> Option<String> {
        self.files.get(&serial).map(|file| layout::sealed(file.volume, serial))
    }

    /// `segment` leaves for those of `runs` that have none yet. An error names a segment that
    /// cannot be used.
    fn leaves_for(&self, serials: impl Iterator<Item = u32>) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for serial in serials {
            let file = self.files.get(&serial).filter(|file| !self.away.contains(&file.volume));
            let Some(file) = file else {
                return Err(format!("segment {serial:08x} is not sealed or its file is missing"));
            };
            if let Some(known) = self.state.segment(serial) {
                if known.bytes != file.bytes || known.quarantined {
                    return Err(format!("segment {serial:08x} is damaged"));
                }
                continue;
            }
            if self.state.deleted().contains(serial) {
                return Err(format!("segment {serial:08x} was deleted"));
            }
            let Some(sealed) = self.orphans.get(&serial) else {
                return Err(format!("segment {serial:08x} is damaged"));
            };
            if sealed.epoch != 0 && !self.state.keys().contains_key(&sealed.epoch) {
                let epoch = sealed.epoch;
                return Err(format!(
                    "segment {serial:08x} was written under key {epoch}, which was destroyed; \
                     reclaim removes it"
                ));
            }
            events.push(Event::Segment(seal::leaf(serial, file.volume, sealed)));
        }
        Ok(events)
    }

    /// Upper bound for what a request can make us look at.
    fn known_segments(&self) -> u64 {
        (self.state.segments().len() + self.orphans.len()) as u64
    }

    /// Orphans that have leaves now are none any more.
    fn adopt(&mut self) {
        let state = &self.state;
        self.orphans.retain(|serial, _| state.segment(*serial).is_none());
    }

    /// Refuses lists that no honest caller would send.
    fn few(&self, runs: &Runs) -> Result<(), WardenError> {
        if runs.count() <= self.known_segments() {
            return Ok(());
        }
        Err(WardenError::denied("the request names segments that do not exist"))
    }
}

/// At most 1000 bytes of a text that goes on record.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(1000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
