//! What the daemon asks the warden for, and what it is told. Every type here goes through JSON.

use crate::found::Found;
use format::segment::Class;
use ledger::Runs;
use ledger::event::{LockBounds, ManifestRef, PointText, ReachChange, Right};
use model::{
    Consistency, LockMode, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity,
    WallTime,
};
use serde::{Deserialize, Serialize};

/// Something the warden is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How things are.
    Status,
    /// Take over `open/<serial>`, which is complete, synced and read back.
    Seal {
        /// The volume it lies on.
        volume: u8,
        /// Its serial; never used before.
        serial: u32,
    },
    /// Make a recovery point exist.
    Commit(Box<CommitRequest>),
    /// Let a lock end later.
    Extend {
        /// The point.
        point: RecoveryPointId,
        /// New end.
        until: RetentionTime,
    },
    /// Turn a governance lock into a compliance lock.
    Tighten {
        /// The point.
        point: RecoveryPointId,
    },
    /// Begin a legal hold.
    Hold {
        /// The point.
        point: RecoveryPointId,
        /// Its name.
        matter: String,
    },
    /// Something for officers to sign.
    Challenge,
    /// What officers signed.
    Officer(Box<OfficerRequest>),
    /// Delete points, all of them or none, and what nothing else needs.
    Delete {
        /// The points.
        points: Vec<RecoveryPointId>,
        /// Segments that runs still need: they only make less go away.
        keep: Runs,
    },
    /// Remove segments that no point reaches.
    Reclaim {
        /// Segments that runs still need.
        keep: Runs,
        /// Sealed segments without a leaf that may go: others were sealed meanwhile and stay.
        #[serde(default)]
        orphans: Runs,
    },
    /// Chunks were copied: points that reached `from` reach `to` instead.
    Compact {
        /// Old segments.
        from: Runs,
        /// New ones.
        to: Runs,
    },
    /// Put `open/<serial>` in the place of a damaged segment.
    Repair {
        /// The volume it lies on.
        volume: u8,
        /// Its serial.
        serial: u32,
    },
    /// Remove `open/<serial>`, which the daemon cannot remove itself once it was taken over.
    Discard {
        /// The volume it lies on.
        volume: u8,
        /// Its serial.
        serial: u32,
    },
    /// A new key epoch.
    AddKey {
        /// Larger than all before.
        epoch: u32,
        /// The file `keys/<epoch>`, 4096 bytes.
        file: Vec<u8>,
    },
    /// A further volume, mounted at `volumes/<number>`.
    AddVolume {
        /// 1 to 255.
        number: u8,
    },
    /// Something for the record.
    Note(Evidence),
    /// Time has passed: at least once an hour, better every minute.
    Tick,
}

/// All of a commit leaf but the end of its lock, which the warden computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The point; never used before.
    pub point: RecoveryPointId,
    /// The run that made it.
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
    /// The segments it needs, all of them sealed.
    pub reach: ReachChange,
    /// Its lock.
    pub lock: LockRequest,
}

/// A lock that begins now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRequest {
    /// Who may end it early.
    pub mode: LockMode,
    /// How long it lasts.
    pub seconds: u64,
}

/// What officers can do with their signatures.
///
/// Its JSON, as `serde_json` writes it without spaces and with the fields in this order, is what
/// they sign ([`crate::officer_text`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum OfficerAction {
    /// End a legal hold.
    ReleaseHold {
        /// The point.
        point: PointText,
        /// Its name.
        matter: String,
    },
    /// End a governance lock now.
    Override {
        /// The point.
        point: PointText,
        /// Why.
        reason: String,
    },
    /// No override any more, for ever.
    OverridesOff {},
    /// Bring a person into office.
    Enrol {
        /// Name; one person, one name.
        name: String,
        /// Public Ed25519 key, base64 of its 32 bytes.
        key: String,
        /// What the signature can free.
        rights: Vec<Right>,
    },
    /// Out of office.
    Dismiss {
        /// Name.
        name: String,
    },
    /// Limits of locks to come.
    SetBounds {
        /// The limits.
        #[serde(flatten)]
        bounds: LockBounds,
    },
}

/// An action with its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerRequest {
    /// What is to be done.
    pub action: OfficerAction,
    /// From [`Request::Challenge`], hex; good once, for ten minutes.
    pub challenge: String,
    /// Name of an officer and signature, hex.
    pub signatures: Vec<(String, String)>,
}

/// What the daemon may put on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A point was read back.
    Verified {
        /// The point.
        point: RecoveryPointId,
        /// Chunks read.
        chunks: u64,
        /// Their plain bytes.
        bytes: u64,
        /// Damaged places found.
        damage: u64,
        /// Segments that hold them, at most 1000.
        segments: Vec<u32>,
    },
    /// Segments were read as a whole.
    Scrubbed {
        /// Which, at most 2000 runs.
        segments: Runs,
        /// Bytes read.
        bytes: u64,
        /// Damaged ones, at most 1000.
        damaged: Vec<u32>,
    },
    /// Damage beyond the parity; the warden names the points.
    Quarantined {
        /// The segment.
        serial: u32,
    },
    /// A copy exists elsewhere.
    Exported {
        /// The point.
        point: RecoveryPointId,
        /// On what.
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
    /// The daemon itself denied something.
    Refused {
        /// On which point.
        point: Option<RecoveryPointId>,
        /// What was asked for.
        action: String,
        /// Why not.
        reason: String,
    },
}

/// The answer to a request that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Leaves in the ledger now: read up to here before anything else.
    pub size: u64,
    /// The retention clock.
    pub clock: ClockView,
    /// What came of it.
    pub outcome: Outcome,
}

/// The retention clock as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// Its value.
    pub value: RetentionTime,
    /// Why nothing is released now.
    pub doubt: Option<String>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is on record; there is nothing else to say.
    Done,
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Seal`].
    Sealed(Sealed),
    /// To [`Request::Commit`].
    Committed {
        /// The lock with its end.
        lock: RetentionLock,
    },
    /// To [`Request::Challenge`], hex.
    Challenge(String),
    /// To [`Request::Delete`] and [`Request::Reclaim`].
    Removed(Removed),
    /// To [`Request::Repair`].
    Repaired {
        /// Blocks that had been wrong.
        blocks: u64,
    },
    /// To [`Request::Tick`].
    Ticked {
        /// What was found wrong just now; each is on record.
        alarms: Vec<String>,
    },
}

/// How the warden is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The signed head.
    pub head: String,
    /// Who signs it (vkey).
    pub signer: String,
    /// What was found when the ledger was opened.
    pub found: Found,
    /// What is not enforced, such as in development without root.
    pub not_enforced: Vec<String>,
    /// Why no more leaves are accepted, if they are not.
    pub stopped: Option<String>,
    /// Segments that no leaf names.
    pub orphans: Runs,
}

/// A segment that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// What it holds.
    pub class: Class,
    /// How long its chunks are expected to live.
    pub cohort: u8,
    /// Key epoch.
    pub epoch: u32,
    /// Length of the file.
    pub bytes: u64,
    /// Its seal.
    pub seal: [u8; 32],
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Segments.
    pub segments: Runs,
    /// Their length.
    pub bytes: u64,
    /// Epochs of keys.
    pub keys: Vec<u32>,
    /// False: some file could not be removed yet; that is tried again.
    pub complete: bool,
}
