//! The warden as a process of its own, with officers, and the users that it and the daemon run as.

use crate::daemon::DaemonConfig;
use crate::place::{built, release};
use crate::process::{Process, leashed, run};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

/// User and group of the daemon: numbers that no list of users has.
pub const DAEMON_USER: u32 = 61_001;
/// User and group of the warden.
pub const WARDEN_USER: u32 = 61_002;
/// The officers, each with both rights.
pub const OFFICERS: [&str; 2] = ["ann", "bob"];

/// A warden, running or stopped. Dropping it stops it and lets the repository be removed.
#[derive(Debug)]
pub struct Warden {
    program: PathBuf,
    place: PathBuf,
    repository: PathBuf,
    process: Option<Process>,
}

impl Warden {
    /// Why processes of two users cannot be tried here; `None`: they can.
    #[must_use]
    pub fn impossible_in(directory: &Path) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root can start processes of other users".to_owned());
        }
        let closed = directory.ancestors().skip(1).find(|folder| {
            folder.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
        });
        closed.map(|folder| format!("other users cannot enter {}", folder.display()))
    }

    /// Makes a repository with officers where `config` has it, starts its warden, and changes
    /// `config` so that a daemon of another user works with it. Everything lies in `place`.
    ///
    /// # Errors
    /// When a part of it fails.
    pub fn start(place: &Path, config: &mut DaemonConfig) -> Result<Self> {
        // The lab's directory is its owner's alone until now.
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o711))?;
        let mut warden = Self {
            program: built("holdfast-warden")?,
            place: place.to_owned(),
            repository: config.repository.path.clone(),
            process: None,
        };
        config.user = Some(DAEMON_USER.to_string());
        config.repository.immutable = true;
        config.repository.warden = Some(warden.socket());
        warden.create()?;
        warden.start_again()?;
        Ok(warden)
    }

    fn create(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("create").args(self.directories()).arg("--max-lock").arg("315360000");
        for name in OFFICERS {
            let mut new = Command::new(&self.program);
            new.args(["officer", "new", "--name", name, "--key"]).arg(self.officer_key(name));
            let told = String::from_utf8(run(&mut new)?)?;
            command.arg("--officer").arg(told.trim());
        }
        run(&mut command).map(drop)
    }

    fn directories(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let user = |user: u32| user.to_string();
        [
            ("--repository", text(&self.repository)),
            ("--state", text(&self.place.join("warden"))),
            ("--daemon-user", user(DAEMON_USER)),
            ("--user", user(WARDEN_USER)),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    fn officer_key(&self, name: &str) -> PathBuf {
        self.place.join(format!("officer-{name}"))
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.place.join("warden.sock")
    }

    /// Starts a stopped warden and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead, or already runs.
    pub fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the warden already runs");
        }
        let mut arguments = vec![self.program.display().to_string(), "serve".to_owned()];
        arguments.extend(self.directories());
        arguments.extend(["--socket".to_owned(), self.socket().display().to_string()]);
        let log = self.place.join("warden.log");
        let mut process = Process::start("warden", &leashed(arguments), &[], &log, false)?;
        process.wait_until(|| self.status().ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the warden is not running")?.kill()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it had to be killed, or was not running.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the warden is not running")?.terminate()
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.place.join("warden.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(&self.program);
        command.args(["status", "--json", "--socket"]).arg(self.socket());
        Ok(serde_json::from_slice(&run(&mut command)?)?)
    }

    /// An action that `officers` sign, as they would: challenge, one signature each, submission.
    ///
    /// # Errors
    /// When one of the programs cannot be run; what the warden says is in the output.
    pub fn officers_do(&self, officers: &[&str], action: &[&str]) -> Result<Output> {
        #[derive(Deserialize)]
        struct Asked {
            origin: String,
            challenge: String,
        }
        let mut ask = Command::new(&self.program);
        ask.args(["officer", "challenge", "--json", "--socket"]).arg(self.socket());
        let Asked { origin, challenge } = serde_json::from_slice(&run(&mut ask)?)?;
        let mut submit = Command::new(&self.program);
        submit.args(["officer", "submit", "--challenge", &challenge, "--socket"]);
        submit.arg(self.socket());
        for name in officers {
            let mut sign = Command::new(&self.program);
            sign.args(["officer", "sign", "--key"]).arg(self.officer_key(name));
            sign.args(["--origin", &origin, "--challenge", &challenge]).args(action);
            submit.arg("--signature").arg(String::from_utf8(run(&mut sign)?)?.trim());
        }
        submit.args(action).output().context("starting holdfast-warden")
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        // The process first: it would set the attributes again.
        drop(self.process.take());
        release(&self.repository);
    }
}

/// Runs a program with the daemon's rights and no others: what somebody can do who has taken it
/// over.
///
/// # Errors
/// When it cannot be started.
pub fn as_daemon(program: &str, arguments: &[&str]) -> Result<Output> {
    let user = DAEMON_USER.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--no-new-privs"])
        .args(["--inh-caps=-all", "--bounding-set=-all", "--", program])
        .args(arguments)
        .output()
        .context("starting setpriv")?;
    ensure!(output.status.code() != Some(127), "setpriv does not find {program}");
    Ok(output)
}
