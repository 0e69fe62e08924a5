//! A new repository, and opening one.

use crate::args::{Create, Enrolled, Serve};
use crate::encryption::Encryption;
use crate::officer::rights;
use crate::say;
use crate::serve::{me, settle};
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format::header::{HEADER_BYTES, RepositoryHeader, RepositoryId};
use format::keys::Secret;
use ledger::event::LockBounds;
use std::io;
use std::sync::Arc;
use warden::clocks::Clocks;
use warden::home::Home;
use warden::storage::{self, Directory, Storage};
use warden::{Config, Creation, FileWitness, FirstOfficer, Keeper, Local, layout};

/// `create`.
pub(crate) fn run(args: &Create) -> anyhow::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let place = &args.place;
    let own = place.user.unwrap_or_else(me);
    if args.min_lock > args.max_lock {
        bail!(
            "the shortest lock ({} s) is longer than the longest ({} s)",
            args.min_lock,
            args.max_lock
        );
    }
    let home = Home::open(&place.state, own.user)?;
    let reading = Clocks::open().read();
    let id = RepositoryId(random::<16>()?);
    let encryption = args.encryption_key_file.as_deref();
    let encryption = encryption.map(|file| Encryption::make(file, id, place.daemon_user));
    let encryption = encryption.transpose()?;
    let secret = match &encryption {
        None => Some(Secret::new(&random::<32>()?)),
        Some(_) => None,
    };
    let header =
        RepositoryHeader { id, secret, chunk_size: args.chunk_size, created: reading.wall };
    let creation = Creation {
        header: header.encode(),
        master_key: encryption.as_ref().map(|made| made.master.clone()),
        chunk_size: args.chunk_size,
        bounds: LockBounds { min_seconds: args.min_lock, max_seconds: args.max_lock },
        officers: args.officers.iter().map(first).collect::<Result<_, _>>()?,
    };
    let group = rustix::process::geteuid().is_root().then_some(place.daemon_user.group);
    let directory = Directory::new(place.repository.clone(), true).shared_with(group);
    let config = config(&home, &header.id.0)?;
    let (keeper, _) = Keeper::create(Arc::new(directory), &creation, config, reading)?;
    drop(keeper);
    for what in settle(&place.repository, own, place.daemon_user)? {
        say(format_args!("NOT enforced: {what}"))?;
    }
    Home::open(&place.state, own.user)?;
    say(format_args!("repository {} in {}", header.id, place.repository.display()))?;
    if let Some(Encryption { recovery, .. }) = &encryption {
        say("recovery key, shown this once; keep it in a safe, away from the box:")?;
        say(recovery.to_text().as_str())?;
    }
    Ok(())
}

fn first(officer: &Enrolled) -> anyhow::Result<FirstOfficer> {
    let key = STANDARD.decode(&officer.key).ok().and_then(|key| key.try_into().ok());
    let key = key.with_context(|| format!("the key of {} is no public key", officer.name))?;
    Ok(FirstOfficer { name: officer.name.clone(), key, rights: rights(&officer.rights) })
}

/// Opens the repository that `args` names; called with rights given up.
pub(crate) fn open(args: &Serve, home: &Home, clocks: Clocks) -> anyhow::Result<Local> {
    let place = &args.place;
    let group = Some(place.daemon_user.group).filter(|_| args.place.user.is_some());
    let directory = Directory::new(place.repository.clone(), !args.no_immutable);
    let storage: Arc<dyn Storage> = Arc::new(directory.shared_with(group));
    let header = storage::read_all(&*storage, layout::HEADER, HEADER_BYTES as u64)
        .with_context(|| format!("there is no repository in {}", place.repository.display()))?;
    let (header, _) = RepositoryHeader::decode(&header)?;
    let config = config(home, &header.id.0)?;
    let (keeper, found) = Keeper::open(storage, config, clocks.read())?;
    tracing::info!(leaves = found.size, "repository {} is open", header.id);
    for damaged in &found.damaged {
        tracing::error!("{}: {}", damaged.path, damaged.what);
    }
    if found.without_witness {
        tracing::warn!("there was no head outside of the repository to compare with");
    }
    Ok(Local::new(keeper, Box::new(move || clocks.read())))
}

fn config(home: &Home, repository: &[u8; 16]) -> anyhow::Result<Config> {
    let state: Arc<dyn Storage> = Arc::new(Directory::new(home.path().to_owned(), false));
    Ok(Config {
        signer: home.seed(random_bytes)?,
        witness: Some(Box::new(FileWitness::new(state, repository))),
        random: Box::new(random_bytes),
    })
}

fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("cannot get random bytes")?;
    Ok(bytes)
}
