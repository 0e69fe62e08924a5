//! RFC 9457 problem details: every answer that is not a success.

use crate::point::LockView;
use model::ErrorKind;
use serde::{Deserialize, Serialize};

/// What went wrong, where, and what to do next.
///
/// `type`, `title`, `status`, `detail` and `instance` are the members of RFC 9457, section 3.1;
/// the others are extensions (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// URI of the kind of problem: `urn:holdfast:problem:` and `code`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind of problem in a few words; the same for the same `code`.
    pub title: String,
    /// HTTP status; 0, and absent on the wire, when the problem never went over HTTP.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u16,
    /// This occurrence, in a sentence or two.
    pub detail: String,
    /// Path of the request, or of the run, that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Stable name for programs, such as `point-locked`.
    pub code: String,
    /// What a person can do now.
    pub next_step: String,
    /// What a program can do now; absent when the request itself was at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// The lock that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockView>,
    /// The field of the request that was at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Problem {
    /// A problem of the request itself (a 4xx status of HTTP).
    #[must_use]
    pub fn of_request(status: u16, code: &str, title: &str) -> Self {
        Self {
            type_uri: problem_type(code),
            title: title.into(),
            status,
            detail: String::new(),
            instance: None,
            code: code.into(),
            next_step: String::new(),
            kind: None,
            lock: None,
            field: None,
        }
    }

    /// A problem of the appliance's work; its kind decides the status.
    #[must_use]
    pub fn of_kind(kind: ErrorKind, code: &str, title: &str) -> Self {
        Self { kind: Some(kind), ..Self::of_request(status_of(kind), code, title) }
    }

    /// With this occurrence in a sentence.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With what a person can do now.
    #[must_use]
    pub fn next_step(self, next_step: impl Into<String>) -> Self {
        Self { next_step: next_step.into(), ..self }
    }

    /// True when a lock or another rule said no: trying again changes nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.kind == Some(ErrorKind::Refused)
    }
}

fn is_zero(status: &u16) -> bool {
    *status == 0
}

/// The `type` URI of a problem's code.
#[must_use]
pub fn problem_type(code: &str) -> String {
    format!("urn:holdfast:problem:{code}")
}

/// The HTTP status of an error kind (RFC 9110, section 15; 507: RFC 4918).
#[must_use]
pub fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Retryable | ErrorKind::Cancelled => 503,
        ErrorKind::Busy | ErrorKind::Refused => 409,
        ErrorKind::NotFound => 404,
        ErrorKind::Gone => 410,
        ErrorKind::Corrupt => 500,
        ErrorKind::Misbehaved => 502,
        ErrorKind::Unsupported => 501,
        ErrorKind::Full => 507,
    }
}
