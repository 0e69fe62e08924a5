//! The real thing: a directory of a file system.

use super::{Append, Immutable, Read, Storage};
use rustix::fs::{
    Advice, FlockOperation, IFlags, Mode, OFlags, fadvise, flock, ioctl_getflags, ioctl_setflags,
    statvfs,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Bytes per read when reading back: large enough for a spinning disk, a multiple of any block.
const READ_BACK: usize = 4 << 20;
/// Alignment of direct reads: the largest logical block in use.
const ALIGNMENT: usize = 4096;

/// A directory; the lock is held as long as this lives.
pub(crate) struct Directory {
    root: PathBuf,
    immutable: bool,
    lock: Mutex<Option<File>>,
}

impl Directory {
    /// `immutable`: set the attribute on sealed segments.
    pub(crate) fn new(root: PathBuf, immutable: bool) -> Self {
        Self { root, immutable, lock: Mutex::new(None) }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

struct Grower(File);

impl Append for Grower {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
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

impl Storage for Directory {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn lock(&self) -> io::Result<bool> {
        let mut held = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => *held = Some(file),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
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
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn Append>> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        Ok(Box::new(Grower(options.open(self.path(path))?)))
    }

    fn reopen(&self, path: &str) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(Grower(OpenOptions::new().append(true).open(self.path(path))?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        Ok(Arc::new(Reader(File::open(self.path(path))?)))
    }

    fn read_back(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let path = self.path(path);
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::INVAL) => drop_cache(File::open(&path)?)?, // no direct reads there: tmpfs
            Err(error) => return Err(error.into()),
        };
        let length = file.metadata()?.len();
        let mut buffer = vec![0; READ_BACK + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let buffer = &mut buffer[start..start + READ_BACK];
        let mut offset = 0;
        while offset < length {
            match file.read_at(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => sink(&buffer[..count]),
            }
            offset = offset.saturating_add(READ_BACK as u64);
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
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(0o444))
    }

    fn set_immutable(&self, path: &str, immutable: bool) -> io::Result<Immutable> {
        if immutable && !self.immutable {
            return Ok(Immutable::NotWanted);
        }
        let file = File::open(self.path(path))?;
        let outcome = ioctl_getflags(&file).and_then(|mut flags| {
            let before = flags;
            flags.set(IFlags::IMMUTABLE, immutable);
            if flags == before { Ok(()) } else { ioctl_setflags(&file, flags) }
        });
        match outcome {
            Ok(()) => Ok(Immutable::Set),
            Err(error @ (Errno::PERM | Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                Ok(Immutable::Impossible(error.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn free(&self) -> io::Result<u64> {
        let free = statvfs(&self.root)?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

fn drop_cache(file: File) -> io::Result<File> {
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(file)
}
