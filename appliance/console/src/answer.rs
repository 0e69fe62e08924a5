//! Answers: JSON, problems, and the headers that every answer carries.

use crate::engine::EngineError;
use api::Problem;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// On every answer. No third party, no frame, no guess at types, nothing kept by caches.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             object-src 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// A request that did not succeed. Boxed: it is large and rare.
#[derive(Debug)]
pub(crate) struct Failure(Box<Problem>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        error.problem(None).into()
    }
}

impl IntoResponse for Failure {
    /// The problem travels as an extension; [`finish`] adds the path and writes the body.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Carried(self.0));
        response
    }
}

#[derive(Clone)]
struct Carried(Box<Problem>);

/// A JSON body.
pub(crate) fn json<T: Serialize>(status: u16, value: &T) -> Response {
    written(status, "application/json", serde_json::to_vec(value))
}

fn written(status: u16, media: &'static str, body: serde_json::Result<Vec<u8>>) -> Response {
    let (Ok(status), Ok(body)) = (StatusCode::from_u16(status), body) else {
        tracing::error!(status, "an answer could not be written as JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    (status, [(header::CONTENT_TYPE, media)], body).into_response()
}

/// The outermost layer: writes problems, sets the common headers, logs the request (never its
/// headers: one of them is the token).
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(Carried(problem)) = response.extensions_mut().remove() {
        response = with_problem(*problem, &method, &path, response);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

/// Keeps the headers that came with the failure, such as `WWW-Authenticate`.
fn with_problem(problem: Problem, method: &Method, path: &str, carrier: Response) -> Response {
    let problem = Problem { instance: Some(path.to_owned()), ..problem };
    if problem.status >= 500 {
        tracing::warn!(%method, path, code = problem.code, detail = problem.detail, "failed");
    }
    let body = serde_json::to_vec(&problem);
    let mut response = written(problem.status, "application/problem+json", body);
    let carried = carrier.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH);
    for (name, value) in carried {
        response.headers_mut().insert(name, value.clone());
    }
    if problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// For paths that no route has.
pub(crate) async fn not_found() -> Failure {
    Problem::of_request(404, "not-found", "There is nothing at this address")
        .detail("The address is not one of the API's, nor one of the console's pages.")
        .next_step("Check the address against the list of endpoints.")
        .into()
}

/// For methods that a path does not have; axum adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> Failure {
    Problem::of_request(405, "method-not-allowed", "The address does not have this method")
        .detail(format!("{method} is not possible here; the header Allow names what is."))
        .next_step("Use one of the methods that Allow names.")
        .into()
}
