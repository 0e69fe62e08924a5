//! The inventory, live: a filter over everything and one long poll after another.
//!
//! A watcher has a session of its own, so that its poll stands beside no other calls. Whenever the
//! way to the server breaks, the session is lost or the server forgets the filter, the listing
//! begins anew: that a change was sent and not received is never noticed otherwise.

use super::caller::odd;
use super::{Client, Config};
use crate::error::VsphereError;
use crate::requests;
use crate::tree::{
    Change, ChangeKind, KINDS, Update, decode_properties, decode_update_set, paths_of,
};
use crate::wire::MoRef;
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest long poll: short enough for firewalls that drop silent connections.
const POLL: Duration = Duration::from_secs(30);
/// Objects in one answer; vCenter's own limit is the same.
const OBJECTS: u32 = 100;
/// How often in a row a session or filter may be lost before that is an error.
const RENEWALS: u32 = 3;

/// Follows the inventory of one server.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    filter: Option<Filter>,
}

/// A filter on the server, and how far its changes were received.
#[derive(Debug)]
struct Filter {
    collector: MoRef,
    /// Empty: nothing so far.
    version: String,
}

impl Watcher {
    /// Connects and logs in, with a session that serves only this.
    pub async fn connect(config: Config) -> Result<Self, VsphereError> {
        Ok(Self { client: Client::connect(config).await?, filter: None })
    }

    /// What the server says about itself.
    #[must_use]
    pub fn about(&self) -> &super::About {
        self.client.about()
    }

    /// Waits for changes, half a minute at the most; `None`: there were none. The first answer
    /// holds everything, and so does the first after something was lost.
    ///
    /// # Errors
    /// After an error the next call begins anew.
    pub async fn next(&mut self) -> Result<Option<Update>, VsphereError> {
        for _ in 0..RENEWALS {
            match self.poll().await {
                Err(error) if is_lost(&error) => {
                    tracing::info!(%error, "the inventory is listed anew");
                    self.filter = None;
                }
                other => {
                    if other.is_err() {
                        self.filter = None;
                    }
                    return other;
                }
            }
        }
        self.poll().await.inspect_err(|_| self.filter = None)
    }

    async fn poll(&mut self) -> Result<Option<Update>, VsphereError> {
        let filter = match self.filter.take() {
            Some(filter) => filter,
            None => self.begin().await?,
        };
        let Filter { collector, version } = filter;
        let seconds = u32::try_from(POLL.as_secs()).unwrap_or(1);
        let request = requests::wait_for_changes(&collector, &version, seconds, OBJECTS);
        let response = self.client.shared.session.poll(&collector, &request, POLL).await?;
        let Some(set) = response.value() else {
            self.filter = Some(Filter { collector, version });
            return Ok(None);
        };
        let decoded = decode_update_set(set).map_err(odd(request.method))?;
        let decoded = decoded.map_err(|fault| VsphereError::Fault {
            method: request.method,
            object: collector.clone(),
            source: Box::new(fault),
        })?;
        let mut changes = decoded.changes;
        changes.extend(self.read_again(decoded.again).await?);
        let (fresh, truncated) = (version.is_empty(), decoded.truncated);
        self.filter = Some(Filter { collector, version: decoded.version });
        Ok(Some(Update { fresh, truncated, changes }))
    }

    async fn begin(&self) -> Result<Filter, VsphereError> {
        let shared = &self.client.shared;
        let make = || async {
            let default = &shared.property_collector;
            let request = requests::create_property_collector(default);
            let collector = self.client.returned_object(default, &request).await?;
            let filter = requests::create_inventory_filter(&collector, &shared.root, KINDS);
            self.client.call(&collector, &filter).await?;
            Ok(collector)
        };
        let collector = shared.session.keep(make).await?;
        Ok(Filter { collector, version: String::new() })
    }

    /// Objects of which the server told a part of a property only.
    async fn read_again(&self, objects: BTreeSet<MoRef>) -> Result<Vec<Change>, VsphereError> {
        let mut changes = Vec::new();
        for object in objects {
            let read = self.client.read_one(&object, paths_of(object.kind()), |content| {
                Ok(decode_properties(content))
            });
            let (kind, set) = match read.await {
                Ok(set) => (ChangeKind::Enter, set),
                Err(VsphereError::Gone { .. }) => (ChangeKind::Leave, Vec::new()),
                Err(error) => return Err(error),
            };
            changes.push(Change { object, kind, set });
        }
        Ok(changes)
    }

    /// Ends the session on the server.
    pub async fn stop(self) -> Result<(), VsphereError> {
        self.client.logout().await
    }
}

/// True for what a new filter, or a new session, helps against.
fn is_lost(error: &VsphereError) -> bool {
    error.fault().is_some_and(|fault| {
        fault.is_not_authenticated()
            || fault.type_name == "InvalidCollectorVersion"
            || (fault.is_gone()
                && fault.object.as_ref().is_none_or(|object| object.kind() == "PropertyCollector"))
    })
}
