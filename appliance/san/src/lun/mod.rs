//! A LUN over all paths that lead to it.
//!
//! A read is split into commands, and each takes the path that is expected to answer first
//! ([`crate::multipath`]). What fails on one path is sent again by another; the caller sees every
//! byte once. Bytes count when the path they came by has proven, since it was last lost or
//! announced a change, that it leads to the LUN that was found at the beginning.

mod command;
mod identity;
mod keeper;
mod reserved;
mod way;

pub use way::{PathInfo, PathState};

use crate::inventory::Found;
use crate::job::Mark;
use crate::multipath::{Paths, Time};
use crate::path::{Done, sized};
use crate::{Counters, LunInfo, LunReader, SanError};
use bytes::{Buf as _, Bytes, BytesMut};
use identity::Print;
use scsi::disk;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use way::Way;

/// Bytes that one call reads at most.
pub const READ_MAX: usize = 4 << 20;
/// As many as a read of 1 MiB has commands lie on the stack.
type Few<T> = SmallVec<[T; 8]>;
/// How often one call begins again because the LUN announced a change, for each path.
const ROUNDS_MAX: usize = 4;

/// A logical unit of a SAN. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Lun(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    info: LunInfo,
    ways: RwLock<Vec<Arc<Way>>>,
    /// What is known of each way, by the same index.
    paths: Mutex<Paths>,
    /// Names of the target ports, by the numbers that `paths` knows.
    ports: Mutex<Vec<String>>,
    /// Something about the paths is not as it was.
    changed: Notify,
    /// The keeper has something to do.
    wake: Arc<Notify>,
    /// The target has other LUNs now.
    rescan: Arc<Notify>,
    /// What the first MiB was when paths were last compared.
    print: tokio::sync::Mutex<Option<Print>>,
    bytes_read: AtomicU64,
    closed: AtomicBool,
    origin: Instant,
    runtime: Handle,
}

impl Lun {
    /// A LUN with its first path, which tells its size. `None`: it does not.
    pub(crate) fn new(found: Found, rescan: Arc<Notify>) -> Option<Self> {
        let info = LunInfo::of(&found.path, &found.facts)?;
        let wake = Arc::new(Notify::new());
        let lun = Self(Arc::new(Shared {
            info,
            ways: RwLock::default(),
            paths: Mutex::new(Paths::new(found.facts.alua)),
            ports: Mutex::default(),
            changed: Notify::new(),
            wake: Arc::clone(&wake),
            rescan,
            print: tokio::sync::Mutex::default(),
            bytes_read: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            origin: Instant::now(),
            runtime: Handle::current(),
        }));
        // The first path is what others are compared with. One that serves no reads has nothing
        // to be compared with, and is proven when it does.
        let reads = found.facts.access.is_none_or(scsi::AccessState::reads);
        lun.join(found, reads);
        tokio::spawn(keeper::keep(Arc::downgrade(&lun.0), wake));
        Some(lun)
    }

    /// Names, size and place.
    #[must_use]
    pub fn info(&self) -> &LunInfo {
        &self.0.info
    }

    /// Every path with its state, in the order in which they were found.
    #[must_use]
    pub fn paths(&self) -> Vec<PathInfo> {
        let (ways, now) = (self.ways(), self.now());
        let paths = self.lock();
        ways.iter().enumerate().map(|(at, way)| way.info(paths.view(at), now)).collect()
    }

    /// Whether the LUN is presented read-only, as of the last inventory: `Some(true)` when every
    /// path that tells it says so, `None` when none tells it.
    #[must_use]
    pub fn write_protected(&self) -> Option<bool> {
        let ways = self.ways();
        ways.iter().filter_map(|way| way.write_protected()).reduce(|all, one| all && one)
    }

