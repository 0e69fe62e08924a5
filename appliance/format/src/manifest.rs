//! The manifest (FORMAT.md 6): what a recovery point says about itself.

use crate::header::RepositoryHeader;
use crate::{FormatError, Place};
use model::{
    ChunkId, Consistency, DiskIdentity, Exclusion, ReadMode, RecoveryPointId, RunId, Transport,
    VmIdentity, WallTime,
};
use serde::{Deserialize, Serialize};

const WHAT: &str = "manifest";
const VERSION: u32 = 2;

/// Id and place of a record, as JSON writes them: hex, and the 64 bits of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRef", into = "RawRef")]
pub struct RecordRef {
    /// Node hash or content id.
    pub id: ChunkId,
    /// Where it lies.
    pub place: Place,
}

#[derive(Serialize, Deserialize)]
struct RawRef {
    id: String,
    place: u64,
}

impl TryFrom<RawRef> for RecordRef {
    type Error = String;
    fn try_from(raw: RawRef) -> Result<Self, String> {
        let id = raw.id.parse::<ChunkId>().map_err(|error| error.to_string())?;
        Ok(Self { id, place: Place::from_bits(raw.place).map_err(|error| error.to_string())? })
    }
}

impl From<RecordRef> for RawRef {
    fn from(reference: RecordRef) -> Self {
        Self { id: reference.id.to_string(), place: reference.place.to_bits() }
    }
}

/// One disk of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEntry {
    /// Which disk, with the change id that belongs to this data.
    pub identity: DiskIdentity,
    /// How much of it was read, and why.
    pub read: ReadMode,
    /// The way the bytes came.
    pub transport: Transport,
    /// Root of its DiskMap; `None`: zeros only.
    pub map: Option<RecordRef>,
    /// The segments that the map refers to; `None`: zeros only, or not counted.
    pub reach: Option<RecordRef>,
    /// Sum of the plain lengths of its chunks.
    pub data_bytes: u64,
    /// What of it is not kept: zeros, whatever the guest had there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Exclusion>,
}

/// A small file kept with the point, such as `vm.vmx`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, without directories.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// Its content; `None`: empty.
    pub content: Option<RecordRef>,
}

/// What a recovery point says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its id, as text.
    #[serde(with = "text")]
    pub point: RecoveryPointId,
    /// The run that made it.
    #[serde(with = "text")]
    pub run: RunId,
    /// Of which VM.
    pub vm: VmIdentity,
    /// State of the guest.
    pub consistency: Consistency,
    /// When the run began.
    pub started: WallTime,
    /// When the last byte had been written.
    pub finished: WallTime,
    /// Bytes of a cell: a power of two, 64 KiB to 8 MiB. Each point has its own.
    pub chunk_size: u32,
    /// Its disks, in the order in which they were written.
    pub disks: Vec<DiskEntry>,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// Ids as hex text in JSON.
pub mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// As its text.
    pub fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    /// From its text.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Manifest {
    /// As JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Versioned<'a> {
            version: u32,
            #[serde(flatten)]
            manifest: &'a Manifest,
        }
        serde_json::to_vec(&Versioned { version: VERSION, manifest: self })
            .expect("names, numbers and lists only: always JSON")
    }

    /// From JSON.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let corrupt = |error: serde_json::Error| FormatError::corrupt(WHAT, error.to_string());
        let Version { version } = serde_json::from_slice(bytes).map_err(corrupt)?;
        if version != VERSION {
            return Err(FormatError::unsupported(WHAT, format!("version {version}")));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(corrupt)?;
        if !RepositoryHeader::allows_chunk_size(manifest.chunk_size) {
            let problem = format!("a chunk size of {}", manifest.chunk_size);
            return Err(FormatError::corrupt(WHAT, problem));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ChangeId, DiskRange, ExclusionKind, VmUuid};

    fn sample() -> Manifest {
        let root = RecordRef { id: ChunkId([3; 32]), place: Place::new(7, 8, 9).unwrap() };
        Manifest {
            point: RecoveryPointId([1; 16]),
            run: RunId([2; 16]),
            vm: VmIdentity {
                uuid: VmUuid("5029".into()),
                name: "db \"one\"".into(),
                server_uuid: "vc".into(),
            },
            consistency: Consistency::Quiesced,
            started: WallTime(1),
            finished: WallTime(1 << 40),
            chunk_size: 1 << 20,
            disks: vec![DiskEntry {
                identity: DiskIdentity {
                    key: 2000,
                    uuid: "6000C29".into(),
                    path: "[ds] vm/vm.vmdk".into(),
                    capacity: 1 << 50,
                    change_id: Some(ChangeId("52 a1/4".into())),
                },
                read: ReadMode::Full { reason: "first".into() },
                transport: Transport::San,
                map: Some(root),
                reach: Some(root),
                data_bytes: u64::MAX,
                excluded: vec![Exclusion {
                    kind: ExclusionKind::Swap,
                    what: "swap on partition 2".into(),
                    ranges: vec![DiskRange { offset: 1 << 20, length: 1 << 30 }],
                }],
            }],
            files: vec![FileEntry { name: "vm.vmx".into(), length: 0, content: None }],
        }
    }

    #[test]
    fn a_manifest_survives_and_ignores_what_it_does_not_know() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
        let more = String::from_utf8(bytes).unwrap().replacen('{', "{\"later\":[1],", 1);
        assert_eq!(Manifest::decode(more.as_bytes()), Ok(sample()));
    }

    /// What older software wrote, and a kind that only newer software knows.
    #[test]
    fn exclusions_may_be_absent_or_of_a_kind_that_is_not_known() {
        let mut bare = sample();
        bare.disks[0].excluded.clear();
        let text = String::from_utf8(bare.encode()).unwrap();
        assert!(!text.contains("excluded"), "{text}");
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(bare));
        let newer = String::from_utf8(sample().encode()).unwrap();
        let newer = newer.replace("\"kind\":\"swap\"", "\"kind\":\"dreams\"");
        let excluded = &Manifest::decode(newer.as_bytes()).unwrap().disks[0].excluded;
        assert_eq!((excluded[0].kind, excluded[0].bytes()), (ExclusionKind::Other, 1 << 30));
    }

    #[test]
    fn another_version_and_broken_fields_are_refused() {
        let text = String::from_utf8(sample().encode()).unwrap();
        let newer = text.replace("\"version\":2", "\"version\":3");
        assert_eq!(
            Manifest::decode(newer.as_bytes()).unwrap_err().kind(),
            model::ErrorKind::Unsupported
        );
        let bad_place = text.replace("\"place\":", "\"place\":-");
        assert!(Manifest::decode(bad_place.as_bytes()).is_err());
        assert!(Manifest::decode(b"{").is_err());
        let odd = text.replace("1048576", "1048577");
        assert!(Manifest::decode(odd.as_bytes()).is_err());
    }
}
