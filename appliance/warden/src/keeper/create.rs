//! Creating a repository. The header file is written last: without it there is none.

use super::Config;
use crate::found::Found;
use crate::ledger_file::{Keys, LedgerFile};
use crate::state::State;
use crate::storage::{self, Storage};
use crate::{WardenError, layout};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format::header::RepositoryHeader;
use ledger::event::{LockBounds, Right};
use ledger::{Event, Leaf, NoteSigner, origin};
use model::{ErrorKind, RetentionTime};
use retention::Reading;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest `leaves` that a creation that did not come to its end can have left.
const HALF_MADE: u64 = 64 << 10;

/// A repository that is to be.
pub struct Creation {
    /// The file `repository`.
    pub header: Vec<u8>,
    /// The file `keys/master`, when encrypted.
    pub master_key: Option<Vec<u8>>,
    /// Bytes of a cell, as in the header.
    pub chunk_size: u32,
    /// Limits of locks.
    pub bounds: LockBounds,
    /// Officers from the beginning; each needs no other one to agree.
    pub officers: Vec<FirstOfficer>,
}

/// An officer of the first hour.
pub struct FirstOfficer {
    /// Name.
    pub name: String,
    /// Public Ed25519 key.
    pub key: [u8; 32],
    /// What the signature can free.
    pub rights: Vec<Right>,
}

pub(super) fn directory(
    storage: &dyn Storage,
    problem: impl Into<String>,
    kind: ErrorKind,
) -> WardenError {
    WardenError::Directory { path: storage.name(), problem: problem.into(), kind }
}

pub(super) fn take_lock(storage: &dyn Storage) -> Result<(), WardenError> {
    match storage.lock(layout::LEDGER_LOCK) {
        Ok(true) => Ok(()),
        Ok(false) => Err(directory(storage, "another warden has it open", ErrorKind::Busy)),
        Err(source) => Err(WardenError::io("locking", layout::LEDGER_LOCK)(source)),
    }
}

impl super::Keeper {
    /// Makes a repository in the directory of `storage` and opens it. The retention clock begins
    /// with the system time of `reading`: the only time that anybody sets it.
    pub fn create(
        storage: Arc<dyn Storage>,
        creation: &Creation,
        config: Config,
        reading: Reading,
    ) -> Result<(Self, Found), WardenError> {
        let (header, _) = RepositoryHeader::decode(&creation.header)
            .map_err(|error| WardenError::denied(format!("the header to be written: {error}")))?;
        let people: BTreeSet<&[u8; 32]> = creation.officers.iter().map(|one| &one.key).collect();
        if people.len() < creation.officers.len() {
            return Err(WardenError::denied("two officers have the same key: they are one person"));
        }
        for (path, shared) in
            [("", false), ("open", true), ("segments", false), ("ledger", false), ("keys", false)]
        {
            storage.create_dir(path, shared).map_err(WardenError::io("creating", path))?;
        }
        take_lock(&*storage)?;
        clear_half_made(&*storage)?;
        if let Some(master) = &creation.master_key {
            storage::replace(&*storage, layout::MASTER_KEY, master)
                .map_err(WardenError::io("writing", layout::MASTER_KEY))?;
        }
        let signer = NoteSigner::new(&origin(&header.id.0), &config.signer)?;
        let leaves = first_leaves(creation, &header, &signer, reading);
        let keys = Keys { repository: header.id.0, signer, witness: None };
        LedgerFile::create(&storage, keys, &leaves, &mut State::new())?;
        storage::replace(&*storage, layout::HEADER, &creation.header)
            .map_err(WardenError::io("writing", layout::HEADER))?;
        Self::open_locked(storage, config, reading)
    }
}

fn first_leaves(
    creation: &Creation,
    header: &RepositoryHeader,
    signer: &NoteSigner,
    reading: Reading,
) -> Vec<Leaf> {
    let created = Event::Created {
        repository: header.id.to_string(),
        chunk_size: creation.chunk_size,
        bounds: creation.bounds,
        signer: signer.vkey().to_string(),
    };
    let officers = creation.officers.iter().map(|officer| Event::Officer {
        name: officer.name.clone(),
        key: STANDARD.encode(officer.key),
        rights: officer.rights.clone(),
        by: Vec::new(),
    });
    let clock = RetentionTime(reading.wall.0);
    let events = std::iter::once(created).chain(officers);
    events.map(|event| Leaf::new(clock, reading.wall, event)).collect()
}

/// Removes what a creation left that did not come to its end; refuses anything else.
fn clear_half_made(storage: &dyn Storage) -> Result<(), WardenError> {
    let list = |path: &str| storage.list(path).map_err(WardenError::io("listing", path));
    let names = list("")?;
    if names.iter().any(|(name, _)| name == layout::HEADER) {
        return Err(directory(storage, "there is a repository already", ErrorKind::Refused));
    }
    let ours = ["repository.new", layout::LOCK];
    let foreign = names.iter().any(|(name, _)| !ours.contains(&&**name));
    let used = !list("segments")?.is_empty() || !list("open")?.is_empty();
    let leaves = list(layout::LEDGER)?.iter().any(|(_, length)| *length > HALF_MADE);
    if foreign || used || leaves {
        return Err(directory(storage, "the directory is not empty", ErrorKind::Refused));
    }
    for (path, names) in [(layout::LEDGER, list(layout::LEDGER)?), (layout::KEYS, list("keys")?)] {
        for (name, _) in names.into_iter().filter(|(name, _)| name != layout::LOCK) {
            let path = format!("{path}/{name}");
            storage.remove(&path).map_err(WardenError::io("removing", path))?;
        }
    }
    Ok(())
}
