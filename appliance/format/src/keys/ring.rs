//! The data keys that are at hand, by epoch.

use super::DataKey;
use crate::cipher::Cipher;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Data keys by epoch; clones share them. Without encryption it is empty.
#[derive(Clone, Default)]
pub struct KeyRing {
    epochs: BTreeMap<u32, Arc<Cipher>>,
}

impl KeyRing {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key of an epoch.
    pub fn insert(&mut self, epoch: u32, key: &DataKey) {
        self.epochs.insert(epoch, Arc::new(Cipher::new(&key.0)));
    }

    /// The last epoch: the one to write under.
    #[must_use]
    pub fn latest(&self) -> Option<u32> {
        self.epochs.last_key_value().map(|(&epoch, _)| epoch)
    }

    pub(crate) fn get(&self, epoch: u32) -> Option<&Arc<Cipher>> {
        self.epochs.get(&epoch)
    }
}
