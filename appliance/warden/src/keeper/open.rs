//! Opening a repository after whatever happened to it: nothing here needs a hand.

use super::budget::Budget;
use super::create::{directory, take_lock};
use super::{Config, FileFact, Keeper};
use crate::found::{Damaged, Found};
use crate::ledger_file::{Keys, LedgerFile};
use crate::mirror::Mirror;
use crate::state::State;
use crate::storage::{self, Storage};
use crate::{WardenError, inspect, layout};
use format::BLOCK;
use format::header::{HEADER_BYTES, RepositoryHeader};
use format::volume::VolumeHeader;
use ledger::{Event, LedgerError, NoteSigner, origin};
use model::ErrorKind;
use retention::{ComplianceClock, Reading};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Findings of one kind that are told one by one.
const TOLD: usize = 1000;

impl Keeper {
    /// Opens the repository in the directory of `storage`: takes `ledger/lock`, reads the ledger
    /// and holds it against its head, the witness and the copies, moves a torn tail aside,
    /// completes deletions, sets missing attributes, and brings the copies up to date.
    pub fn open(
        storage: Arc<dyn Storage>,
        config: Config,
        reading: Reading,
    ) -> Result<(Self, Found), WardenError> {
        read_header(&*storage, &mut Found::default())?;
        take_lock(&*storage)?;
        Self::open_locked(storage, config, reading)
    }

    pub(super) fn open_locked(
        storage: Arc<dyn Storage>,
        config: Config,
        reading: Reading,
    ) -> Result<(Self, Found), WardenError> {
        let mut found = Found::default();
        let header = read_header(&*storage, &mut found)?;
        let repository = header.id.0;
        let Config { signer, witness, random } = config;
        let signer = NoteSigner::new(&origin(&repository), &signer)?;
        let mut state = State::new();
        let keys = Keys { repository, signer, witness };
        let (ledger, read) = LedgerFile::open(&storage, keys, &mut state)?;
        found.size = state.size();
        (found.torn_bytes, found.head_lag) = (read.torn_bytes, read.head_lag);
        found.without_witness = read.without_witness;
        let first = state.created().is_some_and(|created| created.repository == repository);
        let (Some(clock), true) = (state.clock().cloned(), first) else {
            let problem = "the ledger is another repository's".into();
            return Err(LedgerError::Damaged { number: 0, problem }.into());
        };
        found.clock = clock.value();
        let (clock, events) = ComplianceClock::resume(clock, reading);
        let mut keeper = Self {
            repository,
            ledger,
            marked: state.high_water(),
            state,
            clock,
            pending_clock: events,
            files: BTreeMap::new(),
            orphans: BTreeMap::new(),
            mirrors: Vec::new(),
            challenges: Vec::new(),
            random,
            found,
            refusals: Vec::new(),
            budget: Budget::default(),
            alarmed: BTreeSet::new(),
            away: BTreeSet::new(),
            next_check: 0,
            storage,
        };
        keeper.recover(reading)?;
        let found = keeper.found.clone();
        Ok((keeper, found))
    }

    fn recover(&mut self, reading: Reading) -> Result<(), WardenError> {
        let signs = self.state.signer() == Some(&self.ledger.signer().vkey());
        self.mount()?;
        for volume in self.volumes().collect::<Vec<_>>() {
            self.scan(volume)?;
        }
        self.compare();
        self.clear_keys()?;
        if !signs {
            self.found.signer_changed = true;
            let key = self.ledger.signer().vkey().to_string();
            self.record(vec![Event::Signer { key }], reading)?;
        } else if let Err(error) = self.record(Vec::new(), reading) {
            // A full disk must not keep anybody from reading: the clock's events wait.
            tracing::error!(error = model::chain(&error), "the start is not on record yet");
        }
        if self.state.removal().is_some()
            && let Err(error) = self.finish_removal(reading)
        {
            tracing::warn!(error = model::chain(&error), "a deletion is not complete yet");
        }
        self.found.orphans = self.orphans.keys().copied().collect();
        self.found.copies_completed = self.update_copies();
        Ok(())
    }

    /// Volumes that the ledger names and that are there.
    fn mount(&mut self) -> Result<(), WardenError> {
        for &volume in self.state.volumes() {
            let path = layout::volume_header(volume);
            let header = storage::read_all(&*self.storage, &path, BLOCK as u64).ok();
            let header = header.and_then(|bytes| VolumeHeader::decode(&bytes).ok());
            let ours =
                header.is_some_and(|h| h.repository.0 == self.repository && h.number == volume);
            if ours {
                let mirror = Mirror::new(volume);
                mirror.check(&*self.storage, self.repository, &self.state)?;
                self.mirrors.push(mirror);
            } else {
                self.found.volumes_missing.push(volume);
            }
        }
        Ok(())
    }

