//! The process that is confined, and what it tries.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use warden::sandbox::{
    Account, Confinement, DaemonPlan, WardenPlan, confine_daemon, confine_warden,
};

const ROLE: &str = "HOLDFAST_PROBE_ROLE";
const ATTACK: &str = "HOLDFAST_PROBE_ATTACK";
const PLACE: &str = "HOLDFAST_PROBE_PLACE";
/// A user that no machine has.
pub(crate) const USER: Account = Account { user: 61001, group: 61001 };

/// Which process it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Warden,
    Daemon,
    /// The daemon that asks SCSI devices.
    Asking,
}

impl Role {
    const ALL: [Self; 3] = [Self::Warden, Self::Daemon, Self::Asking];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

pub(crate) struct Probe {
    role: Role,
    attack: String,
    place: PathBuf,
}

/// The probe that this process is to be, if it was started as one.
pub(crate) fn asked() -> Option<Probe> {
    let name = std::env::var(ROLE).ok()?;
    let role = Role::ALL.into_iter().find(|role| role.name() == name).expect("a known role");
    Some(Probe {
        role,
        attack: std::env::var(ATTACK).expect("the parent names the attack"),
        place: std::env::var_os(PLACE).expect("the parent names the place").into(),
    })
}

/// Starts a probe in `place`, which has `inside/` (writable to it) and `outside/`.
pub(crate) fn start(role: Role, attack: &str, place: &Path) -> Output {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .env(ROLE, role.name())
        .env(ATTACK, attack)
        .env(PLACE, place)
        .output()
        .expect("a probe can be started")
}

impl Probe {
    pub(crate) fn run(self) -> ExitCode {
        let confinement = match self.confine() {
            Ok(confinement) => confinement,
            Err(error) => return say(&format!("not confined: {error}")),
        };
        match self.attempt(&confinement) {
            Ok(what) => say(&what),
            Err(error) => say(&format!("errno {}", error.raw_os_error().unwrap_or(-1))),
        }
    }

    fn confine(&self) -> Result<Confinement, warden::sandbox::SandboxError> {
        let user = rustix::process::geteuid().is_root().then_some(USER);
        match self.role {
            Role::Warden => confine_warden(&WardenPlan {
                user,
                groups: Vec::new(),
                directories: vec![self.place.join("inside")],
            }),
            Role::Daemon | Role::Asking => confine_daemon(&DaemonPlan {
                user,
                devices: self.role == Role::Asking,
                writable: vec![self.place.join("inside")],
                ..DaemonPlan::default()
            }),
        }
    }

    fn attempt(&self, confinement: &Confinement) -> io::Result<String> {
        let inside = |name: &str| self.place.join("inside").join(name);
        let outside = |name: &str| self.place.join("outside").join(name);
        let (what, argument) = self.attack.split_once(' ').unwrap_or((&self.attack, ""));
        match what {
            "report" => return Ok(confinement.to_string()),
            "status" => return std::fs::read_to_string("/proc/self/status"),
            "read" => drop(std::fs::read(outside("file"))?),
            "write" => OpenOptions::new().append(true).open(outside("file"))?.write_all(b"x")?,
            "truncate" => {
                drop(OpenOptions::new().write(true).truncate(true).open(outside("file"))?)
            }
            "create" => drop(File::create_new(outside("new"))?),
            "remove" => std::fs::remove_file(outside("file"))?,
            "move-in" => std::fs::rename(outside("file"), inside("taken"))?,
            "move-over" => std::fs::rename(inside("file"), outside("file"))?,
            "link-in" => std::fs::hard_link(outside("file"), inside("link"))?,
            "symlink-in" => std::os::unix::fs::symlink(outside("file"), inside("link"))?,
            "write-inside" => std::fs::write(inside("own"), b"own")?,
            "work" => work(&inside("work"))?,
            "immutable" => {
                let file = File::open(inside("file"))?;
                let flags = rustix::fs::ioctl_getflags(&file)?;
                rustix::fs::ioctl_setflags(&file, flags | rustix::fs::IFlags::IMMUTABLE)?;
                rustix::fs::ioctl_setflags(&file, flags)?;
            }
            // Every device answers this one: that it is none, or that it is no terminal.
            "ask-device" => match rustix::termios::tcgetattr(File::open("/dev/zero")?) {
                Err(rustix::io::Errno::NOTTY) => {}
                other => return other.map(|_| "done".to_owned()).map_err(Into::into),
            },
            "write-device" => drop(OpenOptions::new().write(true).open("/dev/zero")?),
            "execute" => return Err(Command::new("/bin/true").exec()),
            "thread" => {
                return Ok(std::thread::spawn(|| "done".to_owned()).join().expect("it ends"));
            }
            "call" => raw(argument.parse().expect("the number of a call"))?,
            other => panic!("no attack {other}"),
        }
        Ok("done".into())
    }
}

/// What the warden does all day, in small.
fn work(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)?;
    let (new, file) = (path.join("head.new"), path.join("head"));
    std::fs::write(&new, b"bytes")?;
    let opened = File::open(&new)?;
    opened.sync_all()?;
    rustix::fs::fcntl_getfl(opened.as_fd())?;
    std::fs::rename(&new, &file)?;
    File::open(path)?.sync_all()?;
    assert_eq!(path.read_dir()?.count(), 1);
    std::thread::sleep(std::time::Duration::from_millis(1));
    std::fs::remove_file(&file)?;
    std::fs::remove_dir(path)
}

/// The call with this number, with zeros for arguments.
#[allow(unsafe_code)]
fn raw(call: i64) -> io::Result<()> {
    // SAFETY: every argument is zero, so that the kernel is handed no memory of this process and
    // the call can at most fail; the process does nothing but report afterwards.
    let answer = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn say(what: &str) -> ExitCode {
    // The standard streams are open already; a probe that cannot answer has failed.
    match io::stdout().write_all(what.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
