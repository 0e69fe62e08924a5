//! Which version of vim25 the server speaks: `/sdk/vimServiceVersions.xml`.

use super::error::{WireError, excerpt};
use super::parse::{Limits, parse};
use std::fmt;

/// A version such as `8.0.2.0`. It becomes part of the SOAPAction header, so its characters are
/// checked: ASCII letters, digits, dots, dashes, at most 32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiVersion(String);

impl ApiVersion {
    /// Reads a version; `None` when it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
        let right = text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_digit());
        (right && text.chars().all(fits)).then(|| Self(text.to_owned()))
    }

    /// (major, minor); a missing or odd part counts as 0.
    pub(crate) fn release(&self) -> (u32, u32) {
        let mut parts = self.0.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// The value of the SOAPAction header, with its quotes.
    pub(crate) fn soap_action(&self) -> String {
        format!("\"urn:vim25/{}\"", self.0)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The newest version in `vimServiceVersions.xml`: the one that the server's own clients use.
pub(crate) fn server_version(bytes: &[u8]) -> Result<ApiVersion, WireError> {
    let document = parse(bytes, Limits::ANSWER)?;
    let root = document.root();
    let vim = root.all("namespace").find(|space| space.get("name") == Some("urn:vim25"));
    let vim = vim.ok_or_else(|| WireError::OtherAnswer {
        wanted: "a list of versions with urn:vim25".into(),
        got: excerpt(root.name(), 80),
    })?;
    let text = vim.need_text("version")?;
    ApiVersion::parse(text).ok_or_else(|| WireError::Value {
        element: "version".into(),
        text: excerpt(text, 40),
        wanted: "a version such as 8.0.2.0",
    })
}
