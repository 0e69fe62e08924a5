//! A repository with its warden, and the clean-up that also takes immutable files away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::{File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Users that no machine has.
pub(crate) const WARDEN: u32 = 61000;
pub(crate) const DAEMON: u32 = 61001;
/// Long enough for a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A repository in a directory of its own, and its warden while it runs.
pub(crate) struct Stage {
    pub(crate) place: TempDir,
    warden: Option<Child>,
}

impl Stage {
    /// A new repository with a running warden; `None`, said aloud, without root.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::prepared(test, |_| Vec::new())
    }

    /// The same in a folder that `prepare` has seen first; it gives back more officers, as
    /// `officer new` prints them.
    pub(crate) fn prepared(test: &str, prepare: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: {test}: only root can start processes of several users");
            return None;
        }
        let place = tempfile::Builder::new().prefix("attack").tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let more = prepare(place.path());
        let mut stage = Self { place, warden: None };
        let officer = |name: &str, seed| {
            let key = ledger::NoteSigner::new(name, &seed).unwrap().vkey().key();
            format!("--officer={name}={}", STANDARD.encode(key))
        };
        let officers = [officer("ann", ANN_SEED), officer("bob", BOB_SEED)];
        let more = more.iter().map(|officer| format!("--officer={officer}"));
        let made = stage.command("create").args(officers).args(more).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        stage.start();
        Some(stage)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.place.path().join("repository")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("run/socket")
    }

    /// `holdfast-warden <what>` with the places and users of this stage.
    pub(crate) fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-warden"));
        command.arg(what);
        command.arg("--repository").arg(self.repository());
        command.arg("--state").arg(self.state());
        command.args(["--daemon-user", &DAEMON.to_string(), "--user", &WARDEN.to_string()]);
        if what == "serve" {
            command.arg("--socket").arg(self.socket());
        }
        command
    }

    /// Starts the warden and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.start_as(self.command("serve"));
    }

    /// The same with another command line.
    pub(crate) fn start_as(&mut self, mut command: Command) {
        let log = File::create(self.place.path().join("log")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !self.log().contains("ready") {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the warden ended: {status}, signal {:?}: {}", status.signal(), self.log());
            }
            assert!(Instant::now() < end, "the warden is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
        self.warden = Some(child);
    }

    /// Starts a warden that refuses to; what it says.
    pub(crate) fn start_fails(&self) -> String {
        let mut child = self.command("serve").stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                None => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("the warden did not refuse");
                }
            }
        };
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(!status.success() && status.signal().is_none(), "{status}: {told}");
        told
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.warden.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The warden's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.warden.as_ref().unwrap().id()
    }

    /// The warden is still the process that was started.
    pub(crate) fn alive(&mut self) -> bool {
        self.warden.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    /// `holdfast-warden status`, as root.
    pub(crate) fn status(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_holdfast-warden"))
            .args(["status", "--json", "--socket"])
            .arg(self.socket())
            .output()
            .unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.warden.take() {
            // Its own child; that it has ended already is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
        mutable(&self.repository().join("segments"));
    }
}

/// Clears the attribute of everything in `folder`, so that it can be removed.
pub(crate) fn mutable(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        set_immutable(&entry.path(), false);
    }
}

/// What `chattr` does; false: the file system has no such attribute.
pub(crate) fn set_immutable(path: &Path, immutable: bool) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(mut flags) = rustix::fs::ioctl_getflags(&file) else { return false };
    flags.set(rustix::fs::IFlags::IMMUTABLE, immutable);
    rustix::fs::ioctl_setflags(&file, flags).is_ok()
}

pub(crate) fn is_immutable(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    rustix::fs::ioctl_getflags(&file)
        .is_ok_and(|flags| flags.contains(rustix::fs::IFlags::IMMUTABLE))
}

/// Seeds of the officers' keys.
pub(crate) const ANN_SEED: [u8; 32] = [0xa1; 32];
pub(crate) const BOB_SEED: [u8; 32] = [0xb2; 32];
