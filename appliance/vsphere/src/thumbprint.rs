//! The name of a certificate: SHA-256 over its DER bytes, as browsers and `openssl x509
//! -fingerprint -sha256` show it; and what a server itself names for another host.

use sha1::Sha1;
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
        write_pairs(f, &self.0)
    }
}

fn write_pairs(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for (at, byte) in bytes.iter().enumerate() {
        let colon = if at > 0 { ":" } else { "" };
        write!(f, "{colon}{byte:02X}")?;
    }
    Ok(())
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

/// A certificate that must be shown. SHA-1 is taken only from a server that has proved itself and
/// names another host by it, as vSphere does up to 8: finding a second certificate with the same
/// SHA-1 as a given one is out of reach. From people SHA-256 is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of the certificate.
    Sha256(Thumbprint),
    /// SHA-1 of the certificate.
    Sha1([u8; 20]),
}

impl Pin {
    /// As a server writes it: SHA-256 or SHA-1, colons or not.
    pub(crate) fn of_server(text: &str) -> Result<Self, ParseThumbprintError> {
        match text.parse() {
            Ok(thumbprint) => Ok(Self::Sha256(thumbprint)),
            Err(ParseThumbprintError::Sha1(_)) => {
                let mut bytes = [0; 20];
                hex::decode_to_slice(text.trim().replace(':', ""), &mut bytes)
                    .map_err(|_| ParseThumbprintError::Malformed(text.into()))?;
                Ok(Self::Sha1(bytes))
            }
            Err(malformed) => Err(malformed),
        }
    }

    /// True for the certificate that is pinned.
    pub(crate) fn is_of(&self, der: &[u8]) -> bool {
        *self == self.like(der)
    }

    /// The name of another certificate, by the same hash.
    pub(crate) fn like(&self, der: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::Sha256(Thumbprint::of(der)),
            Self::Sha1(_) => Self::Sha1(Sha1::digest(der).into()),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(thumbprint) => thumbprint.fmt(f),
            Self::Sha1(bytes) => write_pairs(f, bytes),
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
    fn a_server_may_name_a_host_by_sha1() {
        // SHA-1("abc"), FIPS 180-4.
        let text = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D";
        let pin = Pin::of_server(text).unwrap();
        assert_eq!(pin.to_string(), text);
        assert!(pin.is_of(b"abc") && !pin.is_of(b"abd"));
        let pin = Pin::of_server(ABC).unwrap();
        assert!(pin.is_of(b"abc") && !pin.is_of(b"abd"));
        for wrong in
            ["", "none", &text[3..], "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D89D:"]
        {
            assert!(Pin::of_server(wrong).is_err(), "{wrong}");
        }
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
