//! What was compared with the network path, by volume, over restarts.

use crate::compare::Class;
use crate::journal::JournalLog;
use crate::ports::BoxError;
use crate::progress::lock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// What is known of all volumes.
pub struct Verdicts {
    log: Box<dyn JournalLog>,
    volumes: Mutex<BTreeMap<String, Verdict>>,
}

/// What is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Classes whose bytes were the same by both ways.
    pub equal: BTreeSet<Class>,
    /// The bytes of a disk differed, and have not been found equal since.
    pub differs: Option<String>,
}

impl Verdicts {
    /// From the log: one JSON object.
    pub fn load(log: Box<dyn JournalLog>) -> Result<Self, BoxError> {
        let bytes = log.load()?;
        let volumes = match bytes.as_slice() {
            [] => BTreeMap::new(),
            bytes => serde_json::from_slice(bytes)
                .map_err(|source| format!("what was compared before is unreadable: {source}"))?,
        };
        Ok(Self { log, volumes: Mutex::new(volumes) })
    }

    /// What is known of the volume with this UUID.
    #[must_use]
    pub fn of(&self, volume: &str) -> Verdict {
        lock(&self.volumes).get(volume).cloned().unwrap_or_default()
    }

    /// The volumes on which bytes differ, and what was said of them.
    #[must_use]
    pub fn differing(&self) -> Vec<(String, String)> {
        let differs = |(volume, verdict): (&String, &Verdict)| {
            verdict.differs.clone().map(|text| (volume.clone(), text))
        };
        lock(&self.volumes).iter().filter_map(differs).collect()
    }

    /// These classes are the same by both ways.
    pub(crate) fn equal(&self, volume: &str, classes: BTreeSet<Class>) -> Result<(), BoxError> {
        self.change(volume, |verdict| {
            verdict.equal.extend(classes);
            verdict.differs = None;
        })
    }

    /// Bytes differ: nothing that was compared before counts any more.
    pub(crate) fn differs(&self, volume: &str, text: String) -> Result<(), BoxError> {
        self.change(volume, |verdict| {
            *verdict = Verdict { equal: BTreeSet::new(), differs: Some(text) };
        })
    }

    fn change(&self, volume: &str, change: impl FnOnce(&mut Verdict)) -> Result<(), BoxError> {
        let mut volumes = lock(&self.volumes);
        let mut changed = volumes.clone();
        change(changed.entry(volume.into()).or_default());
        self.log.replace(&serde_json::to_vec_pretty(&changed)?)?;
        *volumes = changed;
        Ok(())
    }
}
