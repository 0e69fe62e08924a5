//! Where the kernel tells about itself: sysfs, procfs and device nodes, below roots that a test
//! can replace. Reading is total: what is missing or odd is `None`, never a guess.

use super::error::KernelError;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// An attribute of sysfs is at most a page.
const ATTRIBUTE_MAX: u64 = 4096;
/// A list of procfs longer than this is not believed.
const LIST_MAX: u64 = 16 << 20;

/// The three roots.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) sys: PathBuf,
    pub(crate) proc: PathBuf,
    pub(crate) dev: PathBuf,
}

impl Tree {
    /// Those of the running system.
    pub(crate) fn system() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }

    /// Folder of a class, such as `fc_host`.
    pub(crate) fn class(&self, class: &str) -> PathBuf {
        self.sys.join("class").join(class)
    }

    /// A whole list of procfs. An error when it is missing: what it would have said is unknown.
    pub(crate) fn list(&self, name: &str) -> Result<String, KernelError> {
        let path = self.proc.join(name);
        let failed = |error| KernelError::read(&path, error);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed)?;
        let length = file.take(LIST_MAX).read_to_end(&mut bytes).map_err(failed)?;
        if length as u64 == LIST_MAX {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Names in a folder, sorted; none when it is missing.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_by_key(|name| natural(name));
    names
}

/// `host10` comes after `host9`.
fn natural(name: &str) -> (String, u64, String) {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[letters.len()..].parse().unwrap_or(u64::MAX);
    (letters.to_owned(), number, name.to_owned())
}

/// The first name in a folder that has exactly one sort of entry, such as `block/`.
pub(crate) fn only_name(folder: &Path) -> Option<String> {
    names(folder).into_iter().next()
}

/// The text of an attribute without blanks around it; `None` when it is missing, empty or cannot
/// be read. Bytes that are no text are shown as such.
pub(crate) fn text(folder: &Path, attribute: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(folder.join(attribute)).ok()?.take(ATTRIBUTE_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A decimal attribute; `None` for any other text, such as `off`.
pub(crate) fn number<T: std::str::FromStr>(folder: &Path, attribute: &str) -> Option<T> {
    text(folder, attribute)?.parse().ok()
}

/// The last part of the place a link points to.
pub(crate) fn link_name(folder: &Path, link: &str) -> Option<String> {
    fs::read_link(folder.join(link)).ok()?.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_attributes_are_none_and_numbers_sort_as_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("host10", b" Online \n");
        write("host9", b"30\n");
        write("host1", b"\n");
        write("odd", b"\xff\xfe\n");
        write("long", &vec![b'7'; 100_000]);
        assert_eq!(names(folder.path()), ["host1", "host9", "host10", "long", "odd"]);
        assert_eq!(text(folder.path(), "host10").as_deref(), Some("Online"));
        assert_eq!(text(folder.path(), "host1"), None);
        assert_eq!(text(folder.path(), "missing"), None);
        assert_eq!(text(folder.path(), "odd").unwrap().chars().count(), 2);
        assert_eq!(text(folder.path(), "long").unwrap().len(), 4096);
        assert_eq!(number(folder.path(), "host9"), Some(30_u32));
        assert_eq!(number::<u32>(folder.path(), "host10"), None);
        assert_eq!(names(&folder.path().join("missing")), Vec::<String>::new());
    }
}
