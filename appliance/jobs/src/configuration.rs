//! The configuration of a host, or of vCenter, as a recovery point of its own: files and no disks.

use crate::error::RunError;
use crate::locate::blocking;
use crate::ports::{PointDraft, PointSink, PortError, Store};
use crate::progress::{Progress, StepState};
use model::{Consistency, RecoveryPointId, RunId, VmIdentity, VmUuid, WallTime};
use std::sync::Arc;

/// How the identity of such a point begins; what follows names the server or the host. No VM has
/// such a UUID.
pub const PREFIX: &str = "configuration:";

/// True for the identity of a configuration.
#[must_use]
pub fn is_configuration(uuid: &VmUuid) -> bool {
    uuid.0.starts_with(PREFIX)
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct ConfigurationView {
    /// Whose; its uuid begins with [`PREFIX`].
    pub identity: VmIdentity,
    /// Name and bytes of each file.
    pub files: Vec<(String, Vec<u8>)>,
    /// What could not be read, each a sentence.
    pub missing: Vec<String>,
}

/// Whoever knows configurations.
pub trait ConfigurationSource: Send + Sync {
    /// Reads one; [`model::ErrorKind::NotFound`] when there is none of this name any more.
    fn configuration(
        &self,
        uuid: &VmUuid,
    ) -> impl Future<Output = Result<ConfigurationView, PortError>> + Send;
}

/// Reads a configuration and keeps it. What could not be read is a warning; nothing at all is an
/// error.
pub async fn keep<C: ConfigurationSource, S: Store>(
    source: &C,
    store: &S,
    uuid: &VmUuid,
    run: RunId,
    wall: fn() -> WallTime,
    progress: &Arc<Progress>,
) -> Result<RecoveryPointId, RunError> {
    let result = begin(source, store, uuid, run, wall, progress).await;
    progress.end(if result.is_ok() { StepState::Done } else { StepState::Failed });
    result
}

async fn begin<C: ConfigurationSource, S: Store>(
    source: &C,
    store: &S,
    uuid: &VmUuid,
    run: RunId,
    wall: fn() -> WallTime,
    progress: &Arc<Progress>,
) -> Result<RecoveryPointId, RunError> {
    let started = wall();
    progress.step("read the configuration");
    let view = source.configuration(uuid).await?;
    for missing in &view.missing {
        progress.warn(format!("not contained: {missing}"));
    }
    if view.files.is_empty() {
        let reason = view.missing.first().cloned().unwrap_or_else(|| "it is empty".into());
        return Err(RunError::NoConfiguration { name: view.identity.name, reason });
    }
    if progress.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    progress.step("commit");
    // The files are a state of their own; of a guest there is none to be brought to rest.
    let draft = PointDraft { vm: view.identity, run, consistency: Consistency::Crash, started };
    let store = store.clone();
    let committed = blocking("the store", move || -> Result<RecoveryPointId, PortError> {
        let mut point = store.begin(draft)?;
        for (name, bytes) in &view.files {
            point.file(name, bytes)?;
        }
        point.commit()
    });
    let id = committed.await??;
    progress.detail(format!("recovery point {id}"));
    Ok(id)
}
