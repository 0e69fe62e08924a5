//! Tags, which SOAP does not know: a few calls of vCenter's older REST interface, which 6.7 to 9
//! serve. A single host has no tags.

use super::Client;
use super::transport::{Exchange, Reply};
use crate::error::VsphereError;
use crate::wire::{MoRef, WireError};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde_json::{Value, json};

/// Tags of one VM that are read.
const TAGS_MAX: usize = 256;
const BASE: &str = "/rest";
const SESSIONS: &str = "/com/vmware/cis/session";
const SESSION: &str = "vmware-api-session-id";

/// A tag of a VM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Name of its category.
    pub category: String,
    /// Its name.
    pub name: String,
}

impl Client {
    /// The tags of a VM, sorted; none on a single host.
    pub async fn tags(&self, vm: &MoRef) -> Result<Vec<Tag>, VsphereError> {
        if self.shared.about.api_type != "VirtualCenter" {
            return Ok(Vec::new());
        }
        let session = self.rest_login().await?;
        let tags = self.read_tags(&session, vm).await;
        self.rest_logout(&session).await;
        tags
    }

    /// The session ends by itself soon; what was done in it counts, not this.
    pub(super) async fn rest_logout(&self, session: &str) {
        if let Err(error) = self.rest(Method::DELETE, SESSIONS, Some(session), None).await {
            tracing::debug!(%error, "a REST session was not ended");
        }
    }

    pub(super) async fn rest_login(&self) -> Result<String, VsphereError> {
        let answer = self.rest(Method::POST, SESSIONS, None, None).await?;
        text(&answer["value"], "the session")
    }

    async fn read_tags(&self, session: &str, vm: &MoRef) -> Result<Vec<Tag>, VsphereError> {
        let path = "/com/vmware/cis/tagging/tag-association?~action=list-attached-tags";
        let body = json!({ "object_id": { "id": vm.value(), "type": vm.kind() } });
        let attached = self.rest(Method::POST, path, Some(session), Some(&body)).await?;
        let ids = attached["value"].as_array().ok_or_else(|| odd("a list of tags"))?;
        if ids.len() > TAGS_MAX {
            return Err(wire(WireError::TooMuch { what: "tags", limit: TAGS_MAX }));
        }
        let mut tags = Vec::new();
        for id in ids {
            let tag = self.rest_object(session, "tag", id).await?;
            let category = self.rest_object(session, "category", &tag["category_id"]).await?;
            let category = text(&category["name"], "a category's name")?;
            tags.push(Tag { category, name: text(&tag["name"], "a tag's name")? });
        }
        tags.sort();
        Ok(tags)
    }

    async fn rest_object(
        &self,
        session: &str,
        kind: &str,
        id: &Value,
    ) -> Result<Value, VsphereError> {
        let id = text(id, "an id")?;
        let path = format!("/com/vmware/cis/tagging/{kind}/id:{id}");
        Ok(self.rest(Method::GET, &path, Some(session), None).await?["value"].take())
    }

    /// One call. Without a session it carries user and password.
    pub(super) async fn rest(
        &self,
        method: Method,
        path: &str,
        session: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, VsphereError> {
        let keeper = &self.shared.session;
        let repeatable = method == Method::GET;
        let builder = Request::builder()
            .method(method)
            .uri(format!("{BASE}{path}"))
            .header(HOST, &keeper.transport().address().authority)
            .header(CONTENT_TYPE, "application/json");
        let builder = match session {
            Some(session) => builder.header(SESSION, session),
            None => builder.header(AUTHORIZATION, basic(&keeper.account())),
        };
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = builder.body(Full::new(body)).map_err(|_| odd("a path or a header"))?;
        let exchange = Exchange { method: METHOD, request, repeatable };
        let reply = keeper.exchange(exchange).await?;
        decode(&reply)
    }
}

/// How errors call these calls.
const METHOD: &str = "a REST call";

fn decode(reply: &Reply) -> Result<Value, VsphereError> {
    match reply.status {
        200 if reply.body.is_empty() => Ok(Value::Null),
        200 => serde_json::from_slice(&reply.body).map_err(|_| odd("JSON")),
        status => Err(VsphereError::Status { method: METHOD, status }),
    }
}

fn basic((user, password): &(&str, &str)) -> String {
    let plain = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
}

pub(super) fn text(value: &Value, wanted: &'static str) -> Result<String, VsphereError> {
    value.as_str().map(str::to_owned).ok_or_else(|| odd(wanted))
}

pub(super) fn odd(wanted: &'static str) -> VsphereError {
    wire(WireError::Value { element: "value".into(), text: "something else".into(), wanted })
}

fn wire(source: WireError) -> VsphereError {
    VsphereError::Wire { method: METHOD, source }
}
