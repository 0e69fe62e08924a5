//! What can happen to a repository: one variant for each row of the table in FORMAT.md 8. What a
//! variant does to points, locks and segments is not decided here.

use crate::runs::Runs;
use model::{
    Consistency, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity, WallTime,
};
use serde::{Deserialize, Serialize};

/// Most points that one leaf names.
pub const POINTS_PER_LEAF: usize = 1000;

/// Most runs of serials that one leaf names: at most 48 KiB of JSON.
pub const RUNS_PER_LEAF: usize = 2000;

/// Most single serials that one leaf names.
pub const SERIALS_PER_LEAF: usize = 1000;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The repository was created; the retention clock begins with this leaf.
    Created {
        /// Its id, hex.
        repository: String,
        /// Bytes of a cell, unless a job says otherwise.
        chunk_size: u32,
        /// Limits of locks.
        bounds: LockBounds,
        /// Who signs the heads (vkey).
        signer: String,
    },
    /// From this leaf on another box keeps the ledger and signs.
    Signer {
        /// Its vkey.
        key: String,
    },
    /// An officer's signature counts from now on.
    Officer {
        /// Name.
        name: String,
        /// Public Ed25519 key, base64 of its 32 bytes.
        key: String,
        /// What the signature can free.
        rights: Vec<Right>,
        /// Officers who agreed; nobody at creation.
        by: Vec<String>,
    },
    /// An officer's signature counts no more.
    Dismiss {
        /// Name.
        name: String,
        /// Officers who agreed.
        by: Vec<String>,
    },
    /// Limits of locks written from now on.
    Bounds {
        /// The limits.
        #[serde(flatten)]
        bounds: LockBounds,
        /// Officers who agreed.
        by: Vec<String>,
    },
    /// A key file must exist until a `delete` names it.
    Key {
        /// Its epoch, from 1.
        epoch: u32,
        /// BLAKE3 of the file, hex.
        hash: String,
    },
    /// A volume belongs to the repository.
    Volume {
        /// Its number, 1 to 255.
        number: u8,
    },
    /// A sealed segment is part of the repository from now on.
    Segment(Segment),
    /// Part of the reach of a point whose `commit` follows in the same batch.
    Reach {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// Segments that it reaches.
        add: Runs,
        /// Segments that only its base reaches.
        drop: Runs,
    },
    /// A recovery point exists from now on.
    Commit(Box<Commit>),
    /// A lock ends later.
    Extend {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// New end.
        until: RetentionTime,
    },
    /// A lock becomes a compliance lock.
    Tighten {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
    },
    /// A legal hold begins.
    Hold {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// Its name.
        matter: String,
    },
    /// A legal hold ends.
    Unhold {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// Its name.
        matter: String,
        /// Officers who signed.
        by: Vec<String>,
    },
    /// A governance lock ends now.
    Override {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// Why.
        reason: String,
        /// The two officers who signed.
        by: Vec<String>,
    },
    /// There is no `override` any more, for ever.
    OverridesOff {},
    /// High-water mark of the clock.
    Clock {
        /// What the clock needs to go on; only `retention` understands it.
        state: serde_json::Value,
    },
    /// Something happened to the clocks.
    ClockEvent {
        /// What; only `retention` understands it.
        what: serde_json::Value,
    },
    /// Something was asked for and denied.
    Refused {
        /// On which point, if on one.
        #[serde(with = "crate::text::option")]
        point: Option<RecoveryPointId>,
        /// What was asked for, such as `delete`.
        action: String,
        /// Why not.
        reason: String,
        /// End of the lock that stood in the way.
        until: Option<RetentionTime>,
    },
    /// Everything a point reaches was read back and compared.
    Verified {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// Chunks read.
        chunks: u64,
        /// Their plain bytes.
        bytes: u64,
        /// Damaged places found; 0: the point is whole.
        damage: u64,
        /// Segments that hold them, at most [`SERIALS_PER_LEAF`]: nothing new refers to their
        /// chunks.
        segments: Vec<u32>,
    },
    /// Segments were read as a whole.
    Scrubbed {
        /// Which.
        segments: Runs,
        /// Bytes read.
        bytes: u64,
        /// Those that were damaged, at most [`SERIALS_PER_LEAF`].
        damaged: Vec<u32>,
    },
    /// Damage beyond the parity.
    Quarantined {
        /// The segment.
        serial: u32,
        /// Points that are incomplete, at most [`POINTS_PER_LEAF`].
        points: Vec<PointText>,
        /// How many there are in all.
        total: u64,
    },
    /// A damaged file was replaced by the right bytes.
    Repaired {
        /// The segment.
        serial: u32,
        /// How many blocks had been wrong.
        blocks: u64,
    },
    /// Chunks were moved.
    Compact {
        /// Out of these segments.
        from: Runs,
        /// Into these.
        to: Runs,
    },
    /// A copy exists elsewhere.
    Exported {
        /// The point.
        #[serde(with = "crate::text")]
        point: RecoveryPointId,
        /// On what, such as a cartridge.
        medium: String,
        /// For people.
        detail: String,
    },
    /// Something that should not happen was seen.
    Alarm {
        /// What, in a word or two.
        what: String,
        /// For people.
        detail: String,
    },
    /// Points exist no longer; segments and keys are being removed.
    Delete {
        /// Ids, hex; at most [`POINTS_PER_LEAF`].
        points: Vec<PointText>,
        /// Segments, at most [`RUNS_PER_LEAF`] runs.
        segments: Runs,
        /// Epochs of the keys.
        keys: Vec<u32>,
    },
    /// The removal that the last `delete` leaves announced is complete.
    Deleted {
        /// Number of segments.
        segments: u64,
        /// Their length.
        bytes: u64,
    },
}

