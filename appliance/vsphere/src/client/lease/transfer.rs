//! The bytes of a lease: HTTPS to the host that its url names, under the certificate that the
//! server names for it. The url itself is the ticket; no cookie of ours goes there.

use super::{DeviceUrl, Lease};
use crate::client::address::Address;
use crate::client::transport::Line;
use crate::error::VsphereError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use hyper::body::{Body as _, Incoming};
use hyper::header::HOST;
use sha1::{Digest as _, Sha1};
use std::time::Duration;

const METHOD: &str = "the transfer of a disk";

/// The bytes of one disk, as they come: a piece is in memory at a time, and the host waits while
/// nobody asks for the next.
pub struct Download {
    body: Incoming,
    length: Option<u64>,
    limit: Duration,
    sha1: Sha1,
    received: u64,
}

impl Lease {
    /// Begins to fetch a disk.
    ///
    /// # Errors
    /// [`VsphereError::OtherHost`] when the host shows another certificate than the server names.
    pub async fn download(&self, device: &DeviceUrl) -> Result<Download, VsphereError> {
        let limit = self.granted.client.shared.session.call_timeout();
        let asked = tokio::time::timeout(limit, self.ask(device, limit));
        let late = VsphereError::Timeout { method: METHOD, after: limit };
        asked.await.unwrap_or(Err(late))
    }

    async fn ask(&self, device: &DeviceUrl, limit: Duration) -> Result<Download, VsphereError> {
        let (line, path) = self.line(device)?;
        let mut sender = line.connect::<Empty<Bytes>>().await?;
        let authority = line.authority().to_owned();
        let request = hyper::Request::get(path)
            .header(HOST, &authority)
            .body(Empty::new())
            .expect("path and authority come from a valid URI");
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|source| VsphereError::Broken { method: METHOD, source })?;
        if answer.status() != hyper::StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(VsphereError::Transfer { address: authority, status });
        }
        let body = answer.into_body();
        let length = body.size_hint().exact();
        Ok(Download { length, body, limit, sha1: Sha1::new(), received: 0 })
    }

    /// The way to the host of a url, and the path there.
    pub(in crate::client) fn line(
        &self,
        device: &DeviceUrl,
    ) -> Result<(Line, String), VsphereError> {
        let wrong = |why| VsphereError::Address { url: "(of a lease)".into(), why };
        let uri: Uri = device.url.parse().map_err(|_| wrong("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let address = Address::parse(&format!("https://{authority}/"))?;
        let own = self.granted.client.shared.session.transport().pin();
        let line = Line::new(address, device.pin.unwrap_or(own), true)?;
        Ok((line, uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()))
    }
}

impl Download {
    /// Bytes in all, where the host says so beforehand.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// SHA-1 and number of the bytes so far.
    pub(super) fn received(&self) -> ([u8; 20], u64) {
        (self.sha1.clone().finalize().into(), self.received)
    }

    /// The next bytes; `None` at the end. A host that falls silent is an error after the limit
    /// for calls, and a body that ends before its length is one too.
    pub async fn next(&mut self) -> Result<Option<Bytes>, VsphereError> {
        loop {
            let frame = tokio::time::timeout(self.limit, self.body.frame()).await;
            let late = VsphereError::Timeout { method: METHOD, after: self.limit };
            match frame.map_err(|_| late)? {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        self.sha1.update(&data);
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                    _ => {} // trailers, or nothing
                },
                Some(Err(source)) => return Err(VsphereError::Broken { method: METHOD, source }),
            }
        }
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("length", &self.length).finish_non_exhaustive()
    }
}
