//! From the configuration to running parts, and back to a clean stop.

use crate::clock;
use crate::config::{Config, ConfigError};
use crate::engine::Appliance;
use crate::secret_file;
use crate::wire::{fabric::Sessions, hypervisor, hypervisor::Vcenter, journal_file::JournalFile};
use crate::worker;
use anyhow::Context;
use jobs::{Journal, Registry};
use repository::{Clocks, Repository};
use san::{Chap, ChapAlgorithm, PortalConfig};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// Runs that may wait for their turn.
const QUEUE: usize = 1000;
/// How long a stop waits for a run to clean up after itself. What is not undone by then is in
/// the journal and undone at the next start.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let token = console_token(&config)?;
    let stop = stop_signal()?;
    let (appliance, backups, verifies) = build(config)?;
    let listen = appliance.config.console.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("console.listen = {listen}: cannot listen there"))?;

    let work = tokio::spawn(worker::backups(Arc::clone(&appliance), backups));
    tokio::spawn(worker::verifications(Arc::clone(&appliance), verifies));
    tokio::spawn(worker::sweeper(Arc::clone(&appliance)));
    tokio::spawn(worker::ticker(Arc::clone(&appliance)));

    let address = listener.local_addr().context("reading the console's own address")?;
    tracing::info!(%address, "console answers");
    if let Some(path) = &appliance.config.console.ready_file {
        write_ready_file(path, &format!("http://{address}"))?;
    }
    let served =
        console::serve(listener, token, Arc::clone(&appliance), stop).await.context("console");
    tracing::info!("stopping");
    stop_runs(&appliance, work).await;
    served
}

async fn stop_runs(appliance: &Appliance, work: tokio::task::JoinHandle<()>) {
    appliance.registry.cancel_all();
    if timeout(STOP_MAX, appliance.turn.lock()).await.is_err() {
        tracing::warn!("a run did not end in time; its snapshot is removed at the next start");
    }
    work.abort();
    appliance.vcenter.logout().await;
    appliance.fabric.logout().await;
}

type Queue = mpsc::Receiver<Arc<jobs::Entry>>;

fn build(config: Config) -> anyhow::Result<(Arc<Appliance>, Queue, Queue)> {
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("state_dir = {}", config.state_dir.display()))?;
    // The repository first: its lock keeps a second daemon away from the journal too.
    let (repository, findings) = open_repository(&config)?;
    let journal = Journal::load(Box::new(JournalFile::new(&config.state_dir)))
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading the journal of what must be undone")?;
    let vcenter = Vcenter::new(hypervisor::client_config(&config.vcenter, config.password()?)?);
    let fabric = Sessions::new(portals(&config)?);
    let (backups, backup_queue) = mpsc::channel(QUEUE);
    let (verifies, verify_queue) = mpsc::channel(QUEUE);
    let appliance = Arc::new(Appliance {
        config,
        repository,
        vcenter: Arc::new(vcenter),
        fabric: Arc::new(fabric),
        journal: Arc::new(journal),
        registry: Registry::default(),
        backups,
        verifies,
        turn: Mutex::default(),
        findings,
    });
    Ok((appliance, backup_queue, verify_queue))
}

fn open_repository(config: &Config) -> anyhow::Result<(Repository, Vec<String>)> {
    let path = &config.repository.path;
    let options = crate::wire::store::options(&config.repository);
    let context = || format!("repository.path = {}", path.display());
    // Written after the first creation: where it stands and the repository does not, its file
    // system is not mounted, and a new one in its place would hide the locked points.
    let made = config.state_dir.join("repository-made");
    let state = config.state_dir.join("warden");
    if !path.join("repository").exists() {
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
        Repository::create_local(path, &options, &state, &clocks).with_context(context)?;
    }
    std::fs::write(&made, path.as_os_str().as_encoded_bytes())
        .with_context(|| format!("writing {}", made.display()))?;
    let (repository, recovery) =
        Repository::open_local(path, &options, &state, Box::new(clock::reading))
            .with_context(context)?;
    let findings = crate::wire::store::findings(&recovery);
    for finding in &findings {
        tracing::warn!(finding, "repository");
    }
    Ok((repository, findings))
}

fn console_token(config: &Config) -> anyhow::Result<console::Secret> {
    let fresh = hex::encode(crate::engine::random::<32>()?);
    let token = secret_file::read_or_create(&config.console.token_file, &fresh)
        .map_err(|source| ConfigError::Secret { key: "console.token_file", source })?;
    Ok(console::Secret::new(&token).map_err(|error| ConfigError::Value {
        key: "console.token_file",
        value: config.console.token_file.display().to_string(),
        reason: error.to_string(),
    })?)
}

fn portals(config: &Config) -> anyhow::Result<Vec<PortalConfig>> {
    let chap = match config.chap()? {
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
