//! The data keys that are at hand, by epoch.

use super::DataKey;
use crate::cipher::Cipher;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Data keys by epoch; clones share them. Without encryption it is empty.
#[derive(Clone, Default)]
pub struct KeyRing {
    epochs: BTreeMap<u32, Arc<Cipher>>,
    lost: Option<u32>,
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

    /// Says that the key of an epoch exists and is not at hand. When that is the last epoch,
    /// nothing can be written: whoever began a new epoch wants no more under an older one.
    pub fn lose(&mut self, epoch: u32) {
        self.lost = self.lost.max(Some(epoch));
    }

    /// The last epoch: the one to write under, whether or not its key is at hand.
    #[must_use]
    pub fn latest(&self) -> Option<u32> {
        self.lost.max(self.epochs.last_key_value().map(|(&epoch, _)| epoch))
    }

    /// No key is at hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    pub(crate) fn is_lost(&self, epoch: u32) -> bool {
        self.lost == Some(epoch)
    }

    pub(crate) fn get(&self, epoch: u32) -> Option<&Arc<Cipher>> {
        self.epochs.get(&epoch)
    }
}
