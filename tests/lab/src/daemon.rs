//! The appliance under test: `holdfastd` with a configuration written by the lab, and the
//! `holdfast` command line as its user.
//!
//! [`DaemonConfig`] is the file itself, as plain data: a test changes a field before
//! [`Daemon::start`], or between [`Daemon::stop`] and [`Daemon::start_again`].

use crate::place::built;
use crate::process::{Process, leashed};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

/// The configuration file of `holdfastd`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the keys are documented in the daemon's example file")]
pub struct DaemonConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub state_dir: PathBuf,
    pub console: ConsoleConfig,
    pub vcenter: VcenterConfig,
    pub san: SanConfig,
    pub repository: RepositoryConfig,
    pub lock: LockConfig,
    /// `[keep]`: numbers by tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<BTreeMap<String, i64>>,
    /// `[backup]`: keys that are true or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BTreeMap<String, bool>>,
}

/// `[console]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct ConsoleConfig {
    pub listen: String,
    pub token_file: PathBuf,
    pub ready_file: PathBuf,
}

/// `[vcenter]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct VcenterConfig {
    pub url: String,
    pub user: String,
    pub password_file: PathBuf,
    pub thumbprint: String,
}

/// `[san]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct SanConfig {
    pub initiator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chap_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chap_secret_file: Option<PathBuf>,
    pub chap_algorithms: Vec<String>,
    pub header_digest: bool,
    pub data_digest: bool,
    /// What the kernel sees (Fibre Channel) is read too.
    pub kernel: bool,
    pub portal: Vec<PortalConfig>,
}

/// `[[san.portal]]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct PortalConfig {
    pub portal: String,
    pub target: String,
}

/// `[repository]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct RepositoryConfig {
    pub path: PathBuf,
    pub segment_mib: u64,
    pub zstd_level: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_mib: Option<u64>,
    /// Sealed segments that only `chattr -i` lets go; off, so that a test can clean up.
    pub immutable: bool,
    /// Socket of a warden of its own; see [`crate::Warden`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warden: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
}

/// `[lock]`
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "see DaemonConfig")]
pub struct LockConfig {
    pub mode: String,
    pub days: u32,
}

/// What the daemon writes when it answers.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    address: String,
    pid: u32,
}

/// A daemon, running or stopped. Dropping it stops it.
#[derive(Debug)]
pub struct Daemon {
    /// As it will be written at the next start.
    pub config: DaemonConfig,
    file: PathBuf,
    process: Option<Process>,
    address: String,
}

impl Daemon {
    /// Writes the configuration into `directory`, starts the daemon, waits until it answers.
    ///
    /// # Errors
    /// When it ends instead (the error shows its log), or does not answer in time.
    pub fn start(directory: &Path, config: DaemonConfig) -> Result<Self> {
        let file = directory.join("holdfastd.toml");
        let mut daemon = Self { config, file, process: None, address: String::new() };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// Starts a stopped daemon with the configuration as it is now.
    ///
    /// # Errors
    /// As [`Daemon::start`]; and when it already runs.
    pub fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the daemon already runs");
        }
        let ready_file = &self.config.console.ready_file;
        if ready_file.exists() {
            std::fs::remove_file(ready_file)?;
        }
        std::fs::write(&self.file, toml::to_string(&self.config)?)?;
        let program = built("holdfastd")?.display().to_string();
        let mut arguments = vec![program, "--config".into(), self.file.display().to_string()];
        if self.config.user.is_some() {
            arguments = leashed(arguments);
        }
        let log = self.file.with_file_name("holdfastd.log");
        let mut process = Process::start("holdfastd", &arguments, &[], &log, false)?;
        let pid = process.pid();
        // The file may be there before it is complete: only a whole one parses.
        self.address = process.wait_until(|| {
            let text = std::fs::read(ready_file).ok()?;
            let ready: Ready = serde_json::from_slice(&text).ok()?;
            (ready.pid == pid).then_some(ready.address)
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it had to be killed, or was not running.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the daemon is not running")?.terminate()
    }

    /// SIGKILL: the nearest thing to a power cut for a process.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the daemon is not running")?.kill()
    }

    /// Sends a signal to the running daemon.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the daemon is not running")?.signal(signal)
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Highest resident size so far, in KiB (`VmHWM` of `/proc/PID/status`).
    ///
    /// # Errors
    /// When it is not running.
    pub fn peak_resident_kib(&self) -> Result<u64> {
        let pid = self.pid().context("the daemon is not running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok()
            })
            .context("the kernel shows no VmHWM")
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The API's bearer token.
    ///
    /// # Errors
    /// When the daemon has not made it.
    pub fn token(&self) -> Result<String> {
        let file = &self.config.console.token_file;
        let token =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Ok(token.trim().to_owned())
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.file.with_file_name("holdfastd.log");
        String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
    }

    /// The command line against this daemon.
    ///
    /// # Errors
    /// When `holdfast` is not built.
    pub fn cli(&self) -> Result<Cli> {
        Ok(Cli {
            program: built("holdfast")?,
            server: self.address.clone(),
            token_file: self.config.console.token_file.clone(),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_some() {
            // A test that failed already has its own error to show.
            let _ = self.stop();
        }
    }
}

/// The `holdfast` command line, bound to a daemon.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    server: String,
    token_file: PathBuf,
}

impl Cli {
    /// The command with its server and token; add what is to be done.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--server", &self.server, "--token-file"]).arg(&self.token_file);
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end, whatever the end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.command().args(arguments).output().context("starting holdfast")
    }

    /// Runs it with its output on the terminal, as a user would see it.
    ///
    /// # Errors
    /// When it fails.
    pub fn show(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command().args(arguments).status().context("starting holdfast")?;
        if !status.success() {
            bail!("holdfast {} failed ({status})", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs it with `--json` and parses what it prints.
    ///
    /// # Errors
    /// When it fails (the error holds what it said) or prints something else.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let output = self.output(&[&["--json"], arguments].concat())?;
        let called = arguments.join(" ");
        if !output.status.success() {
            bail!(
                "holdfast {called} failed ({}): {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("holdfast {called} printed {}", String::from_utf8_lossy(&output.stdout))
        })
    }
}
