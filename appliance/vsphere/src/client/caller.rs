//! One SOAP call: request -> HTTP -> response or fault. Knows the API version, not the session.

use super::transport::{Exchange, Transport};
use crate::error::VsphereError;
use crate::requests::Request;
use crate::wire::{Answer, ApiVersion, MoRef, Response, WireError, open};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use std::time::{Duration, Instant};

const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// Sends SOAP calls over one transport.
pub(super) struct Caller {
    pub(super) transport: Transport,
    /// SOAPAction is mandatory: without it a server takes a base schema that lacks newer methods,
    /// and with a version newer than its own it refuses.
    pub(super) version: ApiVersion,
}

/// The method's response and the session cookie that came with it.
pub(super) struct Returned {
    pub(super) response: Response,
    pub(super) cookie: Option<String>,
}

impl Caller {
    /// Calls the method. The request's body is never logged, nor the answer's.
    pub(super) async fn call(
        &self,
        object: &MoRef,
        request: &Request,
        cookie: Option<&str>,
        limit: Duration,
    ) -> Result<Returned, VsphereError> {
        let method = request.method;
        let began = Instant::now();
        let exchange = self.exchange(request, cookie)?;
        let reply = self.transport.exchange(exchange, limit).await?;
        let (status, bytes) = (reply.status, reply.body.len());
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(method, %object, status, bytes, millis, "called");
        match open(method, &reply.body) {
            Ok(Answer::Returned(response)) if status == 200 => {
                Ok(Returned { response, cookie: reply.cookie })
            }
            Ok(Answer::Fault(fault)) => {
                tracing::debug!(method, %object, fault = fault.raw, "refused");
                let source = Box::new(fault);
                Err(VsphereError::Fault { method, object: object.clone(), source })
            }
            Err(source) if status == 200 => Err(VsphereError::Wire { method, source }),
            Ok(Answer::Returned(_)) | Err(_) => Err(VsphereError::Status { method, status }),
        }
    }

    fn exchange(&self, request: &Request, cookie: Option<&str>) -> Result<Exchange, VsphereError> {
        let method = request.method;
        let body = request.body.clone();
        let body = body.map_err(|source| VsphereError::Wire { method, source })?;
        let address = self.transport.address();
        let mut builder = hyper::Request::post(&address.path)
            .header(HOST, &address.authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header("SOAPAction", self.version.soap_action());
        if let Some(cookie) = cookie {
            builder = builder.header(COOKIE, cookie);
        }
        let http = builder
            .body(Full::new(Bytes::from(body)))
            .expect("path, authority, version and cookie were checked when they came in");
        Ok(Exchange { method, request: http, repeatable: request.repeatable })
    }
}

/// Reads `PATH/vimServiceVersions.xml`. `None`: the server has none, as very old ones.
pub(super) async fn ask_version(
    transport: &Transport,
    limit: Duration,
) -> Result<Option<ApiVersion>, VsphereError> {
    let method = "vimServiceVersions.xml";
    let address = transport.address();
    let request = hyper::Request::get(format!("{}/{method}", address.path))
        .header(HOST, &address.authority)
        .header(USER_AGENT, AGENT)
        .body(Full::default())
        .expect("path and authority were checked when they came in");
    let exchange = Exchange { method, request, repeatable: true };
    let reply = transport.exchange(exchange, limit).await?;
    match reply.status {
        200 => crate::wire::server_version(&reply.body)
            .map(Some)
            .map_err(|source| VsphereError::Wire { method, source }),
        404 => Ok(None),
        status => Err(VsphereError::Status { method, status }),
    }
}

/// Ties what is wrong with a response to its method.
pub(super) fn odd(method: &'static str) -> impl Fn(WireError) -> VsphereError {
    move |source| VsphereError::Wire { method, source }
}
