//! Bytes from the engine as the body of a response, which is whole or broken off.

use crate::answer::Failure;
use crate::call::Call;
use crate::engine::{Blob, Chunks, Engine};
use crate::range::{Wanted, wanted};
use api::Problem;
use api::endpoint::{ExportDisk, GetDisk, GetFile, ReadLun};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use model::{DiskRange, RecoveryPointId};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The image of a disk, or a range of it. An image never changes, so its tag is its name.
pub(crate) async fn disk<E: Engine>(
    engine: Arc<E>,
    call: Call<GetDisk>,
) -> Result<Response<Body>, Failure> {
    let point: RecoveryPointId = call.parameter("point")?;
    let disk: u32 = call.parameter("disk")?;
    let capacity = engine.disk_capacity(point, disk).await?;
    let tag = format!("\"{point}-{disk}\"");
    let (status, range) = match wanted(range_header(&call.headers, &tag), capacity) {
        Wanted::Unsatisfiable => return Ok(unsatisfiable(capacity)),
        Wanted::All => (StatusCode::OK, DiskRange { offset: 0, length: capacity }),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let body = if call.method == Method::HEAD || range.is_empty() {
        Body::empty()
    } else {
        let mut chunks = engine.read_disk(point, disk, range).await?;
        // What fails at its first byte is an answer with a reason, not a broken connection.
        let first = chunks.recv().await.transpose()?;
        exact(first, chunks, range.length, format!("disk {disk} of recovery point {point}"))
    };
    let mut response = octets(status, range.length, body);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(headers, header::ETAG, &tag);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end().saturating_sub(1);
        let shown = format!("bytes {}-{last}/{capacity}", range.offset);
        insert(headers, header::CONTENT_RANGE, &shown);
    }
    Ok(response)
}

/// A disk as a VMDK, whole.
pub(crate) async fn vmdk<E: Engine>(
    engine: Arc<E>,
    call: Call<ExportDisk>,
) -> Result<Response<Body>, Failure> {
    let point: RecoveryPointId = call.parameter("point")?;
    let disk: u32 = call.parameter("disk")?;
    let body = if call.method == Method::HEAD {
        engine.disk_capacity(point, disk).await?;
        Body::empty()
    } else {
        let mut chunks = engine.export_disk(point, disk).await?;
        let first = chunks.recv().await.transpose()?;
        let what = format!("disk {disk} of recovery point {point} as a VMDK");
        Body::new(Ended { first, chunks, what })
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let media = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, media);
    let name = format!("attachment; filename=\"{point}-disk-{disk}.vmdk\"");
    insert(headers, header::CONTENT_DISPOSITION, &name);
    Ok(response)
}

/// A small file, whole.
pub(crate) async fn file<E: Engine>(
    engine: Arc<E>,
    call: Call<GetFile>,
) -> Result<Response<Body>, Failure> {
    let point: RecoveryPointId = call.parameter("point")?;
    let name: String = call.parameter("file")?;
    let Blob { length, chunks } = engine.file(point, name.clone()).await?;
    let body = exact(None, chunks, length, format!("file {name:?} of recovery point {point}"));
    Ok(octets(StatusCode::OK, length, body))
}

/// Bytes of a LUN, few enough to be held in memory.
pub(crate) async fn lun<E: Engine>(
    engine: Arc<E>,
    call: Call<ReadLun>,
) -> Result<Response<Body>, Failure> {
    let bytes = engine.read_lun(call.parameter("naa")?, call.query).await?;
    Ok(octets(StatusCode::OK, bytes.len() as u64, Body::from(bytes)))
}

/// The range asked for, unless `If-Range` names another image (RFC 9110, section 13.1.5).
fn range_header<'a>(headers: &'a HeaderMap, tag: &str) -> Option<&'a str> {
    let same =
        headers.get(header::IF_RANGE).is_none_or(|wanted| wanted.as_bytes() == tag.as_bytes());
    headers.get(header::RANGE).filter(|_| same)?.to_str().ok()
}

fn unsatisfiable(capacity: u64) -> Response<Body> {
    let problem = Problem::of_request(416, "range-outside", "The range lies outside of the disk")
        .detail(format!("The disk has {capacity} bytes."))
        .next_step("Ask for a range that begins before the end of the disk.");
    let mut response = Failure::from(problem).into_response();
    insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{capacity}"));
    response
}

fn octets(status: StatusCode, length: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let media = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    let value = HeaderValue::from_str(text).expect("digits, hex and ASCII punctuation only");
    headers.insert(name, value);
}

fn exact(first: Option<Bytes>, chunks: Chunks, length: u64, what: String) -> Body {
    Body::new(Exact { first, chunks, left: length, what })
}

/// A body that brings exactly the bytes promised or ends in an error, which makes the server
/// break the connection: the client sees a body shorter than its `Content-Length`.
struct Exact {
    /// What was taken out of `chunks` already.
    first: Option<Bytes>,
    chunks: Chunks,
    left: u64,
    /// For the log.
    what: String,
}

/// Why a body ended in an error; only the log sees it.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the source failed: {0}")]
    Source(Box<crate::EngineError>),
    #[error("the source ended {0} bytes early")]
    Early(u64),
    #[error("the source brought {0} bytes too many")]
    Late(u64),
    #[error("the source ended without saying that this is all")]
    Unended,
}

impl HttpBody for Exact {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.chunks.poll_recv(context)),
        };
        let taken = match next {
            Some(Ok(bytes)) => self.take(bytes),
            Some(Err(error)) => Err(StreamError::Source(Box::new(error))),
            None if self.left == 0 => return Poll::Ready(None),
            None => Err(StreamError::Early(self.left)),
        };
        Poll::Ready(Some(taken.map(Frame::data).map_err(|error| broken_off(&self.what, error))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Exact {
    fn take(&mut self, bytes: Bytes) -> Result<Bytes, StreamError> {
        let length = bytes.len() as u64;
        let left = self.left.checked_sub(length);
        self.left = left.ok_or(StreamError::Late(length.saturating_sub(self.left)))?;
        Ok(bytes)
    }
}

/// A body whose length nobody knows before: an empty piece ends it. Without one the server breaks
/// the connection, and the client misses the last chunk.
struct Ended {
    first: Option<Bytes>,
    chunks: Chunks,
    what: String,
}

impl HttpBody for Ended {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.chunks.poll_recv(context)),
        };
        let error = match next {
            Some(Ok(bytes)) if bytes.is_empty() => return Poll::Ready(None),
            Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Err(error)) => StreamError::Source(Box::new(error)),
            None => StreamError::Unended,
        };
        Poll::Ready(Some(Err(broken_off(&self.what, error))))
    }
}

fn broken_off(what: &str, error: StreamError) -> Box<dyn std::error::Error + Send + Sync> {
    tracing::error!(what, %error, "a download was broken off");
    error.into()
}
