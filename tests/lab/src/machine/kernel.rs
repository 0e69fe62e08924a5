//! Debian's kernel as the setup unpacks it: image and modules, and a static busybox.
//!
//! Nothing of it is installed on the machine: `boot/vmlinuz-V`, `lib/modules/V` and `bin/busybox`
//! lie below `target/setup/guest`, or where `HOLDFAST_GUEST` says.

use crate::place::repository_root;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A kernel that a guest can boot.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) version: String,
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// `…/lib/modules/VERSION`.
    pub(super) modules: PathBuf,
    /// A program that needs no library.
    pub(super) busybox: PathBuf,
}

impl Kernel {
    /// The one that the setup has unpacked.
    pub(super) fn find() -> Result<Self> {
        let place = std::env::var_os("HOLDFAST_GUEST")
            .map_or_else(|| repository_root().join("target/setup/guest"), PathBuf::from);
        Self::below(&place).with_context(|| {
            format!("no kernel for guests in {}; `make test` unpacks one", place.display())
        })
    }

    fn below(place: &Path) -> Result<Self> {
        // The kernel of the guest finds nothing by a relative path.
        let place = place.canonicalize().context("the folder is not there")?;
        let images = place.join("boot").read_dir().context("it has no boot folder")?;
        let names = images.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let newest = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        let version = newest.max().context("it has no vmlinuz")?;
        let modules = place.join("lib/modules").join(&version);
        // Written last by the setup: without it the rest is half unpacked.
        anyhow::ensure!(modules.join("modules.dep").is_file(), "its modules have no index");
        let image = place.join("boot").join(format!("vmlinuz-{version}"));
        let busybox = place.join("bin/busybox");
        anyhow::ensure!(busybox.is_file(), "it has no busybox");
        Ok(Self { version, image, modules, busybox })
    }

    /// The files of modules and of all they need, in the order in which they can be loaded.
    /// What is built into the kernel has none.
    pub(super) fn files_of(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let text = |name: &str| {
            let path = self.modules.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let (dependencies, builtin) = (text("modules.dep")?, text("modules.builtin")?);
        let files = Index::parse(&dependencies, &builtin).in_order(names)?;
        Ok(files.into_iter().map(|file| self.modules.join(file)).collect())
    }
}

/// What depmod has found out.
#[derive(Debug)]
struct Index<'a> {
    /// Name of the module: its file, and the files it needs, the last one first to be loaded.
    files: BTreeMap<String, (&'a str, Vec<&'a str>)>,
    builtin: BTreeSet<String>,
}

impl<'a> Index<'a> {
    fn parse(dependencies: &'a str, builtin: &'a str) -> Self {
        let files = dependencies.lines().filter_map(|line| line.split_once(':'));
        Self {
            files: files
                .map(|(file, needs)| (name_of(file), (file, needs.split_whitespace().collect())))
                .collect(),
            builtin: builtin.lines().map(name_of).collect(),
        }
    }

    fn in_order(&self, names: &[&str]) -> Result<Vec<&'a str>> {
        let mut order: Vec<&str> = Vec::new();
        for &name in names.iter().filter(|&&name| !self.builtin.contains(name)) {
            let (file, needs) =
                self.files.get(name).with_context(|| format!("the kernel has no {name}"))?;
            for part in needs.iter().rev().chain([file]) {
                if !order.contains(part) {
                    order.push(part);
                }
            }
        }
        Ok(order)
    }
}

/// `kernel/fs/9p/9p.ko` is called `9p`; a dash in a file name is an underscore in the module's.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let index = Index::parse(
            "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n\
             kernel/net/9p/9pnet.ko:\n\
             kernel/fs/netfs/netfs.ko:\n\
             kernel/net/9p/9pnet-virtio.ko: kernel/net/9p/9pnet.ko\n",
            "kernel/drivers/virtio/virtio.ko\n",
        );
        assert_eq!(
            index.in_order(&["virtio", "9p", "9pnet_virtio"]).unwrap(),
            [
                "kernel/fs/netfs/netfs.ko",
                "kernel/net/9p/9pnet.ko",
                "kernel/fs/9p/9p.ko",
                "kernel/net/9p/9pnet-virtio.ko"
            ]
        );
        assert!(index.in_order(&["no_such"]).unwrap_err().to_string().contains("no_such"));
    }
}
