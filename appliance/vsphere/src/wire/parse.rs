//! Bytes -> [`Document`], within limits.
//!
//! Total: every input gives a document or an error in time linear to its length. A document type
//! declaration is refused (no vSphere server sends one), so there are no entities to expand.

use super::document::{Document, Namespace, NodeData, Span};
use super::error::{WireError, excerpt};
use quick_xml::NsReader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace as Uri, ResolveResult};

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// How much of a document the reader is willing to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the whole text; less than 4 GiB.
    pub(crate) bytes: usize,
    /// Elements.
    pub(crate) nodes: usize,
    /// Elements within one another. A snapshot tree and a chain of backings take one level each,
    /// and vSphere allows 32 of either.
    pub(crate) depth: usize,
    /// Bytes of attributes in one tag.
    pub(crate) attributes: usize,
}

impl Limits {
    /// What an answer may have: about 110 MiB of memory at the very worst, a few in practice.
    pub(crate) const ANSWER: Self =
        Self { bytes: 32 << 20, nodes: 1_000_000, depth: 200, attributes: 16 << 10 };
}

/// Reads one document.
pub(crate) fn parse(bytes: &[u8], limits: Limits) -> Result<Document, WireError> {
    if bytes.len() > limits.bytes {
        return Err(WireError::TooMuch { what: "bytes", limit: limits.bytes });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| WireError::NotUtf8 { at: error.valid_up_to() })?;
    let mut reader = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut builder = Builder::new(limits);
    loop {
        let event = reader.read_event().map_err(|error| malformed(&reader, &error.to_string()))?;
        let step = match event {
            Event::Start(tag) => builder.open(&reader, &tag),
            Event::Empty(tag) => builder.open(&reader, &tag).and_then(|()| builder.close()),
            Event::End(_) => builder.close(),
            Event::Text(text) => builder.text(&text.xml10_content()),
            Event::CData(text) => builder.text(&text.xml10_content()),
            Event::GeneralRef(reference) => character(&reference).and_then(|c| builder.char(c)),
            Event::DocType(_) => Err("a document type declaration is not allowed".into()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => Ok(()),
            Event::Eof => break,
        };
        step.map_err(|problem| problem.at(&reader))?;
    }
    builder.finish().map_err(|problem| problem.at(&reader))
}

fn malformed(reader: &NsReader<&[u8]>, reason: &str) -> WireError {
    WireError::Malformed { at: reader.buffer_position(), reason: excerpt(reason, 200) }
}

/// The five entities of XML and character references; no others exist without a DTD.
fn character(reference: &BytesRef<'_>) -> Result<char, Problem> {
    if let Some(c) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(c);
    }
    match &*reference.xml10_content() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!("unknown entity '{}'", excerpt(other, 40)).into()),
    }
}

/// A [`WireError`] that may not know its place yet.
enum Problem {
    Reason(String),
    TooMuch { what: &'static str, limit: usize },
}

impl Problem {
    fn at(self, reader: &NsReader<&[u8]>) -> WireError {
        match self {
            Self::Reason(reason) => malformed(reader, &reason),
            Self::TooMuch { what, limit } => WireError::TooMuch { what, limit },
        }
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Self {
        Self::Reason(reason.to_owned())
    }
}

/// An element whose end has not come yet.
struct Open {
    node: u32,
    last_child: u32,
    text: String,
}

struct Builder {
    document: Document,
    open: Vec<Open>,
    limits: Limits,
}

impl Builder {
    fn new(limits: Limits) -> Self {
        let document = Document { nodes: Vec::new(), pool: String::new() };
        Self { document, open: Vec::new(), limits }
    }

