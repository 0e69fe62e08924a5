//! What can be wrong with bytes from, or texts for, the wire.

/// Bytes that are not the answer they should be, or a text that XML cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// XML 1.0 has no way to write this character (section 2.2).
    #[error("the text for '{element}' holds the character U+{code:04X}, which XML cannot carry")]
    Unwritable {
        /// Element the text was meant for.
        element: String,
        /// Its code point.
        code: u32,
    },
    /// The answer is not UTF-8.
    #[error("the answer is not UTF-8 (at byte {at})")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// The answer is not well-formed XML.
    #[error("the answer is not well-formed XML (at byte {at}: {reason})")]
    Malformed {
        /// Offset in the answer.
        at: u64,
        /// What the reader says.
        reason: String,
    },
    /// More of something than the reader is willing to hold.
    #[error("the answer exceeds the limit of {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An element that has to be there is not.
    #[error("'{parent}' has no '{element}'")]
    Missing {
        /// Where it should be.
        parent: String,
        /// What is missing.
        element: String,
    },
    /// An element holds a value that it cannot have.
    #[error("'{element}' holds '{text}', not {wanted}")]
    Value {
        /// Name of the element.
        element: String,
        /// Beginning of its text.
        text: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A well-formed document of another kind, such as another method's response.
    #[error("the answer is '{got}', not '{wanted}'")]
    OtherAnswer {
        /// Expected element.
        wanted: String,
        /// Element that came.
        got: String,
    },
}

/// The first `limit` characters, with an ellipsis when there are more.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
