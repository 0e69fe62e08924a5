//! Bytes of disks and small files over HTTPS, outside SOAP: uploads to the host that a lease
//! names, and files of a datastore through `/folder`.
//!
//! Uploads are chunked: how long a disk made while it is sent will be is not known before. VMware's
//! own samples upload in the same way.

use super::Client;
use super::transport::{Exchange, Line};
use crate::error::VsphereError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, COOKIE, HOST};
use hyper::{Method, Request, Response};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// A transfer that moves nothing for so long has ended.
const STALLED: Duration = Duration::from_secs(120);
/// Pieces under way.
const AHEAD: usize = 4;
const METHOD: &str = "the transfer of a disk";
/// Bytes of a small file.
const SMALL: usize = 1 << 20;

/// Sends a disk; gives the bytes sent.
pub(super) async fn disk(
    line: &Line,
    path: &str,
    pieces: Receiver<Vec<u8>>,
) -> Result<u64, VsphereError> {
    let sent = Arc::new(AtomicU64::new(0));
    let authority = line.authority();
    let request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/x-vnd.vmware-streamVmdk")
        .body(Pieces { pieces, sent: Arc::clone(&sent), ended: false })
        .expect("path and authority were checked when they came in");
    let broken = |source| VsphereError::Broken { method: METHOD, source };
    let mut sender = line.connect::<Pieces>().await?;
    let mut answer = Box::pin(async {
        sender.ready().await?;
        sender.send_request(request).await
    });
    let mut before = sent.load(Ordering::Relaxed);
    let response = loop {
        match tokio::time::timeout(STALLED, &mut answer).await {
            Ok(response) => break response.map_err(broken)?,
            Err(_) if sent.load(Ordering::Relaxed) == before => {
                return Err(VsphereError::Timeout { method: METHOD, after: STALLED });
            }
            Err(_) => before = sent.load(Ordering::Relaxed),
        }
    };
    accepted(authority, &response)?;
    Ok(sent.load(Ordering::Relaxed))
}

fn accepted(address: &str, response: &Response<Incoming>) -> Result<(), VsphereError> {
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status().as_u16();
    Err(VsphereError::Transfer { address: address.to_owned(), status })
}

/// A body that is made while it is sent.
struct Pieces {
    pieces: Receiver<Vec<u8>>,
    sent: Arc<AtomicU64>,
    ended: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(bytes) if bytes.is_empty() => {
                self.ended = true;
                None
            }
            Some(bytes) => {
                self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(bytes.into())))
            }
            // Without its end the disk must not look complete.
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

/// A file of a datastore, as `/folder` names it.
#[derive(Clone, Debug)]
pub struct DatastoreFile {
    /// Inventory path of the datacenter.
    pub datacenter: String,
    /// Name of the datastore.
    pub datastore: String,
    /// Path within it.
    pub path: String,
}

impl DatastoreFile {
    fn uri(&self) -> String {
        let path: Vec<String> = self.path.split('/').map(encoded).collect();
        let (dc, ds) = (encoded(&self.datacenter), encoded(&self.datastore));
        format!("/folder/{}?dcPath={dc}&dsName={ds}", path.join("/"))
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Client {
    /// The bytes of a file of a datastore, in order; the last piece is empty. Files that a running
    /// VM holds cannot be read.
    ///
    /// # Errors
    /// [`VsphereError::Transfer`] when the server does not serve it.
    pub async fn read_file(
        &self,
        file: &DatastoreFile,
    ) -> Result<Receiver<Result<Vec<u8>, VsphereError>>, VsphereError> {
        let request = self.file_request(Method::GET, file, Bytes::new());
        let line = self.shared.session.transport().line();
        let broken = |source| VsphereError::Broken { method: METHOD, source };
        let mut sender = line.connect::<Full<Bytes>>().await?;
        sender.ready().await.map_err(broken)?;
        let answer = tokio::time::timeout(STALLED, sender.send_request(request)).await;
        let stalled = |_| VsphereError::Timeout { method: METHOD, after: STALLED };
        let response = answer.map_err(stalled)?.map_err(broken)?;
        accepted(line.authority(), &response)?;
        let (to, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(hand_on(response.into_body(), to));
        Ok(pieces)
    }

    /// A small file whole.
    pub async fn read_small_file(&self, file: &DatastoreFile) -> Result<Vec<u8>, VsphereError> {
        let mut pieces = self.read_file(file).await?;
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            let piece = piece?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend(piece);
            if all.len() > SMALL {
                let source = crate::wire::WireError::TooMuch { what: "bytes", limit: SMALL };
                return Err(VsphereError::Wire { method: METHOD, source });
            }
        }
        Err(VsphereError::Timeout { method: METHOD, after: STALLED })
    }

    /// Writes a small file of a datastore.
    pub async fn write_file(&self, file: &DatastoreFile, bytes: &[u8]) -> Result<(), VsphereError> {
        let request = self.file_request(Method::PUT, file, Bytes::copy_from_slice(bytes));
        let exchange = Exchange { method: METHOD, request, repeatable: false };
        let reply = self.shared.session.exchange(exchange).await?;
        if (200..300).contains(&reply.status) {
            return Ok(());
        }
        let address = self.shared.session.transport().address().authority.clone();
        Err(VsphereError::Transfer { address, status: reply.status })
    }

    fn file_request(
        &self,
        method: Method,
        file: &DatastoreFile,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let authority = &self.shared.session.transport().address().authority;
        let mut builder = Request::builder().method(method).uri(file.uri()).header(HOST, authority);
        if let Some(cookie) = self.shared.session.cookie() {
            builder = builder.header(COOKIE, &*cookie);
        }
        builder.body(Full::new(body)).expect("everything in it is encoded or was checked")
    }
}

/// hyper says it when a body ends before its announced length.
async fn hand_on(mut body: Incoming, to: Sender<Result<Vec<u8>, VsphereError>>) {
    let end = loop {
        let piece = match tokio::time::timeout(STALLED, body.frame()).await {
            Ok(None) => break Ok(Vec::new()),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(source))) => break Err(VsphereError::Broken { method: METHOD, source }),
            Err(_) => break Err(VsphereError::Timeout { method: METHOD, after: STALLED }),
        };
        // An empty piece would be the end; who is gone needs no more.
        if !piece.is_empty() && to.send(Ok(piece.to_vec())).await.is_err() {
            return;
        }
    };
    // Who is gone needs no end.
    let _ = to.send(end).await;
}
