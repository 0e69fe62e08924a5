//! The session: its cookie, and logging in again when the server has forgotten it.
//!
//! Sessions idle out, and a vCenter that restarts forgets all of them. So every operation runs
//! inside [`Session::keep`]: when it ends in NotAuthenticated, the session is renewed - once for
//! all operations that notice at the same time - and the operation begins again. Views, filters
//! and paging tokens belong to a session: that is why whole operations are repeated, not calls.

use super::caller::Caller;
use super::transport::{Exchange, Reply, Transport};
use crate::error::VsphereError;
use crate::requests::{self, Request};
use crate::secret::Secret;
use crate::wire::{MoRef, Response};
use std::future::Future;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// Calls of one session at a time; a vCenter serves many clients.
const CALLS: usize = 4;
/// Waits for tasks at a time, beside the calls.
const WAITS: usize = 16;
/// How often one operation may find its session gone.
const RENEWALS: u32 = 2;

pub(super) struct Session {
    caller: Caller,
    manager: MoRef,
    user: String,
    password: Secret,
    call_timeout: Duration,
    ticket: StdMutex<Ticket>,
    renewing: Mutex<()>,
    calls: Semaphore,
    waits: Semaphore,
}

/// The cookie, and how many sessions there were before it.
#[derive(Clone, Default)]
struct Ticket {
    cookie: Option<Arc<str>>,
    generation: u64,
}

impl Session {
    pub(super) fn new(
        caller: Caller,
        manager: MoRef,
        user: String,
        password: Secret,
        call_timeout: Duration,
    ) -> Self {
        Self {
            caller,
            manager,
            user,
            password,
            call_timeout,
            ticket: StdMutex::default(),
            renewing: Mutex::default(),
            calls: Semaphore::new(CALLS),
            waits: Semaphore::new(WAITS),
        }
    }

    /// Runs an operation, with a new session and from its beginning when the old one is gone.
    ///
    /// A fault under a session that someone else renewed meanwhile is repeated as well: it may
    /// only mean that a view or a filter went with the old session. That is safe even for calls
    /// that change something, because a fault says that nothing was done.
    pub(super) async fn keep<T, F>(&self, operation: impl Fn() -> F) -> Result<T, VsphereError>
    where
        F: Future<Output = Result<T, VsphereError>>,
    {
        for _ in 0..RENEWALS {
            let generation = self.ticket().generation;
            match operation().await {
                Err(VsphereError::Fault { source, method, .. })
                    if source.is_not_authenticated() || self.ticket().generation != generation =>
                {
                    tracing::info!(method, "the vSphere session is gone; logging in again");
                    self.renew(generation).await?;
                }
                done => return done,
            }
        }
        operation().await
    }

    /// One call with the session's cookie, as one of a few at a time.
    pub(super) async fn call(
        &self,
        object: &MoRef,
        request: &Request,
    ) -> Result<Response, VsphereError> {
        let _permit = self.calls.acquire().await.expect("the semaphore is never closed");
        self.send(object, request, self.call_timeout).await
    }

    /// One long poll with the session's cookie. The server answers after `patience` at the latest.
    pub(super) async fn poll(
        &self,
        object: &MoRef,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, VsphereError> {
        let _permit = self.waits.acquire().await.expect("the semaphore is never closed");
        self.send(object, request, self.call_timeout + patience).await
    }

    async fn send(
        &self,
        object: &MoRef,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, VsphereError> {
        let cookie = self.ticket().cookie;
        let returned = self.caller.call(object, request, cookie.as_deref(), limit).await?;
        Ok(returned.response)
    }

    /// User and password, for what has a session of its own.
    pub(super) fn account(&self) -> (&str, &str) {
        (&self.user, self.password.reveal())
    }

    /// The limit for one call.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// The session's cookie, for what is not SOAP.
    pub(super) fn cookie(&self) -> Option<Arc<str>> {
        self.ticket().cookie
    }

    /// The way to the server.
    pub(super) fn transport(&self) -> &Transport {
        &self.caller.transport
    }

    /// A call that is not SOAP, as one of a few at a time.
    pub(super) async fn exchange(&self, exchange: Exchange) -> Result<Reply, VsphereError> {
        let _permit = self.calls.acquire().await.expect("the semaphore is never closed");
        self.caller.transport.exchange(exchange, self.call_timeout).await
    }

    /// Logs in.
    pub(super) async fn login(&self) -> Result<(), VsphereError> {
        self.renew(self.ticket().generation).await
    }

    /// Logs in, unless somebody else did since `generation`.
    async fn renew(&self, generation: u64) -> Result<(), VsphereError> {
        let _one_at_a_time = self.renewing.lock().await;
        if self.ticket().generation != generation {
            return Ok(());
        }
        let request = requests::login(&self.manager, &self.user, self.password.reveal());
        let returned = self.caller.call(&self.manager, &request, None, self.call_timeout).await;
        let returned = returned.map_err(|error| match error {
            VsphereError::Fault { source, .. } if source.type_name == "InvalidLogin" => {
                VsphereError::Login { user: self.user.clone(), source }
            }
            other => other,
        })?;
        let mut ticket = self.lock();
        ticket.generation += 1;
        ticket.cookie = returned.cookie.map(Arc::from);
        Ok(())
    }

    /// Logs out. A session that is gone already is as good.
    pub(super) async fn logout(&self) -> Result<(), VsphereError> {
        let request = requests::logout(&self.manager);
        let done = self.call(&self.manager, &request).await;
        self.lock().cookie = None;
        match done {
            Err(VsphereError::Fault { source, .. }) if source.is_not_authenticated() => Ok(()),
            done => done.map(drop),
        }
    }

    fn ticket(&self) -> Ticket {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ticket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
