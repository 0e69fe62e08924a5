//! REPORT TARGET PORT GROUPS (SPC-4, 6.37): which ports of an array serve a LUN how well.

use crate::error::{DecodeError, Problem};
use crate::field::Reply;
use crate::{Sense, SenseKey};
use std::fmt;

/// How a target port group serves a LUN (SPC-4, table 309).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessState {
    /// 0h: reads go here.
    ActiveOptimized,
    /// 1h: reads work, by a detour inside the array.
    ActiveNonOptimized,
    /// 2h: answers questions, reads nothing.
    Standby,
    /// 3h: answers hardly anything.
    Unavailable,
    /// 4h: depends on the block.
    LbaDependent,
    /// Eh: the group is switched off.
    Offline,
    /// Fh: on its way from one state to another.
    Transitioning,
    /// None of the standard's.
    Other(u8),
}

impl From<u8> for AccessState {
    fn from(nibble: u8) -> Self {
        match nibble {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LbaDependent,
            0xe => Self::Offline,
            0xf => Self::Transitioning,
            other => Self::Other(other),
        }
    }
}

impl AccessState {
    /// The state that a path tells instead of running a command (SPC-4, 5.15.2.4); `None`: the
    /// sense data is about something else.
    #[must_use]
    pub fn told_by(sense: &Sense) -> Option<Self> {
        match (sense.key, sense.asc, sense.ascq) {
            (SenseKey::NotReady, 0x04, 0x0a) => Some(Self::Transitioning),
            (SenseKey::NotReady, 0x04, 0x0b) => Some(Self::Standby),
            (SenseKey::NotReady, 0x04, 0x0c) => Some(Self::Unavailable),
            _ => None,
        }
    }

    /// True when the ports of the group run a READ.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LbaDependent)
    }
}

impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ActiveOptimized => f.write_str("active/optimized"),
            Self::ActiveNonOptimized => f.write_str("active/non-optimized"),
            Self::Standby => f.write_str("standby"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::LbaDependent => f.write_str("LBA-dependent"),
            Self::Offline => f.write_str("offline"),
            Self::Transitioning => f.write_str("transitioning"),
            Self::Other(state) => write!(f, "unknown state {state:x}h"),
        }
    }
}

/// One target port group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroup {
    /// Its number; a port's own group is in VPD page 83h ([`crate::Designators::port_group`]).
    pub id: u16,
    /// How it serves this LUN now.
    pub state: AccessState,
    /// PREF: where the array would rather have the LUN.
    pub preferred: bool,
    /// Relative identifiers of its ports.
    pub ports: Vec<u16>,
}

/// All groups that serve a LUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroups {
    /// As many as fitted into the buffer.
    pub groups: Vec<PortGroup>,
    /// Bytes that the whole reply needs. It is complete when the buffer had that many.
    pub needed: u32,
}

/// Bytes of a group's descriptor before its ports, and of each port.
const GROUP: usize = 8;
const PORT: usize = 4;

impl PortGroups {
    /// Decodes the reply in the 'length only' format. Half a group at the end of a buffer that
    /// was too small is no group; in a reply that is whole it is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("REPORT TARGET PORT GROUPS", bytes);
        let needed = reply.u32(0)?.saturating_add(4);
        let end = usize::try_from(needed).unwrap_or(usize::MAX);
        let whole = end <= reply.len();
        let mut groups = Vec::new();
        let mut at = 4;
        while at < end.min(reply.len()) {
            match group(reply, at) {
                Ok(group) => {
                    at += GROUP + PORT * group.ports.len();
                    groups.push(group);
                }
                Err(error) if whole => return Err(error),
                Err(_) => break,
            }
        }
        if whole && at > end {
            return Err(reply.error(Problem::Truncated { wanted: at, got: end }));
        }
        Ok(Self { groups, needed })
    }

    /// The state of the group with that number.
    #[must_use]
    pub fn state_of(&self, group: u16) -> Option<AccessState> {
        self.groups.iter().find(|candidate| candidate.id == group).map(|group| group.state)
    }

    /// The group that a port belongs to, by the port's relative identifier.
    #[must_use]
    pub fn group_of(&self, port: u16) -> Option<&PortGroup> {
        self.groups.iter().find(|group| group.ports.contains(&port))
    }
}

fn group(reply: Reply<'_>, at: usize) -> Result<PortGroup, DecodeError> {
    let first = reply.u8(at)?;
    let count = usize::from(reply.u8(at + 7)?);
    let ports = reply.slice(at + GROUP, count * PORT)?;
    Ok(PortGroup {
        id: reply.u16(at + 2)?,
        state: AccessState::from(first & 0x0f),
        preferred: first & 0x80 != 0,
        ports: ports
            .chunks_exact(PORT)
            .map(|port| u16::from_be_bytes([port[2], port[3]]))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups as an array with two controllers tells them.
    fn reply() -> Vec<u8> {
        hex::decode(concat!(
            "0000001c",                         // 28 bytes follow
            "804f0001000000020000000100000002", // preferred, optimized, group 1, ports 1 and 2
            "024f000200000001000000ff",         // standby, group 2, port 255
        ))
        .unwrap()
    }

    #[test]
    fn groups_states_and_ports() {
        let list = PortGroups::decode(&reply()).unwrap();
        assert_eq!(list.needed, 32);
        let first = &list.groups[0];
        assert_eq!(
            (first.id, first.state, first.preferred),
            (1, AccessState::ActiveOptimized, true)
        );
        assert_eq!(first.ports, [1, 2]);
        assert_eq!(list.state_of(2), Some(AccessState::Standby));
        assert_eq!(list.state_of(3), None);
        assert_eq!(list.group_of(255).map(|group| group.id), Some(2));
        assert!(first.state.reads() && !AccessState::Standby.reads());
    }

    #[test]
    fn a_path_tells_its_state_by_sense_data() {
        let told = |key: u8, asc, ascq| {
            let sense = Sense { key: key.into(), asc, ascq, information: None, deferred: false };
            AccessState::told_by(&sense)
        };
        assert_eq!(told(2, 0x04, 0x0a), Some(AccessState::Transitioning));
        assert_eq!(told(2, 0x04, 0x0b), Some(AccessState::Standby));
        assert_eq!(told(2, 0x04, 0x0c), Some(AccessState::Unavailable));
        for (key, asc, ascq) in [(2, 0x04, 0x01), (6, 0x04, 0x0b), (2, 0x3a, 0x0b)] {
            assert_eq!(told(key, asc, ascq), None);
        }
    }

    #[test]
    fn every_state_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            (0..16).map(|nibble| AccessState::from(nibble).to_string()).collect();
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn a_buffer_too_small_gives_whole_groups_and_the_size_to_ask_for() {
        let bytes = reply();
        for length in 4..bytes.len() {
            let list = PortGroups::decode(&bytes[..length]).unwrap();
            assert_eq!(list.groups.len(), usize::from(length >= 20), "{length}");
            assert_eq!(list.needed, 32);
        }
        assert!(PortGroups::decode(&bytes[..3]).is_err());
    }

    #[test]
    fn a_whole_reply_with_half_a_group_is_refused() {
        let mut bytes = reply();
        bytes[11] = 3; // one port more in the first group
        assert!(PortGroups::decode(&bytes).is_err());
        let mut bytes = reply();
        bytes[3] = 0x1b; // the list ends inside the last port
        assert!(PortGroups::decode(&bytes).is_err());
    }
}
