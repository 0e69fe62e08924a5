//! States of paths, asked for and never set (SPC-4, 5.15 and 6.37).

use crate::SanError;
use crate::facts::whole;
use crate::path::Path;
use scsi::{AccessState, PortGroups, disk};

/// Room for 60 groups of two ports at first; a longer list is asked for again as a whole.
const LIST_FIRST: u32 = 1024;
/// More than 4000 groups are not believed.
const LIST_MAX: u32 = 64 << 10;

/// The states of all groups; `None` when the device does not know the question.
pub(crate) async fn ask(path: &Path) -> Result<Option<PortGroups>, SanError> {
    let operation = "REPORT TARGET PORT GROUPS";
    let cdb = disk::report_target_port_groups;
    let asked = whole(path, operation, (LIST_FIRST, LIST_MAX), cdb, |done| {
        PortGroups::decode(done.received()).map(|groups| {
            let needed = groups.needed;
            (groups, needed)
        })
    });
    match asked.await {
        Ok(groups) => Ok(Some(groups)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The state of a path, by the group that it names, else by its port.
pub(crate) fn state_of(
    groups: &PortGroups,
    group: Option<u16>,
    port: Option<u16>,
) -> Option<AccessState> {
    let by_group = group.and_then(|group| groups.state_of(group));
    by_group.or_else(|| Some(groups.group_of(port?)?.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_says_it_or_else_the_port() {
        let bytes = hex_bytes("0000001c004f00010000000200000001000000020200000200000001000000ff");
        let groups = PortGroups::decode(&bytes).unwrap();
        let optimized = Some(AccessState::ActiveOptimized);
        assert_eq!(state_of(&groups, Some(1), None), optimized);
        assert_eq!(state_of(&groups, None, Some(2)), optimized);
        assert_eq!(state_of(&groups, Some(2), Some(1)), Some(AccessState::Standby));
        assert_eq!(state_of(&groups, Some(9), Some(255)), Some(AccessState::Standby));
        assert_eq!(state_of(&groups, Some(9), Some(9)), None);
        assert_eq!(state_of(&groups, None, None), None);
    }

    fn hex_bytes(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }
}
