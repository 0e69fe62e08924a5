//! From the configuration to running parts, and back to a clean stop.

use crate::acknowledged::Acknowledged;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::engine::{Appliance, Restoring};
use crate::maintenance::{self, Maintenance};
use crate::restorer;
use crate::secret_file;
use crate::secrets::{Secrets, recovery_file};
use crate::watch::Watch;
use crate::wire::{
    configuration, fabric::Sessions, hypervisor, hypervisor::Vcenter, journal_file::JournalFile,
};
use crate::worker;
use anyhow::Context;
use jobs::{Journal, Registry, Verdicts};
use repository::{Clocks, KeyEncryptionKey, Recovery, Repository, StoreError};
use san::kernel::Kernel;
use san::{Chap, ChapAlgorithm, OwnDisk, PortalConfig, SanConfig};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use warden::client::{Client, PATIENCE};
use warden::frames::Role;
use warden::wire::Request;
use warden::{Warden as _, WardenError, layout};

/// Runs that may wait for their turn.
const QUEUE: usize = 1000;
/// How long a stop waits for a run to clean up after itself. What is not undone by then is in
/// the journal and undone at the next start.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long a stop waits for the end of the inventory's session.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long a start waits for the warden, which may be starting too.
const WARDEN_MAX: Duration = Duration::from_secs(60);
const WARDEN_PAUSE: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(
    config: Config,
    secrets: Secrets,
    not_enforced: Vec<String>,
) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let token = secrets.token.clone();
    let built = tokio::task::spawn_blocking(move || build(config, secrets, not_enforced));
    let (appliance, backups, verifies, restores) = built.await.context("starting")??;
    let listen = appliance.config.console.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("console.listen = {listen}: cannot listen there"))?;

    let work = tokio::spawn(worker::backups(Arc::clone(&appliance), backups));
    tokio::spawn(worker::verifications(Arc::clone(&appliance), verifies));
    tokio::spawn(worker::sweeper(Arc::clone(&appliance)));
    tokio::spawn(restorer::restores(Arc::clone(&appliance), restores));
    tokio::spawn(restorer::sweeper(Arc::clone(&appliance)));
    tokio::spawn(worker::ticker(Arc::clone(&appliance)));
    tokio::spawn(worker::watcher(Arc::clone(&appliance)));
    let vcenter = Arc::clone(&appliance.vcenter);
    let follow = tokio::spawn(async move { vcenter.follow().await });
    tokio::spawn(worker::looker(Arc::clone(&appliance)));
    tokio::spawn(maintenance::worker(Arc::clone(&appliance)));

    let address = listener.local_addr().context("reading the console's own address")?;
    tracing::info!(%address, "console answers");
    if let Some(path) = &appliance.config.console.ready_file {
        write_ready_file(path, &format!("http://{address}"))?;
    }
    let served =
        console::serve(listener, token, Arc::clone(&appliance), stop).await.context("console");
    tracing::info!("stopping");
    appliance.vcenter.inventory.end();
    stop_runs(&appliance, work).await;
    if timeout(FOLLOW_MAX, follow).await.is_err() {
        tracing::debug!("the inventory's session was not ended in time");
    }
    served
}

async fn stop_runs(appliance: &Appliance, work: tokio::task::JoinHandle<()>) {
    appliance.maintenance.stop();
    appliance.registry.cancel_all();
    if timeout(STOP_MAX, appliance.restoring.lock()).await.is_err() {
        tracing::warn!("a restore did not end in time; it is ended at the next start");
    }
    if timeout(STOP_MAX, appliance.turn.lock()).await.is_err() {
        tracing::warn!("a run did not end in time; its snapshot is removed at the next start");
    }
    work.abort();
    appliance.vcenter.logout().await;
    appliance.fabric.logout().await;
}

type Queue = mpsc::Receiver<Arc<jobs::Entry>>;