/// Limits of the length of locks, in seconds of the retention clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockBounds {
    /// The shortest.
    pub min_seconds: u64,
    /// The longest.
    pub max_seconds: u64,
}

/// What an officer's signature can free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// The end of a legal hold.
    ReleaseHold,
    /// The end of a governance lock; two are needed.
    Override,
}

/// What the ledger says of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its serial.
    pub serial: u32,
    /// The volume on which it was; it may move.
    pub volume: u8,
    /// `data` or `metadata`.
    pub class: String,
    /// How long its chunks were expected to live.
    pub cohort: u8,
    /// Length of the file.
    pub bytes: u64,
    /// Its seal, hex.
    pub seal: String,
    /// Key epoch; 0: not encrypted.
    pub epoch: u32,
}

/// What a commit leaf says about its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The point.
    #[serde(with = "crate::text")]
    pub point: RecoveryPointId,
    /// The run that made it.
    #[serde(with = "crate::text")]
    pub run: RunId,
    /// Of which VM.
    pub vm: VmIdentity,
    /// When the run began.
    pub started: WallTime,
    /// When the last byte had been written.
    pub finished: WallTime,
    /// State of the guest.
    pub consistency: Consistency,
    /// Number of disks.
    pub disks: u32,
    /// Sum of their capacities in bytes.
    pub capacity: u64,
    /// Sum of the plain lengths of their chunks in bytes.
    pub data_bytes: u64,
    /// Stored bytes that this point added.
    pub new_bytes: u64,
    /// Bytes of its cells.
    pub chunk_size: u32,
    /// Where the manifest is and what it must be.
    pub manifest: ManifestRef,
    /// The segments it needs.
    pub reach: ReachChange,
    /// Its lock; `until` by the retention clock.
    pub lock: RetentionLock,
}

/// The segments that a point needs, told by the difference to another point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachChange {
    /// The other point; without one the reach is `add` alone.
    #[serde(with = "crate::text::option")]
    pub base: Option<RecoveryPointId>,
    /// Segments that it reaches.
    pub add: Runs,
    /// Segments that only the base reaches.
    pub drop: Runs,
}

/// Id and place of a manifest, as the format writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRef {
    /// Content id, hex.
    pub id: String,
    /// Place, in 64 bits.
    pub place: u64,
}

/// A recovery point's id as text in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointText(#[serde(with = "crate::text")] pub RecoveryPointId);
