//! What is known of the warden: asked every few seconds, so that a status never waits for it.

use repository::Repository;
use std::sync::{Mutex, MutexGuard, PoisonError};
use warden::wire::Status;

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Its last answer.
    pub(crate) status: Option<Status>,
    /// Why it did not answer when it was asked last.
    pub(crate) error: Option<String>,
}

/// Keeps it.
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    /// What this process does not enforce.
    missing: Vec<String>,
}

impl Watch {
    pub(crate) fn new(missing: Vec<String>) -> Self {
        Self { seen: Mutex::default(), missing }
    }

    /// Asks the warden. Blocks.
    pub(crate) fn look(&self, repository: &Repository) {
        match repository.warden_status() {
            Ok(status) => {
                let now = Seen { status: Some(status), error: None };
                if std::mem::replace(&mut *self.lock(), now).error.is_some() {
                    tracing::info!("the warden answers again");
                }
            }
            Err(error) => {
                let told = model::chain(&error);
                let mut seen = self.lock();
                if seen.error.as_ref() != Some(&told) {
                    tracing::error!(error = told, "the warden does not answer as it should");
                }
                seen.error = Some(told);
            }
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// What is not enforced, here and there.
    pub(crate) fn not_enforced(&self) -> Vec<String> {
        let seen = self.lock();
        let told = seen.status.iter().flat_map(|status| &status.not_enforced);
        self.missing.iter().chain(told).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
