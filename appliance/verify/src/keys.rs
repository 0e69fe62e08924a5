//! Keys: the hash keys of a repository, and, of an encrypted one, the data keys. FORMAT.md 3.2.

use crate::VerifyError;
use crate::files::{listing, small};
use crate::report::{Damage, Findings};
use crate::repository::Repository;
use format::codec::Opener;
use format::header::Keys;
use format::keys::{EpochFile, KEY_FILE_BYTES, KeyEncryptionKey, KeyRing, MasterFile, MasterKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What can be opened.
#[derive(Clone, Default)]
pub(crate) struct Unlocked {
    /// `None`: encrypted, and no key was given (or its file is damaged).
    pub(crate) keys: Option<Keys>,
    ring: KeyRing,
    readable: BTreeSet<u32>,
    /// Epochs whose key files are lost or damaged: nobody can read what they keep.
    pub(crate) lost: BTreeSet<u32>,
}

impl Unlocked {
    /// The keys of a repository whose ledger names the key files `wanted`.
    pub(crate) fn open(
        repository: &Repository,
        key_file: Option<&Path>,
        wanted: &BTreeMap<u32, [u8; 32]>,
        findings: &mut Findings,
    ) -> Result<Self, VerifyError> {
        let mut unlocked = Self::default();
        if let Some(secret) = &repository.header.secret {
            unlocked.keys = Some(Keys::derive(secret));
            if !wanted.is_empty() {
                findings.add("keys", "the ledger names keys, but nothing is encrypted");
            }
            return Ok(unlocked);
        }
        let kek = key_file.map(key_encryption_key).transpose()?;
        let mut master_key = None;
        match master_file(repository) {
            Ok(master) => {
                if let Some(kek) = &kek {
                    master_key = unlocked.unlock(&master, kek, findings)?;
                }
            }
            Err(damage) => {
                findings.add("keys/master", damage);
                unlocked.lost.extend(wanted.keys());
            }
        }
        for (&epoch, hash) in wanted {
            if let Err(damage) = unlocked.epoch(repository, epoch, hash, master_key.as_ref()) {
                findings.add(format!("keys/{epoch:08x}"), damage);
                unlocked.lost.insert(epoch);
            }
        }
        foreign(repository, wanted, findings);
        Ok(unlocked)
    }

    fn unlock(
        &mut self,
        master: &MasterFile,
        kek: &KeyEncryptionKey,
        findings: &mut Findings,
    ) -> Result<Option<MasterKey>, VerifyError> {
        match master.open(kek) {
            Ok((master_key, secret)) => {
                self.keys = Some(Keys::derive(&secret));
                Ok(Some(master_key))
            }
            Err(error @ format::FormatError::WrongKey { .. }) => {
                Err(VerifyError::refused(format!("--key-file: {error}")))
            }
            Err(error) => {
                findings.add("keys/master", error);
                Ok(None)
            }
        }
    }

    fn epoch(
        &mut self,
        repository: &Repository,
        epoch: u32,
        hash: &[u8; 32],
        master: Option<&MasterKey>,
    ) -> Result<(), Damage> {
        let path = repository.path.join("keys").join(format!("{epoch:08x}"));
        let bytes = small(&path, KEY_FILE_BYTES)?;
        let same = blake3::hash(&bytes).as_bytes() == hash;
        Damage::unless(same, "another hash than in the ledger")?;
        let file = EpochFile::decode(&bytes)?;
        let own = file.repository() == repository.header.id && file.epoch() == epoch;
        Damage::unless(own, "the key of another repository or epoch")?;
        if let Some(master) = master {
            self.ring.insert(epoch, &file.open(master)?);
            self.readable.insert(epoch);
        }
        Ok(())
    }

    /// What opens records of `epoch` (0: not encrypted); `None` when their key is not there.
    pub(crate) fn can_open(&self, epoch: u32) -> bool {
        self.keys.is_some() && (epoch == 0 || self.readable.contains(&epoch))
    }

    /// Opens records; `None` without the secret.
    pub(crate) fn opener(&self, repository: &Repository) -> Result<Option<Opener>, VerifyError> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let opener = Opener::new(repository.header.id, keys.clone(), self.ring.clone());
        opener.map(Some).map_err(VerifyError::io("preparing zstd for", &*repository.path))
    }
}

fn master_file(repository: &Repository) -> Result<MasterFile, Damage> {
    let bytes = small(&repository.path.join("keys").join("master"), KEY_FILE_BYTES)?;
    let master = MasterFile::decode(&bytes)?;
    let own = master.repository() == repository.header.id;
    Damage::unless(own, "belongs to another repository")?;
    Ok(master)
}

fn foreign(repository: &Repository, wanted: &BTreeMap<u32, [u8; 32]>, findings: &mut Findings) {
    let names = listing(&repository.path.join("keys")).unwrap_or_default();
    let known = |name: &String| {
        name == "master" || wanted.keys().any(|epoch| format!("{epoch:08x}") == *name)
    };
    for name in names.iter().filter(|name| !known(name)) {
        findings.note(format!("keys/{name:?} is not in the ledger"));
    }
}

/// The key in a file: 64 hex digits, or those with the four check digits, in any grouping.
fn key_encryption_key(path: &Path) -> Result<KeyEncryptionKey, VerifyError> {
    const LONGEST: u64 = 1024;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(VerifyError::io("reading the key in", path))?;
    let digits: String = text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
    let mut bytes = [0; 32];
    let key = match hex::decode_to_slice(&digits, &mut bytes) {
        Ok(()) => Some(KeyEncryptionKey::new(&bytes)),
        Err(_) => KeyEncryptionKey::from_text(&digits),
    };
    key.ok_or_else(|| {
        VerifyError::refused(format!(
            "{} holds no key: 64 hex digits are expected, or 68 with right check digits",
            path.display()
        ))
    })
}