fn build(
    config: Config,
    secrets: Secrets,
    not_enforced: Vec<String>,
) -> anyhow::Result<(Arc<Appliance>, Queue, Queue, mpsc::Receiver<Restoring>)> {
    // The repository first: its lock keeps a second daemon away from the journal too.
    let (repository, findings) = match &config.repository.warden {
        None => open_with_warden_inside(&config, secrets.encryption)?,
        Some(socket) => open_with_warden(&config, socket, secrets.encryption)?,
    };
    let journal = Journal::load(Box::new(JournalFile::new(&config.state_dir, "journal")))
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading the journal of what must be undone")?;
    let acknowledged = Acknowledged::load(&config.state_dir)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading who accepted writable LUNs")?;
    let verdicts = Verdicts::load(Box::new(JournalFile::new(&config.state_dir, "compared")))
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading what was compared with the network path")?;
    let file_backup = configuration::file_backup(&config.vcenter, secrets.file_backup);
    let client = hypervisor::client_config(&config.vcenter, secrets.password)?;
    let vcenter = Vcenter::new(client, file_backup);
    let own = own_disks(&config)?;
    let kernel = config.san.kernel.then(Kernel::default);
    let fabric = Sessions::new(SanConfig { portals: portals(&config, secrets.chap)?, own, kernel });
    let (backups, backup_queue) = mpsc::channel(QUEUE);
    let (verifies, verify_queue) = mpsc::channel(QUEUE);
    let (restores, restore_queue) = mpsc::channel(QUEUE);
    let appliance = Arc::new(Appliance {
        config,
        repository,
        vcenter: Arc::new(vcenter),
        fabric: Arc::new(fabric),
        acknowledged,
        journal: Arc::new(journal),
        verdicts: Arc::new(verdicts),
        registry: Registry::default(),
        backups,
        verifies,
        restores,
        restoring: Mutex::default(),
        turn: Mutex::default(),
        findings,
        warden: Watch::new(not_enforced),
        maintenance: Maintenance::default(),
    });
    appliance.warden.look(&appliance.repository);
    Ok((appliance, backup_queue, verify_queue, restore_queue))
}

/// Whether the file that makes a directory a repository is there.
pub(crate) fn has_repository(config: &Config) -> bool {
    config.repository.path.join(layout::HEADER).exists()
}

/// With the warden at `socket`; it may be about to start too.
fn open_with_warden(
    config: &Config,
    socket: &Path,
    encryption: Option<KeyEncryptionKey>,
) -> anyhow::Result<(Repository, Vec<String>)> {
    let path = &config.repository.path;
    let client = Client::new(socket, Role::Daemon, PATIENCE);
    let limit = Instant::now() + WARDEN_MAX;
    loop {
        match client.call(Request::Status) {
            Ok(_) => break,
            Err(error @ WardenError::Unavailable { .. }) if Instant::now() < limit => {
                tracing::warn!(error = model::chain(&error), "waiting for the warden");
                std::thread::sleep(WARDEN_PAUSE);
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("repository.warden = {}", socket.display()));
            }
        }
    }
    let options = crate::wire::store::options(config, encryption);
    opened(Repository::open(path, &options, Arc::new(client)), path)
}

/// Development: the warden is part of this process.
fn open_with_warden_inside(
    config: &Config,
    encryption: Option<KeyEncryptionKey>,
) -> anyhow::Result<(Repository, Vec<String>)> {
    let path = &config.repository.path;
    let options = crate::wire::store::options(config, encryption);
    let context = || format!("repository.path = {}", path.display());
    // Written after the first creation: where it stands and the repository does not, its file
    // system is not mounted, and a new one in its place would hide the locked points.
    let made = config.state_dir.join("repository-made");
    let state = config.state_dir.join("warden");
    if !has_repository(config) {
        if made.exists() {
            anyhow::bail!(
                "repository.path = {}: there was a repository and it is not there now; mount its \
                 file system. To begin a new one on purpose, remove {}",
                path.display(),
                made.display()
            );
        }
        std::fs::create_dir_all(path).with_context(context)?;
        let clocks: Clocks = Box::new(clock::reading);
        let created =
            Repository::create_local(path, &options, &state, &clocks).with_context(context)?;
        keep_recovery_key(config, created.recovery_key.as_ref())?;
    }
    std::fs::write(&made, path.as_os_str().as_encoded_bytes())
        .with_context(|| format!("writing {}", made.display()))?;
    opened(Repository::open_local(path, &options, &state, Box::new(clock::reading)), path)
}

