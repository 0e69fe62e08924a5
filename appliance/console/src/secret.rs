//! The bearer token: kept, compared, never shown.

use std::fmt;

/// Characters that a token has at least.
pub const TOKEN_LENGTH_MIN: usize = 32;

/// A token that opens the API. Never in `Debug`, logs or error texts.
#[derive(Clone)]
pub struct Secret {
    /// BLAKE3 of the token: the comparison takes the same time whatever the length.
    hash: blake3::Hash,
}

/// The text cannot serve as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It could be guessed.
    #[error("the token has {length} characters; it must have at least {TOKEN_LENGTH_MIN}")]
    TooShort {
        /// What it has.
        length: usize,
    },
    /// It could not be sent in a header (RFC 6750, section 2.1).
    #[error("the token holds a character other than letters, digits and -._~+/=")]
    NotSendable,
}

impl SecretError {
    /// What the caller can do: give a better one.
    #[must_use]
    pub fn kind(self) -> model::ErrorKind {
        model::ErrorKind::Refused
    }
}

impl Secret {
    /// The token, without white space around it (a file ends in a line feed).
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let token = text.trim();
        if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err(SecretError::NotSendable);
        }
        if token.len() < TOKEN_LENGTH_MIN {
            return Err(SecretError::TooShort { length: token.len() });
        }
        Ok(Self { hash: blake3::hash(token.as_bytes()) })
    }

    /// True when `token` is the same. Takes the same time wherever the two differ.
    #[must_use]
    pub fn matches(&self, token: &str) -> bool {
        // blake3::Hash compares in constant time.
        self.hash == blake3::hash(token.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_only_and_is_not_shown() {
        let text = "0123456789abcdef0123456789abcdef";
        let secret = Secret::new(&format!("{text}\n")).unwrap();
        assert!(secret.matches(text));
        assert!(!secret.matches(&text[1..]));
        assert!(!secret.matches(""));
        assert!(!format!("{secret:?}").contains("0123"));
    }

    #[test]
    fn weak_and_unsendable_tokens_are_refused() {
        assert_eq!(Secret::new("short").unwrap_err(), SecretError::TooShort { length: 5 });
        assert_eq!(Secret::new("ä").unwrap_err(), SecretError::NotSendable);
        assert_eq!(Secret::new(" \n").unwrap_err(), SecretError::TooShort { length: 0 });
    }
}
