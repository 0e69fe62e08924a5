//! L0: the words of the domain, each with its unit and its address space in the type.
//!
//! What this is: ids, ranges, extents, change ids, locks and the description of a recovery point.
//! What it is not: any decision, any I/O, any clock. A time is a value that came from outside.
//!
//! | module | words |
//! |---|---|
//! | [`range`] | `DiskRange`, `ChangedArea`, `LunExtent`, `FileExtent` |
//! | [`id`] | `RecoveryPointId`, `RunId`, `ChunkId`, `VmUuid`, `NaaName`, `ChangeId` |
//! | [`lock`] | `RetentionLock`, `LockMode`, `RetentionTime`, `WallTime` |
//! | [`point`] | `VmIdentity`, `DiskIdentity`, `Consistency`, `Transport`, `ReadMode` |
//! | [`exclusion`] | `Exclusion`, `ExclusionKind` |
//! | [`error`] | `ErrorKind`, the chain printer |

pub mod error;
pub mod exclusion;
pub mod id;
pub mod lock;
pub mod point;
pub mod range;

pub use error::{ErrorKind, chain};
pub use exclusion::{Exclusion, ExclusionKind};
pub use id::{ChangeId, ChunkId, NaaName, RecoveryPointId, RunId, VmUuid};
pub use lock::{LockMode, RetentionLock, RetentionTime, WallTime};
pub use point::{Consistency, DiskIdentity, ReadMode, Transport, VmIdentity};
pub use range::{ChangedArea, DiskRange, FileExtent, LunExtent};
