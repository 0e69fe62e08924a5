//! Other readers, as processes of their own: qemu-img and dissect.hypervisor.

use lab::place::skipped;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// True when qemu-img is there; said loudly when it is not.
pub(crate) fn has_qemu(test: &str) -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok();
    if !there {
        skipped(test, "no qemu-img (Debian package qemu-utils)").unwrap();
    }
    there
}

/// The Python that has dissect.hypervisor; `None`, said loudly, when it is not there.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let venv = std::env::var_os("HOLDFAST_VENV");
    if venv.is_none() {
        skipped(test, "no Python environment with dissect.hypervisor (HOLDFAST_VENV)").unwrap();
    }
    venv.map(|venv| Path::new(&venv).join("bin/python"))
}

/// Runs qemu-img in a folder, whatever comes of it.
pub(crate) fn try_qemu(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("qemu-img").args(arguments).current_dir(folder).output().unwrap()
}

/// Runs qemu-img in a folder; it must succeed.
pub(crate) fn qemu(folder: &Path, arguments: &[&str]) {
    let output = try_qemu(folder, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {words}");
}

/// The disk as qemu-img sees it.
pub(crate) fn qemu_content(folder: &Path, name: &str) -> Vec<u8> {
    let raw = format!("{name}.raw");
    qemu(folder, &["convert", "-f", "vmdk", "-O", "raw", name, &raw]);
    let bytes = std::fs::read(folder.join(&raw)).unwrap();
    std::fs::remove_file(folder.join(&raw)).unwrap();
    bytes
}

/// Runs dissect.hypervisor on a disk, whatever comes of it.
pub(crate) fn try_dissect(python: &Path, folder: &Path, name: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dissect_disk.py");
    Command::new(python).arg(script).arg(folder.join(name)).output().unwrap()
}

/// Size and SHA-256 of the disk as dissect.hypervisor sees it.
pub(crate) fn dissect_digest(python: &Path, folder: &Path, name: &str) -> (u64, String) {
    let output = try_dissect(python, folder, name);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (size, digest) = text.trim().split_once(' ').unwrap();
    (size.parse().unwrap(), digest.into())
}

/// The SHA-256 of bytes as hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Runs one command of qemu-io on a disk.
pub(crate) fn qemu_io(folder: &Path, name: &str, command: &str) {
    let mut process = Command::new("qemu-io");
    let output = process.args(["-f", "vmdk", "-c", command, name]).current_dir(folder).output();
    let output = output.unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-io {command}: {words}");
}
