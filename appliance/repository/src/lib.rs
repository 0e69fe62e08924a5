//! L2: the WORM store. Chunks go in, recovery points come out, and nothing that is committed is
//! ever rewritten. Ledger, clock, locks and deletion are the warden's; this is the other side.
//!
//! What this is: segments until they are sealed, deduplication, recovery points, placement,
//! restore, verification, the index and what is found at a start. What it is not: the bytes
//! (`format`, whose FORMAT.md is the definition), the right to seal, commit or delete (`warden`),
//! a verdict about a lock (`retention`), a schedule, a clock, or asynchronous (call it from
//! blocking threads).
//!
//! ```text
//! Repository::begin -> PointWriter::disk -> DiskWriter::put ... finish -> PointWriter::commit
//!                                            |                               |
//!            pipeline: workers -> writer -> sealer -> warden: seal       warden: commit
//! ```
//! | who with whom | rule |
//! |---|---|
//! | run with run | free; each has its own segments, and finds the other's chunks once sealed |
//! | anything with the record | one request after another, in the warden; no lock is held here |
//! | deletion with run | what a run made or found chunks in is pinned and kept; its parent stays |
//! | deletion with restore, verify | refused: in use; none begins on a point that is going |
//! | deletion with deletion | one after another |
//! | volume with volume | nothing refers from one to another |
//!
//! | module | what |
//! |---|---|
//! | [`repo`](Repository), `locks` | the face: points, disks; locks, deletion |
//! | `record` | what is on record, with proofs |
//! | `point`, `disk`, `commit` | a run: its threads' state, one disk, what the commit says |
//! | `pipeline`, `segment` | who carries the work; open segments until they are sealed |
//! | `map`, `reach`, `placement` | DiskMaps; which segments they need; what is stored again |
//! | `open`, `survey`, `scan`, `volumes`, `keys` | a start: what lies there, the keys |
//! | `local` | the warden of development, in this process |
//! | `catalog`, `index`, `core` | the replay, where chunks lie, what all share |
//! | `delete`, `reader` | removal, restore |
//! | `verify`, `batch`, `frame`, `report` | reading a point back |
//! | `scrub`, `due`, `repair`, `compact`, `preview` | care: reading again, mending, moving |
//! | [`forecast`], `capacity` | when it is full |

mod asking;
mod batch;
mod buffer;
mod capacity;
mod catalog;
mod commit;
mod compact;
mod copy;
mod core;
mod delete;
mod disk;
mod due;
mod error;
pub mod forecast;
mod frame;
mod index;
mod keys;
mod live;
mod local;
mod locks;
mod map;
mod moves;
mod open;
mod options;
mod pipeline;
mod placement;
mod point;
mod preview;
mod reach;
mod reader;
mod record;
mod repair;
mod repo;
mod report;
mod scan;
mod scrub;
mod segment;
mod survey;
mod verify;
mod volumes;
mod whole;

#[cfg(test)]
mod tests;

pub use catalog::RecoveryPoint;
pub use compact::{CompactRules, Compacted};
pub use delete::Deleted;
pub use disk::{DiskDraft, DiskStats, DiskWriter, ParentDisk};
pub use due::{Coverage, ScrubDue};
pub use error::{DeleteError, StoreError};
pub use format::keys::KeyEncryptionKey;
pub use format::manifest::{DiskEntry, FileEntry, Manifest};
pub use ledger::event::LockBounds;
pub use local::{Clocks, Created};
pub use open::{DamagedSegment, DroppedSegment, MissingVolume, Recovery};
pub use options::{Lock, Options};
pub use point::{PointDraft, PointWriter};
pub use preview::{Expired, Kept, Preview};
pub use reader::{Cell, Cells, DiskReader};
pub use record::{Protected, Protection};
pub use repair::{Quarantine, Repair};
pub use repo::{Repository, Stats};
pub use report::{Damage, Progress, VerifyReport};
pub use retention::Verdict;
pub use scrub::{ScrubProgress, ScrubReport};
pub use volumes::{VolumeState, VolumeView};
pub use warden::state::Verified;
