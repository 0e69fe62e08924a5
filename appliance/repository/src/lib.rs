//! L2: the WORM store. Chunks go in, recovery points come out, and nothing that is committed is
//! ever rewritten; a point leaves only with a permission that `retention` alone can give.
//!
//! What this is: segments, their sealing, deduplication, recovery points, verification, deletion
//! and recovery after a crash. What it is not: the bytes (`format`, whose FORMAT.md is the
//! definition), the ledger's tree (`ledger`), the verdict about a lock (`retention`), a schedule,
//! a clock (readings come in as [`Now`]), or asynchronous (call it from blocking threads).
//!
//! ```text
//! Repository::begin -> PointWriter::disk -> DiskWriter::put ... finish -> PointWriter::commit
//!                                            |
//!            pipeline: workers -> writer -> sealer (bounded queues; pipeline.rs)
//! ```
//! | who with whom | rule |
//! |---|---|
//! | run with run | free; each has its own segments, and finds the other's chunks once sealed |
//! | commit with anything | one after another, under the catalog's lock |
//! | deletion with run | segments a run found chunks in are pinned; its parent stays |
//! | deletion with restore, verify | refused: the point is in use |
//! | deletion with deletion | one after another |
//!
//! Start with [`repo`](Repository), then `point.rs`, `disk.rs`, `segment.rs`.

mod catalog;
mod commit;
mod core;
mod delete;
mod disk;
mod error;
mod index;
mod keys;
mod local;
mod locks;
mod map;
mod open;
mod options;
mod pipeline;
mod placement;
mod point;
mod reach;
mod reader;
mod repo;
mod scan;
mod segment;
mod verify;
mod volumes;

#[cfg(test)]
mod tests;

pub use catalog::RecoveryPoint;
pub use delete::Deleted;
pub use disk::{DiskDraft, DiskStats, DiskWriter, ParentDisk};
pub use error::{DeleteError, StoreError};
pub use format::keys::KeyEncryptionKey;
pub use format::manifest::{DiskEntry, FileEntry, Manifest};
pub use local::{Clocks, Created};
pub use open::{DamagedSegment, DroppedSegment, MissingVolume, Recovery};
pub use options::{Lock, Options};
pub use point::{PointDraft, PointWriter};
pub use reader::{Cell, Cells, DiskReader};
pub use repo::{Repository, Stats};
pub use retention::Verdict;
pub use verify::{Damage, Progress, VerifyReport};
pub use warden::state::Verified;
