//! Disks made by the programs that make them for real guests.

use guest::{Found, Wanted, look};
use model::{DiskRange, ExclusionKind};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const MIB: u64 = 1 << 20;
/// Debian keeps these programs where a plain user's PATH does not look.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Runs a program; gives what it printed.
pub fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

/// A disk as a sparse file.
pub struct Image {
    pub path: PathBuf,
    pub dir: tempfile::TempDir,
}

impl Image {
    pub fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        File::create(&path).unwrap().set_len(size).unwrap();
        Self { path, dir }
    }

    /// With this table, as `sfdisk` reads it.
    pub fn with_table(size: u64, table: &str) -> Self {
        let image = Self::new(size);
        run("sfdisk", &["--quiet", image.text()], table);
        image
    }

    pub fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, offset).unwrap();
    }

    /// Puts another file (such as a file system made by its own program) into the disk; sparse.
    pub fn put(&self, offset: u64, from: &Path) {
        let seek = offset.to_string();
        let (from, to) = (format!("if={}", from.display()), format!("of={}", self.text()));
        let options = ["oflag=seek_bytes", "conv=notrunc,sparse", "bs=64K", "status=none"];
        run("dd", &[&[&*from, &*to, &*format!("seek={seek}")], &options[..]].concat(), "");
    }

    /// A file beside the disk, of this size, made by a program that gets its path.
    pub fn beside(&self, name: &str, size: u64, make: impl Fn(&str)) -> PathBuf {
        let path = self.dir.path().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        make(path.to_str().unwrap());
        path
    }

    pub fn put_swap(&self, offset: u64, size: u64) {
        let swap = self.beside("swap", size, |path| {
            run("mkswap", &[path], "");
        });
        self.put(offset, &swap);
    }

    pub fn look(&self, grain: u64) -> Found {
        look(&self.file(), Wanted { swap: true, grain })
    }
}

/// The exclusions of one kind: (what, ranges).
pub fn of(found: &Found, kind: ExclusionKind) -> Vec<(&str, &[DiskRange])> {
    let of_kind = found.excluded.iter().filter(|exclusion| exclusion.kind == kind);
    of_kind.map(|exclusion| (exclusion.what.as_str(), exclusion.ranges.as_slice())).collect()
}

/// Why this was passed over.
pub fn reason<'a>(found: &'a Found, what: &str) -> &'a str {
    let passed = found.passed_over.iter().find(|passed| passed.what == what);
    passed.map_or("it was not passed over", |passed| passed.reason.as_str())
}

pub fn range(offset: u64, length: u64) -> DiskRange {
    DiskRange { offset, length }
}