    /// What lies in `segments/` of a volume.
    fn scan(&mut self, volume: u8) -> Result<(), WardenError> {
        let path = layout::segments_dir(volume);
        let mut files = self.storage.list(&path).map_err(WardenError::io("listing", &*path))?;
        files.sort_unstable();
        // An attribute must not become durable before the name it is set on: the daemon could not
        // clear an open segment that has it.
        self.sync_dir(&path)?;
        let mut removed = false;
        for (name, bytes) in files {
            let Some(serial) = layout::parse_sealed(&name) else {
                self.tell_foreign(format!("{path}/{name}"));
                continue;
            };
            let file = format!("{path}/{name}");
            if self.state.deleted().contains(serial) {
                self.remove_file(&file)?;
                self.found.deletions_completed += 1;
                removed = true;
            } else if self.files.contains_key(&serial) {
                self.tell_damage(file, "another volume has a segment of this serial".into());
            } else {
                self.sealed(volume, serial, bytes, &file)?;
            }
        }
        if removed { self.sync_dir(&path) } else { Ok(()) }
    }

    fn sealed(
        &mut self,
        volume: u8,
        serial: u32,
        bytes: u64,
        path: &str,
    ) -> Result<(), WardenError> {
        if self.state.segment(serial).is_none() {
            let file = self.storage.open(path).map_err(WardenError::io("opening", path))?;
            match inspect::trailer(&*file, self.repository, serial) {
                Ok((_, sealed)) => {
                    self.orphans.insert(serial, sealed);
                }
                // Nothing needs it, but only what is understood is removed.
                Err(error) => self.tell_damage(path.into(), model::chain(&error)),
            }
        }
        self.files.insert(serial, FileFact { volume, bytes });
        if self.protect(path)? {
            self.found.attributes_set += 1;
        }
        Ok(())
    }

    /// Recorded segments and what there is of them.
    fn compare(&mut self) {
        let mut damage = Vec::new();
        for (serial, segment) in self.state.segments() {
            let path = layout::sealed(segment.volume, serial);
            match self.files.get(&serial) {
                None => damage.push((path, "the segment is missing".to_owned())),
                Some(file) if file.bytes != segment.bytes => {
                    let (bytes, expected) = (file.bytes, segment.bytes);
                    damage.push((path, format!("it has {bytes} bytes instead of {expected}")));
                }
                Some(_) => {}
            }
            if damage.len() > TOLD {
                break;
            }
        }
        damage.into_iter().for_each(|(path, what)| self.tell_damage(path, what));
    }

    /// Keys that were destroyed go; those that must exist are looked at.
    fn clear_keys(&mut self) -> Result<(), WardenError> {
        for volume in self.volumes().collect::<Vec<_>>() {
            let directory = layout::on(volume, layout::KEYS);
            let names = match self.storage.list(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                other => other.map_err(WardenError::io("listing", &*directory))?,
            };
            let mut removed = false;
            for (name, _) in names {
                let epoch = layout::parse_key(&name);
                if epoch.is_some_and(|epoch| self.state.destroyed_keys().contains(&epoch)) {
                    self.remove_file(&format!("{directory}/{name}"))?;
                    self.found.deletions_completed += 1;
                    removed = true;
                }
            }
            if removed {
                self.sync_dir(&directory)?;
            }
        }
        self.complete_keys();
        for (path, what) in self.wrong_keys() {
            self.tell_damage(path, what);
        }
        Ok(())
    }

    fn tell_foreign(&mut self, path: String) {
        if self.found.foreign.len() < TOLD {
            self.found.foreign.push(path);
        }
    }

    fn tell_damage(&mut self, path: String, what: String) {
        if self.found.damaged.len() < TOLD {
            self.found.damaged.push(Damaged { path, what });
        }
    }
}

fn read_header(storage: &dyn Storage, found: &mut Found) -> Result<RepositoryHeader, WardenError> {
    let bytes = match storage::read_all(storage, layout::HEADER, HEADER_BYTES as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(directory(storage, "there is no repository", ErrorKind::NotFound));
        }
        other => other.map_err(WardenError::io("reading", layout::HEADER))?,
    };
    let (header, copies) = RepositoryHeader::decode(&bytes).map_err(|error| {
        directory(storage, format!("the repository header: {error}"), ErrorKind::Corrupt)
    })?;
    found.header_damaged = !(copies.first && copies.second);
    Ok(header)
}
