//! Where the lab keeps its files, and where it finds its programs.

use crate::process::run;
use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// The top of the repository.
#[must_use]
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository_root().join("target"), PathBuf::from)
}

/// Where downloads are kept between runs: `HOLDFAST_TEST_CACHE`, or below [`target`].
///
/// # Errors
/// When it cannot be made.
pub fn test_cache() -> Result<PathBuf> {
    let cache = std::env::var_os("HOLDFAST_TEST_CACHE")
        .map_or_else(|| target().join("test-cache"), PathBuf::from);
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    Ok(cache)
}

/// Says past the test harness, which hides the output of tests that pass, that one did not run.
///
/// # Errors
/// When standard error is closed.
pub fn skipped(test: &str, why: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "SKIPPED: {test}: {why}")?)
}

/// A directory of its own for one lab, removed when dropped.
#[derive(Debug)]
pub struct FreshDirectory {
    directory: TempDir,
    /// Held as long as the directory is in use, by the kernel's word: however we end, it lets go.
    _in_use: File,
}

impl FreshDirectory {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for FreshDirectory {
    fn drop(&mut self) {
        release(self.path());
    }
}

/// Takes the immutable attribute off everything below `path`, so that it can be removed. Only root
/// can, and only root has set it.
pub fn release(path: &Path) {
    if rustix::process::geteuid().is_root() {
        // What has no such attribute complains; what stays is found when it is removed.
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(path).output();
    }
}

/// The file in a lab's directory whose lock says that somebody uses it.
const IN_USE: &str = "in-use";

/// Makes a directory for one lab. Directories of processes that were killed before they could
/// remove theirs are swept on the way: disk images are large.
///
/// # Errors
/// When it cannot be made.
pub fn fresh_directory() -> Result<FreshDirectory> {
    let base = target().join("lab").join("run");
    std::fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
    // One at a time, so that nobody sweeps a directory between its making and its lock.
    let turn = File::create(base.join("turn"))?;
    flock(&turn, FlockOperation::LockExclusive).context("waiting for the turn to begin")?;
    sweep(&base);
    let directory = tempfile::Builder::new()
        .prefix("lab-")
        .tempdir_in(&base)
        .with_context(|| format!("making a directory in {}", base.display()))?;
    let in_use = File::create_new(directory.path().join(IN_USE))?;
    flock(&in_use, FlockOperation::LockExclusive)?;
    Ok(FreshDirectory { directory, _in_use: in_use })
}

/// Removes the directories that nobody uses any more.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for place in entries.flatten().map(|entry| entry.path()) {
        let Ok(lock) = File::open(place.join(IN_USE)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            release(&place);
            // What cannot be removed now is tried again by the next lab.
            let _ = std::fs::remove_dir_all(&place);
        }
    }
}

/// The absolute path of a program of the machine. Debian keeps several of the lab's in `sbin`
/// directories, which are not in a plain user's `PATH`.
///
/// # Errors
/// When it is not installed; the error names the Debian package.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin"])
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} not found; it is in the Debian package {package}"))
}

/// The programs of this workspace that the lab runs, and the crates they come from.
const PROGRAMS: &[(&str, &str)] = &[
    ("holdfastd", "daemon"),
    ("holdfast-warden", "wardend"),
    ("holdfast-verify", "verify"),
    ("holdfast", "cli"),
    ("vmfs-tool", "fakes"),
];

/// The absolute path of a program of this workspace, such as `holdfastd`.
///
/// It comes from the folder `HOLDFAST_BIN` when that is set (the targets of the Makefile build
/// first), else from Cargo's debug folder after a build, so that a test never meets an old one.
///
/// # Errors
/// When it does not build or is not there.
pub fn built(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("HOLDFAST_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => {
            build(name)?;
            target().join("debug")
        }
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is not there: no crate of the workspace builds it", path.display());
    }
    Ok(path)
}

/// Builds a program, once per process.
fn build(name: &str) -> Result<()> {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.iter().any(|done| done == name) {
        return Ok(());
    }
    let known = PROGRAMS.iter().find(|(program, _)| *program == name);
    let (program, package) = known.with_context(|| format!("the lab runs no program {name}"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", package, "--bin", program])
        .current_dir(repository_root());
    run(&mut cargo).with_context(|| format!("building {program}"))?;
    built.push(name.to_owned());
    Ok(())
}

/// Copies a disk image and keeps its holes.
///
/// # Errors
/// When `cp` fails, such as on a full disk.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Makes a sparse file of `bytes`.
///
/// # Errors
/// When it exists already or the file system refuses.
pub fn sparse_file(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create_new(path).with_context(|| format!("making {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("sizing {}", path.display()))?;
    if file.metadata()?.len() != bytes {
        bail!("{} did not get its size", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_left_alone_and_one_left_behind_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let [used, left] = ["used", "left"].map(|name| base.path().join(name));
        for place in [&used, &left] {
            std::fs::create_dir(place).unwrap();
        }
        let holder = File::create_new(used.join(IN_USE)).unwrap();
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        File::create_new(left.join(IN_USE)).unwrap();
        sweep(base.path());
        assert!(used.exists() && !left.exists());
    }
}
