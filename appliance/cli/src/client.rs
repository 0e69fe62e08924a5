//! Typed calls: an endpoint's type gives path, method, request and response.

use crate::args::Args;
use crate::error::Error;
use api::{Endpoint, Listed, Method, Page, Problem};
use model::{DiskRange, NaaName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use ureq::http::{Request, Response, Uri, header};
use ureq::{Agent, Body};

/// Bytes of a JSON answer at most.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a token file at most.
const TOKEN_BYTES_MAX: u64 = 4096;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// An answer may need a call of the appliance to vCenter.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// The longest silence in the middle of an answer.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);

/// Calls the API of one appliance.
pub(crate) struct Client {
    agent: Agent,
    server: String,
    /// Value of the header `Authorization`; never shown.
    authorization: String,
}

impl Client {
    /// Checks the address and reads the token; calls nothing yet.
    pub(crate) fn new(args: &Args) -> Result<Self, Error> {
        let server = checked(&args.server)?;
        let file = args.token_file.as_deref().ok_or(Error::NoTokenFile)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The token is for the appliance alone: no proxy, no other server.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .timeout_recv_response(Some(ANSWER_TIME_MAX))
            .timeout_per_read(Some(SILENCE_TIME_MAX))
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .build();
        let authorization = format!("Bearer {}", token(file)?);
        Ok(Self { agent: config.into(), server, authorization })
    }

    /// Calls an endpoint that answers with JSON.
    pub(crate) fn call<P>(
        &self,
        endpoint: P,
        parameters: &[&str],
        query: &[(&str, String)],
        request: &P::Request,
    ) -> Result<P::Response, Error>
    where
        P: Endpoint<Request: Serialize, Response: DeserializeOwned>,
    {
        let (call, response) = self.send(endpoint, parameters, query, request, None)?;
        let body = call.read(response)?;
        // 204 has no body; its type is an empty object.
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text).map_err(|e| call.misbehaved(e.to_string()))
    }

    /// Calls an endpoint that takes no request.
    pub(crate) fn ask<P>(&self, endpoint: P, parameters: &[&str]) -> Result<P::Response, Error>
    where
        P: Endpoint<Request = api::Nothing, Response: DeserializeOwned>,
    {
        self.call(endpoint, parameters, &[], &api::Nothing {})
    }

    /// All items of a list, page after page.
    pub(crate) fn all<P, T>(
        &self,
        endpoint: P,
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Error>
    where
        P: Endpoint<Request = api::Nothing, Response = Page<T>> + Copy,
        T: Listed + DeserializeOwned,
    {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut query = query.to_vec();
            query.push(("limit", api::LIMIT_MAX.to_string()));
            query.extend(after.clone().map(|after| ("after", after)));
            let page = self.call(endpoint, &[], &query, &api::Nothing {})?;
            items.extend(page.items);
            // A cursor that does not move would never end.
            if page.next.is_none() || page.next <= after {
                return Ok(items);
            }
            after = page.next;
        }
    }

    /// A small file that was kept with a point.
    pub(crate) fn file(&self, point: &str, name: &str) -> Result<Vec<u8>, Error> {
        let endpoint = api::endpoint::GetFile;
        let (call, response) = self.send(endpoint, &[point, name], &[], &api::Nothing {}, None)?;
        call.read(response)
    }

    /// The bytes of a range of a disk; the reader ends in an error when they are fewer.
    pub(crate) fn disk(
        &self,
        point: &str,
        disk: u32,
        range: DiskRange,
    ) -> Result<impl Read + use<>, Error> {
        let parameters = [point, &disk.to_string()];
        let endpoint = api::endpoint::GetDisk;
        let (call, response) =
            self.send(endpoint, &parameters, &[], &api::Nothing {}, Some(range))?;
        let shown = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
        let wanted = format!("bytes {}-{}/", range.offset, range.end().saturating_sub(1));
        if !shown.is_some_and(|shown| shown.starts_with(&wanted)) {
            return Err(call.misbehaved(format!("it does not bring the range '{wanted}'")));
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A disk as a VMDK; the reader ends in an error when it does not come to its end.
    pub(crate) fn vmdk(&self, point: &str, disk: u32) -> Result<impl Read + use<>, Error> {
        let parameters = [point, &disk.to_string()];
        let endpoint = api::endpoint::ExportDisk;
        let (_, response) = self.send(endpoint, &parameters, &[], &api::Nothing {}, None)?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Bytes of a LUN, exactly as many as asked for.
    pub(crate) fn lun(&self, name: &NaaName, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let query = [("offset", offset.to_string()), ("length", length.to_string())];
        let name = name.to_string();
        let endpoint = api::endpoint::ReadLun;
        let (call, response) = self.send(endpoint, &[&name], &query, &api::Nothing {}, None)?;
        let bytes = call.read(response)?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(call.misbehaved(format!("it brings {} of {length} bytes", bytes.len())))
    }

    fn send<P: Endpoint<Request: Serialize>>(
        &self,
        _: P,
        parameters: &[&str],
        query: &[(&str, String)],
        request: &P::Request,
        range: Option<DiskRange>,
    ) -> Result<(Call, Response<Body>), Error> {
        let path = P::INFO.path_with(parameters).expect("the call site knows the table's path");
        let method = P::INFO.method.as_str();
        let call = Call { method, url: format!("{}{path}{}", self.server, joined(query)) };
        let mut builder = Request::builder()
            .method(method)
            .uri(&call.url)
            .header(header::AUTHORIZATION, &self.authorization);
        if let Some(range) = range {
            let last = range.end().saturating_sub(1);
            builder = builder.header(header::RANGE, format!("bytes={}-{last}", range.offset));
        }
        let response = if P::INFO.method == Method::Post {
            let body = serde_json::to_vec(request).map_err(|e| call.misbehaved(e.to_string()))?;
            let builder = builder.header(header::CONTENT_TYPE, "application/json");
            builder
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        } else {
            builder.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
        };
        call.judge(response)
    }
}

/// One call, for error texts.
struct Call {
    method: &'static str,
    url: String,
}

impl Call {
    /// Passes a success on; everything else becomes the problem that it says it is.
    fn judge(
        self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<(Self, Response<Body>), Error> {
        let response = response.map_err(|source| self.failed(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok((self, response));
        }
        let body = self.read(response)?;
        let problem: Problem = serde_json::from_slice(&body)
            .map_err(|_| self.misbehaved(format!("status {status} without a problem")))?;
        Err(Error::Refused(Box::new(problem)))
    }

    fn read(&self, response: Response<Body>) -> Result<Vec<u8>, Error> {
        let mut body = response.into_body();
        let limited = body.with_config().limit(ANSWER_BYTES_MAX);
        limited.read_to_vec().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ureq::Error) -> Error {
        Error::Call { method: self.method, url: self.url.clone(), source: Box::new(source) }
    }

    fn misbehaved(&self, why: String) -> Error {
        Error::Misbehaved { method: self.method, url: self.url.clone(), why }
    }
}

/// The address without a slash at its end, if it is one that a token may be sent to.
fn checked(server: &str) -> Result<String, Error> {
    let refused = |why| Error::Server { server: server.to_owned(), why };
    let uri: Uri = server.parse().map_err(|_| refused("it is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(refused("only http:// is spoken"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused("it holds a user or password; use a token file"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refused("it has a path; give only scheme, host and port"));
    }
    let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !is_loopback && host != "localhost" {
        return Err(refused("the token would cross the network in the clear"));
    }
    Ok(server.trim_end_matches('/').to_owned())
}

fn token(path: &Path) -> Result<String, Error> {
    let read = |path: &Path| {
        let mut text = String::new();
        File::open(path)?.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
        let token = text.trim();
        let sendable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        sendable.then(|| token.to_owned()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not hold one token and nothing else",
            )
        })
    };
    read(path).map_err(|source| Error::TokenFile { path: path.to_owned(), source })
}

fn joined(query: &[(&str, String)]) -> String {
    let pairs = query.iter().enumerate().map(|(at, (name, value))| {
        let separator = if at == 0 { '?' } else { '&' };
        format!("{separator}{name}={}", api::endpoint::percent_encoded(value))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_get_a_token() {
        for good in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1",
            "http://10.0.0.1",
            "http://localhost.example",
            "127.0.0.1:8080",
            "http://127.0.0.1/api",
            "http://user:pass@127.0.0.1",
            "",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_is_encoded() {
        assert_eq!(
            joined(&[("vm", "a&b=c d".into()), ("limit", "5".into())]),
            "?vm=a%26b%3Dc%20d&limit=5"
        );
        assert_eq!(joined(&[]), "");
    }
}
