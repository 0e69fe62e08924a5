//! Names of things. Binary ids are shown as lower-case hex; foreign names are kept as given.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The text is not an id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {wanted}")]
pub struct ParseIdError {
    text: String,
    wanted: &'static str,
}

macro_rules! binary_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseIdError { text: text.into(), wanted: $wanted })?;
                Ok(Self(bytes))
            }
        }
    };
}

binary_id!(
    /// One recovery point, unique for ever (random).
    RecoveryPointId, 16, "a recovery point id (32 hex digits)"
);
binary_id!(
    /// One execution of a job (random); it also marks the vSphere snapshot that the run makes.
    RunId, 16, "a run id (32 hex digits)"
);
binary_id!(
    /// Keyed BLAKE3 hash of a chunk's plaintext; the key belongs to the repository.
    ChunkId, 32, "a chunk id (64 hex digits)"
);

/// A VM's `config.instanceUuid`: unique within one vCenter, survives a move between hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VmUuid(pub String);

impl fmt::Display for VmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that a host and a target give to the same LUN: `naa.` and lower-case hex digits
/// of the NAA designator in VPD page 83h (SPC-4, 7.8.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NaaName(String);

impl NaaName {
    /// The name for a designator of 8 (NAA 2, 3, 5) or 16 (NAA 6) bytes.
    pub fn from_designator(designator: &[u8]) -> Result<Self, ParseIdError> {
        Self::from_str(&format!("naa.{}", hex::encode(designator)))
    }

    /// The name as vSphere writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NaaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NaaName {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wanted = "an NAA name (naa. and 16 or 32 hex digits)";
        let lower = text.to_ascii_lowercase();
        let digits = lower.strip_prefix("naa.").unwrap_or("");
        let right_length = digits.len() == 16 || digits.len() == 32;
        if right_length && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(lower))
        } else {
            Err(ParseIdError { text: text.into(), wanted })
        }
    }
}

impl TryFrom<String> for NaaName {
    type Error = ParseIdError;
    fn try_from(text: String) -> Result<Self, ParseIdError> {
        text.parse()
    }
}

impl From<NaaName> for String {
    fn from(name: NaaName) -> Self {
        name.0
    }
}

/// The cursor of change tracking on one disk: `<epoch UUID>/<sequence>`.
///
/// Two ids of different epochs have nothing to say about each other: the next run is a full one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChangeId(pub String);

impl ChangeId {
    /// The part before the last slash; `None` when the id is not of the known form.
    #[must_use]
    pub fn epoch(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(epoch, _)| epoch).filter(|epoch| !epoch.is_empty())
    }

    /// True when areas changed since `self` can be asked for on a disk that now has `now`.
    #[must_use]
    pub fn continues_to(&self, now: &Self) -> bool {
        // A number that went back: the disk itself was set back, such as by the array.
        let forwards = match (self.sequence(), now.sequence()) {
            (Some(before), Some(after)) => before <= after,
            _ => false,
        };
        self.epoch().is_some() && self.epoch() == now.epoch() && forwards
    }

    fn sequence(&self) -> Option<u64> {
        self.0.rsplit_once('/').and_then(|(_, number)| number.parse().ok())
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text() {
        let id = RecoveryPointId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("xyz".parse::<RecoveryPointId>().is_err());
    }

    #[test]
    fn naa_names_are_lower_case_and_whole() {
        let name: NaaName = "naa.624A9370CDEF0123456789ABCDEF0123".parse().unwrap();
        assert_eq!(name.as_str(), "naa.624a9370cdef0123456789abcdef0123");
        assert_eq!(NaaName::from_designator(&hex::decode(&name.as_str()[4..]).unwrap()), Ok(name));
        for wrong in ["mpx.vmhba0:C0:T0:L0", "naa.12", "naa.", "naa.624a9370cdef012g"] {
            assert!(wrong.parse::<NaaName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_same_epoch_continues() {
        let id = |text: &str| ChangeId(text.into());
        assert!(id("52 a1/4").continues_to(&id("52 a1/9")));
        assert!(!id("52 a1/4").continues_to(&id("52 b2/9")));
        assert!(!id("no-slash").continues_to(&id("no-slash")));
        assert!(!id("/4").continues_to(&id("/5")));
        assert!(!id("52 a1/9").continues_to(&id("52 a1/4")), "set back");
        assert!(!id("52 a1/x").continues_to(&id("52 a1/x")));
    }
}
