//! Real files for the guests: what this machine has installed anyway.
//!
//! Programs, libraries, documentation and a compiler compress and repeat like a real server's
//! disk, which made-up bytes never do. The list is sorted, so one machine always gives the same.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system's block: what a file takes at least.
const BLOCK: u64 = 4096;
/// Larger ones would make the choice depend on single files.
const FILE_MAX: u64 = 48 << 20;

/// A file of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealFile {
    /// Absolute.
    pub path: PathBuf,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// All usable files of the machine's installed software, in the order of their paths.
///
/// # Errors
/// When not even the compiler's folder can be read.
pub fn installed() -> Result<Vec<RealFile>> {
    let mut files = Vec::new();
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"].map(PathBuf::from) {
        walk(&folder, &mut files);
    }
    walk(&compiler_folder()?, &mut files);
    if files.is_empty() {
        bail!("found no readable file in /usr or in the compiler's folder");
    }
    Ok(files)
}

/// Some of `files`, beginning at a place that `name` chooses and going round, until `budget`
/// bytes of file-system blocks are used.
#[must_use]
pub fn choose<'a>(files: &'a [RealFile], name: &str, budget: u64) -> Vec<&'a RealFile> {
    let turn = usize::from(blake3::hash(name.as_bytes()).as_bytes()[0]);
    let start = files.len() * turn / 256;
    let mut left = budget;
    let mut chosen = Vec::new();
    for file in files[start..].iter().chain(&files[..start]) {
        let cost = file.bytes.div_ceil(BLOCK) * BLOCK;
        if left == 0 {
            break;
        }
        // No single file may take much of a small budget, or the last of it wait for a tiny one.
        if cost <= left && cost <= budget / 8 {
            left -= cost;
            chosen.push(file);
        }
    }
    chosen
}

/// Copies the chosen files below `stage`, each at its own path.
///
/// # Errors
/// When a file cannot be copied.
pub fn copy_below(stage: &Path, chosen: &[&RealFile]) -> Result<()> {
    for file in chosen {
        let relative = file.path.strip_prefix("/").unwrap_or(&file.path);
        let place = stage.join(relative);
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(&file.path, &place)
            .with_context(|| format!("copying {}", file.path.display()))?;
    }
    Ok(())
}

fn compiler_folder() -> Result<PathBuf> {
    let printed = crate::process::run(Command::new("rustc").args(["--print", "sysroot"]))?;
    let text = String::from_utf8(printed).context("the compiler's folder is not UTF-8")?;
    Ok(PathBuf::from(text.trim()))
}

/// Adds the plain, readable files below `folder`. What cannot be read is not the guest's concern.
fn walk(folder: &Path, files: &mut Vec<RealFile>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(about) = path.symlink_metadata() else { continue };
        if about.is_dir() {
            walk(&path, files);
        } else if about.is_file() && usable(&path, about.len()) {
            files.push(RealFile { path, bytes: about.len() });
        }
    }
}

/// Readable, not too large, and with a name that needs no quoting anywhere.
fn usable(path: &Path, bytes: u64) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    bytes <= FILE_MAX
        && path.to_str().is_some_and(|text| text.bytes().all(plain))
        && std::fs::File::open(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_counts_whole_blocks_and_names_choose_differently() {
        let files: Vec<RealFile> =
            (0..100).map(|n| RealFile { path: format!("/f{n}").into(), bytes: 1 }).collect();
        let first = choose(&files, "web", 10 * BLOCK);
        let other = choose(&files, "mail", 10 * BLOCK);
        assert_eq!((first.len(), other.len()), (10, 10));
        assert!(first.iter().all(|file| !other.contains(file)));
        assert_eq!(choose(&files, "all", 1000 * BLOCK).len(), 100);
    }
}
