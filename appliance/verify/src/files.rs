//! Reading of regular files by position. Nothing here can write below a repository.

use crate::VerifyError;
use crate::report::Damage;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A regular file that is open for reading.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    length: u64,
}

impl Source {
    /// Opens a regular file; a link, a pipe or nothing at all is damage.
    pub(crate) fn open(path: &Path) -> Result<Self, Damage> {
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Damage::new("the file is missing"),
            _ => Damage(format!("the file cannot be opened: {error}")),
        };
        let kind = fs::symlink_metadata(path).map_err(unusable)?;
        Damage::unless(kind.is_file(), "not a regular file")?;
        let file = File::open(path).map_err(unusable)?;
        let length = file.metadata().map_err(unusable)?.len();
        Ok(Self { file, length })
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Damage> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.length {
            return Err(Damage(format!("the file ends at {}, before byte {end}", self.length)));
        }
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| Damage(format!("bytes from {offset} on cannot be read: {error}")))
    }

    /// `length` bytes from `offset`, a length that has been checked.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, Damage> {
        let end = offset.saturating_add(length as u64);
        if end > self.length {
            return Err(Damage(format!("the file ends at {}, before byte {end}", self.length)));
        }
        let mut bytes = vec![0; length];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// The content of a file that is exactly `length` bytes long.
pub(crate) fn small(path: &Path, length: usize) -> Result<Vec<u8>, Damage> {
    let file = Source::open(path)?;
    if file.length() != length as u64 {
        return Err(Damage(format!("{} bytes long instead of {length}", file.length())));
    }
    file.bytes(0, length)
}

/// Names in a directory, ascending; none when there is no such directory.
pub(crate) fn listing(path: &Path) -> Result<Vec<String>, Damage> {
    let unusable = |error| Damage(format!("the directory cannot be read: {error}"));
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(unusable)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Makes a file that did not exist and does not lie in the repository.
pub fn create_outside(repository: &Path, path: &Path) -> Result<File, VerifyError> {
    let io = |doing| VerifyError::io(doing, path);
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(VerifyError::refused(format!("{} is no file name", path.display()))),
    };
    let parent = parent.canonicalize().map_err(io("looking for the directory of"))?;
    let inside = repository.canonicalize().map_err(VerifyError::io("opening", repository))?;
    if parent.starts_with(inside) {
        let path = path.display();
        return Err(VerifyError::refused(format!(
            "{path} lies in the repository, where nothing is ever written; name another place"
        )));
    }
    File::options().write(true).create_new(true).open(path).map_err(io("creating"))
}
