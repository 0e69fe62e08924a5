//! Giving up rights before anything a stranger sent is looked at.
//!
//! Only with a warden of its own: in development the daemon does the warden's work too and needs
//! its rights.

use crate::config::Config;
use anyhow::Context as _;
use san::kernel::Kernel;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use warden::layout;
use warden::sandbox::{Account, DaemonPlan, confine_daemon};

/// What the status says of development.
const INSIDE: &str = "the warden's border: it runs inside the daemon (development), so whoever \
                      takes over the daemon can end locks; give repository.warden";

/// Gives up what the daemon does not need. What is not enforced comes back, in sentences. To be
/// called before any thread is started.
pub(crate) fn confine(config: &Config) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("state_dir = {}", config.state_dir.display()))?;
    if config.repository.warden.is_none() {
        return Ok(vec![INSIDE.to_owned()]);
    }
    let user = config.user.as_deref().map(Account::find).transpose().context("user")?;
    if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
        give_to(&config.state_dir, user)?;
    }
    if config.san.kernel {
        prepare_devices();
    }
    let plan = DaemonPlan {
        user,
        writable: writable(config)?,
        devices: config.san.kernel,
        low_ports: false,
        execute: false,
    };
    let confined = confine_daemon(&plan).context("giving up rights")?;
    for what in &confined.enforced {
        tracing::info!("enforced: {what}");
    }
    for what in &confined.missing {
        tracing::warn!("NOT enforced: {what}");
    }
    Ok(confined.missing.into_iter().map(|what| format!("in the daemon: {what}")).collect())
}

/// What only root may set, for the devices that are there. Those that come later have to be set up
/// by the system (the example of the configuration says how); what is not is said when it is met.
fn prepare_devices() {
    if let Err(error) = Kernel::default().prepare() {
        tracing::warn!("SAN devices are not prepared: {}", model::chain(&error));
    }
}

/// The state and what lies in it become `user`'s; links are not followed.
fn give_to(state: &Path, user: Account) -> anyhow::Result<()> {
    let give = |path: &Path| {
        lchown(path, Some(user.user), Some(user.group))
            .with_context(|| format!("giving {} to user {}", path.display(), user.user))
    };
    for entry in state.read_dir().with_context(|| format!("listing {}", state.display()))? {
        give(&entry?.path())?;
    }
    give(state)
}

/// The only places that the daemon writes to: its state, and what the warden lets it make.
fn writable(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let repository = &config.repository.path;
    let missing = || {
        format!(
            "repository.path = {}: there is no repository; make one with 'holdfast-warden create' \
             or mount its file system",
            repository.display()
        )
    };
    let volumes = match repository.join("volumes").read_dir() {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(missing),
    };
    let open = volumes.iter().chain([repository]).map(|volume| volume.join(layout::open_dir(0)));
    let mut writable: Vec<PathBuf> = open.filter(|path| path.is_dir()).collect();
    anyhow::ensure!(!writable.is_empty(), missing());
    writable.extend([repository.join(layout::LOCK), config.state_dir.clone()]);
    writable
        .extend(config.console.ready_file.as_ref().and_then(|file| file.parent()).map(Into::into));
    Ok(writable)
}
