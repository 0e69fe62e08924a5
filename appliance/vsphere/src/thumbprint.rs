//! The name of a certificate: SHA-256 over its DER bytes, as browsers and `openssl x509
//! -fingerprint -sha256` show it.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate in DER. Printed as `AA:BB:…`; parsed from that or from bare hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

/// The text is not a SHA-256 thumbprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseThumbprintError {
    /// vSphere's own tools print SHA-1 in places; that is not enough to pin a certificate.
    #[error(
        "'{0}' is a SHA-1 thumbprint; give the SHA-256 one (64 hex digits), as `openssl x509 \
         -fingerprint -sha256` prints it"
    )]
    Sha1(String),
    /// Anything else.
    #[error("'{0}' is not a SHA-256 thumbprint (64 hex digits, colons between bytes allowed)")]
    Malformed(String),
}

impl Thumbprint {
    /// The thumbprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl FromStr for Thumbprint {
    type Err = ParseThumbprintError;

    fn from_str(text: &str) -> Result<Self, ParseThumbprintError> {
        let trimmed = text.trim();
        let digits = if trimmed.contains(':') { join_pairs(trimmed) } else { Some(trimmed.into()) };
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let mut bytes = [0; 32];
        match digits {
            Some(digits) if hex::decode_to_slice(&digits, &mut bytes).is_ok() => Ok(Self(bytes)),
            Some(digits) if digits.len() == 40 => Err(ParseThumbprintError::Sha1(text.into())),
            _ => Err(ParseThumbprintError::Malformed(text.into())),
        }
    }
}

/// `AA:BB` as `AABB`; `None` unless every part has two characters.
fn join_pairs(text: &str) -> Option<String> {
    text.split(':').map(|pair| (pair.len() == 2).then_some(pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // SHA-256("abc"), FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn both_spellings_are_one_thumbprint() {
        let print = Thumbprint::of(b"abc");
        assert_eq!(ABC.parse(), Ok(print));
        assert_eq!(print.to_string().parse(), Ok(print));
        assert!(print.to_string().starts_with("BA:78:16:BF:"));
        assert_eq!(format!("  {print}\n").to_lowercase().parse(), Ok(print));
    }

    #[test]
    fn other_lengths_are_refused_and_sha1_is_named() {
        let sha1 = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D";
        assert!(matches!(sha1.parse::<Thumbprint>(), Err(ParseThumbprintError::Sha1(_))));
        for wrong in ["", ":", "zz", &ABC[1..], &format!("{ABC}00"), "é", "AB:C:D"] {
            assert!(
                matches!(wrong.parse::<Thumbprint>(), Err(ParseThumbprintError::Malformed(_))),
                "{wrong}"
            );
        }
    }
}
