//! The SOAP envelope of an answer: the method's response, or a fault.

use super::document::{Document, Node};
use super::error::{WireError, excerpt};
use super::fault::{Fault, soap_fault};
use super::parse::{Limits, parse};

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The method ran.
    Returned(Response),
    /// The server refused.
    Fault(Fault),
}

/// The `<MethodResponse>` element of an answer.
#[derive(Debug)]
pub(crate) struct Response {
    document: Document,
    node: u32,
}

impl Response {
    /// The response element itself.
    pub(crate) fn node(&self) -> Node<'_> {
        self.document.at(self.node)
    }

    /// The returned value; `None` for methods that return nothing, or null.
    pub(crate) fn value(&self) -> Option<Node<'_>> {
        self.values().next()
    }

    /// The returned values of a method that returns an array.
    pub(crate) fn values(&self) -> impl Iterator<Item = Node<'_>> {
        self.node().all("returnval")
    }

    /// The returned value of a method that has to return one.
    pub(crate) fn need_value(&self) -> Result<Node<'_>, WireError> {
        self.node().need("returnval")
    }
}

/// Opens the answer to `method`.
pub(crate) fn open(method: &str, bytes: &[u8]) -> Result<Answer, WireError> {
    let document = parse(bytes, Limits::ANSWER)?;
    let root = document.root();
    if !root.is_soap("Envelope") {
        return Err(other("soapenv:Envelope", root));
    }
    let body = root.children().find(|child| child.is_soap("Body"));
    let content = body.and_then(|body| body.children().next()).ok_or(WireError::Missing {
        parent: "soapenv:Body".into(),
        element: format!("{method}Response"),
    })?;
    if content.is_soap("Fault") {
        return Ok(Answer::Fault(soap_fault(content)));
    }
    if content.name().strip_suffix("Response") != Some(method) {
        return Err(other(&format!("{method}Response"), content));
    }
    let node = content.index();
    Ok(Answer::Returned(Response { document, node }))
}

fn other(wanted: &str, got: Node<'_>) -> WireError {
    WireError::OtherAnswer { wanted: wanted.into(), got: excerpt(got.name(), 80) }
}
