//! The process: gives up what it does not need, opens the repository, answers.
//!
//! The order matters. What needs root or a path outside of the repository comes first: owners and
//! modes, the hardware clock, the socket. Then the rights are given up; only then is the first
//! byte of the repository read, because it may have been written by an enemy.

use crate::args::Serve;
use anyhow::Context as _;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use warden::clocks::Clocks;
use warden::home::Home;
use warden::sandbox::{Account, Confinement, WardenPlan, confine_warden};
use warden::server::{Limits, Peers, Server};
use warden::service::Guard;
use warden::{Local, rights};

const BETWEEN_TICKS: Duration = Duration::from_secs(60);

/// `serve`; returns only when it cannot go on.
pub(crate) fn run(args: &Serve) -> anyhow::Result<()> {
    log()?;
    end_with_a_panic();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let place = &args.place;
    let own = place.user.unwrap_or_else(me);
    let home = Home::open(&place.state, own.user)?;
    let mut missing = settle(&place.repository, own, place.daemon_user)?;
    let clocks = Clocks::open();
    missing.extend(clocks.lacks().map(Into::into));
    let server = bind(args, own)?;
    let confinement = confine_warden(&WardenPlan {
        user: place.user,
        groups: vec![place.daemon_user.group],
        directories: vec![place.repository.clone(), place.state.clone()],
    })?;
    missing.extend(told(&confinement));
    let warden = crate::create::open(args, &home, clocks)?;
    answer(server, warden, missing)
}

/// Who started this.
pub(crate) fn me() -> Account {
    Account {
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
    }
}

/// Owners and modes, as far as this process may set them; what it may not is returned.
pub(crate) fn settle(
    repository: &Path,
    own: Account,
    daemon: Account,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    if rustix::process::geteuid().is_root() {
        rights::settle(repository, own, daemon)?;
    } else {
        missing.push("owners and modes of the repository: not started by root".into());
    }
    if own.user == daemon.user {
        missing.push(
            "the warden runs as the daemon's user: each can do what the other can".to_owned(),
        );
    }
    Ok(missing)
}

fn bind(args: &Serve, own: Account) -> anyhow::Result<Server> {
    let daemon = args.place.daemon_user;
    if let Some(folder) = args.socket.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_passable(folder)
            .with_context(|| format!("cannot make {} for the socket", folder.display()))?;
    }
    let owner = Account { user: own.user, group: daemon.group };
    let peers = Peers { daemon: daemon.user, own: own.user };
    Ok(Server::bind(&args.socket, Some(owner), peers, Limits::default())?)
}

/// The socket's folder, which everybody may pass through: who may connect is the socket's matter.
/// One that exists keeps its mode.
fn make_passable(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn told(confinement: &Confinement) -> Vec<String> {
    for what in &confinement.enforced {
        tracing::info!("enforced: {what}");
    }
    confinement.missing.clone()
}

fn answer(server: Server, warden: Local, missing: Vec<String>) -> anyhow::Result<()> {
    for what in &missing {
        tracing::warn!("NOT enforced: {what}");
    }
    let guard = Arc::new(Guard::new(warden, missing));
    let ticking = Arc::clone(&guard);
    std::thread::Builder::new()
        .name("clock".into())
        .spawn(move || {
            loop {
                std::thread::sleep(BETWEEN_TICKS);
                ticking.tick();
            }
        })
        .context("cannot start the thread of the clock")?;
    tracing::info!("ready");
    Err(server.run(&guard).into())
}

fn log() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot begin logging: {error}"))
}

/// A panic in one thread may have left the warden's state half changed: the whole process ends,
/// and the next one starts from the ledger.
fn end_with_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}
