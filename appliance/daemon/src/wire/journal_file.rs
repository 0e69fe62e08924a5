//! Small files of the state directory: appended and synced, replaced by rename.

use jobs::JournalLog;
use jobs::ports::BoxError;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file in the state directory.
pub(crate) struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    pub(crate) fn new(state_dir: &Path, name: &str) -> Self {
        Self { path: state_dir.join(name) }
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    fn try_append(&self, line: &[u8]) -> std::io::Result<()> {
        let fresh = !self.path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(line).and_then(|()| file.sync_data()) {
            // Half a line must not stand before the next one.
            file.set_len(before)?;
            return Err(error);
        }
        if fresh { self.sync_dir() } else { Ok(()) }
    }

    fn try_replace(&self, lines: &[u8]) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(lines)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.sync_dir()
    }

    fn named(&self, source: std::io::Error) -> BoxError {
        format!("{}: {source}", self.path.display()).into()
    }
}

impl JournalLog for JournalFile {
    fn load(&self) -> Result<Vec<u8>, BoxError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.named(error)),
        }
    }

    fn append(&self, line: &[u8]) -> Result<(), BoxError> {
        self.try_append(line).map_err(|error| self.named(error))
    }

    fn replace(&self, lines: &[u8]) -> Result<(), BoxError> {
        self.try_replace(lines).map_err(|error| self.named(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_and_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = JournalFile::new(dir.path(), "journal");
        assert!(file.load().unwrap().is_empty());
        file.append(b"one\n").unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(file.load().unwrap(), b"one\ntwo\n");
        file.replace(b"two\n").unwrap();
        assert_eq!(JournalFile::new(dir.path(), "journal").load().unwrap(), b"two\n");
    }

    #[test]
    fn a_state_directory_that_is_gone_is_an_error_with_its_path() {
        let file = JournalFile::new(Path::new("/nonexistent/state"), "journal");
        assert!(file.append(b"x\n").unwrap_err().to_string().contains("/nonexistent/state"));
    }
}
