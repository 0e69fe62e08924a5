//! The files of the repository, as git sees them: tracked, or new and not ignored.

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The work tree.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Lists the files of the repository that this crate is in.
    ///
    /// # Errors
    /// When git does not answer, or lists nothing.
    pub fn open() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).context("tidy lies two folders deep")?.to_owned();
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .context("starting git")?;
        let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        // A tracked file that was just removed is listed all the same.
        let files: Vec<String> = listed
            .split_terminator('\0')
            .filter(|path| root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        ensure!(
            !files.is_empty(),
            "git lists no file: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self { root, files })
    }

    /// The top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Paths below the top folder, with slashes.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The files below `folder` whose name ends in `.{extension}`.
    pub fn below<'a>(
        &'a self,
        folder: &'a str,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        self.files().filter(move |path| {
            path.starts_with(folder)
                && Path::new(path).extension().is_some_and(|found| found == extension)
        })
    }

    /// The text of a file; `None` when it is not text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes =
            std::fs::read(self.root.join(path)).with_context(|| format!("reading {path}"))?;
        Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
    }

    /// What Cargo knows of the workspace, without its dependencies.
    ///
    /// # Errors
    /// When Cargo cannot read a manifest.
    pub fn members(&self) -> Result<Vec<Package>> {
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join("Cargo.toml")).no_deps();
        Ok(command.exec()?.packages)
    }

    /// What Cargo knows of everything that is built for Linux, from the lock file.
    ///
    /// # Errors
    /// When the lock file is stale, or a package cannot be had.
    pub fn packages(&self) -> Result<Metadata> {
        let options = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
        let mut command = MetadataCommand::new();
        command.manifest_path(self.root.join("Cargo.toml"));
        Ok(command.other_options(options.map(String::from).to_vec()).exec()?)
    }
}