    /// What was sent to this LUN by all paths, and read from it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.ways().iter().for_each(|way| sum.add(&way.path.cells.now()));
        sum.bytes_read = self.0.bytes_read.load(Relaxed);
        sum
    }

    /// The same LUN for code that blocks. Its reads must not be called from async code.
    #[must_use]
    pub fn blocking(&self) -> LunReader {
        LunReader::new(self.clone(), self.0.runtime.clone())
    }

    /// Exactly `length` bytes (at most [`READ_MAX`]) from byte `offset` on.
    ///
    /// Neither needs to be aligned. Errors: [`SanError::kind`]; never fewer bytes, never zeros
    /// that the LUN did not send.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, SanError> {
        self.read_into(offset, length, BytesMut::new()).await.map(BytesMut::freeze)
    }

    /// As [`Self::read`], in the memory of `buffer` when it is large enough: a buffer that goes
    /// round costs neither allocation nor page faults. What was in it is lost, and when several
    /// reads run at a time each may get back the memory that another one brought.
    pub async fn read_into(
        &self,
        offset: u64,
        length: usize,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, SanError> {
        let Some(blocks) = self.blocks(offset, length)? else {
            buffer.clear();
            return Ok(buffer);
        };
        let total = usize::try_from(blocks.count * u64::from(self.0.info.block_size))
            .expect("READ_MAX and two blocks fit a usize");
        let mut buffer = self.read_blocks(blocks, sized(buffer, total)).await?;
        // Rounded out to blocks: the caller's bytes begin `before` bytes into the buffer.
        buffer.advance(blocks.before);
        buffer.truncate(length);
        self.0.bytes_read.fetch_add(length as u64, Relaxed);
        Ok(buffer)
    }

    /// The blocks that hold a range; `None` for an empty one.
    fn blocks(&self, offset: u64, length: usize) -> Result<Option<Blocks>, SanError> {
        if length > READ_MAX {
            return Err(SanError::TooLong { length, max: READ_MAX });
        }
        let size = self.0.info.capacity;
        let end = offset
            .checked_add(length as u64)
            .filter(|&end| end <= size)
            .ok_or(SanError::OutOfRange { offset, length, size })?;
        if length == 0 {
            return Ok(None);
        }
        let block = u64::from(self.0.info.block_size);
        let first = offset / block;
        let before = usize::try_from(offset % block).expect("less than a block");
        Ok(Some(Blocks { first, count: end.div_ceil(block) - first, before }))
    }

    /// Reads whole blocks, and again when a path announced a change meanwhile.
    async fn read_blocks(&self, blocks: Blocks, buffer: BytesMut) -> Result<BytesMut, SanError> {
        let length = buffer.len();
        let mut buffer = buffer;
        for _ in 0..ROUNDS_MAX + self.count() {
            let (filled, marks) = self.read_once(blocks, sized(buffer, length)).await?;
            let mut sure = true;
            for (at, mark) in marks {
                sure &= self.is_verified(at, mark).await?;
            }
            if sure {
                return Ok(filled);
            }
            buffer = filled;
            self.way(0).path.cells.repeated();
        }
        let problem = "paths are lost, or announce a change, again and again";
        Err(self.way(0).path.unanswered("READ(16)", problem))
    }

    /// Sends the commands of a read, each with its part of the buffer, and joins what comes. No
    /// more are on the way than the paths take at a time, so the first failure ends a long read.
    async fn read_once(
        &self,
        blocks: Blocks,
        mut buffer: BytesMut,
    ) -> Result<(BytesMut, Few<(usize, Mark)>), SanError> {
        let block_size = self.0.info.block_size;
        let most = u64::from((self.transfer() / block_size).max(1));
        let pending_max = usize::from(self.limits().lun_depth.max(1)) * self.count();
        let (mut pending, mut joined) = (Few::new(), Joined::default());
        let mut done = 0;
        while done < blocks.count {
            if pending.len() == pending_max {
                joined.add(self.finish(pending.remove(0)).await?);
            }
            let count = (blocks.count - done).min(most);
            let count = u32::try_from(count).expect("a transfer has at most 4 MiB");
            let cdb = disk::read_16(blocks.first + done, count, block_size)
                .expect("a transfer has at most 4 MiB");
            let length = usize::try_from(cdb.data_in()).expect("32 bits fit a usize");
            // The last part keeps the whole rest: an unsplit buffer is not shared.
            let alone = done == 0 && length == buffer.len();
            let part = if length == buffer.len() {
                std::mem::take(&mut buffer)
            } else {
                buffer.split_to(length)
            };
            pending.push(self.start("READ(16)", cdb, part, alone).await?);
            done += u64::from(count);
        }
        for command in pending {
            joined.add(self.finish(command).await?);
        }
        Ok((joined.whole.unwrap_or_default(), joined.marks))
    }

    /// Bytes of one command: what every path carries.
    fn transfer(&self) -> u32 {
        let ways = self.ways();
        let least = ways.iter().map(|way| way.path.transport.limits().transfer).min();
        least.unwrap_or(u32::MAX)
    }

    fn now(&self) -> Time {
        self.0.origin.elapsed()
    }

    // The state behind each lock is whole after every statement, so a panic elsewhere spoils
    // nothing.

    fn lock(&self) -> MutexGuard<'_, Paths> {
        self.0.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of paths.
    fn count(&self) -> usize {
        self.lock().len()
    }

    fn ways(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Way>>> {
        self.0.ways.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self, at: usize) -> Arc<Way> {
        Arc::clone(&self.ways()[at])
    }

    /// True for two handles of the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Tells everyone who waits for a path.
    fn announce(&self) {
        self.0.changed.notify_waiters();
        self.0.wake.notify_one();
    }

    fn upgrade(weak: &Weak<Shared>) -> Option<Self> {
        weak.upgrade().map(Self)
    }
}

impl Drop for Shared {
    /// The keeper goes too.
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// What has come of a read.
#[derive(Default)]
struct Joined {
    whole: Option<BytesMut>,
    /// By which paths, and what they had announced by then.
    marks: Few<(usize, Mark)>,
}

impl Joined {
    /// The next part. They lie side by side in memory, but for those that were read again into
    /// other memory.
    fn add(&mut self, (at, done): (usize, Done)) {
        if !self.marks.contains(&(at, done.mark)) {
            self.marks.push((at, done.mark));
        }
        match &mut self.whole {
            None => self.whole = Some(done.buffer),
            Some(whole) => whole.unsplit(done.buffer),
        }
    }
}

/// Whole blocks around a range of bytes.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    first: u64,
    count: u64,
    /// Bytes of the first block that were not asked for.
    before: usize,
}
