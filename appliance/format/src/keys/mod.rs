//! Keys of an encrypted repository (FORMAT.md 3.2): a key-encryption key outside of it opens the
//! master key, the master key opens the data key of each epoch, a data key opens records.
//!
//! What this is: the two kinds of key file, sealed and opened. What it is not: where keys come
//! from (random bytes are handed in) or where the key-encryption key is kept. Nothing here can be
//! shown: no key has a `Debug`, and its memory is zeroed when it is dropped.

mod epoch;
mod master;
mod ring;

pub use epoch::EpochFile;
pub use master::{MasterFile, SLOTS_MAX};
pub use ring::KeyRing;

use crate::FormatError;
use zeroize::Zeroizing;

/// Bytes of a key file.
pub const KEY_FILE_BYTES: usize = crate::BLOCK;

type Bytes = Zeroizing<[u8; 32]>;

fn secret(bytes: &[u8; 32]) -> Bytes {
    Zeroizing::new(*bytes)
}

/// Opens a repository; kept outside of it, by the box or by people.
#[derive(Clone)]
pub struct KeyEncryptionKey(Bytes);

/// Opens the data keys.
#[derive(Clone)]
pub struct MasterKey(Bytes);

/// Opens the records of one epoch.
#[derive(Clone)]
pub struct DataKey(Bytes);

/// Key of the keyed hashes; see [`crate::header::Keys`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl KeyEncryptionKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(secret(bytes))
    }

    /// Names the key without telling anything of it.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let hash = blake3::derive_key("holdfast format 2 key id", &*self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        id
    }

    /// For people: 64 digits and 4 check digits, in groups of four.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(85));
        for group in self.0.chunks(2).chain([&self.check()[..]]) {
            if !text.is_empty() {
                text.push('-');
            }
            text.push_str(&hex::encode(group));
        }
        text
    }

    /// From what [`Self::to_text`] gave; case, spaces and dashes do not matter. `None`: mistyped.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let digits: Zeroizing<String> = Zeroizing::new(
            text.chars().filter(|c| *c != '-' && !c.is_whitespace()).take(69).collect(),
        );
        let mut bytes = Zeroizing::new([0; 34]);
        hex::decode_to_slice(digits.as_bytes(), &mut bytes[..]).ok()?;
        let (key, check) = bytes.split_first_chunk::<32>()?;
        let key = Self::new(key);
        (key.check() == check).then_some(key)
    }

    fn check(&self) -> [u8; 2] {
        let hash = blake3::derive_key("holdfast format 2 key check", &*self.0);
        [hash[0], hash[1]]
    }
}

impl MasterKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(secret(bytes))
    }
}

impl DataKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(secret(bytes))
    }
}

impl Secret {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(secret(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn wrong_key(what: &'static str) -> FormatError {
    FormatError::WrongKey { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_can_be_written_down_and_a_slip_is_noticed() {
        let key = KeyEncryptionKey::new(&std::array::from_fn(|n| u8::try_from(n * 7).unwrap()));
        let text = key.to_text();
        assert_eq!(text.split('-').count(), 17);
        let again = KeyEncryptionKey::from_text(&text.to_uppercase().replace('-', " ")).unwrap();
        assert_eq!(again.id(), key.id());
        for at in (0..text.len()).filter(|at| at % 5 != 4) {
            let mut slip = text.to_string();
            let digit = if &slip[at..=at] == "0" { "1" } else { "0" };
            slip.replace_range(at..=at, digit);
            assert!(KeyEncryptionKey::from_text(&slip).is_none(), "digit {at}");
        }
        assert!(KeyEncryptionKey::from_text("").is_none());
        assert!(KeyEncryptionKey::from_text(&"ä".repeat(68)).is_none());
        assert!(KeyEncryptionKey::from_text(&format!("{}00", *text)).is_none());
    }
}
