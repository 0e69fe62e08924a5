//! What must be undone after a crash, written down before it is done.
//!
//! One JSON line per fact: an [`Intent`] opens, its run's id closes. What is open after a
//! restart is what a crash left behind; [`crate::sweep()`] undoes it. A [`Suspicion`] is kept
//! beside them until it is forgotten, for the same reason. A torn last line is a fact that never
//! became durable, so nothing was done because of it: it is dropped.

use crate::ports::BoxError;
use crate::progress::lock;
use crate::restore::RestoreIntent;
use crate::suspicion::Suspicion;
use model::{RunId, VmIdentity, WallTime};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// A run is about to create a snapshot of this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Which run.
    pub run: RunId,
    /// Of which VM.
    pub vm: VmIdentity,
    /// The hypervisor's handle of the VM.
    pub reference: String,
    /// The snapshot's name: unique, it carries the run's id.
    pub snapshot: String,
    /// Migration of the VM may be blocked, under the snapshot's name.
    #[serde(default)]
    pub migration_blocked: bool,
    /// When it was written down.
    pub opened: WallTime,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Open(Intent),
    Closed(RunId),
    /// Takes the place of the one that the same run wrote.
    Suspect(Suspicion),
    Forgotten(RunId),
    /// Takes the place of the one that the same run wrote.
    Restore(RestoreIntent),
    Restored(RunId),
}

/// What a log leaves standing.
#[derive(Default)]
struct Standing {
    open: Vec<Intent>,
    suspicions: Vec<Suspicion>,
    restores: Vec<RestoreIntent>,
}

impl Standing {
    fn apply(&mut self, fact: Line) {
        match fact {
            Line::Open(intent) => {
                self.open.retain(|old| old.run != intent.run);
                self.open.push(intent);
            }
            Line::Closed(run) => self.open.retain(|intent| intent.run != run),
            Line::Suspect(new) => match self.suspicions.iter_mut().find(|old| old.run == new.run) {
                Some(old) => *old = new,
                None => self.suspicions.push(new),
            },
            Line::Forgotten(run) => self.suspicions.retain(|old| old.run != run),
            Line::Restore(new) => {
                self.restores.retain(|old| old.run != new.run);
                self.restores.push(new);
            }
            Line::Restored(run) => self.restores.retain(|old| old.run != run),
        }
    }

    fn lines(&self) -> Result<Vec<u8>, BoxError> {
        let mut lines = Vec::new();
        for intent in &self.open {
            lines.extend(encode(&Line::Open(intent.clone()))?);
        }
        for suspicion in &self.suspicions {
            lines.extend(encode(&Line::Suspect(suspicion.clone()))?);
        }
        for restore in &self.restores {
            lines.extend(encode(&Line::Restore(restore.clone()))?);
        }
        Ok(lines)
    }
}

/// Where the lines are kept. `append` returns once they are durable.
pub trait JournalLog: Send + Sync + 'static {
    /// Everything that was appended so far.
    fn load(&self) -> Result<Vec<u8>, BoxError>;
    /// Appends and syncs.
    fn append(&self, line: &[u8]) -> Result<(), BoxError>;
    /// Replaces everything, atomically: used to drop what is closed.
    fn replace(&self, lines: &[u8]) -> Result<(), BoxError>;
}

/// The open intents and the suspicions, and the log behind them.
pub struct Journal {
    log: Box<dyn JournalLog>,
    /// Invariant: exactly what the log, read from the start, leaves standing.
    standing: Mutex<Standing>,
}

impl Journal {
    /// Reads the log, drops what is closed, and keeps what stands.
    pub fn load(log: Box<dyn JournalLog>) -> Result<Self, BoxError> {
        let bytes = log.load()?;
        let standing = replay(&bytes)?;
        let compact = standing.lines()?;
        if compact != bytes {
            log.replace(&compact)?;
        }
        Ok(Self { log, standing: Mutex::new(standing) })
    }

    /// Writes the intent down, in the place of what its run had written before; when this
    /// returns, a crash cannot make us forget it.
    pub fn open(&self, intent: Intent) -> Result<(), BoxError> {
        self.append(Line::Open(intent))
    }

    /// There is nothing left to undo for this run.
    pub fn close(&self, run: RunId) -> Result<(), BoxError> {
        self.append(Line::Closed(run))
    }

    /// What is not closed yet.
    #[must_use]
    pub fn pending(&self) -> Vec<Intent> {
        lock(&self.standing).open.clone()
    }

