//! A small XML tree in two allocations: one list of nodes, one pool of text.
//!
//! What this is: elements with name, the two attributes that vim25 uses (`xsi:type` and `type`)
//! and either children or text. What it is not: a DOM; comments, other attributes and text between
//! elements are gone. Why flat: hostile input cannot make dropping it recurse, and its size is
//! known: `nodes * size_of::<NodeData>() + pool`.

use std::fmt::Write as _;

/// Of an element that stands alone.
const NAMESPACES: &str = " xmlns=\"urn:vim25\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// Which namespace an element is in, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// SOAP 1.1 envelope.
    Soap,
    /// Everything else: vim25, its relatives, or none.
    Other,
}

/// A piece of the pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// Index 0 is the root, which is nobody's child or sibling: so 0 means "none" in the links.
#[derive(Debug)]
pub(super) struct NodeData {
    pub(super) namespace: Namespace,
    pub(super) name: Span,
    pub(super) xsi_type: Option<Span>,
    pub(super) type_attr: Option<Span>,
    pub(super) text: Span,
    pub(super) first_child: u32,
    pub(super) next_sibling: u32,
}

/// A parsed document. Invariant: `nodes[0]` exists; all spans lie in `pool` on character borders.
#[derive(Debug)]
pub(crate) struct Document {
    pub(super) nodes: Vec<NodeData>,
    pub(super) pool: String,
}

impl Document {
    /// The outermost element.
    pub(crate) fn root(&self) -> Node<'_> {
        Node { document: self, index: 0 }
    }

    /// The node that [`Node::index`] named.
    pub(super) fn at(&self, index: u32) -> Node<'_> {
        Node { document: self, index }
    }

    /// Adds text to the pool. The caller keeps the pool below 4 GiB.
    pub(super) fn intern(&mut self, text: &str) -> Span {
        let place = |at: usize| u32::try_from(at).expect("the pool is limited to less than 4 GiB");
        let span = Span { start: place(self.pool.len()), length: place(text.len()) };
        self.pool.push_str(text);
        span
    }

    fn text(&self, span: Span) -> &str {
        let start = span.start as usize;
        &self.pool[start..start + span.length as usize]
    }
}

/// One element of a document.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    document: &'a Document,
    index: u32,
}

impl<'a> Node<'a> {
    fn data(self) -> &'a NodeData {
        &self.document.nodes[self.index as usize]
    }

    /// Its place in the document, for [`Document::at`].
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// True when it is this element of the SOAP envelope.
    pub(super) fn is_soap(self, name: &str) -> bool {
        self.data().namespace == Namespace::Soap && self.name() == name
    }

    /// Name without prefix.
    pub(crate) fn name(self) -> &'a str {
        self.document.text(self.data().name)
    }

    /// Local part of its `xsi:type`.
    pub(crate) fn xsi_type(self) -> Option<&'a str> {
        self.data().xsi_type.map(|span| self.document.text(span))
    }

    /// Its attribute `type`: the kind of a managed object reference.
    pub(crate) fn type_attr(self) -> Option<&'a str> {
        self.data().type_attr.map(|span| self.document.text(span))
    }

    /// Its text; empty for an element with children.
    pub(crate) fn text(self) -> &'a str {
        self.document.text(self.data().text)
    }

    /// Its children, in document order.
    pub(crate) fn children(self) -> impl Iterator<Item = Node<'a>> {
        let link = |index: u32| (index != 0).then(|| self.document.at(index));
        std::iter::successors(link(self.data().first_child), move |node| {
            link(node.data().next_sibling)
        })
    }

    /// The children of this name.
    pub(crate) fn all(self, name: &str) -> impl Iterator<Item = Node<'a>> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The first child of this name.
    pub(crate) fn child(self, name: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.name() == name)
    }

    /// The element with all that is below it as XML, under the name `name`: what the tree kept,
    /// which of vim25 is everything. Recursion is bounded by the depth limit of the reader.
    pub(crate) fn to_xml(self, name: &str) -> String {
        let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        self.xml_into(&mut out, name, NAMESPACES);
        out.push('\n');
        out
    }

    fn xml_into(self, out: &mut String, name: &str, namespaces: &str) {
        let _ = write!(out, "<{name}{namespaces}"); // writing to a String cannot fail
        if let Some(kind) = self.xsi_type() {
            // The reader keeps no prefixes; types of vim25 begin with a capital, XML's own do not.
            let own = kind.starts_with(|c: char| c.is_ascii_lowercase());
            let _ = write!(out, " xsi:type=\"{}", if own { "xsd:" } else { "" });
            escape(out, kind);
            out.push('"');
        }
        if let Some(kind) = self.type_attr() {
            out.push_str(" type=\"");
            escape(out, kind);
            out.push('"');
        }
        out.push('>');
        escape(out, self.text());
        self.children().for_each(|child| child.xml_into(out, child.name(), ""));
        let _ = write!(out, "</{name}>");
    }

    /// The element as text for a log, at most about `limit` bytes of it.
    pub(crate) fn render(self, limit: usize) -> String {
        let mut out = String::new();
        self.render_into(&mut out, limit);
        out
    }

    fn render_into(self, out: &mut String, limit: usize) {
        if out.len() >= limit {
            if !out.ends_with('…') {
                out.push('…');
            }
            return;
        }
        let _ = write!(out, "<{}", self.name()); // writing to a String cannot fail
        for (name, value) in [("xsi:type", self.xsi_type()), ("type", self.type_attr())] {
            if let Some(value) = value {
                let _ = write!(out, " {name}=\"{}\"", super::error::excerpt(value, 100));
            }
        }
        out.push('>');
        out.push_str(&super::error::excerpt(self.text(), limit.saturating_sub(out.len())));
        for child in self.children() {
            child.render_into(out, limit);
            if out.len() >= limit {
                return;
            }
        }
        let _ = write!(out, "</{}>", self.name());
    }
}

/// Text as XML carries it; what a reader gave us has nothing that XML cannot carry.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(400))
    }
}
