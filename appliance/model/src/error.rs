//! What errors of all crates share: a small set of kinds that `jobs` decides on, and the one
//! place that prints a chain of causes (`Display` of an error never repeats its source).

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt::Write as _;

/// What the caller can do about an error. Few and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The same call may succeed later.
    Retryable,
    /// Somebody else holds it now.
    Busy,
    /// It was never there.
    NotFound,
    /// It was there and is no longer.
    Gone,
    /// Stored or received bytes are not what they must be.
    Corrupt,
    /// The peer broke its protocol.
    Misbehaved,
    /// We do not understand this version or feature, and do not guess.
    Unsupported,
    /// Understood and denied: by a lock, a wrong password, an identity that does not match.
    Refused,
    /// No space left.
    Full,
    /// Somebody asked for it to stop.
    Cancelled,
}

/// The error and all its causes in one line, each said once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(line, ": {cause}"); // writing to a String cannot fail
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading block {block}")]
    struct Outer {
        block: u64,
        source: std::io::Error,
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let error = Outer { block: 7, source: std::io::Error::other("cable pulled") };
        assert_eq!(chain(&error), "reading block 7: cable pulled");
    }
}
