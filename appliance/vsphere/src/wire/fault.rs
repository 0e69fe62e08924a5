//! Faults: what the server says when it does not do what was asked.
//!
//! They come in three places: as the SOAP body (`soapenv:Fault`), as `info.error` of a task, and
//! per property in a `missingSet`. All three become a [`Fault`].

use super::document::Node;
use super::error::excerpt;
use super::value::MoRef;
use std::fmt;

/// A refusal of the server. Display is `Type: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the vim25 type, such as `NotAuthenticated`; a SOAP `faultcode` when there is none.
    pub type_name: String,
    /// The server's text, at most 1000 characters, in the server's language; may be empty.
    pub message: String,
    /// The object that the fault names, as `ManagedObjectNotFound` does.
    pub object: Option<MoRef>,
    /// The element as it came, for the log; at most about 4 KiB.
    pub raw: String,
}

impl Fault {
    /// True for the fault of a session that is gone: logging in again helps.
    #[must_use]
    pub fn is_not_authenticated(&self) -> bool {
        self.type_name == "NotAuthenticated"
    }

    /// True when the object is no longer there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.type_name == "ManagedObjectNotFound"
    }

    /// True for the faults by which `QueryChangedDiskAreas` says that the tracking data of a disk
    /// cannot be used: `FileFault` and those of its subtypes that name a file out of reach.
    #[must_use]
    pub(crate) fn spoils_change_tracking(&self) -> bool {
        let faults = ["FileFault", "FileNotFound", "CannotAccessFile", "FileLocked"];
        faults.contains(&self.type_name.as_str())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.type_name),
            message => write!(f, "{}: {message}", self.type_name),
        }
    }
}

impl std::error::Error for Fault {}

/// A `soapenv:Fault` element.
pub(super) fn soap_fault(fault: Node<'_>) -> Fault {
    let text = fault.get("faultstring").unwrap_or_default();
    match fault.child("detail").and_then(|detail| detail.children().next()) {
        Some(detail) => method_fault(detail, text),
        None => {
            let code = fault.get("faultcode").unwrap_or("Fault");
            let code = code.rsplit_once(':').map_or(code, |(_, local)| local);
            Fault { raw: fault.render(RAW), ..named(code, text) }
        }
    }
}

/// A `LocalizedMethodFault`: `<x><fault xsi:type="…"/><localizedMessage>…</localizedMessage></x>`.
/// The inner `fault` may be missing (seen in faults that a server makes up); then the element
/// itself has to tell the type.
pub(crate) fn localized_fault(node: Node<'_>) -> Fault {
    let text = node.get("localizedMessage").unwrap_or_default();
    method_fault(node.child("fault").unwrap_or(node), text)
}

const RAW: usize = 4096;

fn method_fault(detail: Node<'_>, text: &str) -> Fault {
    let name = detail.xsi_type().unwrap_or_else(|| {
        detail.name().strip_suffix("Fault").filter(|name| !name.is_empty()).unwrap_or(detail.name())
    });
    Fault {
        object: detail.child("obj").and_then(|node| node.moref().ok()),
        raw: detail.render(RAW),
        ..named(name, text)
    }
}

fn named(type_name: &str, message: &str) -> Fault {
    Fault {
        type_name: excerpt(type_name, 100),
        message: excerpt(message.trim(), 1000),
        object: None,
        raw: String::new(),
    }
}
