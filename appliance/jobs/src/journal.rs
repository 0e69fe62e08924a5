//! What must be undone after a crash, written down before it is done.
//!
//! One JSON line per fact: an [`Intent`] opens, its run's id closes. What is open after a
//! restart is what a crash left behind; [`crate::sweep()`] undoes it. A torn last line is a fact
//! that never became durable, so nothing was done because of it: it is dropped.

use crate::ports::BoxError;
use crate::progress::lock;
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
    /// When it was written down.
    pub opened: WallTime,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Open(Intent),
    Closed(RunId),
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

/// The open intents, and the log behind them.
pub struct Journal {
    log: Box<dyn JournalLog>,
    /// Invariant: exactly the intents that the log, read from the start, leaves open.
    open: Mutex<Vec<Intent>>,
}

impl Journal {
    /// Reads the log, drops what is closed, and keeps what is open.
    pub fn load(log: Box<dyn JournalLog>) -> Result<Self, BoxError> {
        let bytes = log.load()?;
        let open = replay(&bytes)?;
        let mut compact = Vec::new();
        for intent in &open {
            compact.extend(encode(&Line::Open(intent.clone()))?);
        }
        if compact != bytes {
            log.replace(&compact)?;
        }
        Ok(Self { log, open: Mutex::new(open) })
    }

    /// Writes the intent down; when this returns, a crash cannot make us forget it.
    pub fn open(&self, intent: Intent) -> Result<(), BoxError> {
        let mut open = lock(&self.open);
        self.log.append(&encode(&Line::Open(intent.clone()))?)?;
        open.push(intent);
        Ok(())
    }

    /// There is nothing left to undo for this run.
    pub fn close(&self, run: RunId) -> Result<(), BoxError> {
        let mut open = lock(&self.open);
        self.log.append(&encode(&Line::Closed(run))?)?;
        open.retain(|intent| intent.run != run);
        Ok(())
    }

    /// What is not closed yet.
    #[must_use]
    pub fn pending(&self) -> Vec<Intent> {
        lock(&self.open).clone()
    }
}

fn encode(line: &Line) -> Result<Vec<u8>, BoxError> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn replay(bytes: &[u8]) -> Result<Vec<Intent>, BoxError> {
    let mut open: Vec<Intent> = Vec::new();
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    for (number, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let fact = serde_json::from_slice(line).map_err(|source| {
            format!("line {} of the journal is damaged ({source})", number + 1)
        })?;
        match fact {
            Line::Open(intent) => open.push(intent),
            Line::Closed(run) => open.retain(|intent| intent.run != run),
        }
    }
    Ok(open)
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
