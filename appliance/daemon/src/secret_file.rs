//! Secrets come from files that only their owner can read, never from arguments or the
//! environment, so that they stand in no process list.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest secret that is read: more is a wrong file.
const SECRET_MAX: u64 = 4096;

/// A secret cannot be had from its file. Never says anything of its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    #[error("reading the secret in {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is readable by group or others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} is empty or longer than {SECRET_MAX} bytes")]
    Size { path: PathBuf },
    #[error("writing a new secret to {path}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// The first line of the file.
pub(crate) fn read(path: &Path) -> Result<String, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed { path: path.into(), mode });
    }
    let mut text = String::new();
    file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() && text.len() as u64 <= SECRET_MAX => Ok(line.into()),
        _ => Err(SecretFileError::Size { path: path.into() }),
    }
}

/// Reads the secret, or makes the file with `fresh` when there is none.
pub(crate) fn read_or_create(path: &Path, fresh: &str) -> Result<String, SecretFileError> {
    match create(path, fresh) {
        Err(SecretFileError::Write { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
        }
        other => other?,
    }
    read(path)
}

/// Makes the file, which must not exist.
pub(crate) fn create(path: &Path, secret: &str) -> Result<(), SecretFileError> {
    let failed = |source| SecretFileError::Write { path: path.into(), source };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(read_or_create(&path, "first").unwrap(), "first");
        assert_eq!(read_or_create(&path, "second").unwrap(), "first");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("first"), "{error}");
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_or_create(&dir.path().join("token"), "").is_err());
    }
}
