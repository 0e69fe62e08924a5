//! Waiting for a property of one object, with WaitForUpdatesEx instead of polling.
//!
//! Each wait has a property collector of its own: the default one is shared by the session, and
//! two long polls on one collector disturb each other.

use super::Client;
use super::caller::odd;
use crate::error::VsphereError;
use crate::requests;
use crate::wire::{MoRef, Node, read_objects};
use std::time::Duration;

/// The longest long poll: short enough for firewalls that drop silent connections.
const POLL: Duration = Duration::from_secs(30);

/// Pauses after the first, second … broken connection in a row of one wait.
pub(super) const PAUSES_MS: [u64; 5] = [200, 1000, 2000, 5000, 10_000];

/// A property that is to take one of these values.
pub(super) struct Awaited<'a> {
    pub(super) object: &'a MoRef,
    pub(super) path: &'static str,
    pub(super) values: &'static [&'static str],
}

impl Client {
    /// Returns when the property has one of the values. `time_left` is asked before each poll and
    /// ends the wait with its error.
    pub(super) async fn wait_for(
        &self,
        awaited: &Awaited<'_>,
        time_left: impl Fn() -> Result<Duration, VsphereError>,
    ) -> Result<(), VsphereError> {
        let default = &self.shared.property_collector;
        let request = requests::create_property_collector(default);
        let collector = self.returned_object(default, &request).await?;
        let ended = self.watch(&collector, awaited, time_left).await;
        // It ends with the session at the latest; the property counts, not this.
        let destroy = requests::destroy_property_collector(&collector);
        if let Err(error) = self.call(&collector, &destroy).await {
            tracing::debug!(%collector, %error, "a property collector was not destroyed");
        }
        ended
    }

    async fn watch(
        &self,
        collector: &MoRef,
        awaited: &Awaited<'_>,
        time_left: impl Fn() -> Result<Duration, VsphereError>,
    ) -> Result<(), VsphereError> {
        let filter = requests::create_filter(collector, awaited.object, &[awaited.path]);
        self.call(collector, &filter).await?;
        let mut version = String::new();
        loop {
            let patience = time_left()?.min(POLL).max(Duration::from_secs(1));
            let seconds = u32::try_from(patience.as_secs()).unwrap_or(1);
            let request = requests::wait_for_updates(collector, &version, seconds);
            let response = self.shared.session.poll(collector, &request, patience).await?;
            let Some(update) = response.value() else { continue }; // nothing within `patience`
            if reached(update, awaited)? {
                return Ok(());
            }
            version = update.need_text("version").map_err(odd(request.method))?.to_owned();
        }
    }
}

/// True when an `UpdateSet` says that the property has one of the values.
fn reached(update: Node<'_>, awaited: &Awaited<'_>) -> Result<bool, VsphereError> {
    let method = "WaitForUpdatesEx";
    for filter in update.all("filterSet") {
        let objects = read_objects(filter, "objectSet").map_err(odd(method))?;
        objects.map_err(|fault| VsphereError::Fault {
            method,
            object: awaited.object.clone(),
            source: Box::new(fault),
        })?;
        for object in filter.all("objectSet") {
            if object.get("kind") == Some("leave") {
                return Err(VsphereError::Gone { object: awaited.object.clone() });
            }
            let mut values = object.all("changeSet").filter_map(|change| change.get("val"));
            if values.any(|value| awaited.values.contains(&value)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
