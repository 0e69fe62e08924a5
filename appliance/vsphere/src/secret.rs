//! A password in memory: not printable, overwritten when it goes.

use std::fmt;
use std::hint::black_box;

/// A text that must not be shown. `Debug` prints `***`; there is no `Display`.
///
/// Its bytes are overwritten when the value is dropped. The copy that goes over the wire lives in
/// the request's buffer and is freed without being overwritten.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into_bytes())
    }

    /// The text, for the one place that has to send it.
    pub(crate) fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made from a String and never changed")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from leaving out a store to memory that nobody reads again.
        black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_print() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "*** ***");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
