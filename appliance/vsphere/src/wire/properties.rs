//! What the PropertyCollector returns: objects, their properties, and what is missing of them.

use super::document::Node;
use super::envelope::Response;
use super::error::WireError;
use super::fault::{Fault, localized_fault};
use super::value::MoRef;

/// One object of an answer.
pub(crate) struct ObjectContent<'a> {
    /// Which object.
    pub(crate) object: MoRef,
    node: Node<'a>,
}

/// One answer of RetrievePropertiesEx.
pub(crate) struct Page<'a> {
    /// The objects, as the server ordered them.
    pub(crate) objects: Vec<ObjectContent<'a>>,
    /// Ask ContinueRetrievePropertiesEx with this.
    pub(crate) token: Option<&'a str>,
}

impl<'a> ObjectContent<'a> {
    /// The value of a property.
    pub(crate) fn get(&self, path: &str) -> Option<Node<'a>> {
        let property = self.node.all("propSet").find(|set| set.get("name") == Some(path))?;
        property.child("val")
    }

    /// The text of a property; `None` when it is missing or empty.
    pub(crate) fn text(&self, path: &str) -> Option<&'a str> {
        self.get(path).map(Node::text).filter(|text| !text.is_empty())
    }

    /// A property that is true or false.
    pub(crate) fn boolean(&self, path: &str) -> Option<bool> {
        self.get(path).and_then(Node::boolean)
    }

    /// The properties that the server could not give, with the reason.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&'a str, Fault)> {
        missing_set(self.node)
    }

    /// True for an object that went away before its properties were read.
    pub(crate) fn is_gone(&self) -> bool {
        self.missing().any(|(_, fault)| {
            fault.is_gone() && fault.object.as_ref().is_none_or(|object| *object == self.object)
        })
    }

    /// The same as lines for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let line = |(path, fault)| format!("the server does not give '{path}': {fault}");
        self.missing().map(line).collect()
    }
}

/// The `missingSet` entries of an `ObjectContent` or an `ObjectUpdate`.
fn missing_set(node: Node<'_>) -> impl Iterator<Item = (&str, Fault)> {
    node.all("missingSet").map(|entry| {
        let fault = entry.child("fault").map_or_else(|| localized_fault(entry), localized_fault);
        (entry.get("path").unwrap_or_default(), fault)
    })
}

/// Reads the elements `name` of `parent` as objects.
///
/// Without a session a server answers property reads with success and a `missingSet` full of
/// `NotAuthenticated`: that becomes the fault it is.
pub(crate) fn read_objects<'a>(
    parent: Node<'a>,
    name: &str,
) -> Result<Result<Vec<ObjectContent<'a>>, Fault>, WireError> {
    let mut objects = Vec::new();
    for node in parent.all(name) {
        if let Some((_, fault)) = missing_set(node).find(|(_, f)| f.is_not_authenticated()) {
            return Ok(Err(fault));
        }
        objects.push(ObjectContent { object: node.need("obj")?.moref()?, node });
    }
    Ok(Ok(objects))
}

/// The answer of RetrievePropertiesEx or ContinueRetrievePropertiesEx; the outer error is ours
/// (not an answer), the inner one the server's.
pub(crate) fn decode_page(response: &Response) -> Result<Result<Page<'_>, Fault>, WireError> {
    let Some(value) = response.value() else {
        return Ok(Ok(Page { objects: Vec::new(), token: None }));
    };
    Ok(read_objects(value, "objects")?.map(|objects| Page { objects, token: value.get("token") }))
}
