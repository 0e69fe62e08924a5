//! The snapshot of a run, with the guest at rest where the policy asks for it.

use crate::backup::Settings;
use crate::error::RunError;
use crate::journal::Intent;
use crate::ports::{Created, Hypervisor, VmView};
use crate::progress::Progress;
use api::Quiesce;

/// A snapshot that is there.
pub(crate) struct VmSnapshot {
    /// The hypervisor's handle.
    pub(crate) handle: String,
    /// The guest was at rest.
    pub(crate) quiesced: bool,
}

/// Creates it. A guest that cannot be brought to rest is a warning or an error, as the policy says.
pub(crate) async fn create<H: Hypervisor>(
    hypervisor: &H,
    vm: &VmView,
    intent: &Intent,
    settings: Settings,
    progress: &Progress,
) -> Result<VmSnapshot, RunError> {
    let name = &intent.snapshot;
    let description = format!("temporary, of a Holdfast backup; run {}", intent.run);
    let mut not_quiesced = None;
    // The request is silently ignored without VMware Tools, so it is not made then.
    if settings.quiesce != Quiesce::Never && !vm.powered_off {
        let created = match vm.tools_running {
            true => hypervisor.create_snapshot(vm, name, &description, true).await?,
            false => Created::NotQuiesced("VMware Tools do not run in it".into()),
        };
        match created {
            Created::Snapshot(handle) => return Ok(VmSnapshot { handle, quiesced: true }),
            Created::NotQuiesced(reason) => not_quiesced = Some(reason),
        }
    }
    let failed = |reason| RunError::NotQuiesced { vm: vm.identity.name.clone(), reason };
    if let Some(reason) = not_quiesced {
        if settings.quiesce == Quiesce::Must {
            return Err(failed(reason));
        }
        progress.warn(format!(
            "the guest of VM '{}' could not be brought to rest ({reason}); the point is as after a \
             power cut",
            vm.identity.name
        ));
    }
    match hypervisor.create_snapshot(vm, name, &description, false).await? {
        Created::Snapshot(handle) => Ok(VmSnapshot { handle, quiesced: false }),
        Created::NotQuiesced(reason) => Err(failed(reason)),
    }
}
