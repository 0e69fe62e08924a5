//! The leaves: what happened, when by both clocks, as JSON (FORMAT.md 8).

use crate::LedgerError;
use model::{
    Consistency, RecoveryPointId, RetentionLock, RetentionTime, RunId, VmIdentity, WallTime,
};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Longest data of a leaf, in bytes (so that a tlog entry bundle can carry it).
pub const LEAF_MAX: usize = 65_535;

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    v: u32,
    /// The retention clock when it was written.
    pub clock: RetentionTime,
    /// The wall clock, for people.
    pub wall: WallTime,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The repository was created; the retention clock begins with this leaf.
    Created {
        /// Its id, hex.
        repository: String,
        /// Bytes of a cell.
        chunk_size: u32,
    },
    /// A sealed segment is part of the repository from now on.
    Segment {
        /// Its serial.
        serial: u32,
        /// `data` or `metadata`.
        class: String,
        /// Length of the file.
        bytes: u64,
        /// Its seal, hex.
        seal: String,
    },
    /// A recovery point exists from now on.
    Commit(Box<Commit>),
    /// Nothing but the clock.
    Clock {},
    /// Something was asked for and denied.
    Refused {
        /// On which point.
        #[serde(with = "text")]
        point: RecoveryPointId,
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
        #[serde(with = "text")]
        point: RecoveryPointId,
        /// Chunks read.
        chunks: u64,
        /// Their plain bytes.
        bytes: u64,
        /// Damaged places found; 0: the point is whole.
        damage: u64,
        /// Segments that hold them, at most 1000: nothing new refers to their chunks.
        segments: Vec<u32>,
    },
    /// The points exist no longer; the segments are being removed.
    Delete {
        /// Ids, hex.
        points: Vec<PointText>,
        /// Runs of serials, both ends included.
        segments: Vec<(u32, u32)>,
    },
    /// The removal that the last `delete` leaves announced is complete.
    Deleted {
        /// Number of files.
        segments: u64,
        /// Their length.
        bytes: u64,
    },
}

/// What a commit leaf says about its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The point.
    #[serde(with = "text")]
    pub point: RecoveryPointId,
    /// The run that made it.
    #[serde(with = "text")]
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
    /// Where the manifest is and what it must be.
    pub manifest: ManifestRef,
    /// Its lock; `until` by the retention clock.
    pub lock: RetentionLock,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointText(#[serde(with = "text")] pub RecoveryPointId);

impl Leaf {
    /// A leaf of this version.
    #[must_use]
    pub fn new(clock: RetentionTime, wall: WallTime, event: Event) -> Self {
        Self { v: VERSION, clock, wall, event }
    }

    /// As JSON; refused when longer than [`LEAF_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        let bytes = serde_json::to_vec(self).expect("names, numbers and lists only: always JSON");
        if bytes.len() > LEAF_MAX {
            return Err(LedgerError::TooLong { length: bytes.len() });
        }
        Ok(bytes)
    }

    /// Leaf `number` from JSON. What is not known here is an error: it might be a lock.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, LedgerError> {
        let unknown = |problem: String| LedgerError::Unknown { number, problem };
        let leaf: Self = serde_json::from_slice(bytes).map_err(|e| unknown(e.to_string()))?;
        if leaf.v != VERSION {
            return Err(unknown(format!("version {}", leaf.v)));
        }
        Ok(leaf)
    }
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{LockMode, VmUuid};

    pub(crate) fn commit() -> Event {
        Event::Commit(Box::new(Commit {
            point: RecoveryPointId([1; 16]),
            run: RunId([2; 16]),
            vm: VmIdentity {
                uuid: VmUuid("u".into()),
                name: "naïve\n".into(),
                server_uuid: "s".into(),
            },
            started: WallTime(1),
            finished: WallTime(2),
            consistency: Consistency::Crash,
            disks: 1,
            capacity: 3,
            data_bytes: 4,
            new_bytes: 5,
            manifest: ManifestRef { id: "00".into(), place: u64::MAX },
            lock: RetentionLock { mode: LockMode::Compliance, until: RetentionTime(i64::MAX) },
        }))
    }

    #[test]
    fn leaves_survive() {
        let point = RecoveryPointId([7; 16]);
        for event in [
            Event::Created { repository: "ab".into(), chunk_size: 1 },
            Event::Segment { serial: 1, class: "data".into(), bytes: 2, seal: "cd".into() },
            commit(),
            Event::Clock {},
            Event::Refused { point, action: "delete".into(), reason: "l".into(), until: None },
            Event::Delete { points: vec![PointText(point)], segments: vec![(1, 3)] },
            Event::Deleted { segments: 3, bytes: 4 },
        ] {
            let leaf = Leaf::new(RetentionTime(-1), WallTime(5), event);
            assert_eq!(Leaf::decode(0, &leaf.encode().unwrap()), Ok(leaf));
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let unknown = br#"{"v":1,"clock":1,"wall":1,"event":{"type":"hold","point":"x"}}"#;
        let newer = br#"{"v":2,"clock":1,"wall":1,"event":{"type":"clock"}}"#;
        for bytes in [&unknown[..], &newer[..], b"{", b""] {
            assert!(matches!(Leaf::decode(3, bytes), Err(LedgerError::Unknown { number: 3, .. })));
        }
    }

    #[test]
    fn a_leaf_that_does_not_fit_is_refused() {
        let segments = (0..10_000).map(|n| (n * 2, n * 2)).collect();
        let leaf =
            Leaf::new(RetentionTime(0), WallTime(0), Event::Delete { points: vec![], segments });
        assert!(matches!(leaf.encode(), Err(LedgerError::TooLong { .. })));
    }
}
