//! One tgtd: a process, its control socket, its first portal. What it serves is told by orders.
//!
//! It has a control socket and a port of its own, so several run side by side and none is the
//! system's service. SIGTERM does nothing to tgtd while it has targets; it is stopped through
//! `tgtadm`, or by the kernel when the test process dies. Without root it runs in a user
//! namespace in which we are root, because it takes orders from nobody else.

use crate::place::program;
use crate::process::{PATIENCE, Process, run};
use anyhow::{Context as _, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// A free port is found by asking for one and letting go of it; somebody else may be faster.
const PORT_TRIES: u32 = 5;
/// `sun_path` has 108 bytes with its end; tgtd appends `.0` and `.0.lock`.
const SOCKET_NAME_MAX: usize = 96;

/// How a tgtd is started.
#[derive(Clone, Copy, Debug)]
pub struct TgtdSpec {
    /// Address of its first portal.
    pub address: IpAddr,
    /// Seconds between its pings; it hangs up after three without an answer.
    pub ping: u32,
}

impl Default for TgtdSpec {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), ping: 5 }
    }
}

/// A running tgtd. Dropping it stops it.
#[derive(Debug)]
pub struct Tgtd {
    spec: TgtdSpec,
    port: u16,
    process: Option<Process>,
    socket: PathBuf,
    /// Where the socket is, when the lab's own directory has too long a name for one.
    _elsewhere: Option<TempDir>,
    log: PathBuf,
    /// Targets that were made, to be deleted before it can be stopped.
    targets: Mutex<Vec<u32>>,
}

impl Tgtd {
    /// True when it is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        ["tgtd", "tgtadm"].iter().all(|name| program(name, "tgt").is_ok())
    }

    /// Starts one without targets; its log goes to `directory`.
    ///
    /// # Errors
    /// When tgtd is not installed or does not come up.
    pub fn start(directory: &Path, spec: TgtdSpec) -> Result<Self> {
        let (socket, elsewhere) = socket_in(directory)?;
        let log = directory.join("tgtd.log");
        let targets = Mutex::default();
        let mut tgtd =
            Self { spec, port: 0, process: None, socket, _elsewhere: elsewhere, log, targets };
        let mut last = None;
        for _ in 0..PORT_TRIES {
            tgtd.port = free_port(spec.address)?;
            match tgtd.run() {
                Ok(()) => return Ok(tgtd),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("at least one try")?)
    }

    /// Its first portal.
    #[must_use]
    pub fn portal(&self) -> SocketAddr {
        (self.spec.address, self.port).into()
    }

    /// Runs it on its port. It has no targets then.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn run(&mut self) -> Result<()> {
        let mut arguments = Vec::new();
        if !rustix::process::geteuid().is_root() {
            arguments.extend(["unshare", "--map-root-user", "--"].map(str::to_owned));
        }
        let portal =
            format!("portal={},nop_interval={},nop_count=3", self.portal(), self.spec.ping);
        arguments.push(path_text(&program("tgtd", "tgt")?)?);
        arguments.extend(["-f", "-t", "4", "--iscsi", &portal].map(str::to_owned));
        let environment = [("TGT_IPC_SOCKET", self.socket.as_path())];
        let mut process = Process::start("tgtd", &arguments, &environment, &self.log, false)?;
        process.wait_until(|| self.order("sys", "show", &[]).ok())?;
        let portal = self.portal();
        process.wait_until(|| answers(portal).then_some(()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it: every session ends at once and the portal refuses connections.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let targets = std::mem::take(&mut *self.targets());
        for tid in targets {
            // It may be gone already; whether all are, the wait below tells.
            let _ = self.order("target", "delete", &["--force", "--tid", &tid.to_string()]);
        }
        let _ = self.order("system", "delete", &[]);
        process.wait_for_end(PATIENCE)?;
        Ok(())
    }

    /// Ends it as a machine fails: nobody is told. [`Self::run`] starts it again.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.targets().clear();
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()
    }

    /// Makes a target that nobody may log in to yet.
    ///
    /// # Errors
    /// When tgtd refuses.
    pub fn new_target(&self, tid: u32, name: &str) -> Result<()> {
        let number = tid.to_string();
        self.order("target", "new", &["--tid", &number, "--targetname", name])?;
        self.targets().push(tid);
        Ok(())
    }

    /// Lets everybody log in to a target.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn open(&self, tid: u32) -> Result<()> {
        self.order("target", "bind", &["--tid", &tid.to_string(), "--initiator-address", "ALL"])
    }

    /// Sets keys of a target, such as `MaxQueueCmd=1` or `RedirectPort=3260`.
    ///
    /// # Errors
    /// When tgtd refuses one.
    pub fn set(&self, tid: u32, keys: &[&str]) -> Result<()> {
        let tid = tid.to_string();
        for key in keys {
            let (name, value) = key.split_once('=').context("a key is written name=value")?;
            let order = ["--tid", &tid, "--name", name, "--value", value];
            self.order("target", "update", &order)?;
        }
        Ok(())
    }

    /// Puts a file behind a logical unit.
    ///
    /// # Errors
    /// When the number is taken or the file cannot be opened.
    pub fn new_lun(&self, tid: u32, lun: u32, image: &Path, parameters: &str) -> Result<()> {
        let (tid, lun) = (tid.to_string(), lun.to_string());
        let place = ["--tid", &tid, "--lun", &lun];
        let image = image.to_str().context("the image's path is not UTF-8")?;
        let backing = ["--backing-store", image, "--bstype", "rdwr"];
        self.order("logicalunit", "new", &[place, backing].concat())?;
        if parameters.is_empty() {
            return Ok(());
        }
        self.order("logicalunit", "update", &[&place[..], &["--params", parameters]].concat())
    }

    /// Opens another portal and returns it.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn new_portal(&self, address: IpAddr) -> Result<SocketAddr> {
        let portal = SocketAddr::from((address, free_port(address)?));
        self.order("portal", "new", &["--param", &format!("portal={portal}")])?;
        Ok(portal)
    }

    /// Any order of `tgtadm`.
    ///
    /// # Errors
    /// When tgtd refuses it.
    pub fn order(&self, mode: &str, operation: &str, more: &[&str]) -> Result<()> {
        let mut command = Command::new(program("tgtadm", "tgt")?);
        command
            .env("TGT_IPC_SOCKET", &self.socket)
            .args(["--lld", "iscsi", "--mode", mode, "--op", operation])
            .args(more);
        run(&mut command).with_context(|| format!("telling tgtd: {mode} {operation}"))?;
        Ok(())
    }

    fn targets(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tgtd {
    fn drop(&mut self) {
        // A test that failed already has its own error to show.
        let _ = self.stop();
    }
}

/// A name for the control socket that fits into the kernel's 108 bytes.
fn socket_in(directory: &Path) -> Result<(PathBuf, Option<TempDir>)> {
    let here = directory.join("ipc");
    if here.as_os_str().len() <= SOCKET_NAME_MAX {
        return Ok((here, None));
    }
    let elsewhere = tempfile::Builder::new().prefix("holdfast-tgt-").tempdir_in("/tmp")?;
    Ok((elsewhere.path().join("ipc"), Some(elsewhere)))
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

fn free_port(address: IpAddr) -> Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

fn answers(portal: SocketAddr) -> bool {
    TcpStream::connect_timeout(&portal, Duration::from_secs(1)).is_ok()
}
