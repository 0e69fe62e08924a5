//! Changed areas of a disk.

use super::Client;
use super::caller::odd;
use crate::areas::{AreasQuery, decode_answer};
use crate::error::VsphereError;
use crate::requests;
use crate::wire::MoRef;
use model::{ChangeId, ChangedArea};

/// Since when changes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedSince {
    /// Everything that was ever written, `*`: on VMFS the allocated areas.
    All,
    /// Since the snapshot whose configuration held this id.
    Id(ChangeId),
}

impl ChangedSince {
    fn as_str(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Id(id) => &id.0,
        }
    }
}

impl Client {
    /// The areas of a disk, `capacity` bytes large, that changed between `since` and `snapshot`:
    /// ascending, not overlapping, complete. Too much is possible, too little is not: the answers
    /// are checked to cover the whole disk without a gap.
    ///
    /// # Errors
    /// When [`VsphereError::means_full_read`], change tracking cannot help this time: read the
    /// disk in full and tell why.
    pub async fn changed_areas(
        &self,
        vm: &MoRef,
        snapshot: &MoRef,
        disk_key: i32,
        capacity: u64,
        since: &ChangedSince,
    ) -> Result<Vec<ChangedArea>, VsphereError> {
        let ask = |start| {
            let asked =
                requests::query_changed_areas(vm, snapshot, disk_key, start, since.as_str());
            async move {
                let response = self.call(vm, &asked).await?;
                response.need_value().and_then(decode_answer).map_err(odd(asked.method))
            }
        };
        let wrong = |source| VsphereError::TrackingWrong { vm: vm.clone(), disk_key, source };
        let mut query = AreasQuery::new(capacity);
        while let Some(start) = query.question() {
            let answer = self.shared.session.keep(|| ask(start)).await;
            let answer = answer.map_err(|error| unusable(error, vm, disk_key, since))?;
            query.answer(&answer).map_err(wrong)?;
        }
        Ok(query.finish())
    }
}

/// Turns the faults that mean "no tracking data" into the error that says so.
fn unusable(error: VsphereError, vm: &MoRef, disk_key: i32, since: &ChangedSince) -> VsphereError {
    match error {
        VsphereError::Fault { source, .. } if source.spoils_change_tracking() => {
            let since = ChangeId(since.as_str().to_owned());
            VsphereError::TrackingUnusable { vm: vm.clone(), disk_key, since, source }
        }
        other => other,
    }
}
