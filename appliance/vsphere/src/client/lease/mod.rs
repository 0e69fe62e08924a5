//! Leases for the transfer of disks (`HttpNfcLease`), in both directions.
//!
//! ```text
//! ExportSnapshot, ExportVm, ImportVApp -> initializing -> ready -> transfer, kept alive
//!                                              |                      |
//!                                              +-> error              +-> complete | abort
//! ```
//!
//! A lease is always ended: by [`Lease::complete`], by [`Lease::abort`], or, when it is dropped in
//! any state, by an abort in the background. That holds also when the caller goes away while the
//! server is still asked for the lease: asking runs in a task of its own. What even that cannot
//! end (the process is killed) the server ends itself after the lease's timeout.

mod import;
mod info;
mod keeper;
mod slots;
mod transfer;

pub use info::{DeviceUrl, LeaseInfo, ManifestEntry};
pub use slots::Slot;
pub use transfer::Download;

use super::Client;
use super::caller::odd;
use super::properties::withheld;
use super::watch::{Awaited, PAUSES_MS};
use crate::error::VsphereError;
use crate::requests::{self, Request};
use crate::wire::{MoRef, ObjectContent, localized_fault};
use keeper::Keeper;
use model::ErrorKind;
use std::time::{Duration, Instant};

/// How long a server may prepare a transfer, unless tasks have even less time.
const READY_LIMIT: Duration = Duration::from_secs(600);

/// A lease that is ready: kept alive by itself until it is ended.
pub struct Lease {
    granted: Granted,
    info: LeaseInfo,
    keeper: Keeper,
}

/// A lease that the server has given out, in whatever state. Dropping it gives it back.
struct Granted {
    client: Client,
    object: MoRef,
    /// The method that asked for it, and on what.
    method: &'static str,
    asked: MoRef,
    ended: bool,
}

impl Client {
    /// The disks as of a snapshot, whether the VM runs or not.
    pub async fn export_snapshot(&self, snapshot: &MoRef) -> Result<Lease, VsphereError> {
        self.lease(snapshot, requests::export_snapshot(snapshot)).await
    }

    /// The disks of a VM that is powered off.
    pub async fn export_vm(&self, vm: &MoRef) -> Result<Lease, VsphereError> {
        self.lease(vm, requests::export_vm(vm)).await
    }

    /// Asks for a lease by a method that returns one, and waits until it is ready.
    pub(super) async fn lease(
        &self,
        object: &MoRef,
        request: Request,
    ) -> Result<Lease, VsphereError> {
        let (client, asked) = (self.clone(), object.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        // If nobody waits for it any more, the lease is dropped here, and so given back.
        tokio::spawn(async move { tell.send(open(client, asked, request).await).map_err(drop) });
        told.await.unwrap_or_else(|_| {
            let why = "the program is ending".to_owned();
            Err(VsphereError::Lease { method: "a lease", object: object.clone(), why })
        })
    }
}

async fn open(client: Client, asked: MoRef, request: Request) -> Result<Lease, VsphereError> {
    let method = request.method;
    let ask = || client.returned_object(&asked, &request);
    let object = client.shared.session.keep(ask).await?;
    let granted = Granted { client: client.clone(), object, method, asked, ended: false };
    let info = granted.ready().await?;
    let keeper = Keeper::start(client, granted.object.clone(), info.timeout);
    tracing::debug!(method, lease = %granted.object, devices = info.devices.len(), "lease ready");
    Ok(Lease { granted, info, keeper })
}

impl Lease {
    /// What is to be transferred.
    #[must_use]
    pub fn info(&self) -> &LeaseInfo {
        &self.info
    }

    /// Shown in the server's task list from the next sign of life on. More than 100 counts as 100.
    pub fn progress(&self, percent: u8) {
        self.keeper.progress(percent);
    }

    /// The lease is still good: the server has not broken it off.
    ///
    /// # Errors
    /// [`VsphereError::LeaseFailed`] with the server's reason, which says more than the connection
    /// that broke with it.
    pub async fn check(&self) -> Result<(), VsphereError> {
        if let Some(fault) = self.keeper.failure() {
            return Err(self.granted.failed(fault));
        }
        match self.granted.state().await? {
            State::Ready(_) | State::Waiting => Ok(()),
            State::Done => Err(self.granted.unusable("somebody else ended it")),
        }
    }

    /// What the server says it sent or received, once that is complete. Servers that keep no such
    /// record refuse, with an error of the kind `Unsupported` or otherwise, or list nothing.
    pub async fn manifest(&self) -> Result<Vec<ManifestEntry>, VsphereError> {
        let Granted { client, object, .. } = &self.granted;
        let request = requests::lease_manifest(object);
        let response = client.shared.session.keep(|| client.call(object, &request)).await?;
        let entries = response.values().map(info::decode_entry);
        entries.collect::<Result<_, _>>().map_err(odd(request.method))
    }