/// Once and never again: the repository itself does not hold it in the clear.
fn keep_recovery_key(config: &Config, key: Option<&KeyEncryptionKey>) -> anyhow::Result<()> {
    let (Some(key), Some(file)) = (key, &config.repository.encryption_key_file) else {
        return Ok(());
    };
    let path = recovery_file(file);
    secret_file::create(&path, &key.to_text()).context("keeping the recovery key")?;
    tracing::warn!(
        path = %path.display(),
        "the recovery key of the encrypted repository is in this file and nowhere else: move it \
         to a safe place away from this box"
    );
    Ok(())
}

fn opened(
    opened: Result<(Repository, Recovery), StoreError>,
    path: &Path,
) -> anyhow::Result<(Repository, Vec<String>)> {
    let (repository, recovery) =
        opened.with_context(|| format!("repository.path = {}", path.display()))?;
    let findings = crate::wire::store::findings(&recovery);
    for finding in &findings {
        tracing::warn!(finding, "repository");
    }
    Ok((repository, findings))
}

/// The disks that this box lives on. A repository on a LUN of the SAN would be lost together with
/// what it protects, and other hosts may write to that LUN.
fn own_disks(config: &Config) -> anyhow::Result<Vec<OwnDisk>> {
    let path = &config.repository.path;
    let mut folders = vec![path.clone()];
    if let Ok(volumes) = std::fs::read_dir(path.join(layout::VOLUMES)) {
        folders.extend(volumes.filter_map(|volume| Some(volume.ok()?.path())));
    }
    let mut disks = san::own_disks(&folders);
    for disk in &disks {
        if let Some(fabric) = disk.fabric {
            anyhow::bail!(
                "repository.path = {}: it lies on a LUN of the SAN ({}, reached over {fabric}); \
                 use disks of this box",
                path.display(),
                disk.what
            );
        }
    }
    disks.extend(san::own_disks(&[config.state_dir.clone(), "/".into()]));
    Ok(disks)
}

fn portals(config: &Config, chap: Option<(String, String)>) -> anyhow::Result<Vec<PortalConfig>> {
    let chap = match chap {
        None => None,
        Some((user, secret)) => Some(Chap {
            user,
            secret: san::Secret::new(secret),
            mutual: None,
            algorithms: algorithms(&config.san.chap_algorithms)?,
        }),
    };
    Ok(config
        .san
        .portals
        .iter()
        .map(|portal| PortalConfig {
            portal: portal.portal.clone(),
            target: portal.target.clone(),
            initiator: config.san.initiator.clone(),
            chap: chap.clone(),
            header_digest: config.san.header_digest,
            data_digest: config.san.data_digest,
            sessions: portal.sessions,
            ..PortalConfig::default()
        })
        .collect())
}

fn algorithms(names: &[String]) -> Result<Vec<ChapAlgorithm>, ConfigError> {
    names
        .iter()
        .map(|name| match name.as_str() {
            "sha3-256" => Ok(ChapAlgorithm::Sha3_256),
            "sha256" => Ok(ChapAlgorithm::Sha256),
            "sha1" => Ok(ChapAlgorithm::Sha1),
            "md5" => Ok(ChapAlgorithm::Md5),
            _ => Err(ConfigError::Value {
                key: "san.chap_algorithms",
                value: name.clone(),
                reason: "known are sha3-256, sha256, sha1 and md5".into(),
            }),
        })
        .collect()
}

/// Ends with the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("installing SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("installing SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whole or not at all: whoever waits for the file may read it as soon as it is there.
fn write_ready_file(path: &Path, address: &str) -> anyhow::Result<()> {
    let context = || format!("console.ready_file = {}", path.display());
    let text = serde_json::json!({ "address": address, "pid": std::process::id() }).to_string();
    let new = path.with_extension("new");
    std::fs::write(&new, text).with_context(context)?;
    std::fs::rename(&new, path).with_context(context)
}