    fn open(&mut self, reader: &NsReader<&[u8]>, tag: &BytesStart<'_>) -> Result<(), Problem> {
        self.check_room(tag)?;
        let (namespace, name) = reader.resolver().resolve_element(tag.name());
        let namespace = match namespace {
            ResolveResult::Bound(Uri(SOAP)) => Namespace::Soap,
            ResolveResult::Bound(_) | ResolveResult::Unbound => Namespace::Other,
            ResolveResult::Unknown(prefix) => return Err(unknown_prefix(&prefix)),
        };
        let (xsi_type, type_attr) = self.attributes(reader, tag)?;
        let name = self.document.intern(name.into_inner());
        let node = u32::try_from(self.document.nodes.len())
            .map_err(|_| Problem::TooMuch { what: "elements", limit: self.limits.nodes })?;
        self.document.nodes.push(NodeData {
            namespace,
            name,
            xsi_type,
            type_attr,
            text: Span::default(),
            first_child: 0,
            next_sibling: 0,
        });
        self.link(node);
        self.open.push(Open { node, last_child: 0, text: String::new() });
        Ok(())
    }

    fn check_room(&self, tag: &BytesStart<'_>) -> Result<(), Problem> {
        let limits = self.limits;
        if self.document.nodes.len() >= limits.nodes {
            return Err(Problem::TooMuch { what: "elements", limit: limits.nodes });
        }
        if self.open.len() >= limits.depth {
            return Err(Problem::TooMuch { what: "levels of elements", limit: limits.depth });
        }
        if tag.attributes_raw().len() > limits.attributes {
            return Err(Problem::TooMuch { what: "bytes of attributes", limit: limits.attributes });
        }
        if self.open.is_empty() && !self.document.nodes.is_empty() {
            return Err("a second root element".into());
        }
        Ok(())
    }

    /// (`xsi:type` without its prefix, `type`). The namespace decides, never the prefix: servers
    /// write `xsi:type` as well as `_XMLSchema-instance:type`.
    fn attributes(
        &mut self,
        reader: &NsReader<&[u8]>,
        tag: &BytesStart<'_>,
    ) -> Result<(Option<Span>, Option<Span>), Problem> {
        let (mut xsi_type, mut type_attr) = (None, None);
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let (namespace, name) = reader.resolver().resolve_attribute(attribute.key);
            if name.into_inner() != "type" {
                continue;
            }
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|error| error.to_string())?;
            match namespace {
                ResolveResult::Bound(Uri(XSI)) => {
                    let local = value.rsplit_once(':').map_or(&*value, |(_, local)| local);
                    xsi_type = Some(self.document.intern(local));
                }
                ResolveResult::Unbound => type_attr = Some(self.document.intern(&value)),
                ResolveResult::Bound(_) => {}
                ResolveResult::Unknown(prefix) => return Err(unknown_prefix(&prefix)),
            }
        }
        Ok((xsi_type, type_attr))
    }

    /// Hangs a new node under the innermost open element.
    fn link(&mut self, node: u32) {
        let Some(parent) = self.open.last_mut() else { return };
        if parent.last_child == 0 {
            self.document.nodes[parent.node as usize].first_child = node;
        } else {
            self.document.nodes[parent.last_child as usize].next_sibling = node;
        }
        parent.last_child = node;
    }

    fn close(&mut self) -> Result<(), Problem> {
        let done = self.open.pop().ok_or("an end without a beginning")?;
        if done.last_child == 0 {
            let text = self.document.intern(&done.text);
            self.document.nodes[done.node as usize].text = text;
        }
        Ok(())
    }

    /// Text beside child elements is layout: it is dropped.
    fn text(&mut self, text: &str) -> Result<(), Problem> {
        match self.open.last_mut() {
            Some(open) if open.last_child == 0 => open.text.push_str(text),
            Some(_) => {}
            None if text.trim_ascii().is_empty() => {}
            None => return Err("text outside the root element".into()),
        }
        Ok(())
    }

    fn char(&mut self, c: char) -> Result<(), Problem> {
        self.text(c.encode_utf8(&mut [0; 4]))
    }

    fn finish(self) -> Result<Document, Problem> {
        if !self.open.is_empty() {
            return Err("the answer ends in the middle of an element".into());
        }
        if self.document.nodes.is_empty() {
            return Err("there is no element".into());
        }
        Ok(self.document)
    }
}

fn unknown_prefix(prefix: &str) -> Problem {
    format!("unknown prefix '{}'", excerpt(prefix, 40)).into()
}
