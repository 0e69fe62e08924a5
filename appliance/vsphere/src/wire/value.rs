//! Values of vim25 in the tree: numbers, truth values, references.

use super::document::Node;
use super::error::{WireError, excerpt};
use std::fmt;
use std::sync::Arc;

/// A reference to a managed object: its kind and an opaque value. Cheap to clone.
///
/// Values may hold anything (`session[52…]…` for views) and do not survive a restore of the
/// vCenter: compare them, never parse them, never keep them for long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoRef {
    kind: Arc<str>,
    value: Arc<str>,
}

impl MoRef {
    /// The reference to the object `value` of the managed type `kind`.
    #[must_use]
    pub fn new(kind: &str, value: &str) -> Self {
        Self { kind: kind.into(), value: value.into() }
    }

    /// Managed type, such as `VirtualMachine`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The server's own name of the object.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

impl fmt::Debug for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MoRef({self})")
    }
}

/// vSphere writes the three characters that separate paths as `%2f`, `%5c` and `%25` in names.
pub(crate) fn unescaped(name: &str) -> String {
    let mut text = name.to_owned();
    for (code, character) in [("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")] {
        text = text.replace(code, character);
    }
    text.replace("%25", "%")
}

impl<'a> Node<'a> {
    /// The child's text when the child is there and not empty: vSphere sends empty elements for
    /// values that it does not know, enums included.
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.child(name).map(Node::text).filter(|text| !text.is_empty())
    }

    /// The child, or an error that names both.
    pub(crate) fn need(self, name: &str) -> Result<Node<'a>, WireError> {
        self.child(name).ok_or_else(|| WireError::Missing {
            parent: excerpt(self.name(), 80),
            element: name.to_owned(),
        })
    }

    /// The child's text, which must not be empty.
    pub(crate) fn need_text(self, name: &str) -> Result<&'a str, WireError> {
        let child = self.need(name)?;
        match child.text() {
            "" => Err(child.wrong("a text")),
            text => Ok(text),
        }
    }

    /// The child's number.
    pub(crate) fn need_u64(self, name: &str) -> Result<u64, WireError> {
        self.need(name)?.number("a number that is not negative")
    }

    /// This element's own number.
    pub(crate) fn own_u64(self) -> Result<u64, WireError> {
        self.number("a number that is not negative")
    }

    /// The child's number, if there is such a child; wrong text is an error all the same.
    pub(crate) fn get_u64(self, name: &str) -> Result<Option<u64>, WireError> {
        self.child(name).map(|node| node.number("a number that is not negative")).transpose()
    }

    /// The child's signed 32-bit number, such as a device key.
    pub(crate) fn need_i32(self, name: &str) -> Result<i32, WireError> {
        self.need(name)?.number("a 32-bit number")
    }

    /// The child as truth value; absent or not understood is `None`.
    pub(crate) fn get_bool(self, name: &str) -> Option<bool> {
        self.child(name).and_then(Node::boolean)
    }

    /// This element as truth value (`xsd:boolean`).
    pub(crate) fn boolean(self) -> Option<bool> {
        match self.text().trim_ascii() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// This element as reference.
    pub(crate) fn moref(self) -> Result<MoRef, WireError> {
        match (self.type_attr(), self.text()) {
            (Some(kind), value) if !kind.is_empty() && !value.is_empty() => {
                Ok(MoRef::new(kind, value))
            }
            _ => Err(self.wrong("a reference to a managed object")),
        }
    }

    fn number<T: std::str::FromStr>(self, wanted: &'static str) -> Result<T, WireError> {
        self.text().trim_ascii().parse().map_err(|_| self.wrong(wanted))
    }

    fn wrong(self, wanted: &'static str) -> WireError {
        WireError::Value {
            element: excerpt(self.name(), 80),
            text: excerpt(self.text(), 40),
            wanted,
        }
    }
}
