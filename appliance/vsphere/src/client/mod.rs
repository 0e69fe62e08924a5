//! The client: connection, session, calls, and the operations that a backup is made of.

mod address;
mod caller;
mod changes;
mod configuration;
mod connect;
mod file_backup;
mod follow;
mod lease;
mod listing;
mod migration;
mod portrait;
mod properties;
mod restore;
mod session;
mod snapshots;
mod tags;
mod task;
mod tls;
mod transport;
mod upload;
mod watch;

use crate::error::VsphereError;
use crate::requests::Request;
use crate::secret::Secret;
use crate::thumbprint::Thumbprint;
use crate::wire::{MoRef, Response};
use session::Session;
use std::sync::Arc;
use std::time::Duration;

pub use changes::ChangedSince;
pub use configuration::ServerPart;
pub use connect::About;
pub use file_backup::FileBackup;
pub use follow::Watcher;
pub use lease::{DeviceUrl, Download, Lease, LeaseInfo, ManifestEntry, Slot};
pub use restore::{Named, Places};
pub use tags::Tag;
pub use upload::DatastoreFile;

/// How to reach and enter a vSphere server.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://HOST[:PORT]/sdk`.
    pub url: String,
    /// Such as `backup@vsphere.local`.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// SHA-256 of the certificate that the server must show. Nothing else about the certificate
    /// counts: no name, no date, no authority.
    pub thumbprint: Thumbprint,
    /// Limit for one call, connecting included. Two minutes are generous.
    pub call_timeout: Duration,
    /// Limit for one task. Removing a snapshot may take hours.
    pub task_timeout: Duration,
}

/// A session with a vSphere server. Cheap to clone; clones share session and connections.
///
/// Its methods may be called in parallel: four calls run at a time, and waits for tasks beside
/// them. When the server forgets the session, the next call logs in again. Dropping a call in the
/// middle is safe; a task that was started goes on in the server.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    session: Session,
    about: About,
    root: MoRef,
    property_collector: MoRef,
    view_manager: MoRef,
    authorization_manager: Option<MoRef>,
    option_manager: Option<MoRef>,
    task_timeout: Duration,
}

impl Client {
    /// Connects, negotiates the API version and logs in.
    ///
    /// # Errors
    /// [`VsphereError::Certificate`] names the certificate that was seen; a wrong password is a
    /// [`VsphereError::Login`].
    pub async fn connect(config: Config) -> Result<Self, VsphereError> {
        connect::connect(config).await.map(|shared| Self { shared: Arc::new(shared) })
    }

    /// What the server says about itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.shared.about
    }

    /// Ends the session on the server. Other clones of this client log in again when they are
    /// used afterwards.
    pub async fn logout(&self) -> Result<(), VsphereError> {
        self.shared.session.logout().await
    }

    /// One call with the session's cookie.
    async fn call(&self, object: &MoRef, request: &Request) -> Result<Response, VsphereError> {
        self.shared.session.call(object, request).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("about", &self.shared.about).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers put operations into tasks of their own: their futures must be `Send`.
    #[test]
    fn every_operation_can_be_spawned() {
        fn send(_: impl Send) {}
        let _: fn(&Client, Config, &MoRef) = |client, config, object| {
            send(Client::connect(config));
            send(client.vms());
            send(client.vm(object));
            send(client.datastores());
            send(client.scsi_luns());
            send(client.enable_cbt(object));
            send(client.create_snapshot(object, "", "", true));
            send(client.snapshot_disks(object));
            send(client.find_snapshots(object, ""));
            send(client.snapshot_configuration(object));
            send(client.hosts());
            send(client.server_configuration());
            send(client.layout(object));
            send(client.placement(object));
            send(client.tags(object));
            send(client.remove_snapshot(object));
            send(client.block_migration(object, ""));
            send(client.allow_migration(object, ""));
            send(client.consolidate(object));
            send(client.changed_areas(object, object, 0, 0, &ChangedSince::All));
            send(client.export_snapshot(object));
            send(client.export_vm(object));
            send(client.logout());
        };
    }
}
