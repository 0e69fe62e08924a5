//! Signs of life for a lease.

use crate::client::Client;
use crate::requests;
use crate::wire::{Fault, MoRef};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// The longest pause between two signs of life.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The shortest: a lease of no time at all is no reason to flood a server.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Calls HttpNfcLeaseProgress three times per timeout, until it is dropped.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    percent: AtomicU8,
    failure: Mutex<Option<Fault>>,
}

impl Keeper {
    pub(super) fn start(client: Client, lease: MoRef, timeout: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let pause = (timeout / 3).clamp(PAUSE_MIN, PAUSE_MAX);
        let task = tokio::spawn(keep(Arc::clone(&shared), client, lease, pause));
        Self { shared, task: task.abort_handle() }
    }

    pub(super) fn progress(&self, percent: u8) {
        self.shared.percent.store(percent.min(100), Ordering::Relaxed);
    }

    /// Why the server no longer takes signs of life.
    pub(super) fn failure(&self) -> Option<Fault> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn keep(shared: Arc<Shared>, client: Client, lease: MoRef, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let request = requests::lease_progress(&lease, shared.percent.load(Ordering::Relaxed));
        let Err(error) = client.shared.session.keep(|| client.call(&lease, &request)).await else {
            continue;
        };
        // A server that cannot be reached may be back before the lease times out.
        tracing::warn!(%lease, %error, "no sign of life reached the lease");
        if let Some(fault) = error.fault() {
            let mut failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(fault.clone());
            return;
        }
    }
}