    /// Writes down how far a restore is, in the place of what its run had written before.
    pub fn open_restore(&self, intent: RestoreIntent) -> Result<(), BoxError> {
        self.append(Line::Restore(intent))
    }

    /// There is nothing left to end of this run's restore.
    pub fn close_restore(&self, run: RunId) -> Result<(), BoxError> {
        self.append(Line::Restored(run))
    }

    /// Restores that are not closed yet.
    #[must_use]
    pub fn restores(&self) -> Vec<RestoreIntent> {
        lock(&self.standing).restores.clone()
    }

    /// Writes a suspicion down, in the place of the one that the same run wrote before.
    pub fn suspect(&self, suspicion: Suspicion) -> Result<(), BoxError> {
        self.append(Line::Suspect(suspicion))
    }

    /// What this run found concerns nobody any more.
    pub fn forget_suspicion(&self, run: RunId) -> Result<(), BoxError> {
        self.append(Line::Forgotten(run))
    }

    /// Suspicions that are not forgotten, oldest first.
    #[must_use]
    pub fn suspicions(&self) -> Vec<Suspicion> {
        lock(&self.standing).suspicions.clone()
    }

    fn append(&self, fact: Line) -> Result<(), BoxError> {
        let mut standing = lock(&self.standing);
        self.log.append(&encode(&fact)?)?;
        standing.apply(fact);
        Ok(())
    }
}

fn encode(line: &Line) -> Result<Vec<u8>, BoxError> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn replay(bytes: &[u8]) -> Result<Standing, BoxError> {
    let mut standing = Standing::default();
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    for (number, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let fact = serde_json::from_slice(line).map_err(|source| {
            format!("line {} of the journal is damaged ({source})", number + 1)
        })?;
        standing.apply(fact);
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VmUuid;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl JournalLog for Memory {
        fn load(&self) -> Result<Vec<u8>, BoxError> {
            Ok(self.0.lock().unwrap().clone())
        }
        fn append(&self, line: &[u8]) -> Result<(), BoxError> {
            self.0.lock().unwrap().extend(line);
            Ok(())
        }
        fn replace(&self, lines: &[u8]) -> Result<(), BoxError> {
            *self.0.lock().unwrap() = lines.to_vec();
            Ok(())
        }
    }

    fn intent(run: u8) -> Intent {
        let vm = VmIdentity {
            uuid: VmUuid("50 01".into()),
            name: "web\n01".into(),
            server_uuid: "vc".into(),
        };
        Intent {
            run: RunId([run; 16]),
            vm,
            reference: "vm-1".into(),
            snapshot: format!("holdfast-{run}"),
            migration_blocked: true,
            opened: WallTime(1_800_000_000),
        }
    }

    #[test]
    fn what_is_open_survives_a_restart_and_what_is_closed_does_not() {
        let memory = Memory::default();
        let journal = Journal::load(Box::new(memory.clone())).unwrap();
        journal.open(intent(1)).unwrap();
        journal.open(intent(2)).unwrap();
        journal.close(RunId([1; 16])).unwrap();

        let again = Journal::load(Box::new(memory.clone())).unwrap();
        assert_eq!(again.pending(), [intent(2)]);
        assert_eq!(memory.0.lock().unwrap().split(|&b| b == b'\n').count(), 2, "compacted");
    }

    #[test]
    fn every_torn_tail_gives_a_state_that_was_true_once() {
        let memory = Memory::default();
        let journal = Journal::load(Box::new(memory.clone())).unwrap();
        journal.open(intent(1)).unwrap();
        let first = memory.0.lock().unwrap().len();
        journal.open(intent(2)).unwrap();
        let bytes = memory.0.lock().unwrap().clone();
        for cut in 0..=bytes.len() {
            let torn = Memory(Arc::new(Mutex::new(bytes[..cut].to_vec())));
            let open = Journal::load(Box::new(torn)).unwrap().pending().len();
            assert_eq!(open, usize::from(cut >= first) + usize::from(cut == bytes.len()));
        }
    }

    #[test]
    fn damage_in_the_middle_is_an_error_and_not_a_forgotten_snapshot() {
        let memory = Memory::default();
        let journal = Journal::load(Box::new(memory.clone())).unwrap();
        journal.open(intent(1)).unwrap();
        journal.open(intent(2)).unwrap();
        memory.0.lock().unwrap()[3] = b'#';
        assert!(Journal::load(Box::new(memory)).is_err());
    }
}
