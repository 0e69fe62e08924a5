//! Reading a LUN.

use crate::inventory::{Found, Identity, identify};
use crate::job::Mark;
use crate::path::{Done, Path, Pending};
use crate::{Counters, LunInfo, LunReader, SanError};
use bytes::{Bytes, BytesMut};
use scsi::disk;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Bytes that one call reads at most.
pub const READ_MAX: usize = 4 << 20;
/// How often one call begins again because the LUN announced a change.
const ROUNDS_MAX: u32 = 4;

/// A logical unit of a SAN. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Lun(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: Path,
    info: LunInfo,
    identity: Identity,
    /// The moment up to which the LUN is known to be the one of `identity`.
    verified: Mutex<Mark>,
    runtime: Handle,
}

impl Lun {
    pub(crate) fn new(found: Found, runtime: Handle) -> Self {
        let Found { path, info, identity, mark } = found;
        Self(Arc::new(Shared { path, info, identity, verified: Mutex::new(mark), runtime }))
    }

    /// Names, size and place.
    #[must_use]
    pub fn info(&self) -> &LunInfo {
        &self.0.info
    }

    /// What was sent to this LUN and read from it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.path.cells.now()
    }

    /// The same LUN for code that blocks. Its reads must not be called from async code.
    #[must_use]
    pub fn blocking(&self) -> LunReader {
        LunReader::new(self.clone(), self.0.runtime.clone())
    }

    /// Asks the LUN again who it is. An error when it is not what it was at the login.
    ///
    /// A device has to announce a change (unit attention), and then this happens by itself; one
    /// that does not (tgtd is one) can only be caught by asking. So ask after the last read of a
    /// disk, before what was read is used.
    pub async fn verify(&self) -> Result<(), SanError> {
        self.check_identity().await.map(drop)
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
        if buffer.capacity() < total {
            buffer = BytesMut::zeroed(total);
        } else {
            buffer.resize(total, 0);
        }
        let mut buffer = self.read_blocks(blocks, buffer).await?;
        // Rounded out to blocks: the caller's bytes begin `before` bytes into the buffer.
        let _before = buffer.split_to(blocks.before);
        buffer.truncate(length);
        self.0.path.cells.read(length);
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

    /// Reads whole blocks, and again when the LUN announced a change meanwhile.
    async fn read_blocks(&self, blocks: Blocks, buffer: BytesMut) -> Result<BytesMut, SanError> {
        let mut buffer = buffer;
        for _ in 0..ROUNDS_MAX {
            let pending = self.send(blocks, buffer).await;
            let (filled, marks) = self.collect(pending).await?;
            let mut sure = true;
            for mark in marks {
                sure &= self.is_verified(mark).await?;
            }
            if sure {
                return Ok(filled);
            }
            buffer = filled;
            self.0.path.cells.repeated();
        }
        Err(self.identity_changed("its state, again and again,"))
    }

    /// Sends all commands of a read, each with its part of the buffer.
    async fn send(&self, blocks: Blocks, mut buffer: BytesMut) -> Vec<(Pending, u32)> {
        let block_size = self.0.info.block_size;
        let most = u64::from((self.0.path.transport.limits().transfer / block_size).max(1));
        let mut pending = Vec::with_capacity(1);
        let mut done = 0;
        while done < blocks.count {
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
            pending.push((self.0.path.start("READ(16)", cdb, part, alone).await, cdb.data_in()));
            done += u64::from(count);
        }
        pending
    }

    /// Waits for all of them and joins their parts, which lie side by side in memory.
    async fn collect(
        &self,
        pending: Vec<(Pending, u32)>,
    ) -> Result<(BytesMut, Vec<Mark>), SanError> {
        let mut whole: Option<BytesMut> = None;
        let mut marks = Vec::with_capacity(1);
        for (command, wanted) in pending {
            let Done { buffer, transferred, mark } = self.0.path.finish(command).await?;
            if transferred != wanted {
                let target = self.0.path.target();
                let (operation, lun) = ("READ(16)", self.0.path.lun);
                return Err(SanError::Short { operation, lun, target, got: transferred, wanted });
            }
            if marks.last() != Some(&mark) {
                marks.push(mark);
            }
            match &mut whole {
                None => whole = Some(buffer),
                Some(whole) => whole.unsplit(buffer),
            }
        }
        Ok((whole.unwrap_or_default(), marks))
    }

    /// True when the LUN was the right one at `mark`. A new mark makes it be asked who it is.
    async fn is_verified(&self, mark: Mark) -> Result<bool, SanError> {
        if *self.verified() == mark {
            return Ok(true);
        }
        Ok(self.check_identity().await? == mark)
    }

    async fn check_identity(&self) -> Result<Mark, SanError> {
        let (identity, now) = identify(&self.0.path).await?;
        if identity.names != self.0.identity.names {
            return Err(self.identity_changed("its name"));
        }
        if identity.capacity != self.0.identity.capacity {
            return Err(self.identity_changed("its size or block size"));
        }
        *self.verified() = now;
        Ok(now)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Mark> {
        self.0.verified.lock().unwrap_or_else(PoisonError::into_inner) // a Copy value: never half
    }

    fn identity_changed(&self, what: &'static str) -> SanError {
        SanError::IdentityChanged { lun: self.0.path.lun, target: self.0.path.target(), what }
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
