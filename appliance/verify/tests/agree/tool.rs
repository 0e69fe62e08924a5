//! The two verifiers as programs, and what tests do to files.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A process that is being started holds, for an instant, every file that this one has open, and
/// the warden seals none that somebody can write to. So nothing is started while a repository is
/// made.
static STARTING: RwLock<()> = RwLock::new(());

/// While this lives, no program is started.
pub(crate) fn sealing() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap()
}

fn starting() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap()
}

/// A verifier.
#[derive(Clone)]
pub(crate) struct Tool {
    program: PathBuf,
    before: Vec<PathBuf>,
}

pub(crate) fn ours() -> Tool {
    Tool { program: env!("CARGO_BIN_EXE_holdfast-verify").into(), before: Vec::new() }
}

/// The second implementation; `None`, loudly, where its Python packages are missing.
pub(crate) fn second(test: &str) -> Option<Tool> {
    let Some(venv) = std::env::var_os("HOLDFAST_VENV").map(PathBuf::from) else {
        println!("SKIPPED: {test}: HOLDFAST_VENV names no Python environment (see tests/setup)");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/verify.py");
    Some(Tool { program: venv.join("bin/python3"), before: vec![script] })
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Tool {
    pub(crate) fn run(&self, arguments: &[&dyn AsRef<OsStr>]) -> Said {
        let mut command = Command::new(&self.program);
        command.args(&self.before).env("PYTHONPYCACHEPREFIX", env!("CARGO_TARGET_TMPDIR"));
        command.args(arguments.iter().map(AsRef::as_ref));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = {
            let _nobody_seals = starting();
            command.spawn().unwrap()
        };
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Said { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Exit status and JSON of `check`.
    pub(crate) fn check(&self, dir: &Path, key: Option<&Path>) -> (i32, Value) {
        self.check_with(dir, key, &[])
    }

    /// The same with more options.
    pub(crate) fn check_with(&self, dir: &Path, key: Option<&Path>, more: &[&str]) -> (i32, Value) {
        let out = tempfile::tempdir().unwrap();
        let json = out.path().join("result.json");
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"check", &dir, &"--json", &json];
        if let Some(key) = &key {
            arguments.extend([&"--key-file" as &dyn AsRef<OsStr>, key]);
        }
        arguments.extend(more.iter().map(|word| word as &dyn AsRef<OsStr>));
        let said = self.run(&arguments);
        let json = fs::read(&json).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said.code, serde_json::from_slice(&json).unwrap())
    }

    /// `extract` to `out`.
    pub(crate) fn extract(
        &self,
        dir: &Path,
        (point, disk): (&str, usize),
        out: &Path,
        (key, holes): (Option<&Path>, bool),
    ) -> Said {
        let disk = disk.to_string();
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"extract", &dir, &point, &disk, &out];
        if let Some(key) = &key {
            arguments.extend([&"--key-file" as &dyn AsRef<OsStr>, key]);
        }
        if holes {
            arguments.push(&"--holes");
        }
        self.run(&arguments)
    }
}

/// What both must say alike.
pub(crate) fn essence((code, value): &(i32, Value)) -> Value {
    serde_json::json!({
        "code": code,
        "ledger": value["ledger"],
        "points": value["points"],
        "segments": value["segments"],
        "found": value["findings"].as_array().is_some_and(|list| !list.is_empty()),
    })
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::hard_link(entry.path(), target).unwrap();
        }
    }
}

/// Changes a file; other links to it keep what they have.
pub(crate) fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    replace(path, &bytes);
}

/// Puts another file in the place of one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path); // there may be none
    fs::write(path, bytes).unwrap();
}

/// The same head, signed by somebody else under the right name.
pub(crate) fn forge(dir: &Path) {
    let path = dir.join("ledger/head");
    let note = fs::read_to_string(&path).unwrap();
    let body = &note[..note.find("\n\n").unwrap() + 1];
    let signer = ledger::NoteSigner::new(body.lines().next().unwrap(), &[66; 32]).unwrap();
    replace(&path, signer.sign(body).as_bytes());
}

/// Where a sealed segment of volume 0 lies.
pub(crate) fn segment(dir: &Path, serial: u32) -> PathBuf {
    dir.join(format!("segments/{serial:08x}.segment"))
}

/// A file with a key-encryption key.
pub(crate) fn key_file(dir: &Path, key: &[u8; 32]) -> PathBuf {
    let path = dir.join("kek");
    fs::write(&path, hex::encode(key)).unwrap();
    path
}