    /// The server sent what came: by the manifest, where it keeps one.
    ///
    /// # Errors
    /// Other bytes came, or another number of them.
    pub async fn verify(
        &self,
        device: &DeviceUrl,
        download: &Download,
    ) -> Result<(), VsphereError> {
        let manifest = match self.manifest().await {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(sent) = manifest.into_iter().find(|entry| entry.key == device.key) else {
            return Ok(());
        };
        let (sha1, size) = download.received();
        if sent.size != size || sent.sha1.is_some_and(|sent| sent != sha1) {
            let why = "what came over the network is not what the host says it sent";
            return Err(self.granted.unusable(why));
        }
        Ok(())
    }

    /// Everything was transferred. For an import this makes the VM.
    ///
    /// # Errors
    /// Also when the server had broken the lease off before. It is aborted then; after a broken
    /// connection nobody knows whether the server had completed it.
    pub async fn complete(mut self) -> Result<(), VsphereError> {
        self.check().await?;
        self.keeper.stop();
        let Granted { client, object, .. } = &self.granted;
        let request = requests::lease_complete(object);
        client.shared.session.keep(|| client.call(object, &request)).await?;
        self.granted.ended = true;
        Ok(())
    }

    /// The transfer is given up; an import leaves nothing behind. `reason` stands in the server's
    /// task list.
    ///
    /// # Errors
    /// The server could not be told; the lease ends by its timeout.
    pub async fn abort(mut self, reason: &str) -> Result<(), VsphereError> {
        self.keeper.stop();
        self.granted.ended = true;
        give_back(&self.granted.client, &self.granted.object, reason).await
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Urls are tickets: whoever has one can read the disk.
        f.debug_struct("Lease").field("object", &self.granted.object).finish_non_exhaustive()
    }
}

/// How a lease stands, when it has not failed.
enum State {
    Waiting,
    Ready(LeaseInfo),
    Done,
}

impl Granted {
    /// Waits until it is ready, through broken connections.
    async fn ready(&self) -> Result<LeaseInfo, VsphereError> {
        let began = Instant::now();
        let mut pauses = PAUSES_MS.iter();
        loop {
            match self.client.shared.session.keep(|| self.look(began)).await {
                Ok(State::Ready(info)) => return Ok(info),
                Ok(State::Waiting) => pauses = PAUSES_MS.iter(),
                Ok(State::Done) => return Err(self.unusable("it ended before it began")),
                Err(
                    error @ (VsphereError::LeaseTimeout { .. } | VsphereError::LeaseFailed { .. }),
                ) => {
                    return Err(error);
                }
                Err(error) if error.kind() == ErrorKind::Retryable => {
                    let Some(pause) = pauses.next() else { return Err(error) };
                    tracing::warn!(method = self.method, %error, "waiting again for the lease");
                    tokio::time::sleep(Duration::from_millis(*pause)).await;
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    /// Waits for a change of the state, then reads it.
    async fn look(&self, began: Instant) -> Result<State, VsphereError> {
        let values = &["ready", "error", "done"];
        let awaited = Awaited { object: &self.object, path: "state", values };
        self.client.wait_for(&awaited, || self.time_left(began)).await?;
        self.read().await
    }

    async fn state(&self) -> Result<State, VsphereError> {
        let read = self.client.shared.session.keep(|| self.read()).await;
        read.map_err(|error| self.lost(error))
    }

    async fn read(&self) -> Result<State, VsphereError> {
        let paths = ["state", "info", "error"];
        self.client.read_one(&self.object, &paths, |content| self.decode(content)).await
    }

    fn decode(&self, content: &ObjectContent<'_>) -> Result<State, VsphereError> {
        match content.text("state") {
            Some("initializing") => Ok(State::Waiting),
            Some("done") => Ok(State::Done),
            Some("ready") => {
                let info = content.get("info").ok_or_else(|| withheld(content, "info"))?;
                let connected = &self.client.shared.session.transport().address().authority;
                let info = info::decode_info(info, connected);
                info.map(State::Ready).map_err(|why| self.unusable(&why))
            }
            Some("error") => {
                let fault = content.get("error").map(localized_fault);
                Err(self.failed(fault.ok_or_else(|| withheld(content, "error"))?))
            }
            Some(other) => Err(self.unusable(&format!("its state is '{other}'"))),
            None => Err(withheld(content, "state")),
        }
    }

    fn time_left(&self, began: Instant) -> Result<Duration, VsphereError> {
        let after = READY_LIMIT.min(self.client.shared.task_timeout);
        let left = after.checked_sub(began.elapsed()).filter(|left| !left.is_zero());
        let (method, object) = (self.method, &self.asked);
        left.ok_or_else(|| VsphereError::LeaseTimeout { method, object: object.clone(), after })
    }

    fn failed(&self, fault: crate::wire::Fault) -> VsphereError {
        let (method, object) = (self.method, self.asked.clone());
        VsphereError::LeaseFailed { method, object, source: Box::new(fault) }
    }

    fn unusable(&self, why: &str) -> VsphereError {
        let (method, object) = (self.method, self.asked.clone());
        VsphereError::Lease { method, object, why: why.to_owned() }
    }

    /// A lease that the server no longer knows is no answer about the object it was asked of.
    fn lost(&self, error: VsphereError) -> VsphereError {
        match error {
            VsphereError::Gone { .. } => self.unusable("the vSphere server no longer knows it"),
            other => other,
        }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (client, object) = (self.client.clone(), self.object.clone());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if let Err(error) = give_back(&client, &object, "the transfer broke off").await
                    {
                        tracing::warn!(%object, %error, "a lease was not given back; it times out");
                    }
                });
            }
            Err(_) => tracing::warn!(%object, "a lease was not given back; it times out"),
        }
    }
}

/// Aborts. One that is gone is given back already.
async fn give_back(client: &Client, object: &MoRef, reason: &str) -> Result<(), VsphereError> {
    let request = requests::lease_abort(object, reason);
    match client.shared.session.keep(|| client.call(object, &request)).await {
        Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
        done => done.map(drop),
    }
}
