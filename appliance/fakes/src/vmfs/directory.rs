//! A directory in memory: a plain array of entries on VMFS-5, hashed blocks on VMFS-6. Entries
//! are only ever added.

use super::bytes::{get32, put, put32};
use super::hashed::Hashed;
use super::version::Version;

const FLAT_ENTRY_BYTES: usize = 140;
const FLAT_NAME_AT: usize = 12;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The descriptor's type number.
    pub(super) kind: u32,
    /// The descriptor's address.
    pub(super) fd: u32,
    /// The descriptor's generation.
    pub(super) generation: u32,
}

/// A directory in memory.
pub(super) struct Directory {
    form: Form,
    pub(super) changed: bool,
}

enum Form {
    /// Entries of 140 bytes (VMFS-5).
    Flat(Vec<u8>),
    Hashed(Hashed),
}

impl Directory {
    /// An empty directory that is `own` and lies in `parent`.
    pub(super) fn new(version: Version, own: Target, parent: Target, root: bool) -> Self {
        let form = match version {
            Version::Vmfs5 => Form::Flat([flat(".", own), flat("..", parent)].concat()),
            Version::Vmfs6 => Form::Hashed(Hashed::new(own, parent, root)),
        };
        Self { form, changed: true }
    }

    /// A directory as it lies on disk.
    pub(super) fn parse(version: Version, bytes: &[u8], root: bool) -> Option<Self> {
        let form = match version {
            Version::Vmfs5 => Form::Flat(bytes.to_vec()),
            Version::Vmfs6 => Form::Hashed(Hashed::parse(bytes, root)?),
        };
        Some(Self { form, changed: false })
    }

    /// The bytes for the disk; their number is the file's length.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.form {
            Form::Flat(entries) => entries.clone(),
            Form::Hashed(directory) => directory.bytes(),
        }
    }

    /// What `name` stands for.
    pub(super) fn find(&self, name: &str) -> Option<Target> {
        match &self.form {
            Form::Flat(entries) => {
                let mut entries = entries.chunks_exact(FLAT_ENTRY_BYTES);
                let found = entries.find(|entry| flat_name(entry) == name.as_bytes())?;
                let word = |at| get32(found, at);
                Some(Target { kind: word(0), fd: word(4), generation: word(8) })
            }
            Form::Hashed(directory) => directory.find(name),
        }
    }

    /// Adds a name that is not there yet; false when the directory is full.
    pub(super) fn insert(&mut self, name: &str, target: Target) -> bool {
        self.changed = true;
        match &mut self.form {
            Form::Flat(entries) => {
                entries.append(&mut flat(name, target));
                true
            }
            Form::Hashed(directory) => directory.insert(name, target),
        }
    }

    /// Adds a system file; their names come in the order of `number`.
    pub(super) fn insert_system(&mut self, number: usize, name: &str, target: Target) {
        match &mut self.form {
            Form::Flat(entries) => entries.append(&mut flat(name, target)),
            Form::Hashed(directory) => directory.insert_system(number, name, target),
        }
    }
}

fn flat(name: &str, target: Target) -> Vec<u8> {
    let mut entry = vec![0; FLAT_ENTRY_BYTES];
    put32(&mut entry, 0, target.kind);
    put32(&mut entry, 4, target.fd);
    put32(&mut entry, 8, target.generation);
    put(&mut entry, FLAT_NAME_AT, name.as_bytes());
    entry
}

fn flat_name(entry: &[u8]) -> &[u8] {
    entry[FLAT_NAME_AT..].split(|byte| *byte == 0).next().unwrap_or(&[])
}
