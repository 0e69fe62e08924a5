//! Signed notes (C2SP signed-note): a text that ends with a newline, a blank line, and signature
//! lines; and the text form of public keys (vkey). Ed25519 (RFC 8032) is the only algorithm.

use crate::LedgerError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// The algorithm byte of Ed25519 in key hashes and vkeys.
const ED25519: u8 = 1;
/// Most signature lines that are read (signed-note asks for support of at least 16).
const LINES_MAX: usize = 100;
/// Longest note that is read, in bytes.
pub const NOTE_MAX: usize = 64 << 10;
const DASH: &str = "\u{2014} ";

fn wrong(problem: &str) -> LedgerError {
    LedgerError::Head { problem: problem.into() }
}

/// A name that a note may carry: not empty, no space, no plus.
fn allowed_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// A public key and its name; its text is a vkey: `<name>+<key hash>+<base64(0x01 | key)>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Vkey {
    name: String,
    key: VerifyingKey,
}

impl Vkey {
    /// A key by its 32 bytes; refused when the name may not stand in a note, or when the bytes
    /// are no key or one under which anything verifies.
    pub fn new(name: &str, key: &[u8; 32]) -> Result<Self, LedgerError> {
        if !allowed_name(name) {
            return Err(wrong("the name of a key has a space or a plus in it"));
        }
        let key = VerifyingKey::from_bytes(key).map_err(|_| wrong("a public key is no key"))?;
        if key.is_weak() {
            return Err(wrong("a public key is a weak one"));
        }
        Ok(Self { name: name.into(), key })
    }

    /// The name that signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// First 4 bytes of SHA-256(name | 0x0A | 0x01 | key).
    #[must_use]
    pub fn hash(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// True when `signature` is this key's over `message` (strict: one form per signature).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }

    /// The text of `note` if one of its lines is this key's right signature over it. Lines of
    /// other keys are left alone; a wrong line of this key is an error, whatever the others say.
    pub fn open<'a>(&self, note: &'a [u8]) -> Result<&'a str, LedgerError> {
        let (text, lines) = split(note)?;
        let mut signed = false;
        for line in lines.lines() {
            let (name, hash, signature) = signature(line)?;
            if (name, hash) != (&*self.name, self.hash()) {
                continue;
            }
            let signature: [u8; 64] =
                signature.try_into().map_err(|_| wrong("a signature is not 64 bytes long"))?;
            if !self.verifies(text.as_bytes(), &signature) {
                return Err(wrong("its signature is wrong"));
            }
            signed = true;
        }
        if signed { Ok(text) } else { Err(wrong("it is not signed by the key of this ledger")) }
    }
}

/// Text with its last newline, and the signature lines.
fn split(note: &[u8]) -> Result<(&str, &str), LedgerError> {
    if note.len() > NOTE_MAX {
        return Err(wrong("it is too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| wrong("it is not text"))?;
    if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(wrong("it has control characters"));
    }
    let at = note.rfind("\n\n").ok_or_else(|| wrong("it has no signature"))?;
    let (text, lines) = (&note[..=at], &note[at + 2..]);
    if lines.is_empty() || !lines.ends_with('\n') || lines.lines().count() > LINES_MAX {
        return Err(wrong("its signature lines are not in order"));
    }
    Ok((text, lines))
}

/// Name, key hash and signature of a line.
fn signature(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), LedgerError> {
    let malformed = || wrong("a signature line is malformed");
    let (name, rest) =
        line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or_else(malformed)?;
    let bytes = STANDARD.decode(rest).map_err(|_| malformed())?;
    let (hash, signature) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
    if !allowed_name(name) || signature.is_empty() {
        return Err(malformed());
    }
    Ok((name, *hash, signature.to_vec()))
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash()), STANDARD.encode(key))
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({self})")
    }
}

impl FromStr for Vkey {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("a public key is not written as a vkey"));
        };
        let key = STANDARD.decode(key).map_err(|_| wrong("a vkey is not base64"))?;
        let key = match key.split_first() {
            Some((&ED25519, key)) => key.try_into().map_err(|_| wrong("a vkey has no 32 bytes"))?,
            _ => return Err(wrong("a vkey is not one of Ed25519")),
        };
        let vkey = Self::new(name, &key)?;
        if vkey.to_string() == text && hex::encode(vkey.hash()) == hash {
            Ok(vkey)
        } else {
            Err(wrong("the hash in a vkey is not the one of its key"))
        }
    }
}

/// A key that signs notes under a name. Its secret is not shown, and wiped when it is dropped.
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

impl NoteSigner {
    /// A signer from the 32 bytes of a private key; refused for a name that may not stand in a
    /// note.
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, LedgerError> {
        let key = SigningKey::from_bytes(secret);
        Vkey::new(name, &key.verifying_key().to_bytes())?;
        Ok(Self { name: name.into(), key })
    }

    /// What verifies it.
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        Vkey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The signature over any message.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.key.sign(message).to_bytes()
    }

    /// The signed note of `text`, which ends with a newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let line = [&self.vkey().hash()[..], &self.sign_bytes(text.as_bytes())].concat();
        format!("{text}\n{DASH}{} {}\n", self.name, STANDARD.encode(line))
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.vkey())
    }
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
