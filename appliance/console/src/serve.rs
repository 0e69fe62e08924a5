//! Sockets: accepts connections within limits and ends them in an orderly way.

use crate::call::BodyLimits;
use crate::engine::Engine;
use crate::routes;
use crate::secret::Secret;
use crate::stall::Stall;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What one client may take. The defaults are right for people; tests make them smaller.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// From the end of the last answer, or from the beginning, to the end of the next header.
    pub header_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// From the end of the header to the end of the body.
    pub body_time: Duration,
    /// How long an answer may make no progress because the client does not read.
    pub stall_time: Duration,
    /// How long answers under way may take after the shutdown was asked for.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header_bytes: 32 << 10,
            header_time: Duration::from_secs(15),
            body_bytes: 64 << 10,
            body_time: Duration::from_secs(15),
            stall_time: Duration::from_secs(60),
            shutdown_time: Duration::from_secs(5),
        }
    }
}

/// The console does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It would send the token in the clear over a network.
    #[error(
        "the console refuses to listen on {address}: it speaks plain HTTP and the token would \
         cross the network in the clear; listen on a loopback address such as 127.0.0.1:8080 \
         and reach it through a tunnel (ssh -L)"
    )]
    NotLoopback {
        /// What the listener is bound to.
        address: SocketAddr,
    },
    /// The listener is not usable.
    #[error("asking the listening socket for its address")]
    Listener {
        /// What the system said.
        source: io::Error,
    },
}

impl ServeError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        match self {
            Self::NotLoopback { .. } => model::ErrorKind::Refused,
            Self::Listener { .. } => model::ErrorKind::Retryable,
        }
    }
}

/// Serves the console on `listener` until `shutdown` ends, with the default [`Limits`].
///
/// Returns when every connection has ended. Refuses a listener that is not on loopback.
pub async fn serve<E: Engine>(
    listener: TcpListener,
    token: Secret,
    engine: Arc<E>,
    shutdown: impl Future,
) -> Result<(), ServeError> {
    serve_with(Limits::default(), listener, token, engine, shutdown).await
}

/// As [`serve`], with other limits.
pub async fn serve_with<E: Engine>(
    limits: Limits,
    listener: TcpListener,
    token: Secret,
    engine: Arc<E>,
    shutdown: impl Future,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(|source| ServeError::Listener { source })?;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address });
    }
    let body = BodyLimits { bytes: limits.body_bytes, time: limits.body_time };
    let mut server = Server {
        limits,
        router: routes::router(engine, token, body),
        slots: Arc::new(Semaphore::new(limits.connections)),
        connections: JoinSet::new(),
        graceful: GracefulShutdown::new(),
    };
    tracing::info!(%address, "the console listens");
    tokio::select! {
        () = server.accept(&listener) => {}
        _ = shutdown => {}
    }
    drop(listener);
    server.end().await;
    Ok(())
}

struct Server {
    limits: Limits,
    router: Router,
    slots: Arc<Semaphore>,
    connections: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Server {
    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            let slots = Arc::clone(&self.slots);
            let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => self.start(stream, slot),
                // Out of descriptors, or the client left while it waited: others may do better.
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
            while let Some(ended) = self.connections.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task did not end in order");
                }
            }
        }
    }

    fn start(&mut self, stream: TcpStream, slot: tokio::sync::OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "setting TCP_NODELAY");
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            .max_buf_size(self.limits.header_bytes)
            .serve_connection(
                TokioIo::new(Stall::new(stream, self.limits.stall_time)),
                TowerToHyperService::new(self.router.clone()),
            );
        let connection = self.graceful.watch(connection);
        self.connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(slot);
        });
    }

    /// Lets answers under way end, then cuts off what is left.
    async fn end(mut self) {
        let ended = timeout(self.limits.shutdown_time, self.graceful.shutdown()).await;
        if ended.is_err() {
            tracing::info!(connections = self.connections.len(), "cutting off slow connections");
        }
        self.connections.shutdown().await;
    }
}
