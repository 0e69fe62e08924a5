//! The snapshot of a run, watched as long as it exists.
//!
//! While there is a snapshot the guest writes to a delta that grows, and a datastore that fills up
//! stops every VM on it. So beside the run somebody looks: what is too old or too large is a
//! warning, and ends the run where the policy says so; the run then cleans up as always.

use crate::error::RunError;
use crate::ports::{Hypervisor, PortError, VmView};
use crate::preflight::room;
use crate::progress::Progress;
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

/// What a snapshot may be and take.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotLimits {
    /// Pause between two looks.
    pub every: Duration,
    /// How old it may become.
    pub max_age: Duration,
    /// How large its delta may become, in percent of the VM's disks; 0: not watched.
    pub max_delta_percent: u8,
    /// What is over a limit ends the run; else it is a warning only.
    pub ends_run: bool,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            max_age: Duration::from_secs(24 * 3600),
            max_delta_percent: 20,
            ends_run: true,
        }
    }
}

/// What is looked at.
pub(crate) struct Watched<'a, H> {
    pub(crate) hypervisor: &'a H,
    pub(crate) vm: &'a VmView,
    /// The snapshot's handle.
    pub(crate) snapshot: &'a str,
    pub(crate) limits: SnapshotLimits,
    /// What must stay free of each datastore of the VM.
    pub(crate) min_free_percent: u8,
    pub(crate) progress: &'a Progress,
}

/// What can be over its limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    Age,
    Room,
    Delta,
    /// It could not be looked at.
    Blind,
}

impl<H: Hypervisor> Watched<'_, H> {
    /// Does the work and looks beside it.
    pub(crate) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        let mut work = pin!(work);
        let reason = tokio::select! {
            result = &mut work => return result,
            reason = self.until_over() => reason,
        };
        // The run ends where it can, and cleans up; what is committed already stays.
        self.progress.cancel();
        match work.await {
            Err(RunError::Cancelled) => {
                Err(RunError::SnapshotLimit { vm: self.vm.identity.name.clone(), reason })
            }
            other => other,
        }
    }

    /// Ends when the run has to: with the reason.
    async fn until_over(&self) -> String {
        let began = Instant::now();
        let mut told = BTreeSet::new();
        loop {
            tokio::time::sleep(self.limits.every).await;
            for (over, text) in self.look(began.elapsed()).await {
                if told.insert(over) {
                    tracing::warn!(vm = self.vm.identity.name, text, "snapshot");
                    self.progress.warn(text.clone());
                }
                if self.limits.ends_run && over != Over::Blind {
                    return text;
                }
            }
        }
    }

    async fn look(&self, age: Duration) -> Vec<(Over, String)> {
        let mut found = Vec::new();
        if age > self.limits.max_age {
            let (hours, most) = (age.as_secs() / 3600, self.limits.max_age.as_secs() / 3600);
            let text = format!("its snapshot is {hours} h old, {most} h are allowed");
            found.push((Over::Age, text));
        }
        let blind = |error: &PortError| {
            let error = model::chain(error);
            (Over::Blind, format!("the snapshot could not be watched for a while: {error}"))
        };
        match self.hypervisor.datastores().await {
            Ok(views) => {
                if let Err(error) = room(self.vm, &views, self.min_free_percent) {
                    found.push((Over::Room, format!("while there is a snapshot: {error}")));
                }
            }
            Err(error) => found.push(blind(&error)),
        }
        match self.hypervisor.delta_bytes(self.vm, self.snapshot).await {
            Ok(Some(bytes)) => found.extend(self.too_large(bytes)),
            Ok(None) => {}
            Err(error) => found.push(blind(&error)),
        }
        found
    }

    fn too_large(&self, bytes: u64) -> Option<(Over, String)> {
        let percent = self.limits.max_delta_percent;
        let all: u128 = self.vm.disks.iter().map(|disk| u128::from(disk.identity.capacity)).sum();
        if percent == 0 || u128::from(bytes) * 100 <= all * u128::from(percent) {
            return None;
        }
        let text = format!(
            "the delta of its snapshot has grown to {} MiB, more than {percent} % of its disks",
            bytes >> 20
        );
        Some((Over::Delta, text))
    }
}
