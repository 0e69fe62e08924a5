//! `key=value` lists of login and text PDUs (RFC 7143, 6.1): NUL-terminated pairs, bounded.

use crate::IscsiError;

/// A key is at most 63 bytes (RFC 7143, 6.1).
const KEY_MAX: usize = 63;
/// More pairs than this in one exchange are not a negotiation.
const PAIRS_MAX: usize = 4096;

/// Pairs in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Splits a data segment. Empty pairs (padding) are skipped.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, IscsiError> {
        let mut pairs = Vec::new();
        for piece in text.split(|&byte| byte == 0).filter(|piece| !piece.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(IscsiError::misbehaved("too many keys in one text"));
            }
            pairs.push(pair(piece)?);
        }
        Ok(Self(pairs))
    }

    /// The value of a key that must not come twice.
    pub(crate) fn get(&self, key: &str) -> Result<Option<&str>, IscsiError> {
        let mut values = self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(IscsiError::misbehaved(format!("key {key} came twice")));
        }
        Ok(first.map(String::as_str))
    }

    /// As `get`, for a key that must be there.
    pub(crate) fn need(&self, key: &'static str) -> Result<&str, IscsiError> {
        self.get(key)?.ok_or_else(|| IscsiError::misbehaved(format!("key {key} is missing")))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn pair(piece: &[u8]) -> Result<(String, String), IscsiError> {
    let text = std::str::from_utf8(piece)
        .map_err(|_| IscsiError::misbehaved("a key=value pair is not UTF-8"))?;
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && key.len() <= KEY_MAX => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(IscsiError::misbehaved("a text is not a list of key=value pairs")),
    }
}

/// Appends one pair.
pub(crate) fn push(text: &mut Vec<u8>, key: &str, value: &str) {
    debug_assert!(!key.contains('=') && !value.contains('\0'), "checked with the configuration");
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

/// A numerical value: decimal or `0x` (RFC 7143, 6.1).
pub(crate) fn number(key: &str, value: &str, min: u32, max: u32) -> Result<u32, IscsiError> {
    let parsed = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => value.parse(),
    };
    parsed
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| IscsiError::misbehaved(format!("{key}={value} is not {min} to {max}")))
}

/// A binary value: `0x` hex or `0b` base64 (RFC 7143, 6.1), at most `max` bytes.
pub(crate) fn binary(key: &str, value: &str, max: usize) -> Result<Vec<u8>, IscsiError> {
    let bad = || IscsiError::misbehaved(format!("{key} is not a binary value of 1 to {max} bytes"));
    let (prefix, digits) = value.split_at_checked(2).ok_or_else(bad)?;
    if digits.len() > max * 2 {
        return Err(bad());
    }
    let bytes = match prefix {
        "0x" | "0X" => from_hex(digits.as_bytes()),
        "0b" | "0B" => from_base64(digits.as_bytes()),
        _ => None,
    };
    bytes.filter(|bytes| (1..=max).contains(&bytes.len())).ok_or_else(bad)
}

/// The value in hex, as we send it.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |&digit: &u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let (first, pairs) = digits.split_at(digits.len() % 2); // an odd number: a leading zero
    let mut bytes = first.iter().map(nibble).collect::<Option<Vec<u8>>>()?;
    for pair in pairs.chunks_exact(2) {
        bytes.push(nibble(&pair[0])? << 4 | nibble(&pair[1])?);
    }
    Some(bytes)
}

fn from_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let padding = digits.iter().rev().take_while(|&&digit| digit == b'=').count();
    let digits = &digits[..digits.len() - padding];
    if padding > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = bits << 6 | u32::from(base64_value(*digit)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_split_and_doubles_noticed() {
        let pairs = Pairs::parse(b"A=1\0B=x=y\0\0\0A=2\0").unwrap();
        assert_eq!(pairs.need("B").unwrap(), "x=y");
        assert!(pairs.get("A").is_err());
        assert_eq!(pairs.get("C").unwrap(), None);
        assert!(Pairs::parse(b"no equals sign\0").is_err());
        assert!(Pairs::parse(b"=v\0").is_err());
        assert!(Pairs::parse(b"K=\xff\0").is_err());
    }

    #[test]
    fn binary_values_in_both_spellings() {
        assert_eq!(binary("K", "0x0aFf", 9).unwrap(), [0x0a, 0xff]);
        assert_eq!(binary("K", "0xabc", 9).unwrap(), [0x0a, 0xbc]);
        assert_eq!(binary("K", "0bSGVsbG8=", 9).unwrap(), b"Hello");
        assert_eq!(binary("K", "0bSGVsbG8h", 9).unwrap(), b"Hello!");
        for wrong in ["", "0", "0x", "12", "0xzz", "0b*", "0bA", "0x0102030405060708090a"] {
            assert!(binary("K", wrong, 9).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn hex_survives(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            prop_assert_eq!(binary("K", &to_hex(&bytes), 64).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_texts_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pairs::parse(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let _ = binary("K", &text, 50);
            let _ = binary("K", &format!("0b{text}"), 50);
            let _ = number("K", &text, 0, 9);
        }
    }
}
