//! An officer's secret key as a file: three lines of text, for its owner only.
//!
//! ```text
//! holdfast officer key 1
//! <name>
//! <seed of the Ed25519 key, 64 hex digits>
//! ```

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::note::NoteSigner;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

const TITLE: &str = "holdfast officer key 1";

/// A key with its officer's name.
pub(crate) struct KeyFile {
    pub(crate) name: String,
    signer: NoteSigner,
}

impl KeyFile {
    /// A new key in a new file, which only its owner can read.
    pub(crate) fn make(path: &Path, name: &str) -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("cannot get random bytes")?;
        let key = Self::new(name, &seed)?;
        let place = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(place)?;
        let text = format!("{TITLE}\n{name}\n{}\n", hex::encode(seed));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(place)?;
        Ok(key)
    }

    /// Reads a file that `make` wrote; one that others can read is refused.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let place = path.display();
        let mode = path.metadata().with_context(|| format!("cannot read {place}"))?.mode();
        if mode & 0o077 != 0 {
            bail!("{place} can be read by others (mode {:o}); make it mode 600", mode & 0o777);
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
        let lines: Vec<&str> = text.lines().collect();
        let [TITLE, name, seed] = lines[..] else { bail!("{place} is no key of an officer") };
        let seed = hex::decode(seed).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        Self::new(name, &seed.with_context(|| format!("{place}: its last line is no key"))?)
    }

    fn new(name: &str, seed: &[u8; 32]) -> anyhow::Result<Self> {
        let signer = NoteSigner::new(name, seed)
            .with_context(|| format!("{name:?} cannot be the name of an officer"))?;
        Ok(Self { name: name.to_owned(), signer })
    }

    /// The public key, base64.
    pub(crate) fn public(&self) -> String {
        STANDARD.encode(self.signer.vkey().key())
    }

    /// The signature over `text`, hex.
    pub(crate) fn sign(&self, text: &str) -> String {
        hex::encode(self.signer.sign_bytes(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_written_once_and_read_by_its_owner_only() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        let made = KeyFile::make(&path, "ann").unwrap();
        let read = KeyFile::read(&path).unwrap();
        assert_eq!((read.name.as_str(), read.public()), ("ann", made.public()));
        assert_eq!(read.sign("text"), made.sign("text"));
        assert!(KeyFile::make(&path, "ann").is_err(), "a key was overwritten");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(KeyFile::read(&path).is_err());
    }

    #[test]
    fn other_files_are_no_keys() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        for text in ["", "holdfast officer key 1\nann\n00\n", "x\nann\n00\n"] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(KeyFile::read(&path).is_err(), "{text:?}");
        }
        assert!(KeyFile::make(&place.path().join("other"), "two words").is_err());
    }
}
