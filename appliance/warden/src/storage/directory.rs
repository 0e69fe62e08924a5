//! The real thing: a directory of a file system.

use super::grower::{ALIGNMENT, Grower};
use super::{Append, Immutable, Read, Storage, kernel};
use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, Gid, IFlags, Mode, OFlags, fadvise, fallocate, fchmod,
    fchown, flock, ioctl_getflags, ioctl_setflags, statvfs,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes per read when reading back: large enough for a spinning disk, a multiple of any block.
const READ_BACK: usize = 4 << 20;
/// From this expected length on a file is written past the page cache: segments are, and nothing
/// else is as long.
const DIRECT_FROM: u64 = 8 << 20;
/// Ours to write, the daemon's group to read.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const SEALED_MODE: Mode = Mode::from_raw_mode(0o444);

/// A directory; its locks are held as long as this lives.
pub struct Directory {
    root: PathBuf,
    immutable: bool,
    group: Option<u32>,
    locks: Mutex<Vec<File>>,
    not_enforced: Mutex<BTreeSet<String>>,
}

impl Directory {
    /// `immutable`: set the attribute on sealed segments.
    #[must_use]
    pub fn new(root: PathBuf, immutable: bool) -> Self {
        let not_enforced = if immutable {
            BTreeSet::new()
        } else {
            BTreeSet::from(["the immutable attribute is switched off by configuration".into()])
        };
        Self {
            root,
            immutable,
            group: None,
            locks: Mutex::new(Vec::new()),
            not_enforced: Mutex::new(not_enforced),
        }
    }

    /// The group of the daemon, which may read everything and create files in shared directories.
    #[must_use]
    pub fn shared_with(mut self, group: Option<u32>) -> Self {
        self.group = group;
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// A regular file; not what a link points to.
    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.path(path), flags, FILE_MODE)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
        }
    }

    fn admit(&self, what: &str) {
        let mut known = guard(&self.not_enforced);
        if known.insert(what.to_owned()) {
            tracing::warn!(repository = %self.root.display(), "not enforced: {what}");
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader(File);

impl Read for Reader {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// Reads from the medium: cached pages are dropped at the opening and after each read.
struct Uncached(Reader);

impl Read for Uncached {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let outcome = self.0.read(offset, buffer);
        if let Some(length) = NonZeroU64::new(buffer.len() as u64) {
            fadvise(&self.0.0, offset, Some(length), Advice::DontNeed)?;
        }
        outcome
    }
}

impl Storage for Directory {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn lock(&self, path: &str) -> io::Result<bool> {
        let file = self.file(path, OFlags::RDWR | OFlags::CREATE)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => guard(&self.locks).push(file),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn create_dir(&self, path: &str, shared: bool) -> io::Result<()> {
        let path = self.path(path);
        DirBuilder::new().recursive(true).mode(0o750).create(&path)?;
        if let Some(group) = self.group {
            let directory = File::open(&path)?;
            fchown(&directory, None, Some(Gid::from_raw(group)))?;
            // Set-group-id: what is created inside belongs to the group too. Sticky: the group's
            // members rename and remove their own files only, so not one that was taken over.
            let mode = if shared { 0o3770 } else { 0o2750 };
            fchmod(&directory, Mode::from_raw_mode(mode))?;
        }
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => File::open(parent)?.sync_all(),
            None => File::open(".")?.sync_all(),
        }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in self.path(path).read_dir()? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    files.push((name, metadata.len()));
                }
                // Renamed or removed since the directory was read.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(files)
    }

    fn create(&self, path: &str, expected: u64) -> io::Result<Box<dyn Append>> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let file = self.file(path, flags)?;
        if expected > 0 {
            match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, expected) {
                // A file system that cannot do it takes the space while it is written.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => {
                    std::fs::remove_file(self.path(path))?;
                    return Err(error.into());
                }
            }
        }
        Ok(Box::new(if expected < DIRECT_FROM {
            Grower::buffered(file)
        } else {
            Grower::direct(file)
        }))
    }

    fn reopen(&self, path: &str) -> io::Result<Box<dyn Append>> {
        let file = self.file(path, OFlags::WRONLY | OFlags::APPEND)?;
        Ok(Box::new(Grower::buffered(file)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        Ok(Arc::new(Reader(self.file(path, OFlags::RDONLY)?)))
    }

    fn open_uncached(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        Ok(Arc::new(Uncached(Reader(drop_cache(self.file(path, OFlags::RDONLY)?)?))))
    }

    fn read_back(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let file = match self.file(path, OFlags::RDONLY | OFlags::DIRECT) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                drop_cache(self.file(path, OFlags::RDONLY)?)? // no direct reads there: tmpfs
            }
            other => other?,
        };
        let length = file.metadata()?.len();
        let mut buffer = vec![0; READ_BACK + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let buffer = &mut buffer[start..start + READ_BACK];
        let mut offset = 0;
        while offset < length {
            match file.read_at(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    sink(&buffer[..count]);
                    offset += count as u64;
                }
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn make_read_only(&self, path: &str) -> io::Result<()> {
        Ok(fchmod(self.file(path, OFlags::RDONLY)?, SEALED_MODE)?)
    }

    fn take_over(&self, path: &str) -> io::Result<()> {
        let file = self.file(path, OFlags::RDONLY)?;
        let metadata = file.metadata()?;
        if metadata.nlink() != 1 {
            let problem = "it has a second name, under which it could be changed";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let us = rustix::process::geteuid();
        if metadata.uid() != us.as_raw() {
            match fchown(&file, Some(us), None) {
                Err(Errno::PERM) => self.admit("segments stay the property of who wrote them"),
                other => other?,
            }
        }
        fchmod(&file, SEALED_MODE)?;
        match kernel::nobody_writes(&file) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                let problem = "somebody has it open for writing";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, problem));
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
                self.admit("whether a segment is still open for writing cannot be found out here");
            }
            other => other?,
        }
        // From here on the name stays (sticky directory); it may have been exchanged before.
        let named = self.file(path, OFlags::RDONLY)?.metadata()?;
        if (named.dev(), named.ino()) != (metadata.dev(), metadata.ino()) {
            let problem = "it was exchanged while it was taken over";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        file.sync_all()
    }

    fn set_immutable(&self, path: &str, immutable: bool) -> io::Result<Immutable> {
        if immutable && !self.immutable {
            return Ok(Immutable::NotWanted);
        }
        let file = self.file(path, OFlags::RDONLY)?;
        let outcome = ioctl_getflags(&file).and_then(|mut flags| {
            let before = flags;
            flags.set(IFlags::IMMUTABLE, immutable);
            if flags == before {
                return Ok(Immutable::Already);
            }
            ioctl_setflags(&file, flags).map(|()| Immutable::Set)
        });
        match outcome {
            Err(error @ (Errno::PERM | Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                if immutable {
                    self.admit("the immutable attribute cannot be set here");
                }
                Ok(Immutable::Impossible(error.into()))
            }
            other => Ok(other?),
        }
    }

    fn enable_verity(&self, path: &str) -> io::Result<bool> {
        let file = self.file(path, OFlags::RDONLY)?;
        match kernel::enable_verity(&file) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EEXIST) => Ok(true),
                Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EPERM) => Ok(false),
                Some(libc::EINVAL | libc::EACCES) => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn free(&self, path: &str) -> io::Result<u64> {
        let free = statvfs(self.path(path))?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    fn not_enforced(&self) -> Vec<String> {
        guard(&self.not_enforced).iter().cloned().collect()
    }
}

fn drop_cache(file: File) -> io::Result<File> {
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(file)
}
