//! Writes requests: a SOAP 1.1 envelope around one method of vim25.
//!
//! Element order is the caller's duty: servers read the WSDL sequence, in which optional elements
//! may be left out but not moved.

use super::error::WireError;
use super::value::MoRef;
use std::fmt::Write as _;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
    xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>";
const TAIL: &str = "</soapenv:Body></soapenv:Envelope>";

/// A request in the making. Texts are escaped; a text that XML cannot carry is remembered and
/// reported by [`Writer::finish`].
pub(crate) struct Writer {
    out: String,
    open: Vec<&'static str>,
    unwritable: Option<WireError>,
}

impl Writer {
    /// Begins `method` on the object `this`.
    pub(crate) fn method(method: &'static str, this: &MoRef) -> Self {
        Self::method_in("urn:vim25", method, this)
    }

    /// As [`Writer::method`], of another namespace.
    pub(crate) fn method_in(namespace: &str, method: &'static str, this: &MoRef) -> Self {
        let mut writer = Self { out: HEAD.to_owned(), open: vec![method], unwritable: None };
        let _ = write!(writer.out, "<{method} xmlns=\"{namespace}\">"); // a String cannot fail
        writer.moref("_this", this);
        writer
    }

    /// `<name>text</name>`.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        let _ = write!(self.out, "<{name}>");
        self.escaped(name, text);
        let _ = write!(self.out, "</{name}>");
        self
    }

    /// `<name>number</name>`.
    pub(crate) fn number(&mut self, name: &'static str, number: impl Into<i128>) -> &mut Self {
        let _ = write!(self.out, "<{name}>{}</{name}>", number.into());
        self
    }

    /// `<name>true</name>`.
    pub(crate) fn boolean(&mut self, name: &'static str, value: bool) -> &mut Self {
        let _ = write!(self.out, "<{name}>{value}</{name}>");
        self
    }

    /// A reference to a managed object.
    pub(crate) fn moref(&mut self, name: &'static str, object: &MoRef) -> &mut Self {
        let _ = write!(self.out, "<{name} type=\"");
        self.escaped(name, object.kind());
        self.out.push_str("\">");
        self.escaped(name, object.value());
        let _ = write!(self.out, "</{name}>");
        self
    }

    /// Opens an element, with `xsi:type` when the schema is polymorphic there.
    pub(crate) fn open(&mut self, name: &'static str, xsi_type: Option<&'static str>) -> &mut Self {
        let _ = match xsi_type {
            Some(kind) => write!(self.out, "<{name} xsi:type=\"{kind}\">"),
            None => write!(self.out, "<{name}>"),
        };
        self.open.push(name);
        self
    }

    /// Closes the innermost open element.
    pub(crate) fn close(&mut self) -> &mut Self {
        let name = self.open.pop().expect("each close has its open");
        let _ = write!(self.out, "</{name}>");
        self
    }

    /// The whole envelope.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, WireError> {
        self.close();
        debug_assert!(self.open.is_empty(), "{:?} left open", self.open);
        self.out.push_str(TAIL);
        match self.unwritable {
            Some(problem) => Err(problem),
            None => Ok(self.out.into_bytes()),
        }
    }

    /// White space other than a blank goes as a reference: readers change it otherwise
    /// (XML 1.0, 2.11 and 3.3.3).
    fn escaped(&mut self, element: &str, text: &str) {
        for c in text.chars() {
            match c {
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '&' => self.out.push_str("&amp;"),
                '"' => self.out.push_str("&quot;"),
                '\t' | '\n' | '\r' => {
                    let _ = write!(self.out, "&#{};", u32::from(c));
                }
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.refuse(element, c),
                _ => self.out.push(c),
            }
        }
    }

    fn refuse(&mut self, element: &str, c: char) {
        self.unwritable.get_or_insert_with(|| WireError::Unwritable {
            element: element.to_owned(),
            code: u32::from(c),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Limits, parse};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_stand_in_the_order_they_were_written() {
        let mut writer = Writer::method("Ask", &MoRef::new("VirtualMachine", "vm-1"));
        writer.open("spec", Some("Spec")).number("key", -1).boolean("flag", true).close();
        let text = String::from_utf8(writer.finish().unwrap()).unwrap();
        let body = text.split("Body>").nth(1).unwrap();
        assert_eq!(
            body,
            "<Ask xmlns=\"urn:vim25\"><_this type=\"VirtualMachine\">vm-1</_this>\
             <spec xsi:type=\"Spec\"><key>-1</key><flag>true</flag></spec></Ask></soapenv:"
        );
    }

    #[test]
    fn what_xml_cannot_carry_is_refused_without_showing_the_text() {
        for bad in ["\0", "pass\u{1}word", "\u{ffff}"] {
            let mut writer = Writer::method("Login", &MoRef::new("SessionManager", "s"));
            writer.text("password", bad);
            let error = writer.finish().unwrap_err();
            assert!(matches!(error, WireError::Unwritable { .. }));
            assert!(!error.to_string().contains("pass\u{1}"), "{error}");
        }
    }

    fn writable() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[\t\n\r -\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]*")
            .unwrap()
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_the_reader(text in writable(), kind in writable()) {
            let mut writer = Writer::method("Ask", &MoRef::new(&kind, &text));
            writer.text("name", &text);
            let bytes = writer.finish().unwrap();
            let document = parse(&bytes, Limits::ANSWER).unwrap();
            let method = document.root().child("Body").unwrap().child("Ask").unwrap();
            prop_assert_eq!(method.child("name").unwrap().text(), &text);
            prop_assert_eq!(method.child("_this").unwrap().text(), &text);
            prop_assert_eq!(method.child("_this").unwrap().type_attr().unwrap(), &kind);
        }
    }
}
