//! A repository with its warden in the same process: for development and tests. All of the logic
//! is there; nothing protects the repository from this process itself.

use crate::open::{Recovery, read_header};
use crate::{Options, Repository, StoreError, keys, repo::random};
use format::header::{RepositoryHeader, RepositoryId};
use format::keys::{KeyEncryptionKey, Secret};
use model::WallTime;
use retention::Reading;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use warden::storage::{self, Directory, Storage};
use warden::{Config, Creation, FileWitness, Keeper, Local};

/// The warden's private key, in its state directory.
const SIGNER: &str = "signer";

/// Reads the machine's clocks.
pub type Clocks = Box<dyn Fn() -> Reading + Send + Sync>;

/// A repository that was created.
pub struct Created {
    /// Of an encrypted one: opens it when the key that was given at creation is lost. It is not
    /// stored and cannot be shown again.
    pub recovery_key: Option<KeyEncryptionKey>,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("encrypted", &self.recovery_key.is_some()).finish()
    }
}

impl Repository {
    /// Makes a new repository in `dir`, which must not hold one. The retention clock begins with
    /// the system time of `clocks`: check it, it cannot be changed afterwards. Signing key and
    /// last head are kept in `state`. With `options.encryption` the repository is encrypted, and
    /// its recovery key is given back: now and never again.
    pub fn create_local(
        dir: &Path,
        options: &Options,
        state: &Path,
        clocks: &Clocks,
    ) -> Result<Created, StoreError> {
        let (repository, state) = storages(dir, options, state)?;
        create_on(repository, &state, options, clocks())
    }

    /// Opens the repository in `dir`, after a crash too, with a warden that has its state in
    /// `state` and reads `clocks`.
    pub fn open_local(
        dir: &Path,
        options: &Options,
        state: &Path,
        clocks: Clocks,
    ) -> Result<(Self, Recovery), StoreError> {
        let (repository, state) = storages(dir, options, state)?;
        Self::open_local_on(repository, &state, options, clocks)
    }

    pub(crate) fn open_local_on(
        storage: Arc<dyn Storage>,
        state: &Arc<dyn Storage>,
        options: &Options,
        clocks: Clocks,
    ) -> Result<(Self, Recovery), StoreError> {
        let warden = warden_on(&storage, state, clocks)?;
        Self::open_on(storage, options, Arc::new(warden))
    }
}

/// The warden of the repository on `storage`.
pub(crate) fn warden_on(
    storage: &Arc<dyn Storage>,
    state: &Arc<dyn Storage>,
    clocks: Clocks,
) -> Result<Local, StoreError> {
    let (header, _) = read_header(&**storage)?;
    let config = config(state, header.id)?;
    let (keeper, _) = Keeper::open(Arc::clone(storage), config, clocks())?;
    Ok(Local::new(keeper, clocks))
}

type Shared = Arc<dyn Storage>;

fn storages(dir: &Path, options: &Options, state: &Path) -> Result<(Shared, Shared), StoreError> {
    let repository = Arc::new(Directory::new(dir.to_owned(), options.immutable));
    let state: Shared = Arc::new(Directory::new(state.to_owned(), false));
    state.create_dir("", false).map_err(StoreError::io("creating", state.name()))?;
    Ok((repository, state))
}

pub(crate) fn create_on(
    storage: Arc<dyn Storage>,
    state: &Arc<dyn Storage>,
    options: &Options,
    reading: Reading,
) -> Result<Created, StoreError> {
    options.check()?;
    let id = RepositoryId(random()?);
    let (secret, master_key, recovery_key) = match &options.encryption {
        None => (Some(Secret::new(&random()?)), None, None),
        Some(kek) => {
            let (file, recovery) = keys::master(id, kek)?;
            (None, Some(file), Some(recovery))
        }
    };
    let (chunk_size, created) = (options.chunk_size, WallTime(reading.wall.0));
    let header = RepositoryHeader { id, secret, chunk_size, created }.encode();
    let bounds = options.bounds;
    let creation = Creation { header, master_key, chunk_size, bounds, officers: Vec::new() };
    Keeper::create(storage, &creation, config(state, id)?, reading)?;
    Ok(Created { recovery_key })
}

/// What the warden keeps outside of the repository.
fn config(state: &Arc<dyn Storage>, id: RepositoryId) -> Result<Config, StoreError> {
    let signer = match storage::read_all(&**state, SIGNER, 32) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; 32] = random()?;
            storage::replace(&**state, SIGNER, &key).map(|()| key)
        }
        Err(error) => Err(error),
    };
    Ok(Config {
        signer: signer.map_err(StoreError::io("reading", SIGNER))?,
        witness: Some(Box::new(FileWitness::new(Arc::clone(state), &id.0))),
        random: Box::new(|| {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(io::Error::from)?;
            Ok(bytes)
        }),
    })
}
