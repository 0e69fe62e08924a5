//! HTTP over pinned TLS: one request, one answer, within a time and a size.
//!
//! Connections are kept for the next call. A kept connection may have been closed by the server
//! in the meantime, and then nobody knows whether the request arrived. So: calls that change
//! something always get a fresh connection and are sent once; calls that only read may use a kept
//! one and are sent again on a fresh one when it turns out to be dead.

use super::address::Address;
use super::tls;
use crate::error::VsphereError;
use crate::thumbprint::{Pin, Thumbprint};
use crate::wire::WireError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Kept connections at most.
const MAX_IDLE: usize = 4;
/// Servers close idle connections after a minute or two.
const MAX_IDLE_AGE: Duration = Duration::from_secs(30);
/// Bytes of one answer; the XML reader has the same limit.
const MAX_ANSWER: usize = 32 << 20;

/// The way to one server.
pub(super) struct Transport {
    line: Line,
    idle: Mutex<Vec<Idle>>,
}

/// What it takes to connect to one server.
pub(super) struct Line {
    address: Address,
    pin: Pin,
    /// The certificate is not the configured one: the server itself sent us here.
    sent: bool,
    tls: Arc<ClientConfig>,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// What to send. Cloned when a dead connection makes it go out again.
#[derive(Clone)]
pub(super) struct Exchange {
    /// For errors.
    pub(super) method: &'static str,
    pub(super) request: Request<Full<Bytes>>,
    /// May go over a kept connection, and twice.
    pub(super) repeatable: bool,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    /// `vmware_soap_session=…`, if the server set that cookie.
    pub(super) cookie: Option<String>,
    pub(super) body: Bytes,
}

impl Transport {
    pub(super) fn new(address: Address, thumbprint: Thumbprint) -> Result<Self, VsphereError> {
        let line = Line::new(address, Pin::Sha256(thumbprint), false)?;
        Ok(Self { line, idle: Mutex::default() })
    }

    pub(super) fn address(&self) -> &Address {
        &self.line.address
    }

    /// The certificate that the server must show.
    pub(super) fn pin(&self) -> Pin {
        self.line.pin
    }

    /// Sends the request and reads the whole answer.
    pub(super) async fn exchange(
        &self,
        exchange: Exchange,
        limit: Duration,
    ) -> Result<Reply, VsphereError> {
        let method = exchange.method;
        tokio::time::timeout(limit, self.exchange_unbounded(exchange))
            .await
            .unwrap_or(Err(VsphereError::Timeout { method, after: limit }))
    }

    async fn exchange_unbounded(&self, exchange: Exchange) -> Result<Reply, VsphereError> {
        if exchange.repeatable
            && let Some(kept) = self.take_idle()
        {
            match self.over(kept, exchange.clone()).await {
                Err(VsphereError::Broken { method, source }) => {
                    tracing::debug!(method, error = %source, "a kept connection was dead");
                }
                done => return done,
            }
        }
        let fresh = self.line.connect().await?;
        self.over(fresh, exchange).await
    }

    async fn over(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        exchange: Exchange,
    ) -> Result<Reply, VsphereError> {
        let Exchange { method, request, .. } = exchange;
        let broken = |source| VsphereError::Broken { method, source };
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let reply = read_reply(method, response).await?;
        self.keep(sender);
        Ok(reply)
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < MAX_IDLE_AGE && !kept.sender.is_closed());
        idle.pop().map(|kept| kept.sender)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Line {
    /// `sent`: the server itself names this address and its certificate.
    pub(super) fn new(address: Address, pin: Pin, sent: bool) -> Result<Self, VsphereError> {
        let tls = tls::pinned(pin)
            .map_err(|source| VsphereError::Tls { address: address.authority.clone(), source })?;
        Ok(Self { address, pin, sent, tls: Arc::new(tls) })
    }

    /// Host and port, for people and the Host header.
    pub(super) fn authority(&self) -> &str {
        &self.address.authority
    }

    /// A fresh connection, over which no request has gone yet.
    pub(super) async fn connect<B>(&self) -> Result<SendRequest<B>, VsphereError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Address { host, port, server_name, .. } = &self.address;
        let connect =
            |source| VsphereError::Connect { address: self.address.authority.clone(), source };
        let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(server_name.clone(), tcp).await;
        let stream = stream.map_err(|error| self.handshake_error(error))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| VsphereError::Broken { method: "connecting", source })?;
        // It ends by itself when the sender is dropped and no answer is being read.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the vSphere server ended");
            }
        });
        Ok(sender)
    }

    fn handshake_error(&self, error: io::Error) -> VsphereError {
        let address = self.address.authority.clone();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(reason) => match tls::refused_certificate(reason) {
                Some(der) => self.other_certificate(der),
                None => VsphereError::Tls { address, source: reason.clone() },
            },
            None => VsphereError::Connect { address, source: error },
        }
    }

    fn other_certificate(&self, der: &[u8]) -> VsphereError {
        let address = self.address.authority.clone();
        match (self.pin.like(der), self.pin) {
            (Pin::Sha256(seen), Pin::Sha256(wanted)) if !self.sent => {
                VsphereError::Certificate { address, seen, wanted }
            }
            (seen, wanted) => VsphereError::OtherHost { address, seen, wanted },
        }
    }
}

async fn read_reply(
    method: &'static str,
    response: Response<Incoming>,
) -> Result<Reply, VsphereError> {
    let status = response.status().as_u16();
    let cookie = response.headers().get_all(SET_COOKIE).iter().find_map(session_cookie);
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(source) => VsphereError::Broken { method, source: *source },
        Err(_) => {
            let source = WireError::TooMuch { what: "bytes", limit: MAX_ANSWER };
            VsphereError::Wire { method, source }
        }
    })?;
    Ok(Reply { status, cookie, body: body.to_bytes() })
}

/// `name=value` of the session cookie, without its attributes.
fn session_cookie(header: &HeaderValue) -> Option<String> {
    let pair = header.to_str().ok()?.split(';').next()?.trim();
    let right = pair.starts_with("vmware_soap_session=") && pair.len() <= 4096;
    right.then(|| pair.to_owned())
}
