//! The SAN: Debian's tgtd on loopback, one of its own per lab.
//!
//! It has a control socket and a port of its own, so several run side by side and none is the
//! system's service. SIGTERM does nothing to tgtd while it has targets; it is stopped through
//! `tgtadm`, or by the kernel when the test process dies. Without root it runs in a user
//! namespace in which we are root, because it takes orders from nobody else.

use crate::place::program;
use crate::process::{PATIENCE, Process, run};
use anyhow::{Context as _, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The name of the one target of a lab.
pub const TARGET: &str = "iqn.2026-01.test.lab:san01";
/// A free port is found by asking for one and letting go of it; somebody else may be faster.
const PORT_TRIES: u32 = 5;

/// `sun_path` has 108 bytes with its end; tgtd appends `.0` and `.0.lock`.
const SOCKET_NAME_MAX: usize = 96;

/// One-way CHAP with MD5, the only algorithm tgtd has.
#[derive(Clone, Debug)]
pub struct Chap {
    /// Who logs in.
    pub user: String,
    /// The secret of the lab, made up for it.
    pub secret: String,
}

/// One logical unit.
#[derive(Clone, Debug)]
pub struct LunSpec {
    /// Its number; tgtd keeps 0 for itself.
    pub number: u32,
    /// The file that holds its bytes.
    pub image: PathBuf,
    /// The 32 hexadecimal digits of its NAA-6 name; the first must be 6.
    pub naa: String,
}

/// What a target is made of.
#[derive(Clone, Debug)]
pub struct TgtSpec {
    /// `None`: everybody may log in.
    pub chap: Option<Chap>,
    /// Its logical units.
    pub luns: Vec<LunSpec>,
}

/// A running target. Dropping it stops it.
#[derive(Debug)]
pub struct Tgt {
    spec: TgtSpec,
    port: u16,
    process: Option<Process>,
    socket: PathBuf,
    /// Where the socket is, when the lab's own directory has too long a name for one.
    _elsewhere: Option<TempDir>,
    log: PathBuf,
}

impl Tgt {
    /// Starts tgtd and sets up the target; its log goes to `directory`.
    ///
    /// # Errors
    /// When tgtd is not installed, does not come up, or refuses its configuration.
    pub fn start(directory: &Path, spec: TgtSpec) -> Result<Self> {
        let (socket, elsewhere) = socket_in(directory)?;
        let log = directory.join("tgtd.log");
        let mut tgt = Self { spec, port: 0, process: None, socket, _elsewhere: elsewhere, log };
        let mut last = None;
        for _ in 0..PORT_TRIES {
            tgt.port = free_port()?;
            match tgt.run_daemon() {
                Ok(()) => return Ok(tgt),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("at least one try")?)
    }

    /// `address:port` of the portal.
    #[must_use]
    pub fn portal(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &TgtSpec {
        &self.spec
    }

    /// A LUN's address as libiscsi's tools want it, with the CHAP secret in it.
    #[must_use]
    pub fn libiscsi_url(&self, lun: u32) -> String {
        let login = self
            .spec
            .chap
            .as_ref()
            .map_or_else(String::new, |chap| format!("{}%{}@", chap.user, chap.secret));
        format!("iscsi://{login}{}/{TARGET}/{lun}", self.portal())
    }

    /// Stops tgtd: every session ends at once and the portal refuses connections.
    ///
    /// # Errors
    /// When tgtd had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // Both orders may find it already gone; whether it is, the wait below tells.
        let _ = self.order("target", "delete", &["--force", "--tid", "1"]);
        let _ = self.order("system", "delete", &[]);
        process.wait_for_end(PATIENCE)?;
        Ok(())
    }

    /// Starts it again after [`Tgt::stop`], or stops and starts it: same portal, same LUNs.
    ///
    /// # Errors
    /// As [`Tgt::stop`] and [`Tgt::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.run_daemon()
    }

    /// Takes a LUN away from under the initiators.
    ///
    /// # Errors
    /// When there is no such LUN.
    pub fn unmap(&self, lun: u32) -> Result<()> {
        self.order("logicalunit", "delete", &["--tid", "1", "--lun", &lun.to_string()])
    }

    /// Gives a LUN (back) to the initiators.
    ///
    /// # Errors
    /// When the number is taken or the image cannot be opened.
    pub fn map(&self, lun: &LunSpec) -> Result<()> {
        let number = lun.number.to_string();
        let place = ["--tid", "1", "--lun", &number];
        let image = lun.image.to_str().context("the image's path is not UTF-8")?;
        let backing = ["--backing-store", image, "--bstype", "rdwr"];
        self.order("logicalunit", "new", &[place, backing].concat())?;
        let names = format!(
            "vendor_id=LAB,product_id=SAN01,product_rev=0001,\
             scsi_sn={},scsi_id={},thin_provisioning=1",
            &lun.naa[lun.naa.len().saturating_sub(16)..],
            lun.naa
        );
        self.order("logicalunit", "update", &[place.as_slice(), &["--params", &names]].concat())
    }

    fn run_daemon(&mut self) -> Result<()> {
        let mut arguments = Vec::new();
        if !rustix::process::geteuid().is_root() {
            arguments.extend(["unshare", "--map-root-user", "--"].map(str::to_owned));
        }
        let portal = format!("portal={},nop_interval=5,nop_count=3", self.portal());
        arguments.push(path_text(&program("tgtd", "tgt")?)?);
        arguments.extend(["-f", "-t", "4", "--iscsi", &portal].map(str::to_owned));
        let environment = [("TGT_IPC_SOCKET", self.socket.as_path())];
        let mut process = Process::start("tgtd", &arguments, &environment, &self.log, false)?;
        process.wait_until(|| self.order("sys", "show", &[]).ok())?;
        self.configure()?;
        process.wait_until(|| answers(self.port).then_some(()))?;
        self.process = Some(process);
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        self.order("target", "new", &["--tid", "1", "--targetname", TARGET])?;
        for lun in &self.spec.luns {
            self.map(lun)?;
        }
        if let Some(chap) = &self.spec.chap {
            let account = ["--user", &chap.user];
            let secret = ["--password", &chap.secret];
            self.order("account", "new", &[account, secret].concat())?;
            self.order("account", "bind", &[["--tid", "1"], account].concat())?;
        }
        // It can be told to accept digests, never to insist on them.
        for digest in ["HeaderDigest", "DataDigest"] {
            let value = ["--name", digest, "--value", "CRC32C"];
            self.order("target", "update", &[["--tid", "1"].as_slice(), &value].concat())?;
        }
        self.order("target", "bind", &["--tid", "1", "--initiator-address", "ALL"])
    }

    fn order(&self, mode: &str, operation: &str, more: &[&str]) -> Result<()> {
        let mut command = Command::new(program("tgtadm", "tgt")?);
        command
            .env("TGT_IPC_SOCKET", &self.socket)
            .args(["--lld", "iscsi", "--mode", mode, "--op", operation])
            .args(more);
        run(&mut command).with_context(|| format!("telling tgtd: {mode} {operation}"))?;
        Ok(())
    }
}

impl Drop for Tgt {
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

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::sparse_file;

    const NAA: &str = "624a9370cdef0123456789abcdef0123";

    fn spec(directory: &Path) -> TgtSpec {
        let image = directory.join("lun.img");
        sparse_file(&image, 64 << 20).unwrap();
        let chap = Chap { user: "box".into(), secret: "a-secret-of-16-b".into() };
        TgtSpec { chap: Some(chap), luns: vec![LunSpec { number: 1, image, naa: NAA.into() }] }
    }

    /// Asks with a tool that no one here wrote; `Ok` is the identification page.
    fn identify(url: &str) -> Result<Vec<u8>> {
        let tool = program("iscsi-inq", "libiscsi-bin")?;
        run(Command::new(tool).args(["-e", "1", "-c", "131", url]))
    }

    #[test]
    fn libiscsi_logs_in_with_the_secret_only_and_sees_the_naa_name() {
        let directory = crate::place::fresh_directory().unwrap();
        let mut tgt = Tgt::start(directory.path(), spec(directory.path())).unwrap();
        let url = tgt.libiscsi_url(1);
        let page = identify(&url).unwrap();
        let name = hex_bytes(NAA);
        assert!(page.windows(16).any(|bytes| bytes == name), "{}", String::from_utf8_lossy(&page));
        let wrong = url.replace("a-secret", "b-secret");
        assert!(identify(&wrong).unwrap_err().to_string().contains("Authentication failure"));
        tgt.unmap(1).unwrap();
        assert!(identify(&url).is_err());
        tgt.restart().unwrap();
        identify(&url).unwrap();
        tgt.stop().unwrap();
        assert!(identify(&url).is_err());
    }

    fn hex_bytes(digits: &str) -> Vec<u8> {
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }
}
