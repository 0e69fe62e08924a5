//! A request, parsed into the types of its endpoint or refused with the field named.

use crate::answer::Failure;
use api::{Endpoint, Problem};
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::http::{HeaderMap, Method, header, request::Parts};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// Limits of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// One parsed call of endpoint `P`.
pub(crate) struct Call<P: Endpoint> {
    parameters: Vec<(String, String)>,
    /// The parameters behind the `?`.
    pub(crate) query: P::Query,
    /// The JSON body.
    pub(crate) request: P::Request,
    /// `GET`, or `HEAD` where the endpoint has `GET`.
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

impl<P: Endpoint> Call<P>
where
    P::Query: DeserializeOwned,
    P::Request: DeserializeOwned,
{
    /// Reads and parses all of `request`.
    pub(crate) async fn parse(request: Request, limits: BodyLimits) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let parameters = parameters(&mut parts).await?;
        let Query(query) = Query::try_from_uri(&parts.uri)
            .map_err(|e| bad_request("bad-query", "The query is not understood", &e.body_text()))?;
        let body = read(body, limits).await?;
        let request = parse_body(&parts.headers, &body)?;
        Ok(Self { parameters, query, request, method: parts.method, headers: parts.headers })
    }
}

impl<P: Endpoint> Call<P> {
    /// A parameter of the path, parsed.
    pub(crate) fn parameter<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        let text = found.map_or("", |(_, value)| value.as_str());
        text.parse().map_err(|cause: T::Err| {
            let detail = format!("The address has '{text}' in the place of {{{name}}}: {cause}.");
            Problem { field: Some(name.to_owned()), ..bad_parameter().detail(detail) }.into()
        })
    }
}

async fn parameters(parts: &mut Parts) -> Result<Vec<(String, String)>, Failure> {
    let raw = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|e| Failure::from(bad_parameter().detail(e.body_text())))?;
    Ok(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, limits.bytes).collect();
    match tokio::time::timeout(limits.time, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large(limits.bytes)),
        Ok(Err(e)) => {
            let detail = format!("The body could not be read: {e}.");
            Err(bad_request("bad-body", "The body is not understood", &detail))
        }
        Err(_) => Err(too_slow(limits.time)),
    }
}

/// An empty body is an empty object: calls without a body need not send one.
fn parse_body<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Failure> {
    if !body.is_empty() && !is_json(headers) {
        return Err(Problem::of_request(415, "not-json", "The body must be JSON")
            .detail("The request has a body whose Content-Type is not application/json.")
            .next_step("Send JSON with 'Content-Type: application/json'.")
            .into());
    }
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    // An array would fill the fields in their order: a body that names none of them.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad_request(
            "bad-body",
            "The body is not understood",
            "It is not a JSON object.",
        ));
    }
    let mut from = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|e| bad_body(&e))?;
    from.end()
        .map_err(|e| bad_request("bad-body", "The body is not understood", &e.to_string()))?;
    Ok(value)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.and_then(|value| value.split(';').next()).unwrap_or("");
    media.trim().eq_ignore_ascii_case("application/json")
}

fn bad_body(error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let path = error.path().to_string();
    let field = (path != ".").then_some(path);
    let at = field.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
    let problem = of_request("bad-body", "The body is not understood")
        .detail(format!("{at}{}", error.inner()))
        .next_step("Correct the field and send the request again.");
    Problem { field, ..problem }.into()
}

fn of_request(code: &str, title: &str) -> Problem {
    Problem::of_request(400, code, title)
}

fn bad_parameter() -> Problem {
    of_request("bad-parameter", "The address is not understood")
        .next_step("Take the id from a list and give it whole.")
}

fn bad_request(code: &str, title: &str, detail: &str) -> Failure {
    of_request(code, title)
        .detail(detail)
        .next_step("Correct the request and send it again.")
        .into()
}

fn too_large(limit: usize) -> Failure {
    Problem::of_request(413, "body-too-large", "The body is too large")
        .detail(format!("A request's body may have {limit} bytes."))
        .next_step("Send less at once.")
        .into()
}

fn too_slow(limit: Duration) -> Failure {
    Problem::of_request(408, "body-too-slow", "The body did not arrive in time")
        .detail(format!("A request's body may take {} seconds.", limit.as_secs_f32()))
        .next_step("Check the connection and send the request again.")
        .into()
}
