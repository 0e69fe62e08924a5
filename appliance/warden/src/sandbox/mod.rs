//! Giving up rights: what the two processes of the appliance can no longer do once they have begun.
//!
//! What this is: the capabilities, system calls and paths that the warden and the daemon keep.
//! What it is not: the lock. A lock is a verdict of the warden over its ledger; this makes it
//! harder to get around the warden after one of the two processes was taken over (FORMAT.md, 11).
//!
//! | layer | warden | daemon |
//! |---|---|---|
//! | user | its own | its own |
//! | capabilities, bounding set | immutable attribute, owners, modes, leases | as asked for |
//! | `no_new_privs`, no core dump, no tracing | yes | yes |
//! | paths (Landlock) | repository and state only | writing below the named paths only |
//! | requests to devices (Landlock) | none | none, unless asked for |
//! | programs (Landlock) | none is executed | none is executed |
//! | system calls (seccomp) | files, an accepted socket, threads | all but a deny-list |
//!
//! The order is fixed: capabilities of the bounding set can only be dropped with `CAP_SETPCAP`,
//! the user changed only with `CAP_SETUID`, paths restricted only after `no_new_privs`, and the
//! filter of system calls would forbid all of these.
//!
//! A layer that the kernel or the starting user does not allow is left out and *said*: in words,
//! in [`Confinement::missing`], which the warden's status shows. A layer that was asked for, is
//! possible, and fails is an error: nobody goes on with more rights than he was meant to have.

mod account;
mod calls;
mod paths;
mod privileges;

pub use account::{Account, AccountError};

use rustix::thread::CapabilitySet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Capabilities that the warden keeps.
pub const WARDEN_CAPABILITIES: CapabilitySet = CapabilitySet::LINUX_IMMUTABLE
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::LEASE);

/// What the warden keeps.
#[derive(Clone, Debug)]
pub struct WardenPlan {
    /// The user to become; `None` stays what started it.
    pub user: Option<Account>,
    /// Groups of that user besides its own: the daemon's, whose files it reads.
    pub groups: Vec<u32>,
    /// Directories that it works in: the repository with its volumes, its state.
    pub directories: Vec<PathBuf>,
}

/// What the daemon keeps.
#[derive(Clone, Debug, Default)]
pub struct DaemonPlan {
    /// The user to become; `None` stays what started it.
    pub user: Option<Account>,
    /// Files and directories that it writes to: its own state, `open/` of each volume, `lock`.
    /// All else can be read only; so the rest of the repository must not lie below one of these.
    pub writable: Vec<PathBuf>,
    /// Asks SCSI devices through their nodes in `/dev`. Without it no device takes a request; with
    /// it they are still opened for reading only, and what a node lets a reader send is decided by
    /// the kernel.
    pub devices: bool,
    /// Listens on a port below 1024.
    pub low_ports: bool,
    /// Starts other programs (in tests; the product's daemon starts none).
    pub execute: bool,
}

/// What holds from now on, and what does not, each in a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Layers in force.
    pub enforced: Vec<String>,
    /// Layers that are not, each with its reason.
    pub missing: Vec<String>,
}

impl Confinement {
    fn holds(&mut self, what: impl Into<String>) {
        self.enforced.push(what.into());
    }

    fn lacks(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in &self.enforced {
            writeln!(f, "enforced: {what}")?;
        }
        for what in &self.missing {
            writeln!(f, "NOT enforced: {what}")?;
        }
        Ok(())
    }
}

/// Why rights that were to be given up were not. The process must end.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Rights are given up thread by thread: there may be one only.
    #[error(
        "the process already has {count} threads; its rights must be given up before it starts any"
    )]
    Threads {
        /// How many there are.
        count: usize,
    },
    /// The kernel refused a step that this process may do.
    #[error("cannot {step}")]
    Kernel {
        /// What was to be done.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A path that is to stay reachable cannot be opened.
    #[error("cannot open {}, which is to stay reachable", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The rules themselves are not accepted.
    #[error("cannot {step}: {reason}")]
    Rules {
        /// What was to be done.
        step: &'static str,
        /// The library's answer.
        reason: String,
    },
}

impl SandboxError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        match self {
            Self::Threads { .. } | Self::Rules { .. } => model::ErrorKind::Unsupported,
            Self::Kernel { .. } | Self::Path { .. } => model::ErrorKind::Refused,
        }
    }
}

fn kernel<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::Kernel { step, source: source.into() }
}

/// Confines the warden. Its socket must be bound, and whatever lies outside of the plan's
/// directories be open, before.
pub fn confine_warden(plan: &WardenPlan) -> Result<Confinement, SandboxError> {
    alone()?;
    let mut state = Confinement::default();
    privileges::reduce(plan.user.as_ref(), &plan.groups, WARDEN_CAPABILITIES, &mut state)?;
    privileges::no_way_back(&mut state)?;
    paths::only(&plan.directories, &mut state)?;
    calls::allow_list(&mut state)?;
    Ok(state)
}

/// Confines the daemon. To be called before any thread is started, so before the runtime.
pub fn confine_daemon(plan: &DaemonPlan) -> Result<Confinement, SandboxError> {
    alone()?;
    let mut state = Confinement::default();
    let keep =
        if plan.low_ports { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
    privileges::reduce(plan.user.as_ref(), &[], keep, &mut state)?;
    privileges::no_way_back(&mut state)?;
    paths::write_only_below(plan, &mut state)?;
    calls::deny_list(plan.execute, &mut state)?;
    Ok(state)
}

/// Most of this concerns one thread and those it starts later.
fn alone() -> Result<(), SandboxError> {
    let tasks = Path::new("/proc/self/task");
    let threads =
        tasks.read_dir().map_err(|source| SandboxError::Path { path: tasks.to_owned(), source })?;
    match threads.count() {
        1 => Ok(()),
        count => Err(SandboxError::Threads { count }),
    }
}
